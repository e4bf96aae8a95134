"""Sources that may go away and come back: cameras and streams."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import MediaFrame, Report
from ros2_actionnet.media.decoder import Decoded
from ros2_actionnet.recognition.frame_header import nanoseconds

LONGEST_WAIT = 10.0
"""s between two tries, at most; the first comes after half a second, each next one after twice the time."""

_LONGEST_GAP = 1.0  # s
_TICK = 0.001  # s


def back_off() -> Iterator[float]:
    """Seconds to wait before each try."""
    return (min(0.5 * 2**count, LONGEST_WAIT) for count in itertools.count())


def numbered(path: str, number: int) -> str:
    """The path of a file for what comes after loss `number`, which may be encoded otherwise than what came before."""
    return str(Path(path).with_stem(f"{Path(path).stem}-{number + 1}")) if path and number else path


class Pace:
    """Plays the frames of a file when they are due; those of a live source are due when they come."""

    def __init__(self, is_live: bool) -> None:
        self._is_live = is_live
        self._start: float | None = None  # when the frame of time 0 was due, by the monotonic clock

    def wait(self, time_: float) -> float:
        """Seconds that the frame of this time is early; a gap of more than a second is passed over."""
        now = time.monotonic()
        if self._start is None or self._is_live:
            self._start = now - time_
        self._start = min(self._start, now + _LONGEST_GAP - time_)
        return max(0.0, self._start + time_ - now)


class Connection(Protocol):
    """A device or a stream while it is there."""

    @property
    def rate(self) -> float:
        """Frames a second."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def count(self) -> int:
        """Frames so far, broken ones included."""

    def frames(self) -> Iterator[Decoded]:
        """Its frames. Raises MediaError when it is lost."""

    def close(self) -> None:
        """Frees it; may be called from another thread."""


class LiveSource:
    """Frames of something that is connected again, after longer and longer waits, whenever it was lost.

    A frame's time goes on over a loss. Its stamp is the connection's own time where that is absolute; else when the
    connection's first frame came, plus the time that has passed since by the connection's clock; and where it has no
    clock when the frame came.

    Raises MediaError if the first connection cannot be made.
    """

    is_live = True
    length = None

    def __init__(self, name: str, connect: Callable[[int], Connection], report: Report, absolute: bool = False) -> None:
        """Connects.

        Args:
            name: For a person.
            connect: Makes a connection, or raises MediaError; takes how many there were before.
            report: Is told when it is lost and when it is back.
            absolute: Whether the times of connections are s since 1970.
        """
        self.name, self._connect, self._report, self._absolute = name, connect, report, absolute
        self._closed = threading.Event()
        self._newest = 0.0  # stamp
        self._connection = connect(0)
        self.rate, self.size = self._connection.rate, self._connection.size

    def frames(self) -> Iterator[MediaFrame]:
        """The frames, until it is closed."""
        index, start = 0, None
        for number in itertools.count(1):
            try:
                for decoded, stamp in self._stamped():
                    start = stamp if start is None else start
                    yield MediaFrame(index + decoded.index, stamp - start, nanoseconds(stamp), decoded.image)
                lost = "it ended"
            except MediaError as error:
                lost = str(error)
            index += self._connection.count
            self._connection.close()
            if not self._reconnect(number, lost):
                return

    def close(self) -> None:
        """Ends the connection, or the tries to make one."""
        self._closed.set()
        self._connection.close()

    def _stamped(self) -> Iterator[tuple[Decoded, float]]:
        """The connection's frames and their stamps."""
        offset: float | None = None  # of the connection's clock from ours
        for decoded in self._connection.frames():
            if self._closed.is_set():
                return
            # Not before what came last: a stream may be sent ahead of time, and its clock be set.
            earliest = self._newest + _TICK
            if decoded.time is None:
                self._newest = max(time.time(), earliest)
            elif self._absolute:
                self._newest = decoded.time
            else:
                offset = time.time() - decoded.time if offset is None else offset
                offset = max(offset, earliest - decoded.time)
                self._newest = offset + decoded.time
            yield decoded, self._newest

    def _reconnect(self, number: int, lost: str) -> bool:
        """Tries until it is back; False if it was closed."""
        if self._closed.is_set():
            return False
        self._report(f"'{self.name}' is lost: {lost}; it is tried again until it is back")
        since = time.monotonic()
        for wait in back_off():
            if self._closed.wait(wait):
                return False
            try:
                self._connection = self._connect(number)
            except MediaError:
                continue
            self._report(f"'{self.name}' is back after {time.monotonic() - since:.0f} s")
            return True
        return False
