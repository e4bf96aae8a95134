"""Sources that may be lost and reconnected: cameras and streams."""

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
from ros2_actionnet.media.output_clock import OutputClock
from ros2_actionnet.recognition.frame_header import nanoseconds

LONGEST_WAIT = 10.0
"""s, upper limit of the wait before a retry; the first wait is 0.5 s, and each further one is twice as long."""

_LONGEST_GAP = 1.0  # s
_TICK = 0.001  # s


def back_off() -> Iterator[float]:
    """Return the waits before each retry, in s."""
    return (min(0.5 * 2**count, LONGEST_WAIT) for count in itertools.count())


def numbered(path: str, number: int) -> str:
    """Return the path of the file for the input after loss `number`, whose encoding may differ from before."""
    return str(Path(path).with_stem(f"{Path(path).stem}-{number + 1}")) if path and number else path


class Pace:
    """Paces the frames of a file by their times; those of a live source are due on arrival."""

    def __init__(self, is_live: bool) -> None:
        self._is_live = is_live
        self._start: float | None = None  # monotonic time at which the frame of time 0 was due

    def wait(self, time_: float) -> float:
        """Return the seconds until the frame at `time_` is due, at most 1: longer gaps are shortened."""
        now = time.monotonic()
        if self._start is None or self._is_live:
            self._start = now - time_
        self._start = min(self._start, now + _LONGEST_GAP - time_)
        return max(0.0, self._start + time_ - now)


class Connection(Protocol):
    """A connection to a device or a stream."""

    @property
    def rate(self) -> float:
        """Frames per second."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def count(self) -> int:
        """Number of frames so far, broken ones included."""

    @property
    def is_live(self) -> bool:
        """True if it has no end."""

    def frames(self) -> Iterator[Decoded]:
        """Yield its frames. Raises MediaError when the connection is lost."""

    def close(self) -> None:
        """Close the connection; may be called from another thread."""


class LiveSource:
    """A source that reconnects after each loss, with increasing waits between retries.

    A frame's time continues across a loss, and by one frame interval where the connection's clock jumps. Its stamp is
    the connection's own time if that is absolute; otherwise the arrival of the connection's first frame plus the time
    elapsed on the connection's clock; without a clock, the arrival of the frame.

    Raises MediaError if the first connection cannot be made.
    """

    is_live = True
    length = None

    def __init__(
        self,
        name: str,
        connect: Callable[[int], Connection],
        report: Report,
        absolute: bool = False,
        first: Connection | None = None,
    ) -> None:
        """Connect.

        Args:
            name: Display name.
            connect: Creates a connection from the number of previous ones, or raises MediaError.
            report: Receives a line on each loss and each reconnection.
            absolute: True if the times of connections are s since 1970.
            first: The first connection; None: made by `connect`.
        """
        self.name, self._connect, self._report, self._absolute = name, connect, report, absolute
        self._closed = threading.Event()
        self._newest = 0.0  # stamp
        self._connection = connect(0) if first is None else first
        self.rate, self.size = self._connection.rate, self._connection.size

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the frames until the source is closed."""
        index, times = 0, OutputClock(self.rate)
        for number in itertools.count(1):
            try:
                is_back = True
                for decoded, seconds in self._stamped():
                    stamp = nanoseconds(seconds)
                    time_ = times.time(stamp, after_a_loss=is_back)
                    yield MediaFrame(index + decoded.index, time_, stamp, decoded.image)
                    is_back = False
                lost = "it ended"
            except MediaError as error:
                lost = str(error)
            index += self._connection.count
            self._connection.close()
            if not self._reconnect(number, lost):
                return

    def close(self) -> None:
        """End the connection, or the attempts to reconnect."""
        self._closed.set()
        self._connection.close()

    def _stamped(self) -> Iterator[tuple[Decoded, float]]:
        """Yield the connection's frames and their stamps."""
        offset: float | None = None  # from the connection's clock to ours
        for decoded in self._connection.frames():
            if self._closed.is_set():
                return
            # Stamps must increase: a stream may be sent ahead of time, and its clock may be set.
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
        """Retry until reconnected; return False if the source was closed."""
        if self._closed.is_set():
            return False
        self._report(f"'{self.name}' is lost: {lost}; it is reopened as soon as it is back")
        since = time.monotonic()
        for wait in back_off():
            if self._closed.wait(wait):
                return False
            try:
                self._connection = self._connect(number)
            except MediaError:
                continue
            if not self._connection.is_live:  # a playlist that has been completed: all of it was shown
                self._connection.close()
                return False
            self._report(f"'{self.name}' is back after {time.monotonic() - since:.0f} s")
            return True
        return False
