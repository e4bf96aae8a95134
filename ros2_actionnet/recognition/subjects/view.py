"""The part of the image that is classified for one track: its box, steadied over time."""

from __future__ import annotations

import math

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.frame_header import NANOSECONDS

TIME_CONSTANT = 0.35
"""Seconds over which boxes are smoothed: motion slower than this is followed, jitter from frame to frame is not."""

LEAST_LAG = 0.1
"""Fraction of the box's larger side by which the view may always lag behind, however small the margin."""


class _SteadyValue:
    """A critically damped g-h filter: follows a constant velocity with no lag, and averages jitter out.

    Its first steps are those of a straight line fitted to all values so far, until its memory is full: at a fixed gain
    it would take seconds to learn the velocity.
    """

    def __init__(self, value: float) -> None:
        self.value = value
        self._velocity = 0.0  # per second
        self._count = 1  # values taken in

    def update(self, measured: float, interval: float) -> None:
        """Take in a value measured `interval` (s, above 0) after the one before."""
        remembered, count = math.exp(-interval / TIME_CONSTANT), self._count
        predicted = self.value + self._velocity * interval
        residual = measured - predicted
        self.value = predicted + max(1 - remembered**2, (4 * count + 2) / ((count + 1) * (count + 2))) * residual
        self._velocity += max((1 - remembered) ** 2, 6 / ((count + 1) * (count + 2))) * residual / interval
        self._count += 1

    def coast(self, interval: float) -> None:
        """Continue without a measurement, ever slower."""
        remembered = math.exp(-interval / TIME_CONSTANT)
        self.value += self._velocity * TIME_CONSTANT * (1 - remembered)
        self._velocity *= remembered

    def pull(self, lowest: float, highest: float) -> None:
        """Bring the value into a range."""
        self.value = min(max(self.value, lowest), highest)


class SubjectView:
    """The square view of one track, smoothed so that a nervous detector does not look like a moving camera.

    It is the box's larger side wide, and `margin` of it more. Its center and size follow the box's; by how much they
    may lag behind is bounded by the margin, so that the box is always in view.
    """

    def __init__(self, box: Box, stamp: int, margin: float) -> None:
        """Begin with a valid `box` of the image taken at `stamp` (ns); `margin` is a fraction of its larger side."""
        self.margin = margin
        self._stamp = stamp
        side = max(box.width, box.height)
        self._x, self._y = _SteadyValue(box.x), _SteadyValue(box.y)
        self._size = _SteadyValue(math.log(side))  # relative changes count: boxes jitter in proportion to their size

    @property
    def box(self) -> Box:
        """The view as it is now."""
        side = math.exp(self._size.value) * (1 + self.margin)
        return Box(self._x.value, self._y.value, side, side)

    def update(self, box: Box, stamp: int) -> None:
        """Follow the track's valid box in the image taken at `stamp` (ns)."""
        interval = self._advance(stamp)
        side = max(box.width, box.height)
        measured = ((self._x, box.x), (self._y, box.y), (self._size, math.log(side)))
        if interval > 0:
            for filtered, value in measured:
                filtered.update(value, interval)
        lag = max(LEAST_LAG, self.margin / 2)
        self._x.pull(box.x - lag * side, box.x + lag * side)
        self._y.pull(box.y - lag * side, box.y + lag * side)
        self._size.pull(math.log(side / (1 + lag)), math.log(side * (1 + lag)))

    def bridge(self, stamp: int) -> None:
        """Go on without a box in the image taken at `stamp` (ns)."""
        interval = self._advance(stamp)
        if interval > 0:
            for filtered in (self._x, self._y, self._size):
                filtered.coast(interval)

    def _advance(self, stamp: int) -> float:
        interval = (stamp - self._stamp) / NANOSECONDS
        if interval > 0:
            self._stamp = stamp
        return interval
