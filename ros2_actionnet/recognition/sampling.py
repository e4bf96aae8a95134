"""Which frames are sampled, decided from their stamps alone, before their pixels are touched."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.settings import Settings

_REMEMBERED = 7
"""Number of intervals whose median is the expected one: a few pauses or lost frames among them do not change it."""

TOLERATED_INTERVALS = 2.5
"""Usual intervals that a slow camera may stay silent: one lost frame is no gap, whatever `max_gap` says."""

CONVINCING = 4
"""Frames in a row that must be out of line with those before to be followed: three may be late, one after the other."""


@dataclass(frozen=True)
class Sample:
    """A sampled frame's place in the window.

    `steps` is how far the window moves: 1, or more where points of the sampling grid passed without a frame (the frame
    before holds for those). `restart` says that the window must be emptied first, for `reason`.
    """

    steps: int = 1
    restart: bool = False
    reason: str = ""

    def combined_with(self, later: Sample) -> Sample:
        """Return the place of `later`'s frame in a window that this sample's frame did not reach."""
        if later.restart:
            return later
        return Sample(self.steps + later.steps, self.restart, self.reason)


_NEXT = Sample()  # the usual place; made once, because making it takes longer than deciding on it


class MissedFrames:
    """Keeps the place in the window of sampled frames that did not reach it, for the next frame that does.

    A frame is missed when its pixels cannot be understood or when it left a queue unread. Not thread-safe.
    """

    def __init__(self) -> None:
        self._missed: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Record that the frame of `sample` did not reach the window."""
        self._missed = self.combined_with(sample)

    def combined_with(self, sample: Sample) -> Sample:
        """Return the place of `sample`'s frame after all that were missed before it, which are then forgotten."""
        missed, self._missed = self._missed, None
        return sample if missed is None else missed.combined_with(sample)

    def clear(self) -> None:
        """Forget all missed frames."""
        self._missed = None


