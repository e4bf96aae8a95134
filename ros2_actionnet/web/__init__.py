"""What this package serves over the network: WebRTC and RTSP streams."""
