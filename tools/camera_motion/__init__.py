"""How the bundled network `camera_motion` and the demo clip are made."""
