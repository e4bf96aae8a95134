"""Frames of video files and camera devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import SettingsError

DEFAULT_RATE = 30.0
"""Hz, where neither the user nor the file says."""


@dataclass(frozen=True)
class Video:
    """A video file, or a camera device by its number or path; checked when it is made.

    Raises SettingsError, naming it, if it cannot be opened.
    """

    source: str

    def __post_init__(self) -> None:
        """Opens it once, to see whether it can be."""
        self._open().release()

    @property
    def rate(self) -> float:
        """Frames a second."""
        capture = self._open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        return rate if rate > 0 else DEFAULT_RATE

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The frames, uint8 [H, W, 3], BGR. Raises SettingsError if there is none that can be decoded."""
        capture = self._open()
        count = 0
        try:
            while True:
                read, frame = capture.read()
                if not read:
                    break
                count += 1
                yield np.asarray(frame, np.uint8)
        finally:
            capture.release()
        if count == 0:
            raise SettingsError(f"'{self.source}' has no frame that can be decoded; give another video")

    def _open(self) -> cv2.VideoCapture:
        is_number = self.source.isdigit()
        if not is_number and not Path(self.source).exists():
            raise SettingsError(
                f"there is no file or device '{self.source}'; give the path of a video or the number of a camera"
            )
        capture = cv2.VideoCapture(int(self.source) if is_number else self.source)
        if not capture.isOpened():
            raise SettingsError(f"'{self.source}' cannot be opened as a video; see whether another player plays it")
        return capture
