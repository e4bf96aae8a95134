"""The ring of frames in device memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import Frame
from ros2_actionnet.backends.tensorrt.cuda import CudaContext


@dataclass(frozen=True)
class DeviceWindow:
    """N frames in a row in device memory, uint8 [N, H, W, 3], from `address` on.

    It keeps the `ring` that it lies in from being given up.
    """

    address: int
    ring: DeviceRing = field(repr=False, compare=False)


class DeviceRing:
    """A ring in device memory, of 2N slots; see `FrameRing`.

    A frame crosses the bus once: it is copied into pinned staging, from there to its slot, and within the device to the
    slot's mirror. All is queued on the context's one stream, as is what reads the windows. So a frame that overwrites
    the oldest one waits until the inference on a window that holds it has read it, and no window is ever torn.

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
        """N, the frames of a window."""
        return self._frames

    def write(self, slot: int, frame: Frame) -> None:
        """Stores `frame` (uint8 [H, W, 3], RGB) in `slot` and its mirror; returns while it is still on its way.

        Raises BackendError if CUDA refuses.
        """
        with self._cuda.pushed():
            # The frame before may still be on its way from the staging.
            self._cuda.synchronize()
            np.copyto(self._staging, frame)
            self._cuda.copy_in(self._slot(slot), self._staging)
            self._cuda.copy(self._slot(slot + self._frames), self._slot(slot), self._staging.nbytes)

    def repeat(self, source: int, slot: int) -> None:
        """Stores a copy of what is in slot `source` in `slot` and its mirror. Raises BackendError if CUDA refuses."""
        with self._cuda.pushed():
            for copy in (slot, slot + self._frames):
                self._cuda.copy(self._slot(copy), self._slot(source), self._staging.nbytes)

    def window(self, first: int) -> DeviceWindow:
        """The window that begins in slot `first`, oldest frame first."""
        return DeviceWindow(self._slot(first), self)

    def _slot(self, slot: int) -> int:
        return self._address + slot * self._staging.nbytes
