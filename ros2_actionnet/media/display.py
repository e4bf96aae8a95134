"""Display of the annotated pictures in a window."""

from __future__ import annotations

import os
import re
import socket
import time

import cv2

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource
from ros2_actionnet.media.live_source import Pace

_ESCAPE, _Q = 27, ord("q")
_X11_PORT = 6000  # of display 0
_TIMEOUT = 2.0  # s


class DisplaySink:
    """Shows annotated pictures, those of a file at its rate. Escape, q or closing the window ends the source.

    Raises MediaError if there is no display, or if this OpenCV cannot open windows.
    """

    wants_pictures = True

    def __init__(self, source: FrameSource) -> None:
        check_display()
        self._source, self._pace, self._closed = source, Pace(source.is_live), False
        self._title = f"actionnet: {source.name}"
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            if all(source.size):
                cv2.resizeWindow(self._title, *source.size)
        except cv2.error as error:
            raise MediaError(f"no window can be opened: {error.err}; give --headless to run without one") from error

    def write(self, result: ClassifiedFrame) -> None:
        """Show a picture."""
        if result.annotated is None or self._closed:
            return
        cv2.imshow(self._title, result.annotated)
        until = time.monotonic() + self._pace.wait(result.frame.time)
        while True:
            # Windows are updated only while OpenCV waits for keys, for at least a millisecond.
            key = cv2.waitKey(max(1, round((until - time.monotonic()) * 1000))) & 0xFF
            if key in (_ESCAPE, _Q) or not self._is_open():
                self._source.close()
                self.close()
                return
            if time.monotonic() >= until:
                return

    def _is_open(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # raised by OpenCV with Qt once the last window is closed
            return False

    def close(self) -> None:
        """Close the window."""
        if not self._closed:
            self._closed = True
            if self._is_open():
                cv2.destroyWindow(self._title)
                cv2.waitKey(1)


def check_display() -> None:
    """Raise MediaError if there is no display, or if this OpenCV cannot open windows."""
    display = os.environ.get("DISPLAY", "")
    if not display and not os.environ.get("WAYLAND_DISPLAY"):
        raise MediaError(
            "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); give --headless, or an output file"
        )
    if not has_windows():
        raise MediaError(
            "this OpenCV was built without windows, as opencv-python-headless is; install opencv-python or "
            "python3-opencv instead of it, or give --headless"
        )
    if display and not _answers(display):
        raise MediaError(f"the display '{display}' does not answer; set DISPLAY to one that does, or give --headless")


def has_windows() -> bool:
    """Return True if this OpenCV can open windows."""
    found = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    return found is not None and found[1] != "NONE"


def _answers(display: str) -> bool:
    """Return True if an X server listens at `display`; without one, Qt would end the process."""
    host, _, number = display.rpartition(":")
    try:
        port = int(number.partition(".")[0])
        if host and host != "unix":
            socket.create_connection((host, _X11_PORT + port), timeout=_TIMEOUT).close()
            return True
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/tmp/.X11-unix/X{port}")
    except (OSError, ValueError):
        return False
    return True
