"""The only interface to CUDA, by way of pycuda, whose rules are handled here for the whole package.

A context is current in the thread that pushed it, and a thread that ends with one pushed aborts the process: so it is
pushed for every entry and popped on every path. An object made under a context is freed with the same context pushed,
or never: so one object owns all resources of a session, and frees them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

from ros2_actionnet.errors import BackendError
from ros2_actionnet.system.text import printable

logger = logging.getLogger(__name__)

ALIGNMENT = 256
"""Bytes, alignment that TensorRT requires of input and output addresses; CUDA allocates memory with this alignment."""

GPU_REMEDY = (
    "see whether nvidia-smi (PC) or tegrastats (Jetson) shows a GPU. On a Jetson, most often the user may not open it: "
    "sudo usermod -aG video,render USER, then log in again or restart the service; start a container with --runtime "
    "nvidia or --gpus all, and as another user than root with --group-add video"
)
"""What to do where CUDA sees no GPU, although there is a driver."""

MEMORY_REMEDY = "; free memory on the GPU, or take a smaller network"
"""What to append to a message about too little memory."""

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING of cuda.h: the stream does not wait for other work in the process
_BLOCKING_SYNC, _DISABLE_TIMING = 1, 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING

# Words of cuGetErrorString, of the errors after which no further call in the process succeeds: "leaves the process in
# an inconsistent state" (cuda.h).
_ENDS_ALL_WORK = (
    "illegal memory access",
    "unspecified launch failure",
    "misaligned address",
    "illegal instruction",
    "invalid program counter",
    "hardware stack error",
    "not supported on global/shared address space",
    "launch timed out",
    "device-side assert",
    "uncorrectable",
)


class Driver(Protocol):
    """The used part of the module `pycuda.driver`. Device addresses are ints."""

    @property
    def Device(self) -> Any:  # noqa: N802 - the names are pycuda's
        """Class of GPUs."""

    @property
    def Context(self) -> Any:  # noqa: N802
        """Class of contexts."""

    @property
    def Stream(self) -> Any:  # noqa: N802
        """Class of streams."""

    @property
    def Event(self) -> Any:  # noqa: N802
        """Class of events."""

    @property
    def device_attribute(self) -> Any:
        """Names of the properties that `Device.get_attribute` returns."""

    @property
    def Error(self) -> type[Exception]:  # noqa: N802
        """Base class of all CUDA errors."""

    def init(self) -> None:
        """Initialize CUDA for the process."""

    def mem_alloc(self, size: int, /) -> Any:
        """Allocate `size` bytes of device memory; int() of the result is the address."""

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array that the device copies from and to without the CPU; its `base.free()` frees it."""

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: Any) -> None:
        """Queue a copy of all of `src` to the device."""

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: Any) -> None:
        """Queue a copy from the device that fills `dest`."""

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: Any) -> None:
        """Queue a copy of `size` bytes within the device."""


