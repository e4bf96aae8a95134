"""The classes, and what mirroring or reversing a clip does to its class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LABELS = (
    "still",
    "pan_left",
    "pan_right",
    "tilt_up",
    "tilt_down",
    "zoom_in",
    "zoom_out",
    "roll_clockwise",
    "roll_counterclockwise",
)
INDEX = {label: index for index, label in enumerate(LABELS)}

# Each symmetry swaps pairs of classes; what it does not name stays.
MIRRORED_LEFT_RIGHT = {"pan_left": "pan_right", "roll_clockwise": "roll_counterclockwise"}
MIRRORED_UP_DOWN = {"tilt_up": "tilt_down", "roll_clockwise": "roll_counterclockwise"}
TRANSPOSED = {"pan_left": "tilt_up", "pan_right": "tilt_down", "roll_clockwise": "roll_counterclockwise"}
REVERSED = {
    "pan_left": "pan_right",
    "tilt_up": "tilt_down",
    "zoom_in": "zoom_out",
    "roll_clockwise": "roll_counterclockwise",
}

Clip = npt.NDArray[np.uint8]


def _swapped(label: str, pairs: dict[str, str]) -> str:
    """Return the class that a symmetry turns a class into."""
    both_ways = {**pairs, **{second: first for first, second in pairs.items()}}
    return both_ways.get(label, label)


def transform_clip(clip: Clip, label: int, rng: np.random.Generator) -> tuple[Clip, int]:
    """Return a clip [T, H, W, 3] under a random one of its 16 symmetries, and the class it then shows."""
    name = LABELS[label]
    if rng.random() < 0.5:
        clip, name = clip[:, :, ::-1], _swapped(name, MIRRORED_LEFT_RIGHT)
    if rng.random() < 0.5:
        clip, name = clip[:, ::-1], _swapped(name, MIRRORED_UP_DOWN)
    if rng.random() < 0.5:
        clip, name = clip.transpose(0, 2, 1, 3), _swapped(name, TRANSPOSED)
    if rng.random() < 0.5:
        clip, name = clip[::-1], _swapped(name, REVERSED)
    return clip, INDEX[name]
