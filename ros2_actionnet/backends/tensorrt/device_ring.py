"""The ring of frames in device memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import Frame
from ros2_actionnet.backends.tensorrt.cuda import CudaContext


@dataclass(frozen=True)
class DeviceWindow:
    """N consecutive frames in device memory, uint8 [N, H, W, 3], starting at `address`.

    Its reference to the `ring` keeps the ring's memory from being reused.
    """

    address: int
    ring: DeviceRing = field(repr=False, compare=False)


class DeviceRing:
    """A ring in device memory, of 2N slots; see `FrameRing`.

    A frame crosses the bus once: it is copied into pinned staging, from there to its slot, and within the device to the
    slot's mirror. All copies and all inferences on the windows are queued on the context's only stream. So a frame that
    overwrites the oldest one waits until the inference on a window that contains it has read it, and windows are never
    torn.

    `address` is that of 2N frames of device memory; `staging` is pinned, uint8 [H, W, 3], and may be shared by all
    rings on `cuda`.
    """

    def __init__(self, cuda: CudaContext, address: int, staging: NDArray[np.uint8], frames: int) -> None:
        self._cuda = cuda
        self._address = address
        self._staging = staging
        self._frames = frames

    @property
    def frames(self) -> int:
        """Number of frames in a window, N."""
        return self._frames

    def write(self, slot: int, frame: Frame) -> None:
        """Store `frame` (uint8 [H, W, 3], RGB) in `slot` and its mirror; returns before the copy is complete.

        Raises BackendError if CUDA fails.
        """
        with self._cuda.pushed():
            # The copy of the previous frame from the staging may not be complete yet.
            self._cuda.synchronize()
            np.copyto(self._staging, frame)
            self._cuda.copy_in(self._slot(slot), self._staging)
            self._cuda.copy(self._slot(slot + self._frames), self._slot(slot), self._staging.nbytes)

    def repeat(self, source: int, slot: int) -> None:
        """Copy slot `source` to `slot` and its mirror. Raises BackendError if CUDA fails."""
        with self._cuda.pushed():
            for copy in (slot, slot + self._frames):
                self._cuda.copy(self._slot(copy), self._slot(source), self._staging.nbytes)

    def window(self, first: int) -> DeviceWindow:
        """Return the window that begins in slot `first`, oldest frame first."""
        return DeviceWindow(self._slot(first), self)

    def _slot(self, slot: int) -> int:
        return self._address + slot * self._staging.nbytes