def load_driver() -> Driver:
    """Return pycuda, initialized; only the first call in a process takes some time. Creates no context.

    Kernels are loaded when they are first used, also before CUDA 12.2 made that the default (CUDA_MODULE_LOADING, which
    a user's own value overrides): loading all of TensorRT's takes seconds and hundreds of MB. CUDA 11.4 ignores it.

    Raises BackendError, with what to install, if there is no NVIDIA driver, no pycuda or no GPU.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise BackendError(
            "there is no NVIDIA driver here (libcuda.so.1); it comes with JetPack on a Jetson, nvidia-driver on a PC, "
            "and into a container with --runtime nvidia or --gpus all"
        ) from None
    if importlib.util.find_spec("pycuda") is None:
        raise BackendError(
            "pycuda is not installed; put CUDA's nvcc on the PATH (Jetson: apt install nvidia-jetpack, PC: the CUDA "
            "toolkit; then export PATH=/usr/local/cuda/bin:$PATH) and pip install pycuda"
        )
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")  # read when CUDA is initialized
    try:
        import pycuda.driver as driver
    except Exception as error:  # also what a NumPy, or a CUDA, that it was not built for makes of it
        raise BackendError(
            f"pycuda cannot be imported: {printable(error, 1000) or type(error).__name__}; build it again for this "
            "Python and CUDA (pip install --force-reinstall --no-cache-dir --no-binary pycuda pycuda)"
        ) from error
    try:
        driver.init()
    except driver.Error as error:
        raise BackendError(f"CUDA cannot use any GPU here: {error}; {GPU_REMEDY}") from error
    loaded: Driver = driver
    return loaded


def find_device(driver: Driver, device: str) -> Any:
    """Return the `Device` whose index is `device`; "" is the first one.

    Raises BackendError if `device` is not an index, or no GPU has it.
    """
    if not (device.isascii() and device.isdigit()) and device:
        raise BackendError(
            f"device '{device}' is not the index of a GPU, which is what TensorRT takes; leave device empty for the "
            "first GPU, or set backend openvino"
        )
    index = int(device or 0)
    try:
        names = [driver.Device(number).name() for number in range(driver.Device.count())]
        if index < len(names):
            return driver.Device(index)
    except driver.Error as error:
        raise _translated(error) from error
    known = ", ".join(f"{number}: {name}" for number, name in enumerate(names)) or "none"
    raise BackendError(f"there is no GPU {index} here (CUDA sees {known}); leave device empty for the first one")


def hardware_of(driver: Driver, device: Any) -> str:
    """Return what distinguishes GPUs of the same name, for which TensorRT chooses other kernels.

    "8 multiprocessors, L2 2048 KiB, memory of 128 bits, integrated" is an Orin Nano's. The multiprocessors are those of
    a Jetson's current power mode.

    Raises BackendError if CUDA fails.
    """
    names = driver.device_attribute
    try:
        count, l2, bits, integrated = (
            device.get_attribute(attribute)
            for attribute in (
                names.MULTIPROCESSOR_COUNT,
                names.L2_CACHE_SIZE,
                names.GLOBAL_MEMORY_BUS_WIDTH,
                names.INTEGRATED,
            )
        )
    except driver.Error as error:
        raise _translated(error) from error
    kind = "integrated" if integrated else "discrete"
    return f"{count} multiprocessors, L2 {l2 // 1024} KiB, memory of {bits} bits, {kind}"


class CudaContext:
    """The resources of one session on one GPU: the GPU's primary context, a stream, and all memory of the session.

    Must be used by one thread at a time, not always the same one. All methods but `pushed` and `close` must be called
    within `pushed`. Copies are queued on the stream, which runs them one after the other, in the order of the calls.
    """

    def __init__(self, driver: Driver, device: Any) -> None:
        """Raise BackendError if CUDA provides no context on `device` or no stream."""
        self._driver = driver
        self._closed = False
        try:
            self._context = _primary_context(device)
        except driver.Error as error:
            raise _translated(error) from error
        with self.pushed(), ExitStack() as made:
            # pycuda destroys both with their last reference.
            self._stream = driver.Stream(_NON_BLOCKING)
            made.callback(delattr, self, "_stream")
            self._done = driver.Event(_BLOCKING_SYNC | _DISABLE_TIMING)
            made.callback(delattr, self, "_done")
            self._cleanup = made.pop_all()  # of all resources, in reverse order

    @contextmanager
    def pushed(self) -> Iterator[None]:
        """Make the context current in the calling thread for the `with` block; may be nested.

        Raises BackendError for CUDA errors within the block, and once the context has been closed.
        """
        if self._closed:
            raise BackendError("a TensorRT session was used after it had been closed; load the network again")
        try:
            self._context.push()
            try:
                yield
            finally:
                self._driver.Context.pop()
        except self._driver.Error as error:
            raise _translated(error) from error

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        handle: int = self._stream.handle
        return handle

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of device memory; return their address, a multiple of ALIGNMENT. `close` frees them."""
        allocation = self._driver.mem_alloc(size)
        self._cleanup.callback(allocation.free)
        return int(allocation)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array in page-locked host memory, which `close` frees: it must not be used afterwards."""
        array = self._driver.pagelocked_empty(shape, dtype)
        self._cleanup.callback(array.base.free)  # type: ignore[union-attr]
        return array

    def copy_in(self, to: int, source: NDArray[Any]) -> None:
        """Queue a copy of `source`, which is pinned and must not change until the stream has executed the copy."""
        self._driver.memcpy_htod_async(to, source, self._stream)

    def copy_out(self, to: NDArray[Any], source: int) -> None:
        """Queue a copy into `to`, which is pinned and valid once the stream has been synchronized."""
        self._driver.memcpy_dtoh_async(to, source, self._stream)

    def copy(self, to: int, source: int, size: int) -> None:
        """Queue a copy of `size` bytes of device memory."""
        self._driver.memcpy_dtod_async(to, source, size, self._stream)

    def synchronize(self) -> None:
        """Wait until all queued work is done, with the GIL released and the thread asleep.

        Waiting for the stream itself would keep a core busy: that is CUDA's choice where a process has fewer contexts
        than the machine has cores, and belongs to the primary context, which other users of the process share.
        """
        self._done.record(self._stream)
        if not self._done.query():
            self._done.synchronize()

    def time(self, steps: Sequence[Callable[[], object]]) -> list[float]:
        """Run `steps`, which queue work, and wait; return the time of each one's work on the device, in ms."""
        marks: list[Any] = []
        try:
            marks += [self._driver.Event() for _ in range(len(steps) + 1)]
            marks[0].record(self._stream)
            for number, step in enumerate(steps, 1):
                step()
                marks[number].record(self._stream)
            marks[-1].synchronize()
            return [start.time_till(end) for start, end in pairwise(marks)]
        finally:
            marks.clear()  # destroys them, while the context is still pushed

    def on_close(self, function: Callable[[], None]) -> None:
        """Register `function` to be called by `close`, before the resources that exist already are freed."""
        self._cleanup.callback(function)

    def close(self) -> None:
        """Wait for the stream and free everything. May be called twice; resources that cannot be freed are logged."""
        if self._closed:
            return
        try:
            with self.pushed():
                self._closed = True
                with self._cleanup:
                    self._cleanup.callback(self.synchronize)  # runs first: nothing is freed that is in use
        except Exception as error:
            logger.warning("what a TensorRT session held on the GPU could not all be freed: %s", error)


@cache
def _primary_context(device: Any) -> Any:
    """Return the primary context of `device`, which TensorRT's own calls use too; retained once, for the whole process.

    pycuda cannot release it cleanly: `detach` leaves it current for the driver, unnoticed by pycuda, and the object's
    destructor, at the end of the process, treats it as a context that pycuda made. So it is never destroyed.
    """
    context = device.retain_primary_context()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
    return context


def _translated(error: Exception) -> BackendError:
    return BackendError(f"CUDA failed: {error}{remedy_for(str(error))}")


def remedy_for(message: str) -> str:
    """Return what to do about an error with CUDA's own `message`, to append to it; empty if there is no advice."""
    if "out of memory" in message:
        return MEMORY_REMEDY
    if any(words in message for words in _ENDS_ALL_WORK):
        return "; CUDA does nothing more in this process: restart it, and report it with its log if it happens again"
    return ""
