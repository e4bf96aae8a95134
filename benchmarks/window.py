"""A ResNet-18 window in each precision, whole and with the stem's results used again, beside the unmodified model.

    benchmarks/run window

All contenders take turns at every frame of one stream. Ours are given uint8 frames, which they store and classify; the
others a window that somebody else has stacked and normalized, which is not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer_node import with_onnxruntime
from benchmarks.random_resnet import INPUT_SHAPE, given_or_random
from benchmarks.report import Report, Table, milliseconds, parser, percentile
from benchmarks.stem import offered, unmodified
from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.networks import PreparedNetwork
from support.int8 import prepared, quantized

Run = Callable[[NDArray[np.uint8], int], object]
"""Classifies the window that a frame of a stream ends; given its number, too."""

WARM_UP = 3  # windows
REST = 0.05
"""Seconds before each run: ONNX Runtime's threads go on turning for a while after theirs, at the cost of the next."""
_FRAMES, *_SIZE = INPUT_SHAPE[2:]


def ours(network: PreparedNetwork, precision: str, *, reuse_stem: bool) -> tuple[str, Run]:
    """The network as the node runs it, with its name in the table."""
    session = OpenVINOBackend(reuse_stem=reuse_stem).load(network, LoadOptions(precision=precision))
    ring = session.create_ring()

    def run(frame: NDArray[np.uint8], index: int) -> object:
        ring.write(index % _FRAMES, frame)
        return session.infer([ring.window((index + 1) % _FRAMES)]) if index >= _FRAMES - 1 else None

    way = "the faster way" if reuse_stem else "whole"
    return f"ours, {precision}, {way} ({type(session).__name__})", run


def contenders(model: Path, folder: Path) -> dict[str, Run]:
    """All that take turns; the first is the one that the others are compared with."""
    window = np.zeros((_FRAMES, *_SIZE, 3), np.uint8)
    fp32, ready = unmodified(model, "fp32", window), np.zeros(INPUT_SHAPE, np.float32)
    onnxruntime = with_onnxruntime(model)
    runs: dict[str, Run] = {
        "OpenVINO, unmodified, fp32": lambda frame, index: fp32(),
        "ONNX Runtime, unmodified, fp32": lambda frame, index: onnxruntime(ready),
    }
    networks = {precision: prepared(model) for precision in offered()} | {"int8": quantized(model, folder)}
    for precision, network in networks.items():
        runs |= dict(ours(network, precision, reuse_stem=reuse_stem) for reuse_stem in (False, True))
    return runs


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, help="an .onnx of that input (default: a random ResNet-18)")
    arguments.add_argument("--windows", type=int, default=60, help="to measure of each (default: %(default)s)")
    options = arguments.parse_args()
    report = Report(options)
    columns = ("contender", "median ms", "p95 ms", "CPU ms", "OpenVINO's time, of it", "ONNX Runtime's")
    table = Table(f"A window of ResNet-18, {options.windows} of each in turns", columns)
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        runs = contenders(given_or_random(options.model, Path(folder)), Path(folder))
        times: dict[str, list[float]] = {name: [] for name in runs}
        used: dict[str, list[float]] = {name: [] for name in runs}
        for index in range(_FRAMES - 1 + WARM_UP + options.windows):
            frame = random.integers(0, 256, (*_SIZE, 3), np.uint8)
            for name, run in runs.items():
                if index < _FRAMES - 1 and not name.startswith("ours"):
                    continue
                time.sleep(REST)
                began, cpu = time.perf_counter(), time.process_time()
                run(frame, index)
                if index >= _FRAMES - 1 + WARM_UP:
                    times[name].append(time.perf_counter() - began)
                    used[name].append(time.process_time() - cpu)
    openvino, onnxruntime, *_ = (float(np.median(found)) for found in times.values())
    for name, found in times.items():
        median = float(np.median(found))
        table.rows.append(
            (
                name,
                milliseconds(median),
                milliseconds(percentile(found, 95)),
                milliseconds(float(np.median(used[name]))),
                f"{openvino / median:.2f}",
                f"{onnxruntime / median:.2f}",
            )
        )
    report.add(table)
    report.close()


if __name__ == "__main__":
    main()
