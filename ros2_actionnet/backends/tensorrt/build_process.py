"""Builds an engine in a subprocess, while the current network keeps running.

The build can be cancelled at any moment, which TensorRT before version 10 does not support otherwise; all memory of the
builder is released; and if memory runs out, or TensorRT crashes on a network, only this process is lost and not the
node.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ros2_actionnet.backends.tensorrt.builder import EngineRequest, Gpu, build_here
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.errors import ActionNetError, BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, end_if_cancelled
from ros2_actionnet.networks import PreparedNetwork

logger = logging.getLogger(__name__)

PROGRESS_PERIOD = 5.0
"""s, interval of progress messages during a build."""

_POLL = 0.1  # s, polling interval for the process and the monitor
_REFUSED = 3  # exit code: the answer is an exception


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
    with _in_memory("engine") as answer, _in_memory("words") as words, _opened(request.network) as model:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(answer)],
            stdin=subprocess.PIPE,
            stdout=words,
            stderr=words,
            pass_fds=[answer, model],
            env=_environment(gpu),
            start_new_session=True,  # the parent handles Ctrl-C and ends this process
        )
        assert process.stdin is not None
        try:
            network = replace(request.network, model=b"", file=Path(f"/proc/self/fd/{model}"))
            with suppress(BrokenPipeError):  # it died at once; the exit code has the reason
                process.stdin.write(pickle.dumps((replace(request, network=network), gpu, timing_cache)))
                process.stdin.flush()
            _wait(process, request.network.name, monitor)
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        said = _content(words).decode(errors="replace").strip().splitlines()
        if process.returncode in (0, _REFUSED):
            for line in said:
                logger.warning("%s", line)
        if process.returncode == _REFUSED:
            error: ActionNetError = pickle.loads(_content(answer))
            raise error
        if process.returncode != 0:
            raise BackendError(_crash_message(tensorrt, request.network.name, process.returncode, said))
        return _content(answer)


def _wait(process: subprocess.Popen[bytes], name: str, monitor: LoadMonitor) -> None:
    """Wait for the process to end, and report the elapsed time to `monitor`."""
    started, told = time.monotonic(), 0.0
    while process.poll() is None:
        end_if_cancelled(monitor, name)
        now = time.monotonic()
        if now - told >= PROGRESS_PERIOD:
            told = now
            once = "this happens once per network, GPU and TensorRT version"
            monitor.progress(f"building engine, {now - started:.0f} s so far; {once}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL)


def _crash_message(tensorrt: TensorRT, name: str, code: int, said: list[str]) -> str:
    if code < 0:
        ended = f"was ended by {signal.Signals(-code).name}"
        remedy = "if memory ran out, close other programs, add swap, or take a smaller network"
    else:
        ended, remedy = f"ended with {code}", "see what it printed"
    last = f": {' / '.join(said[-5:])}" if said else ""
    return f"the process in which {tensorrt.name} builds the engine of {name} {ended}{last}; {remedy}"


def _environment(gpu: Gpu | None) -> dict[str, str]:
    """Return a copy of this process's environment in which `gpu` is the first GPU."""
    environment = dict(os.environ)
    if gpu is not None and gpu.index:
        visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu.index] if visible else str(gpu.index)
    return environment


@contextmanager
def _in_memory(name: str) -> Iterator[int]:
    """Yield the descriptor of a file that exists only in memory."""
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(network: PreparedNetwork) -> Iterator[int]:
    """Yield a descriptor of the network's model, which can be passed to another process."""
    if network.file is not None:
        with network.file.open("rb") as file:
            yield file.fileno()
        return
    with _in_memory("model") as descriptor:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(network.model)
        yield descriptor


def _content(descriptor: int) -> bytes:
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()


def _main(answer: int) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    request, gpu, timing_cache = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    content: bytes | memoryview
    code = 0
    try:
        content = build_here(find_tensorrt(), request, gpu, timing_cache)
    except ActionNetError as error:
        # Without the library's own exception as its cause, which may not be picklable.
        content, code = pickle.dumps(type(error)(str(error))), _REFUSED
    with os.fdopen(answer, "wb") as file:
        file.write(content)
    return code


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # until the other end is closed, which happens when the parent exits
    os._exit(1)


if __name__ == "__main__":
    code = _main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without the destructors of libraries, which are not needed and may crash
