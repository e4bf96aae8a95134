"""Rings: storage for the frames of a window, in the memory that suits a backend."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


WindowT = TypeVar("WindowT")


WindowT_co = TypeVar("WindowT_co", covariant=True)


class FrameRing(Protocol[WindowT_co]):
    """Storage for a window's frames: N frames, each stored twice, in slots i and i + N of 2N.

    Any N consecutive slots are therefore one contiguous window, whichever slot is the oldest. A ring may be in host or
    device memory; the type of a window (an array, an address) is private to the ring and the backend that created it.
    """

    @property
    def frames(self) -> int:
        """Number of frames in a window, N."""

    def write(self, slot: int, frame: Frame) -> None:
        """Store `frame` (uint8 [H, W, 3], RGB) in `slot` (0 <= slot < N) and its mirror; `frame` may be reused."""

    def repeat(self, source: int, slot: int) -> None:
        """Copy slot `source` to `slot` and its mirror."""

    def window(self, first: int) -> WindowT_co:
        """Return slots `first` to `first + N - 1` (0 <= first < N), oldest frame first; valid until the next write."""


class HostRing:
    """A ring in host memory; its windows are views, uint8 [N, H, W, 3]."""

    def __init__(self, frames: int, height: int, width: int) -> None:
        self._frames = frames
        self._slots = np.zeros((2 * frames, height, width, 3), np.uint8)

    @property
    def frames(self) -> int:
        """Number of frames in a window, N."""
        return self._frames

    def write(self, slot: int, frame: Frame) -> None:
        """Store `frame` (uint8 [H, W, 3], RGB) in `slot` and its mirror."""
        self._slots[slot] = frame
        self._slots[slot + self._frames] = frame

    def repeat(self, source: int, slot: int) -> None:
        """Copy slot `source` to `slot` and its mirror."""
        self.write(slot, self._slots[source])

    def window(self, first: int) -> Frame:
        """Return the window that begins in slot `first`: a view, uint8 [N, H, W, 3], oldest frame first."""
        return self._slots[first : first + self._frames]
