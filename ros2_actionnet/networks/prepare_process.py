"""Prepares a network in a subprocess.

Parsing and writing an ONNX model are single calls into a library that holds the GIL: for a ResNet-18, a third of a
second in which no thread of this process receives an image or answers a service.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.load_monitor import PROGRESS_PERIOD, UNMONITORED, LoadMonitor, LoadWatch
from ros2_actionnet.networks import NetworkSpec, PreparedNetwork, prepare
from ros2_actionnet.system.child_process import answer_parent, in_memory, run_module


@contextmanager
def prepare_in_process(
    spec: NetworkSpec, monitor: LoadMonitor = UNMONITORED, *, fold_stem: bool = False
) -> Iterator[PreparedNetwork]:
    """Yield the result of `prepare` for `spec`; its model is an in-memory `file` that exists until the context ends.

    A model in OpenVINO's IR stays where it is.

    Raises:
        NetworkError: as `prepare` does, or the process ended without an answer.
        LoadCancelled: `monitor` cancelled the load; the process has been killed.
    """
    if not hasattr(os, "memfd_create"):  # not Linux, so not a robot
        yield prepare(spec, fold_stem=fold_stem)
        return
    with in_memory("model") as model:
        watch = LoadWatch(
            monitor, spec.name, lambda elapsed: f"preparing {spec.name}, {elapsed:.0f} s so far", PROGRESS_PERIOD
        )
        ended = run_module(__name__, (spec, fold_stem, model), watch, pass_fds=[model])
        if ended.code != 0:
            raise NetworkError(
                f"the process that prepares {spec.name} {ended.reason}; see whether there is enough memory"
            )
        network: PreparedNetwork = pickle.loads(ended.answer)
        yield network if network.file else replace(network, file=Path(f"/proc/self/fd/{model}"))


def _prepare(question: Any) -> bytes:
    spec, fold_stem, model = question
    network = prepare(spec, fold_stem=fold_stem)
    with os.fdopen(model, "wb") as file:
        file.write(network.model)
    return pickle.dumps(replace(network, model=b"", digest=network.sha256))


if __name__ == "__main__":
    answer_parent(_prepare)
