"""Video frames to windows and classes, as the node does it: every second frame, whole frame stretched to 112x112."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from .images import Image
from .labels import LABELS
from .motion import FRAMES, SIZE
from .network import MEAN, STD

SKIP_FRAMES = 1

Frames = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]


def thumbnail(frame: Image) -> Image:
    """Return the whole frame stretched to the network's size: linear to four times the size, then by area."""
    larger = cv2.resize(frame, (4 * SIZE, 4 * SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(larger, (SIZE, SIZE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def network_input(frames: Frames) -> Logits:
    """Return uint8 windows [B, T, H, W, 3] as the network's input [B, 3, T, H, W]."""
    scaled = (frames.astype(np.float32) / 255.0 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 4, 1, 2, 3))


class Classifier:
    """The exported network in ONNX Runtime."""

    def __init__(self, model: Path, threads: int = 2) -> None:
        """Load the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def logits(self, frames: Frames, batch: int = 16) -> Logits:
        """Return the logits of uint8 windows [B, T, H, W, 3]."""
        parts = [
            self._session.run(None, {"frames": network_input(np.array(frames[first : first + batch]))})[0]
            for first in range(0, len(frames), batch)
        ]
        return np.concatenate(parts)

    def classes(self, video: Sequence[Image]) -> list[str]:
        """Return the class of every window of a video, at both phases of the sampling."""
        small = [thumbnail(frame) for frame in video]
        windows = [small[first : first + FRAMES * (SKIP_FRAMES + 1) : SKIP_FRAMES + 1] for first in range(len(small))]
        whole = [window for window in windows if len(window) == FRAMES]
        if not whole:
            return []
        return [LABELS[index] for index in self.logits(np.array(whole)).argmax(axis=1)]


def shares(classes: Sequence[str]) -> dict[str, float]:
    """Return the part of the windows in each class, largest first."""
    return {label: round(count / len(classes), 4) for label, count in Counter(classes).most_common()}
