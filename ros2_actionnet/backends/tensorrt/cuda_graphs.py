"""CUDA graphs: the kernels of an inference, recorded once and then started with one call instead of one each.

Through the driver's own functions: no release of pycuda has them. They are in every driver since CUDA 11.4.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Hashable
from typing import Any

from ros2_actionnet.backends.tensorrt.cuda import remedy_for
from ros2_actionnet.errors import BackendError

logger = logging.getLogger(__name__)

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads, which load another network, may go on allocating memory.
_THREAD_LOCAL = 1


def load_graph_driver() -> Any:
    """Return the driver's library with the types of the functions that are used here."""
    library = ctypes.CDLL("libcuda.so.1")
    handle, pointer = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    for name, types in {
        "cuStreamBeginCapture_v2": (handle, ctypes.c_int),
        "cuStreamEndCapture": (handle, pointer),
        "cuGraphInstantiateWithFlags": (pointer, handle, ctypes.c_ulonglong),
        "cuGraphDestroy": (handle,),
        "cuGraphLaunch": (handle, handle),
        "cuGraphExecDestroy": (handle,),
        "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, ctypes.c_int
    return library


class CudaGraphs:
    """The graphs captured on one stream, by keys of the caller's choice.

    Must be used with the stream's context pushed, and cleared before the stream is destroyed.
    """

    def __init__(self, stream: int, driver: Any) -> None:
        """Use the stream with that handle, and `driver`, which `load_graph_driver` returns."""
        self._stream = stream
        self._driver = driver
        self._graphs: dict[Hashable, ctypes.c_void_p] = {}
        self._is_usable = True

    def launch(self, key: Hashable) -> bool:
        """Queue the graph of `key`; return False if there is none. Raises BackendError if CUDA fails."""
        graph = self._graphs.get(key)
        if graph is None:
            return False
        self._call("cuGraphLaunch", graph, self._stream)
        return True

    def capture(self, key: Hashable, work: Callable[[], None]) -> None:
        """Capture what `work` queues on the stream, without running it, as the graph of `key`.

        If that cannot be captured it is logged, and no further capture is tried.
        """
        if not self._is_usable:
            return
        try:
            graph = self._captured(work)
            try:
                executable = ctypes.c_void_p()
                self._call("cuGraphInstantiateWithFlags", ctypes.pointer(executable), graph, 0)
                self._graphs[key] = executable
            finally:
                self._call("cuGraphDestroy", graph)
        except BackendError as error:
            self._is_usable = False
            logger.warning("inferences run without CUDA graphs, since they cannot be captured: %s", error)

    def clear(self) -> None:
        """Destroy all graphs. Raises BackendError if CUDA fails."""
        while self._graphs:
            _, graph = self._graphs.popitem()
            self._call("cuGraphExecDestroy", graph)

    def _captured(self, work: Callable[[], None]) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            work()
        except BaseException:
            # The stream is not usable until the capture has ended, whatever became of it.
            if self._driver.cuStreamEndCapture(self._stream, ctypes.pointer(graph)) == 0 and graph:
                self._driver.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", self._stream, ctypes.pointer(graph))
        return graph

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            words = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.pointer(words))
            said = (words.value or f"error {code}".encode()).decode(errors="replace")
            raise BackendError(f"CUDA failed: {name} failed: {said}{remedy_for(said)}")
