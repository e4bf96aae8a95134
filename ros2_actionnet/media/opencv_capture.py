"""Videos and cameras through OpenCV: where there is no PyAV, and for GStreamer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import Picture
from ros2_actionnet.media.handle import Handle

DEFAULT_RATE = 30.0
"""Hz, where neither the user nor the file says."""


class Capture:
    """An open VideoCapture of OpenCV.

    Attributes:
        rate: frames a second.
        size: width and height in pixels, as far as OpenCV knows.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str) -> None:
        """Takes what OpenCV has opened, and its name for a person."""
        self._capture, self._name, self._handle = capture, name, Handle(capture.release)
        self.rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        self.size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def pictures(self) -> Iterator[Picture]:
        """The frames, uint8 [H, W, 3], BGR, until there are no more or it is closed.

        Raises MediaError if there is none that can be decoded.
        """
        has_some = False
        while True:
            with self._handle as is_open:
                read, picture = self._capture.read() if is_open else (False, None)
            if not read:
                break
            has_some = True
            yield cast(Picture, picture)
        if is_open and not has_some:
            raise MediaError(f"'{self._name}' has no frame that can be decoded; give another video")

    def close(self) -> None:
        """Frees it; may be called from another thread."""
        self._handle.close()


def open_capture(source: str) -> Capture:
    """A video file by its path, or a camera by its number or path. Raises MediaError, naming it, if there is none."""
    is_number = source.isdigit()
    if not is_number and not Path(source).exists():
        raise MediaError(f"there is no file or device '{source}'; give the path of a video or the number of a camera")
    capture = cv2.VideoCapture(int(source) if is_number else source)
    if not capture.isOpened():
        raise MediaError(f"'{source}' cannot be opened as a video; see whether another player plays it")
    return Capture(capture, source)
