"""Test tools, and nothing else: doubles of pycuda.driver and of TensorRT's runtime, for machines without a GPU.

They do what the real ones do with the same calls, on host memory: work that is queued on a stream runs later, so that
pixels which are overwritten too early come out wrong. And they refuse what the real ones refuse, or punish later:
a call without a context pushed, a context popped by a thread that did not push it, a misaligned tensor address, memory
that is not there any more, a copy from pageable memory (which the real one makes, but not asynchronously), a thread
that leaves a context pushed, and anything that is freed late, never, or without its context pushed.

`FakeCuda` stands for the module pycuda.driver, `FakeTensorRT` for the module tensorrt. What they refuse is raised, and
noted in `FakeCuda.refused`, where nobody can swallow it; `FakeCuda.assert_clean()` looks there and for leaks.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def scores_of(window: Bytes, classes: int) -> NDArray[np.float32]:
    """What the double's "network" makes of a window, uint8 [N, H, W, 3]: float32 [classes], summing to 1.

    Every pixel in its place counts: each class has random weights for all of them.
    """
    weights = np.random.default_rng(window.size).standard_normal((window.size, classes))
    logits = window.reshape(-1).astype(np.float64) @ weights / (50 * np.sqrt(window.size))
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


class CudaError(Exception):
    """pycuda.driver.Error."""


class CudaLogicError(CudaError):
    """pycuda.driver.LogicError."""


class CudaMemoryError(CudaError):
    """pycuda.driver.MemoryError."""


class CudaRuntimeError(CudaError):
    """pycuda.driver.RuntimeError."""


class CudaLaunchError(CudaError):
    """pycuda.driver.LaunchError."""


@dataclass
class Call:
    """A call of the real libraries' functions."""

    name: str
    thread: str
    contexts: int  # pushed in the thread


class device_attribute(Enum):  # noqa: N801 - pycuda's name
    """pycuda.driver.device_attribute, with the numbers of cuda.h."""

    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    GLOBAL_MEMORY_BUS_WIDTH = 37
    L2_CACHE_SIZE = 38


ORIN_NANO = {
    "MULTIPROCESSOR_COUNT": 8,
    "INTEGRATED": 1,
    "GLOBAL_MEMORY_BUS_WIDTH": 128,
    "L2_CACHE_SIZE": 2 << 20,
}


