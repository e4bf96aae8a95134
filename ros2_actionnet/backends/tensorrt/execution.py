"""The execution context of an engine, as each TensorRT makes it.

TensorRT for RTX compiles the kernels of an engine for the GPU at hand when the context is created, and keeps them in a
runtime cache: that lies beside the engine, so that the next start compiles none.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros2_actionnet.backends.tensorrt.cuda import CudaContext
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.system.files import write_atomically
from ros2_actionnet.system.text import printable

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)


class RuntimeCache:
    """The kernels that TensorRT for RTX has compiled for one engine and one GPU, in a file."""

    def __init__(self, cache: Any, file: Path) -> None:
        """Fill `cache`, an IRuntimeCache, from `file`, unless that is for another GPU, driver or version."""
        self._cache = cache
        self._file = file
        try:
            self._stored = file.read_bytes()
        except OSError:
            self._stored = b""
        if self._stored and not cache.deserialize(self._stored):
            logger.info("the kernels in %s are for another GPU or driver, or damaged; new ones are compiled", file)

    def save(self) -> None:
        """Write the file if there are other kernels than it has; a folder that is read-only is logged."""
        serialized = self._cache.serialize()
        content = b"" if serialized is None else bytes(serialized)
        if content in (b"", self._stored):
            return
        try:
            write_atomically(self._file, content)
        except OSError as error:
            logger.info("the compiled kernels cannot be kept in %s: %s", self._file, printable(error))
        self._stored = content


def create_execution(
    tensorrt: TensorRT, engine: trt.ICudaEngine, cuda: CudaContext, runtime_cache: Path, *, cuda_graphs: bool = False
) -> Any | None:
    """Return a new execution context of `engine`, with the context of `cuda` pushed; None if TensorRT refuses.

    `runtime_cache` is the file of compiled kernels, and `cuda_graphs` lets TensorRT capture its own graphs; both are
    for TensorRT for RTX alone.
    """
    # No variable holds the execution context: exceptions, which keep variables alive, would keep it from being freed.
    config = engine.create_runtime_config() if tensorrt.has_runtime_cache else None
    if config is None:
        return engine.create_execution_context()
    if cuda_graphs:
        config.cuda_graph_strategy = tensorrt.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kernels = config.create_runtime_cache()
    if kernels is None or not config.set_runtime_cache(kernels):
        return engine.create_execution_context(config)
    cache = RuntimeCache(kernels, runtime_cache)
    cuda.on_close(cache.save)  # with the kernels of batches that came later
    try:
        return engine.create_execution_context(config)
    finally:
        cache.save()
