"""Runs a module of this package in a process of its own, and brings back its answer.

The answer comes in a file in memory of its own, so that nothing a library prints can corrupt it. The process is killed
when its caller loses interest, and by the kernel when the calling process ends, however that ends. Linux only.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import ActionNetError

logger = logging.getLogger(__name__)

_POLL = 0.1  # s, interval of `watch`
_REFUSED = 3  # exit code: the answer is an exception
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Ended:
    """A child process that has ended.

    Attributes:
        code: Its exit code, negative for the signal that killed it.
        answer: What its work returned; empty unless `code` is 0.
        printed: The lines that it printed.
    """

    code: int
    answer: bytes
    printed: list[str]

    @property
    def reason(self) -> str:
        """How it ended, with the last lines that it printed."""
        how = f"was ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with {self.code}"
        return how + (f": {' / '.join(self.printed[-5:])}" if self.printed else "")


def run_module(
    module: str,
    question: Any,
    watch: Callable[[float], None],
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `module`, whose `__main__` calls `answer_parent`, and wait for it to end; what it printed is logged.

    Args:
        module: Its dotted name.
        question: Anything that can be pickled, for the work of the child.
        watch: Called every 0.1 s with the seconds since the start; what it raises ends the child and is raised here.
        pass_fds: Further descriptors that the child inherits.
        environment: Of the child; None is this process's.

    Raises:
        ActionNetError: the one that the child's work raised.
    """
    with in_memory("answer") as answer, in_memory("printed") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(answer), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=printed,
            pass_fds=[answer, *pass_fds],
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal would end it with a traceback
        )
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it ended at once; the exit code has the reason
                process.stdin.write(pickle.dumps(question))
                process.stdin.close()
            started = time.monotonic()
            while process.poll() is None:
                watch(time.monotonic() - started)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL)
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        lines = content(printed).decode(errors="replace").strip().splitlines()
        if process.returncode in (0, _REFUSED):
            for line in lines:
                logger.warning("%s", line)
        if process.returncode == _REFUSED:
            error: ActionNetError = pickle.loads(content(answer))
            raise error
        return Ended(process.returncode, content(answer) if process.returncode == 0 else b"", lines)


def answer_parent(work: Callable[[Any], bytes | memoryview]) -> None:
    """Do `work` on the question of the process that ran this module, answer it, and end this process."""
    answer, parent = int(sys.argv[1]), int(sys.argv[2])
    _end_with(parent)
    result: bytes | memoryview
    code = 0
    try:
        result = work(pickle.load(sys.stdin.buffer))
    except ActionNetError as error:
        # Without the library's own exception as its cause, which may not be picklable.
        result, code = pickle.dumps(type(error)(str(error))), _REFUSED
    with os.fdopen(answer, "wb") as file:
        file.write(result)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without the destructors of libraries, which are not needed and may crash


@contextmanager
def in_memory(name: str) -> Iterator[int]:
    """Yield the descriptor of a file that exists only in memory."""
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def content(descriptor: int) -> bytes:
    """Return all of a file in memory."""
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it ends, even while a library holds the GIL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