class FakeCuda:
    """The module pycuda.driver, on host memory.

    `eager` is how probably a queued piece of work runs as soon as anything else is queued: at 0 everything waits for
    synchronize, at 1 nothing does. `fail_at` is the number of the call (from 0) that fails.
    """

    Error = CudaError
    LogicError = CudaLogicError
    LaunchError = CudaLaunchError
    MemoryError = CudaMemoryError
    RuntimeError = CudaRuntimeError

    def __init__(
        self, gpus: Sequence[tuple[str, tuple[int, int]]] = (("Orin", (8, 7)),), eager: float = 0.0, seed: int = 0
    ) -> None:
        self.gpus = list(gpus)
        self.attributes: dict[str, dict[str, int]] = {}  # by the GPU's name, what differs from an Orin Nano's
        self.eager = eager
        self.calls: list[Call] = []
        self.refused: list[str] = []
        self.runtime_configs: list[IRuntimeConfig] = []
        self.fail_at: int | None = None
        self.memory_limit = 1 << 40
        self.moved = {"host to device": 0, "device to host": 0, "within the device": 0}  # bytes
        self._clock = 0  # pieces of work done
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._stacks: dict[threading.Thread, list[_Context]] = {}
        self._device: dict[int, Bytes] = {}
        self._pinned: dict[int, Bytes] = {}
        self._next_address = itertools.count(0x7F00_0000_0000, 0x1000_0000)
        self._handles = itertools.count(0x5000)
        self._alive: dict[int, str] = {}  # what has been made and not destroyed: streams, events, engines
        self._streams: dict[int, deque[Callable[[], None]]] = {}
        self.captures: dict[int, list[Callable[[], None]]] = {}  # by stream, while it captures
        self.device_attribute = device_attribute
        self.Device = _device_class(self)
        self.Context = _ContextFunctions(self)
        self.Stream = partial(Stream, self)
        self.Event = partial(Event, self)

    # ---- what pycuda.driver has ----

    def init(self, flags: int = 0) -> None:
        self._called("init")
        if not self.gpus:
            raise CudaRuntimeError("cuInit failed: no CUDA-capable device is detected")

    def mem_alloc(self, size: int, /) -> DeviceAllocation:
        context = self._called_in_context("mem_alloc")
        if size <= 0:
            raise CudaLogicError("cuMemAlloc failed: invalid argument")
        if size + sum(block.nbytes for block in self._device.values()) > self.memory_limit:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        with self._lock:
            address = next(self._next_address)
            # Not zeros: what was not written must not pass for something.
            self._device[address] = np.random.default_rng(address).integers(0, 256, size, np.uint8)
        return DeviceAllocation(_DeviceMemory(self, context, address))

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        context = self._called_in_context("pagelocked_empty")
        memory = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xA5, np.uint8)
        self._pinned[memory.ctypes.data] = memory
        return np.asarray(PagelockedHostAllocation(self, context, memory, tuple(shape), np.dtype(dtype).str))

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: Stream | None = None) -> None:
        handle = self._handle(stream)
        del stream  # as in C: an exception must not keep it
        self._called_in_context("memcpy_htod_async")
        source = self._pinned_bytes(src)
        self.moved["host to device"] += source.nbytes
        target = self._reserve(dest, source.nbytes)
        self._queue(handle, lambda: self._write(target, dest, source))

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: Stream | None = None) -> None:
        handle = self._handle(stream)
        del stream  # as in C: an exception must not keep it
        self._called_in_context("memcpy_dtoh_async")
        target = self._pinned_bytes(dest)
        self.moved["device to host"] += target.nbytes
        self._reserve(src, target.nbytes)
        self._queue(handle, lambda: np.copyto(target, self.device_bytes(src, target.nbytes)))

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: Stream | None = None) -> None:
        handle = self._handle(stream)
        del stream  # as in C: an exception must not keep it
        self._called_in_context("memcpy_dtod_async")
        self.moved["within the device"] += size
        self._reserve(src, size)
        target = self._reserve(dest, size)
        self._queue(handle, lambda: self._write(target, dest, self.device_bytes(src, size).copy()))

    # ---- what tests ask ----

    @property
    def allocated(self) -> int:
        """Bytes of device memory in use."""
        return sum(block.nbytes for block in self._device.values())

    def names(self, *wanted: str) -> list[str]:
        """The names of the calls so far, in order; only those `wanted`, if any are named."""
        return [call.name for call in self.calls if not wanted or call.name in wanted]

    def device_bytes(self, address: int, size: int) -> Bytes:
        """The `size` bytes at `address`, as they are now; refuses what is not one live allocation."""
        for start, block in list(self._device.items()):
            if start <= address and address + size <= start + block.nbytes:
                return block[address - start : address - start + size]
        raise self.refuse(f"illegal address: {size} bytes at {address:#x}")

    def assert_clean(self) -> None:
        """That nothing was refused, no context is pushed anywhere, and everything has been freed."""
        assert not self.refused, self.refused
        pushed = [thread.name for thread, stack in self._stacks.items() if stack]
        assert not pushed, f"a context is still pushed in {pushed}"
        assert not self._device, f"{len(self._device)} pieces of device memory were not freed"
        assert not self._pinned, f"{len(self._pinned)} pieces of pinned memory were not freed"
        assert not self._alive, f"not destroyed: {sorted(self._alive.values())}"

    # ---- what the parts of the doubles ask ----

    def refuse(self, why: str) -> CudaLogicError:
        """Notes what no caller may do; the error to raise."""
        self.refused.append(f"{why} (in {threading.current_thread().name})")
        return CudaLogicError(why)

    def _called(self, name: str) -> None:
        with self._lock:
            self.calls.append(Call(name, threading.current_thread().name, len(self._stack())))
            fails = len(self.calls) - 1 == self.fail_at
        if fails:
            raise CudaLogicError(f"{name} failed: injected")

    def _called_in_context(self, name: str) -> _Context:
        self._called(name)
        return self._current(name)

    def _current(self, name: str) -> _Context:
        if not self._stack():
            raise self.refuse(f"{name} failed: invalid device context (no context is pushed)")
        return self._stack()[-1]

    def _stack(self) -> list[_Context]:
        return self._stacks.setdefault(threading.current_thread(), [])

    def _made(self, what: str) -> int:
        with self._lock:
            handle = next(self._handles)
            self._alive[handle] = what
            return handle

    def _destroyed(self, handle: int, context: _Context) -> None:
        """pycuda frees a thing only with the very Context object pushed under which it was made; else it leaks."""
        what = self._alive[handle]
        if self._stack()[-1:] != [context]:
            self.refuse(f"a {what} was destroyed without its context pushed: it leaks")
            return
        del self._alive[handle]

    def _pinned_bytes(self, array: NDArray[Any]) -> Bytes:
        address = array.ctypes.data
        if not array.flags.c_contiguous:
            raise self.refuse("a copy of an array that is not contiguous")
        for start, memory in self._pinned.items():
            if start <= address and address + array.nbytes <= start + memory.nbytes:
                return memory[address - start : address - start + array.nbytes]
        raise self.refuse("an asynchronous copy from or to memory that is not page-locked, or freed")

    def _reserve(self, address: int, size: int) -> Bytes:
        return self.device_bytes(int(address), size)

    def _write(self, target: Bytes, address: int, source: Bytes) -> None:
        self.device_bytes(address, target.nbytes)  # it must still be there
        np.copyto(target, source)

    def _handle(self, stream: Stream | None) -> int:
        if stream is None:
            raise self.refuse("work on the default stream, which waits for everything in the process")
        return stream.handle

    def _queue(self, handle: int, work: Callable[[], None]) -> None:
        if handle not in self._streams:
            raise self.refuse("work on a stream that is not there")
        if handle in self.captures:
            self.captures[handle].append(work)
            return
        self._streams[handle].append(work)
        while self._streams[handle] and self._random.random() < self.eager:
            self._run_next(handle)

    def _finish(self, handle: int) -> None:
        if handle in self.captures:
            raise self.refuse("operation not permitted when stream is capturing")
        while self._streams[handle]:
            self._run_next(handle)

    def _run_next(self, handle: int) -> None:
        self._clock += 1
        self._streams[handle].popleft()()


