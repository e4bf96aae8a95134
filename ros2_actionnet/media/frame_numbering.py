"""Numbering of decoded frames that counts broken ones."""

from __future__ import annotations

from heapq import heappop, heappush

from ros2_actionnet.media.base import Report

_QUIET = 50
"""Number of good frames after which preceding broken ones are reported: one line per burst, not per frame."""

_MOST_LATE = 16
"""Number of consecutive frames that may come out after a later one; more of them mean that the clock was set.

H.264 reorders no more than this. Damaged files need it: of 8 copies of a clip with 2000 bits flipped in 40 kB, 2 give a
frame late, and counting that one twice numbers all 150 frames after it wrongly.
"""


class FrameNumbering:
    """Numbers frames, and detects packets that entered the decoder but never came out of it as a frame."""

    def __init__(self, name: str, live: bool, report: Report) -> None:
        self._name, self._live, self._report = name, live, report
        self._pending: list[int] = []  # a heap of the packets' times
        self._has_times = False
        self._damaged = False  # if False, a packet without a frame is normal: some contain none to show
        self._broken = 0  # since the last report
        self._first = self._last = 0
        self._newest: int | None = None  # time of the newest frame
        self._late = 0  # frames after it with an earlier time
        self.next = 0

    def sent(self, time: int | None) -> None:
        """Record the time (ticks) of a packet that was sent to the decoder; None if it has none."""
        if time is not None:
            self._has_times = True
            heappush(self._pending, time)

    def failed(self) -> None:
        """Record that the decoder rejected a packet."""
        if self._live and self.next == 0:
            return  # on joining a stream, the first packets lack the picture that they refer to
        self._damaged = True
        if not self._has_times:
            self._lose(1)

    def number(self, time: int | None, is_corrupt: bool) -> int | None:
        """Return the index of a decoded frame; None if it is broken."""
        lost = self._forget(time) if time is not None else 0
        if self._damaged:
            if self._is_late(time):
                return None  # already counted as lost
            self._lose(lost)
        self._newest, self._late = time, 0
        if is_corrupt:
            self._damaged = True
            self._lose(1)
            return None
        index = self.next
        self.next += 1
        if self._damaged and index > self._last + _QUIET:
            self._tell()
        return index

    def finish(self) -> None:
        """Report the broken frames at the end of the input."""
        if self._damaged:
            self._lose(len(self._pending))
            self._tell()

    def _is_late(self, time: int | None) -> bool:
        if time is None or self._newest is None or time > self._newest or self._late == _MOST_LATE:
            return False
        self._late += 1
        return True

    def _forget(self, time: int) -> int:
        """Remove the packets up to a frame's time; return the number of those before it."""
        before = 0
        while self._pending and self._pending[0] < time:
            heappop(self._pending)
            before += 1
        if self._pending and self._pending[0] == time:
            heappop(self._pending)
        return before

    def _lose(self, count: int) -> None:
        if count == 0:
            return
        if self._broken == 0:
            self._first = self.next
        self._broken += count
        self.next += count
        self._last = self.next - 1

    def _tell(self) -> None:
        self._damaged = False
        if self._broken == 1:
            self._report(f"'{self._name}': frame {self._first} is broken and skipped")
        elif self._broken:
            self._report(
                f"'{self._name}': {self._broken} frames from {self._first} to {self._last} are broken and skipped"
            )
        self._broken = 0
