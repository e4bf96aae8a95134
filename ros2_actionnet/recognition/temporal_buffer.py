"""Which frames are sampled, and the window of the newest N of them.

`FrameSampler` decides on a frame from its stamp alone, before anyone touches its pixels. `TemporalBuffer` keeps the
sampled frames in a mirrored ring, so that every window is contiguous where it lies and nothing is ever shifted.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
WindowT = TypeVar("WindowT")
WindowT_co = TypeVar("WindowT_co", covariant=True)


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

    def then(self, later: Sample) -> Sample:
        """The place of `later`'s frame in a window that this sample's frame did not reach."""
        if later.restart:
            return later
        return Sample(self.steps + later.steps, self.restart, self.reason)


class FrameSampler:
    """Decides, frame by frame and from the stamps alone, which frames are sampled."""

    def __init__(self, policy: SamplingPolicy | None = None) -> None:
        self._policy = policy or SamplingPolicy()
        self.reset()

    def reset(self) -> None:
        """Forgets all earlier frames; the next one is sampled."""
        self._offered = math.nan  # stamp of the newest frame offered, s
        self._sampled = math.nan  # stamp of the newest frame sampled, s
        self._grid = math.nan  # the newest grid point passed, s
        self._skipped = 0

    @property
    def policy(self) -> SamplingPolicy:
        """The policy in force; setting it acts on the next frame and keeps the window."""
        return self._policy

    @policy.setter
    def policy(self, policy: SamplingPolicy) -> None:
        if policy.sample_rate != self._policy.sample_rate:
            self._grid = self._sampled
        self._policy = policy

    def offer(self, stamp: float) -> Sample | None:
        """What becomes of a frame taken at `stamp` (s): its place in the window, or None if it is not sampled."""
        sample = self._decide(stamp)
        self._offered = stamp
        if sample is not None:
            self._sampled = stamp
            self._skipped = 0
            if sample.restart:
                self._grid = stamp
        else:
            self._skipped += 1
        return sample

    def _decide(self, stamp: float) -> Sample | None:
        if math.isnan(self._offered):
            return Sample(restart=True, reason="first frame")
        if stamp < self._offered:
            return Sample(restart=True, reason=f"time ran backwards by {self._offered - stamp:.3f} s")
        gap = stamp - self._sampled
        if gap > self._policy.max_gap:
            return Sample(restart=True, reason=f"gap of {gap:.3f} s, above max_gap {self._policy.max_gap:g} s")
        if self._policy.sample_rate > 0:
            return self._decide_by_rate(stamp)
        return Sample() if self._skipped >= self._policy.skip_frames else None

    def _decide_by_rate(self, stamp: float) -> Sample | None:
        period = 1 / self._policy.sample_rate
        # A frame half an interval before a grid point is nearer to it than the next frame will be. Without this a
        # camera whose stamps jitter around the grid would lose every other point.
        early = min(stamp - self._offered, period) / 2
        steps = math.floor((stamp - self._grid + early) / period)
        if steps < 1:
            return None
        self._grid += steps * period
        return Sample(steps=steps)


class FrameRing(Protocol[WindowT_co]):
    """Where a window's frames are kept: N frames, each stored twice, in slots i and i + N of 2N.

    Any N slots in a row then are one contiguous window, whichever slot is the oldest. A ring may lie in host or in
    device memory; what a window is (an array, an address) is between the ring and the backend that made it.
    """

    @property
    def frames(self) -> int:
        """N, the frames of a window."""

    def write(self, slot: int, frame: Frame) -> None:
        """Stores `frame` (uint8 [H, W, 3], RGB) in `slot` (0 <= slot < N) and its mirror; `frame` may be reused."""

    def repeat(self, source: int, slot: int) -> None:
        """Stores a copy of what is in slot `source` in `slot` and its mirror."""

    def window(self, first: int) -> WindowT_co:
        """The window of slots `first` to `first + N - 1` (0 <= first < N), oldest frame first; valid until a write."""


class HostRing:
    """A ring in host memory; its windows are views, uint8 [N, H, W, 3]."""

    def __init__(self, frames: int, height: int, width: int) -> None:
        self._frames = frames
        self._slots = np.zeros((2 * frames, height, width, 3), np.uint8)

    @property
    def frames(self) -> int:
        """N, the frames of a window."""
        return self._frames

    def write(self, slot: int, frame: Frame) -> None:
        """Stores `frame` (uint8 [H, W, 3], RGB) in `slot` and its mirror."""
        self._slots[slot] = frame
        self._slots[slot + self._frames] = frame

    def repeat(self, source: int, slot: int) -> None:
        """Stores a copy of what is in slot `source` in `slot` and its mirror."""
        self.write(slot, self._slots[source])

    def window(self, first: int) -> Frame:
        """The window that begins in slot `first`: a view, uint8 [N, H, W, 3], oldest frame first."""
        return self._slots[first : first + self._frames]


class TemporalBuffer(Generic[WindowT]):
    """The newest N sampled frames, and when a window of them is due for inference.

    `infer_every` and `repeat_first` (warm-up: the first frame fills the whole window) may be set at any time.
    """

    def __init__(self, ring: FrameRing[WindowT], infer_every: int = 1, repeat_first: bool = False) -> None:
        self._ring = ring
        self.infer_every = infer_every
        self.repeat_first = repeat_first
        self.reset()

    def reset(self) -> None:
        """Empties the window."""
        self._next = 0  # the slot that the next frame goes to, which is the oldest one
        self._indices: deque[int] = deque(maxlen=self.frames)  # of the frames in the window, oldest first
        self._waiting = 0  # frames since the last inference

    @property
    def frames(self) -> int:
        """N, the frames of a full window."""
        return self._ring.frames

    @property
    def fill(self) -> int:
        """Frames in the window, 0 to N."""
        return len(self._indices)

    @property
    def full(self) -> bool:
        """Whether there is a whole window."""
        return self.fill == self._ring.frames

    @property
    def first_index(self) -> int:
        """The index of the window's oldest frame, -1 while the window is empty."""
        return self._indices[0] if self._indices else -1

    @property
    def due(self) -> int:
        """Inferences that have come due since the last window was taken; all but the newest are overtaken."""
        return self._waiting // self.infer_every if self.full else 0

    def push(self, frame: Frame, sample: Sample, index: int = -1) -> None:
        """Takes `frame` (uint8 [H, W, 3], RGB) into the window, at the place that `sample` gives it.

        `index` is the number that the caller knows it by, for `first_index`; -1 for none.
        """
        if sample.restart:
            self.reset()
        was_full = self.full
        if self.fill:
            for _ in range(min(sample.steps, self.frames) - 1):
                self._advance(self._indices[-1])
                self._ring.repeat((self._next - 2) % self.frames, (self._next - 1) % self.frames)
        copies = self.frames if self.repeat_first and not self.fill else 1
        for _ in range(copies):
            self._ring.write(self._next, frame)
            self._advance(index)
        # The first whole window is due at once, whatever infer_every says.
        self._waiting = self._waiting + 1 if was_full else self.infer_every * self.full

    def take_window(self) -> WindowT:
        """The newest window, oldest frame first; it is valid until the next push. Raises RuntimeError if not full."""
        if not self.full:
            raise RuntimeError(f"the window holds {self.fill} of {self.frames} frames")
        self._waiting %= self.infer_every
        return self._ring.window(self._next)

    def _advance(self, index: int) -> None:
        self._next = (self._next + 1) % self.frames
        self._indices.append(index)
