"""Builds an engine in a subprocess, while the current network keeps running.

The build can be cancelled at any moment, which TensorRT before version 10 does not support otherwise; all memory of the
builder is released; and if memory runs out, or TensorRT crashes on a network, only this process is lost and not the
node.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet.backends.tensorrt.builder import EngineRequest, Gpu, build_here
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, LoadWatch
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.system.child_process import Ended, answer_parent, in_memory, run_module
from ros2_actionnet.system.logs import log_to_terminal


def build_engine(
    tensorrt: TensorRT,
    request: EngineRequest,
    monitor: LoadMonitor = UNMONITORED,
    timing_cache: Path | None = None,
    gpu: Gpu | None = None,
) -> bytes:
    """Build the serialized engine with `build_here`, whose arguments these are; takes from seconds to many minutes.

    Raises:
        BackendError, NetworkError: as `build_here` does; or the process died.
        LoadCancelled: `monitor` cancelled the load.
    """
    with _opened(request.network) as model:
        network = replace(request.network, model=b"", file=Path(f"/proc/self/fd/{model}"))
        question = replace(request, network=network), gpu, timing_cache
        watch = LoadWatch(monitor, request.network.name, _words, first_report=0.0)
        ended = run_module(__name__, question, watch, pass_fds=[model], environment=_environment(gpu))
    if ended.code != 0:
        raise BackendError(_crash_message(tensorrt, request.network.name, ended))
    return ended.answer


def _words(elapsed: float) -> str:
    return f"building engine, {elapsed:.0f} s so far; this happens once per network, GPU and TensorRT version"


def _crash_message(tensorrt: TensorRT, name: str, ended: Ended) -> str:
    killed = ended.code < 0
    memory = "if memory ran out, close other programs, add swap, or take a smaller network"
    remedy = memory if killed else "see what it printed"
    return f"the process in which {tensorrt.name} builds the engine of {name} {ended.reason}; {remedy}"


def _environment(gpu: Gpu | None) -> dict[str, str]:
    """Return a copy of this process's environment in which `gpu` is the first GPU."""
    environment = dict(os.environ)
    if gpu is not None and gpu.index:
        visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu.index] if visible else str(gpu.index)
    return environment


@contextmanager
def _opened(network: PreparedNetwork) -> Iterator[int]:
    """Yield a descriptor of the network's model, which can be passed to another process."""
    if network.file is not None:
        with network.file.open("rb") as file:
            yield file.fileno()
        return
    with in_memory("model") as descriptor:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(network.model)
        yield descriptor


def _build(question: Any) -> bytes | memoryview:
    log_to_terminal()
    request, gpu, timing_cache = question
    return build_here(find_tensorrt(), request, gpu, timing_cache)


if __name__ == "__main__":
    answer_parent(_build)