class FrameSampler:
    """Decides, frame by frame and from the stamps alone, which frames are sampled.

    A frame is in line if it is stamped at its predecessor's stamp or later, and not after a gap: an interval above both
    `max_gap` and a few of the intervals that this camera usually has. One out of line is left out, and as long as the
    next ones are in line again, they are sampled as if it had never come. Otherwise the stamps are followed:

    - A jump over a gap, or back by more than `max_gap`, is believed once the next frame goes on from it; that frame
      restarts the window. The first interval of a stream is believed at once.
    - A step back by at most `max_gap` is followed with the fourth frame in a row that is out of line, and the window
      goes on, as the clock has been set and the camera has not paused.

    Attributes:
        late: Number of frames left out because they were out of line, since the beginning.
    """

    def __init__(self, settings: Settings) -> None:
        self.late = 0
        self._skip_frames, self._sample_rate = settings.skip_frames, settings.sample_rate
        self._longest = settings.max_gap * NANOSECONDS
        self.reset()

    def reset(self) -> None:
        """Forget all earlier frames; the next one is sampled."""
        self._newest: int | None = None  # stamp of the newest frame in line, ns
        self._intervals: deque[int] = deque(maxlen=_REMEMBERED)  # before it, ns
        self._skipped = 0
        self._begin_grid(0)
        self._left_out = 0  # frames in a row since then
        self._left_out_stamp = 0  # of the last of them, ns

    def configure(self, settings: Settings) -> None:
        """Apply `skip_frames`, `sample_rate` and `max_gap` to the next frame; the window stays as it is."""
        if settings.sample_rate != self._sample_rate:
            self._begin_grid(self._sampled)
        self._skip_frames, self._sample_rate = settings.skip_frames, settings.sample_rate
        self._longest = settings.max_gap * NANOSECONDS

    def offer(self, stamp: int) -> Sample | None:
        """Return the place in the window of a frame taken at `stamp` (ns), or None if it is not sampled."""
        if self._newest is None:
            return self._restart(stamp, "first frame")
        interval = stamp - self._newest
        if interval < 0 or (interval > self._longest and interval > self._gap_limit()):
            return self._decide_out_of_line(stamp, self._newest)
        self._left_out = 0
        if interval:  # a frame that was sent twice says nothing of the camera's rate
            self._intervals.append(interval)
        return self._decide_in_line(stamp, interval)

    def _decide_in_line(self, stamp: int, interval: int) -> Sample | None:
        """Sample by the settings a frame that was taken `interval` (ns) after the newest."""
        self._newest = stamp
        if self._sample_rate > 0:
            return self._decide_by_rate(stamp, interval)
        if self._skipped < self._skip_frames:
            self._skipped += 1
            return None
        self._sampled, self._skipped = stamp, 0
        return _NEXT

    def _decide_out_of_line(self, stamp: int, newest: int) -> Sample | None:
        """Leave a frame out, or follow its stamp if those before it speak for it."""
        limit, first = self._gap_limit(), stamp
        goes_on = False
        if self._left_out:
            # By its own interval, a slow camera goes on from the first gap, when its rate is not known yet.
            longest = max(limit, TOLERATED_INTERVALS * (self._left_out_stamp - newest))
            goes_on = 0 <= stamp - self._left_out_stamp <= longest
            first = self._left_out_stamp if goes_on else stamp
        step = first - newest
        is_jump = step > limit or step < -self._longest
        self._left_out += 1
        # Before an interval is known, a window holds next to nothing that could be lost.
        if self._left_out < CONVINCING and not (is_jump and (goes_on or not self._intervals)):
            self._left_out_stamp = stamp
            self.late += 1
            return None
        if is_jump:
            reason = self._jump_reason(step, limit)
            self._intervals.extend(interval for interval in (step, stamp - first) if interval > 0)
            return self._restart(stamp, reason)
        return self._follow(stamp, newest)

    def _jump_reason(self, step: int, limit: float) -> str:
        if step < 0:
            return f"time ran backwards by {-step / NANOSECONDS:.3f} s"
        limit_name = "max_gap" if limit == self._longest else f"{TOLERATED_INTERVALS:g} times the usual interval,"
        return f"gap of {step / NANOSECONDS:.3f} s, above {limit_name} {limit / NANOSECONDS:g} s"

    def _follow(self, stamp: int, newest: int) -> Sample | None:
        """Let the window go on with a frame by whose clock the newest was taken later."""
        # The frames that were left out took their time, too.
        elapsed = self._left_out * int(median(self._intervals)) if self._intervals else 0
        shift = stamp - elapsed - newest
        self._grid_start += shift
        self._sampled += shift
        self._left_out = 0
        return self._decide_in_line(stamp, elapsed)

    def _restart(self, stamp: int, reason: str) -> Sample:
        """Begin a window with the frame taken at `stamp` (ns)."""
        self._newest = stamp
        self._skipped = self._left_out = 0
        self._begin_grid(stamp)
        return Sample(restart=True, reason=reason)

    def _gap_limit(self) -> float:
        """Return the longest interval (ns) that is no gap."""
        return max(self._longest, TOLERATED_INTERVALS * median(self._intervals)) if self._intervals else self._longest

    def _begin_grid(self, stamp: int) -> None:
        """Let the points of the sampling grid be counted from `stamp` (ns), at which a frame was sampled."""
        self._sampled = self._grid_start = stamp
        self._grid_points = 0

    def _decide_by_rate(self, stamp: int, interval: int) -> Sample | None:
        period = NANOSECONDS / self._sample_rate
        # A frame half an interval before a grid point is nearer to it than the next frame will be. Without this a
        # camera whose stamps jitter around the grid would lose every other point.
        early = min(interval, period) / 2
        # Points are counted from the grid's start, so that a period that is no whole number of ns adds up no error.
        steps = math.floor((stamp - self._grid_start + early) / period) - self._grid_points
        if steps < 1:
            return None
        self._sampled = stamp
        self._grid_points += steps
        return _NEXT if steps == 1 else Sample(steps=steps)