class _Context:
    """A Context object of pycuda; another one for the same primary context does not take its place."""

    def __init__(self, cuda: FakeCuda, gpu: int) -> None:
        self._cuda = cuda
        self.gpu = gpu

    def push(self) -> None:
        self._cuda._called("push")
        self._cuda._stack().append(self)


class _ContextFunctions:
    """The class Context of pycuda, as far as it is functions."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda

    def pop(self) -> None:
        with self._cuda._lock:
            self._cuda.calls.append(Call("pop", threading.current_thread().name, len(self._cuda._stack())))
        if not self._cuda._stack():
            raise self._cuda.refuse("m_stack::pop failed: cannot pop context from empty stack")
        self._cuda._stack().pop()


def _device_class(cuda: FakeCuda) -> type:
    class Device:
        def __init__(self, ordinal: int) -> None:
            cuda._called("Device")
            if not 0 <= ordinal < len(cuda.gpus):
                raise cuda.refuse("cuDeviceGet failed: invalid device ordinal")
            self._ordinal = ordinal

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Device) and other._ordinal == self._ordinal

        def __hash__(self) -> int:
            return self._ordinal

        @staticmethod
        def count() -> int:
            return len(cuda.gpus)

        def name(self) -> str:
            return cuda.gpus[self._ordinal][0]

        def compute_capability(self) -> tuple[int, int]:
            return cuda.gpus[self._ordinal][1]

        def get_attribute(self, attribute: device_attribute) -> int:
            cuda._called("get_attribute")
            return {**ORIN_NANO, **cuda.attributes.get(self.name(), {})}[attribute.name]

        def retain_primary_context(self) -> _Context:
            cuda._called("retain_primary_context")
            return _Context(cuda, self._ordinal)

    return Device


class DeviceAllocation:
    """pycuda.driver.DeviceAllocation."""

    def __init__(self, memory: _DeviceMemory) -> None:
        self._memory = memory

    def free(self) -> None:
        self._memory.free()

    def __int__(self) -> int:
        return self._memory.address

    __index__ = __int__

    def __del__(self) -> None:
        if not self._memory.freed:
            self._memory.cuda.refuse("device memory was not freed, but forgotten")


@dataclass
class _DeviceMemory:
    cuda: FakeCuda
    context: _Context
    address: int
    freed: bool = False

    def free(self) -> None:
        self.cuda._called("free")
        if self.freed:
            raise self.cuda.refuse("device_allocation::free failed: invalid resource handle")
        self.freed = True
        if self.cuda._stack()[-1:] != [self.context]:
            self.cuda.refuse("device memory was freed without its context pushed: it leaks")
            return
        del self.cuda._device[self.address]


@dataclass
class PagelockedHostAllocation:
    """pycuda.driver.PagelockedHostAllocation, the `base` of the array that `pagelocked_empty` gives."""

    cuda: FakeCuda
    context: _Context
    memory: Bytes
    shape: tuple[int, ...]
    dtype: str

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype, "data": (self.memory.ctypes.data, False), "version": 3}

    def free(self) -> None:
        self.cuda._called("free_pinned")
        if self.cuda._pinned.pop(self.memory.ctypes.data, None) is None:
            raise self.cuda.refuse("pagelocked_host_allocation::free failed: invalid resource handle")
        if self.cuda._stack()[-1:] != [self.context]:
            self.cuda.refuse("pinned memory was freed without its context pushed: it leaks")
        self.memory[:] = 0xDD


class Stream:
    """pycuda.driver.Stream."""

    def __init__(self, cuda: FakeCuda, flags: int = 0) -> None:
        context = cuda._called_in_context("Stream")
        if flags != 1:
            raise cuda.refuse("a stream that waits for the default one: CU_STREAM_NON_BLOCKING is 1")
        self.handle = handle = cuda._made("stream")
        cuda._streams[handle] = deque()
        # Functions without `self`, as in C: an exception that passes through them must not keep this object.
        self.synchronize = partial(_synchronize, cuda, handle)
        self._destroy = partial(cuda._destroyed, handle, context)

    def __del__(self) -> None:
        if "_destroy" in self.__dict__:
            self._destroy()


def _synchronize(cuda: FakeCuda, handle: int) -> None:
    cuda._called_in_context("spin")  # as CU_CTX_SCHED_AUTO does where contexts are few
    cuda._finish(handle)


class Event:
    """pycuda.driver.Event. Time is counted in pieces of work."""

    def __init__(self, cuda: FakeCuda, flags: int = 0) -> None:
        context = cuda._called_in_context("Event")
        self._state = state = {"time": -1, "stream": 0}
        self._has_time = not flags & 2  # CU_EVENT_DISABLE_TIMING
        handle = cuda._made("event")
        self._destroy = partial(cuda._destroyed, handle, context)
        self.record = partial(_record, cuda, state)
        self.query = partial(_query_event, cuda, state)
        # CU_EVENT_BLOCKING_SYNC: the thread sleeps, as that of the real one does, and spins otherwise.
        self.synchronize = partial(_synchronize_event, cuda, state, "sleep" if flags & 1 else "spin")

    def time_till(self, other: Event) -> float:
        assert self._has_time and other._has_time, "cuEventElapsedTime failed: invalid resource handle"
        assert self._state["time"] >= 0 and other._state["time"] >= 0, "an event that has not happened yet"
        return float(other._state["time"] - self._state["time"])

    def __del__(self) -> None:
        if "_destroy" in self.__dict__:
            self._destroy()


def _record(cuda: FakeCuda, state: dict[str, int], stream: Stream) -> None:
    state["stream"] = cuda._handle(stream)
    state["time"] = -1
    del stream
    cuda._called_in_context("record")
    cuda._queue(state["stream"], lambda: state.update(time=cuda._clock))


def _query_event(cuda: FakeCuda, state: dict[str, int]) -> bool:
    cuda._called_in_context("query")
    return state["time"] >= 0


def _synchronize_event(cuda: FakeCuda, state: dict[str, int], how: str) -> None:
    cuda._called_in_context(how)
    cuda._finish(state["stream"])


# ---- TensorRT ----


class DataType(Enum):
    """tensorrt.DataType, as far as it is used."""

    FLOAT = 0
    HALF = 1
    UINT8 = 5


@dataclass(frozen=True)
class FakeEngine:
    """What a serialized engine of the double holds."""

    frames: int
    height: int
    width: int
    classes: int
    max_batch: int = 1
    tensors: dict[str, str] = field(default_factory=lambda: {"frames": "UINT8", "scores": "FLOAT"})
    layers: tuple[str, ...] = ("conv1", "pool", "fc")
    captures: bool = True  # as a CUDA graph; what synchronizes inside cannot be

    def serialize(self) -> bytes:
        """The bytes that `Runtime.deserialize_cuda_engine` takes."""
        return json.dumps(self.__dict__).encode()

    @property
    def window_shape(self) -> tuple[int, ...]:
        return (self.frames, self.height, self.width, 3)


class ILogger:
    """tensorrt.ILogger."""

    def __init__(self) -> None:
        self.initialized = True

    class Severity(Enum):
        """tensorrt.ILogger.Severity."""

        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError("log must be overridden")


class FakeTensorRT:
    """The module tensorrt, as far as it is needed to run an engine. Its calls count as `cuda`'s do."""

    DataType = DataType
    ILogger = ILogger

    def __init__(self, cuda: FakeCuda) -> None:
        self.Runtime = partial(Runtime, cuda)
        self.init_libnvinfer_plugins = partial(_init_plugins, cuda)
        self.IProfiler = IProfiler
        self.CudaGraphStrategy = CudaGraphStrategy


