"""A double of the driver's functions for CUDA graphs, over `FakeCuda`; a test tool."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

from support.cuda_doubles import FakeCuda

_INVALID_HANDLE, _CAPTURE_INVALIDATED = 400, 901
_WORDS = {
    _INVALID_HANDLE: b"invalid resource handle",
    _CAPTURE_INVALIDATED: b"operation failed due to a previous error during capture",
}


class FakeGraphDriver:
    """libcuda, as far as it captures: graphs replay the work that was queued while they were captured."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._handles = itertools.count(0x9000)
        self.fails: set[str] = set()  # names of functions that return an error
        self.graphs: dict[int | None, list[Callable[[], None]]] = {}
        self.executables: dict[int | None, list[Callable[[], None]]] = {}

    def cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802 - the names are CUDA's
        assert mode == 1, "a mode in which other threads may not allocate"
        return self._called("cuStreamBeginCapture_v2") or self._begin(stream)

    def cuStreamEndCapture(self, stream: int, graph: Any) -> int:  # noqa: N802
        self._cuda._called_in_context("cuStreamEndCapture")
        work = self._cuda.captures.pop(stream)  # also if it fails
        if "cuStreamEndCapture" in self.fails:
            return _CAPTURE_INVALIDATED
        graph.contents.value = next(self._handles)
        self.graphs[graph.contents.value] = work
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: int) -> int:  # noqa: N802
        if error := self._called("cuGraphInstantiateWithFlags"):
            return error
        assert flags == 0
        executable.contents.value = next(self._handles)
        self.executables[executable.contents.value] = self.graphs[graph.value]
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:  # noqa: N802
        del self.graphs[graph.value]
        return self._called("cuGraphDestroy")

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: int) -> int:  # noqa: N802
        if error := self._called("cuGraphLaunch"):
            return error
        for work in self.executables[executable.value]:
            self._cuda._queue(stream, work)
        return 0

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:  # noqa: N802
        del self.executables[executable.value]
        return self._called("cuGraphExecDestroy")

    def cuGetErrorString(self, code: int, words: Any) -> int:  # noqa: N802
        words.contents.value = _WORDS[code]
        return 0

    def assert_clean(self) -> None:
        """That everything has been destroyed and no stream captures."""
        assert not self.graphs
        assert not self.executables
        assert not self._cuda.captures

    def _begin(self, stream: int) -> int:
        self._cuda.captures[stream] = []
        return 0

    def _called(self, name: str) -> int:
        self._cuda._called_in_context(name)
        return _INVALID_HANDLE if name in self.fails else 0
