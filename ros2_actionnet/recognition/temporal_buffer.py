"""Keeps the newest N sampled frames in a mirrored ring.

Every window is contiguous where it lies, so no frame is ever shifted or stacked.
"""

from __future__ import annotations

from collections import deque
from typing import Generic

from ros2_actionnet.backends.ring import Frame, FrameRing, WindowT
from ros2_actionnet.recognition.sampling import Sample


class TemporalBuffer(Generic[WindowT]):
    """The newest N sampled frames, and when a window of them is due for inference.

    `infer_every` and `repeat_first` (warm-up: the first frame fills the whole window) may be set at any time.
    """

    def __init__(self, ring: FrameRing[WindowT], infer_every: int, repeat_first: bool) -> None:
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
        """True if the window is full."""
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