def _init_plugins(cuda: FakeCuda, logger: Any, namespace: str) -> bool:
    assert isinstance(logger, ILogger)
    return not _fails(cuda, "init_libnvinfer_plugins")


class IProfiler:
    """tensorrt.IProfiler."""

    def __init__(self) -> None:
        self.initialized = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError("report_layer_time must be overridden")


class Runtime:
    """tensorrt.Runtime."""

    def __init__(self, cuda: FakeCuda, logger: Any) -> None:
        cuda._called_in_context("Runtime")
        self._cuda = cuda

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """None where it cannot, as the real one."""
        if _fails(self._cuda, "deserialize_cuda_engine"):
            return None
        try:
            plan = json.loads(serialized_engine)
        except ValueError:
            return None
        return ICudaEngine(self._cuda, FakeEngine(**plan))


class ICudaEngine:
    """tensorrt.ICudaEngine."""

    def __init__(self, cuda: FakeCuda, plan: FakeEngine) -> None:
        self.num_io_tensors = len(plan.tensors)
        self.get_tensor_name = list(plan.tensors).__getitem__
        self.create_execution_context = partial(_create_execution_context, cuda, plan)
        self.create_runtime_config = partial(_create_runtime_config, cuda)
        self._tensors = plan.tensors
        self._shapes = {"scores": (-1, plan.classes), "frames": (-1, plan.frames, plan.height, plan.width, 3)}
        handle = cuda._made("engine")
        self._destroy = partial(cuda._destroyed, handle, cuda._current("the engine"))

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._tensors[name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __del__(self) -> None:
        self._destroy()


class CudaGraphStrategy(Enum):
    """tensorrt_rtx.CudaGraphStrategy."""

    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


def _create_runtime_config(cuda: FakeCuda) -> IRuntimeConfig | None:
    return None if _fails(cuda, "create_runtime_config") else IRuntimeConfig(cuda)


class IRuntimeConfig:
    """tensorrt_rtx.IRuntimeConfig."""

    def __init__(self, cuda: FakeCuda) -> None:
        cuda.runtime_configs.append(self)
        self._cuda = cuda
        self._cache: IRuntimeCache | None = None
        self._strategy = CudaGraphStrategy.DISABLED

    @property
    def cuda_graph_strategy(self) -> CudaGraphStrategy:
        return self._strategy

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, strategy: CudaGraphStrategy) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache | None:
        return None if _fails(self._cuda, "create_runtime_cache") else IRuntimeCache(self._cuda)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True


