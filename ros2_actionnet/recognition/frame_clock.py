"""The one place that decides the time of a frame."""

from __future__ import annotations

_CONVINCING = 5
"""Stamps in a row that must repeat, or change again, before they are distrusted or trusted."""


class FrameClock:
    """Returns the time of each frame: its stamp, or its arrival where the stamps tell nothing.

    Some drivers leave the stamps empty and some repeat one stamp for ever; by those nothing would ever be a gap, no
    point of a sampling grid would pass and no action would last. A few repeated stamps are no reason to change.

    Attributes:
        is_stuck: True while the stamps do not change, so that arrivals are used.
    """

    def __init__(self) -> None:
        self.is_stuck = False
        self._last: int | None = None  # stamp, ns
        self._contrary = 0  # stamps in a row that speak against `is_stuck`

    def time(self, stamp: int | None, arrival: int) -> int:
        """Return the time of the next frame from its `stamp`, None for an empty one, and its `arrival` (all in ns)."""
        if stamp is None:
            return arrival
        if (stamp == self._last) is self.is_stuck:
            self._contrary = 0
        else:
            self._contrary += 1
            if self._contrary == _CONVINCING:
                self.is_stuck = not self.is_stuck
                self._contrary = 0
        self._last = stamp
        return arrival if self.is_stuck else stamp
