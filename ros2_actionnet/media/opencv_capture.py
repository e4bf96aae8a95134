"""Videos and cameras through OpenCV, used without PyAV and for GStreamer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import Picture
from ros2_actionnet.media.handle import Handle

DEFAULT_RATE = 30.0
"""Hz, if neither the user nor the file specifies a rate."""


class Capture:
    """An open VideoCapture of OpenCV.

    Attributes:
        rate: Frames per second.
        size: Width and height in pixels, as reported by OpenCV.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str) -> None:
        """Wrap an open capture; `name` is its display name."""
        self._capture, self._name, self._handle = capture, name, Handle(capture.release)
        self.rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        self.size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def pictures(self) -> Iterator[Picture]:
        """Yield the frames, uint8 [H, W, 3], BGR, until the end or until `close`.

        Raises MediaError if no frame can be decoded.
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
        """Release the capture; may be called from another thread."""
        self._handle.close()


def open_capture(source: str) -> Capture:
    """Open a video file by path or a camera by number or path. Raises MediaError, naming it, if there is none."""
    is_number = source.isdigit()
    if not is_number and not Path(source).exists():
        raise MediaError(f"there is no file or device '{source}'; give the path of a video or the number of a camera")
    if is_number and Path("/dev").is_dir() and not Path(f"/dev/video{source}").exists():
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*")))
        hint = f"give one of {there}" if there else "connect a camera, or pass it into the container with --device"
        raise MediaError(f"there is no camera {source}: no such device /dev/video{source}; {hint}")
    capture = cv2.VideoCapture(int(source) if is_number else source)
    if not capture.isOpened():
        raise MediaError(f"'{source}' cannot be opened as a video; check whether another player can play it")
    return Capture(capture, source)
