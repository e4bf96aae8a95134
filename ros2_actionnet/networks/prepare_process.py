"""Prepares a network in a subprocess.

Parsing and writing an ONNX model are single calls into a library that holds the GIL: for a ResNet-18, a third of a
second in which no thread of this process receives an image or answers a service.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ros2_actionnet.errors import ActionNetError, NetworkError
from ros2_actionnet.networks import NetworkSpec, PreparedNetwork, prepare


@contextmanager
def prepare_in_process(spec: NetworkSpec, *, fold_stem: bool = False) -> Iterator[PreparedNetwork]:
    """Yield the result of `prepare` for `spec`; its model is an in-memory `file` that exists until the context ends.

    Raises:
        NetworkError: as `prepare` does, or the process ended without an answer.
    """
    if not hasattr(os, "memfd_create"):  # not Linux, so not a robot
        yield prepare(spec, fold_stem=fold_stem)
        return
    memory = os.memfd_create(spec.name)
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, str(memory)],
            input=pickle.dumps((spec, fold_stem)),
            stdout=subprocess.PIPE,
            pass_fds=[memory],
            start_new_session=True,  # Ctrl-C in a terminal would end it with a traceback
            check=False,
        )
        if process.returncode != 0:
            raise NetworkError(
                f"the process that prepares {spec.name} ended with {process.returncode}: see what it printed, "
                "and whether there is enough memory"
            )
        answer = pickle.loads(process.stdout)
        if isinstance(answer, ActionNetError):
            raise answer
        yield replace(answer, file=Path(f"/proc/self/fd/{memory}"))
    finally:
        os.close(memory)


def _main(memory: int) -> None:
    # The parent may exit in the meantime: this process then ends silently when it writes its answer.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    spec, fold_stem = pickle.load(sys.stdin.buffer)
    answer: PreparedNetwork | NetworkError
    try:
        network = prepare(spec, fold_stem=fold_stem)
    except NetworkError as error:
        answer = NetworkError(str(error))  # without the library's exception as its cause, which may not be picklable
    else:
        with os.fdopen(memory, "wb") as file:
            file.write(network.model)
        answer = replace(network, model=b"", digest=network.sha256)
    pickle.dump(answer, sys.stdout.buffer)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
