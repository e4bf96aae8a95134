"""A network on a GPU: from windows in device memory to scores in host memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ros2_actionnet.backends.base import Scores, Session
from ros2_actionnet.backends.tensorrt.cuda import ALIGNMENT, MEMORY_REMEDY, CudaContext, remedy_for
from ros2_actionnet.backends.tensorrt.cuda_graphs import CudaGraphs
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing, DeviceWindow
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import INPUT_NAME, OUTPUT_NAME, PreparedNetwork

if TYPE_CHECKING:
    import tensorrt as trt

_SIGNATURE = {INPUT_NAME: "UINT8", OUTPUT_NAME: "FLOAT"}


class TensorRTSession(Session[DeviceWindow]):
    """A TensorRT engine with its execution context, and the rings of its windows.

    The session owns `cuda`, and closes it in `close` or if the construction fails. `make_engine` is called with the
    context pushed; its engine accepts 1 to `max_batch` windows. `make_execution` returns the execution context of it,
    and `take_error` TensorRT's newest error message, once.

    With a `graph_driver` (see `cuda_graphs`), an inference of the same batch at the same address runs as a CUDA graph
    from the second time on. A ring has N start positions, which makes N graphs for single windows read in place; all
    other batches of one size are copied to one address, and have one graph.
    """

    def __init__(
        self,
        network: PreparedNetwork,
        cuda: CudaContext,
        make_engine: Callable[[], trt.ICudaEngine],
        *,
        device: str,
        precision: str,
        max_batch: int,
        make_execution: Callable[[trt.ICudaEngine], Any] = lambda engine: engine.create_execution_context(),
        graph_driver: Any = None,
        take_error: Callable[[], str] = lambda: "",
    ) -> None:
        """Raise BackendError if the GPU's memory does not suffice, or the engine does not match the network."""
        super().__init__(network, backend="tensorrt", device=device, precision=precision)
        self.cuda = cuda
        self.max_batch = max_batch
        self._take_error = take_error
        self._batch = 0  # current batch of the execution context
        self._unused: list[int] = []  # addresses of rings that are no longer referenced
        frame_shape = (network.height, network.width, 3)
        self._window_bytes = network.frames * int(np.prod(frame_shape))
        try:
            with cuda.pushed():
                self._staging = cuda.allocate_pinned(frame_shape, np.uint8)
                self._scores = cuda.allocate_pinned((max_batch, network.num_classes), np.float32)
                self._output = cuda.allocate(self._scores.nbytes)
                # Not needed if every window can be passed to TensorRT in place, in its ring.
                as_it_lies = max_batch == 1 and self._staging.nbytes % ALIGNMENT == 0
                self._input = 0 if as_it_lies else cuda.allocate(max_batch * self._window_bytes)
                cuda.on_close(self._drop_engine)
                # Stored in attributes only, which `close` can clear, never in variables: exceptions keep those alive.
                self._engine: trt.ICudaEngine = make_engine()
                self._check_signature()
                self._execution: trt.IExecutionContext = make_execution(self._engine)
                self._check(self._execution, "create_execution_context", MEMORY_REMEDY)
                self._check(self._execution.set_tensor_address(OUTPUT_NAME, self._output), "set_tensor_address")
                self._graphs = None if graph_driver is None else CudaGraphs(cuda.stream, graph_driver)
                if self._graphs is not None:
                    cuda.on_close(self._graphs.clear)
        except BaseException:
            self.close()
            raise

    def create_ring(self) -> DeviceRing:
        """Return a new ring in device memory; it reuses the memory of an unreferenced ring, if there is one."""
        with self.cuda.pushed():
            address = self._unused.pop() if self._unused else self.cuda.allocate(2 * self._window_bytes)
        ring = DeviceRing(self.cuda, address, self._staging, self.network.frames)
        weakref.finalize(ring, self._unused.append, address)
        return ring

    def enqueue(self, windows: Sequence[DeviceWindow]) -> None:
        """Queue the inference of 1 to `max_batch` windows, with the context pushed."""
        batch, address = len(windows), self._input_address(windows)
        if self._graphs is not None and self._graphs.launch((batch, address)):
            return
        if batch != self._batch:
            shape = (batch, self.network.frames, self.network.height, self.network.width, 3)
            self._batch = 0  # unknown, if the next step fails
            self._check(self._execution.set_input_shape(INPUT_NAME, shape), "set_input_shape")
            self._batch = batch
        self._check(self._execution.set_tensor_address(INPUT_NAME, address), "set_tensor_address")
        self._execute()
        if self._graphs is not None:
            # After the same inference without: TensorRT does in the first of a shape what cannot be captured.
            self._graphs.capture((batch, address), self._execute)

    def enqueue_scores(self, batch: int) -> Scores:
        """Queue the copy of `batch` rows of scores; they are valid from its completion until the next call."""
        scores: Scores = self._scores[:batch]
        self.cuda.copy_out(scores, self._output)
        return scores

    def report_layers(self, profiler: trt.IProfiler) -> None:
        """Report the time of every layer in all further inferences to `profiler` (a TensorRT IProfiler)."""
        self._graphs = None  # which have no layers; `close` destroys them
        self._execution.profiler = profiler

    def _infer(self, windows: Sequence[DeviceWindow]) -> Scores:
        scores = np.empty((len(windows), self.network.num_classes), np.float32)
        with self.cuda.pushed():
            for first in range(0, len(windows), self.max_batch):
                chunk = windows[first : first + self.max_batch]
                self.enqueue(chunk)
                rows = self.enqueue_scores(len(chunk))
                self.cuda.synchronize()
                scores[first : first + len(chunk)] = rows
        return scores

    def close(self) -> None:
        """Free the engine, the rings and all other memory; may be called twice."""
        self.cuda.close()

    def _execute(self) -> None:
        self._check(self._execution.execute_async_v3(self.cuda.stream), "execute_async_v3")

    def _input_address(self, windows: Sequence[DeviceWindow]) -> int:
        """Return the address of the windows, contiguous and aligned: in the ring, or after a copy within the device."""
        if len(windows) == 1 and windows[0].address % ALIGNMENT == 0:
            return windows[0].address
        for index, window in enumerate(windows):
            self.cuda.copy(self._input + index * self._window_bytes, window.address, self._window_bytes)
        return self._input

    def _check_signature(self) -> None:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        found = {name: self._engine.get_tensor_dtype(name).name for name in names}
        remedy = "remove it from the engine cache"
        if self.network.is_engine:
            remedy = (
                "build it of what `actionnet-engine build --model net.onnx --onnx-only FILE` writes, or set `model` to "
                "the .onnx file"
            )
        if found != _SIGNATURE:
            raise BackendError(f"the engine of {self.network.name} takes and gives {found}, not {_SIGNATURE}; {remedy}")
        shape, stated = self._engine.get_tensor_shape(INPUT_NAME), self._window_shape()
        window = [shape[axis] for axis in range(1, len(shape))]
        if window != stated:
            raise BackendError(f"the engine of {self.network.name} takes windows of {window}, not {stated}; {remedy}")
        classes, labels = self._engine.get_tensor_shape(OUTPUT_NAME)[-1], self.network.num_classes
        if classes not in (labels, -1):
            raise BackendError(
                f"{self.network.name} gives {classes} scores a window, but its label file has {labels} labels "
                f"({self.network.spec.labels}); it needs {classes} lines, one for each class"
            )

    def _window_shape(self) -> list[int]:
        """Return T, H, W, 3."""
        return [self.network.frames, self.network.height, self.network.width, 3]

    def _drop_engine(self) -> None:
        for name in ("_execution", "_engine"):  # in this order
            vars(self).pop(name, None)

    def _check(self, answer: Any, call: str, remedy: str = "") -> None:
        """Raise BackendError for a failure that TensorRT reports by returning False or None."""
        if answer is None or answer is False:
            reason = self._take_error()
            remedy = remedy_for(reason) or remedy or ("" if reason else "; see TensorRT's own message in the log")
            raise BackendError(f"TensorRT refused {call}{f': {reason}' if reason else ''}{remedy}")