class IRuntimeCache:
    """tensorrt_rtx.IRuntimeCache; its kernels are for one GPU."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._kernels = b""

    def deserialize(self, blob: bytes) -> bool:
        if not bytes(blob).startswith(self._gpu):
            return False
        self._kernels = bytes(blob)
        return True

    def serialize(self) -> bytes:
        """The real one gives IHostMemory, which is a buffer, as bytes are."""
        self._cuda._called_in_context("serialize")
        return self._kernels

    def _compile(self) -> None:
        if not self._kernels:
            self._cuda.calls.append(Call("compile", threading.current_thread().name, 1))
            self._kernels = self._gpu + b"kernels"

    @property
    def _gpu(self) -> bytes:
        return f"{self._cuda.gpus[0][0]}: ".encode()


def _create_execution_context(
    cuda: FakeCuda, plan: FakeEngine, runtime_config: IRuntimeConfig | None = None
) -> IExecutionContext | None:
    if _fails(cuda, "create_execution_context"):
        return None
    if runtime_config is not None and runtime_config._cache is not None:
        runtime_config._cache._compile()
    return IExecutionContext(cuda, plan)


class IExecutionContext:
    """tensorrt.IExecutionContext."""

    def __init__(self, cuda: FakeCuda, plan: FakeEngine) -> None:
        state = _Execution(cuda, plan)
        self._state = state
        self.set_input_shape = state.set_input_shape
        self.set_tensor_address = state.set_tensor_address
        self.execute_async_v3 = state.execute_async_v3
        handle = cuda._made("execution context")
        self._destroy = partial(cuda._destroyed, handle, cuda._current("the execution context"))

    @property
    def profiler(self) -> IProfiler | None:
        return self._state.profiler

    @profiler.setter
    def profiler(self, profiler: IProfiler | None) -> None:
        self._state.profiler = profiler

    def __del__(self) -> None:
        self._destroy()


@dataclass
class _Execution:
    cuda: FakeCuda
    plan: FakeEngine
    batch: int = 0
    addresses: dict[str, int] = field(default_factory=dict)
    profiler: IProfiler | None = None
    executed: int = 0  # batch of the inference before

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = 0
        if _fails(self.cuda, "set_input_shape"):
            return False
        assert name == "frames"
        if tuple(shape[1:]) != self.plan.window_shape or not 1 <= shape[0] <= self.plan.max_batch:
            return False
        self.batch = shape[0]
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if _fails(self.cuda, "set_tensor_address"):
            return False
        if memory % 256:
            raise self.cuda.refuse(f"the address of {name}, {memory:#x}, is not aligned to 256 bytes")
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if _fails(self.cuda, "execute_async_v3"):
            return False
        if not self.batch or set(self.addresses) != {"frames", "scores"}:
            return False
        if stream_handle in self.cuda.captures and (not self.plan.captures or self.executed != self.batch):
            return False  # what TensorRT does in the first inference of a shape cannot be captured
        self.executed = self.batch
        source, target, batch = self.addresses["frames"], self.addresses["scores"], self.batch
        self.cuda._queue(stream_handle, lambda: self._run(source, target, batch))
        if self.profiler is not None:  # enqueue_emits_profile, which is the default
            self.cuda._finish(stream_handle)
            for position, layer in enumerate(self.plan.layers):
                self.profiler.report_layer_time(layer, 0.5 + position)
        return True

    def _run(self, source: int, target: int, batch: int) -> None:
        size = int(np.prod(self.plan.window_shape))
        windows = self.cuda.device_bytes(source, batch * size).reshape(batch, *self.plan.window_shape)
        scores = np.stack([scores_of(window, self.plan.classes) for window in windows])
        np.copyto(self.cuda.device_bytes(target, scores.nbytes), scores.view(np.uint8).reshape(-1))


def _fails(cuda: FakeCuda, name: str) -> bool:
    """Counts a call to TensorRT, which answers a failure with False or None and does not raise."""
    try:
        cuda._called_in_context(name)
    except CudaLogicError as error:
        if "injected" not in str(error):
            raise
        return True
    return False
