"""Which frames are sampled, decided from their stamps alone, before their pixels are touched."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.settings import Settings


@dataclass(frozen=True)
class SamplingPolicy:
    """When a frame is sampled; the fields mean what the settings of the same names mean."""

    skip_frames: int = 1
    sample_rate: float = 0.0
    max_gap: float = 1.0


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
    """Decides, frame by frame and from the stamps alone, which frames are sampled."""

    def __init__(self, policy: SamplingPolicy | None = None) -> None:
        self._policy = policy or SamplingPolicy()
        self.reset()

    def reset(self) -> None:
        """Forgets all earlier frames; the next one is sampled."""
        self._offered: int | None = None  # stamp of the newest frame offered, ns
        self._sampled = 0  # stamp of the newest frame sampled, ns
        self._begin_grid(0)
        self._skipped = 0

    @property
    def policy(self) -> SamplingPolicy:
        """The policy in force; setting it acts on the next frame and keeps the window."""
        return self._policy

    @policy.setter
    def policy(self, policy: SamplingPolicy) -> None:
        if policy.sample_rate != self._policy.sample_rate:
            self._begin_grid(self._sampled)
        self._policy = policy

    def offer(self, stamp: int) -> Sample | None:
        """Return the place in the window of a frame taken at `stamp` (ns), or None if it is not sampled."""
        sample = self._decide(stamp)
        self._offered = stamp
        if sample is not None:
            self._sampled = stamp
            self._skipped = 0
            if sample.restart:
                self._begin_grid(stamp)
        else:
            self._skipped += 1
        return sample

    def _begin_grid(self, stamp: int) -> None:
        """Let the points of the sampling grid be counted from `stamp` (ns)."""
        self._grid_start, self._grid_points = stamp, 0

    def _decide(self, stamp: int) -> Sample | None:
        if self._offered is None:
            return Sample(restart=True, reason="first frame")
        if stamp < self._offered:
            seconds = (self._offered - stamp) / NANOSECONDS
            return Sample(restart=True, reason=f"time ran backwards by {seconds:.3f} s")
        gap = stamp - self._sampled
        if gap > self._policy.max_gap * NANOSECONDS:
            seconds = gap / NANOSECONDS
            return Sample(restart=True, reason=f"gap of {seconds:.3f} s, above max_gap {self._policy.max_gap:g} s")
        if self._policy.sample_rate > 0:
            return self._decide_by_rate(stamp, stamp - self._offered)
        return Sample() if self._skipped >= self._policy.skip_frames else None

    def _decide_by_rate(self, stamp: int, interval: int) -> Sample | None:
        period = NANOSECONDS / self._policy.sample_rate
        # A frame half an interval before a grid point is nearer to it than the next frame will be. Without this a
        # camera whose stamps jitter around the grid would lose every other point.
        early = min(interval, period) / 2
        # Points are counted from the grid's start, so that a period that is no whole number of ns adds up no error.
        steps = math.floor((stamp - self._grid_start + early) / period) - self._grid_points
        if steps < 1:
            return None
        self._grid_points += steps
        return Sample(steps=steps)


def sampling_policy(settings: Settings) -> SamplingPolicy:
    """The part of `settings` that decides which frames are sampled."""
    return SamplingPolicy(settings.skip_frames, settings.sample_rate, settings.max_gap)
