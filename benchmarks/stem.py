"""The folded first convolution: a ResNet-18 window in OpenVINO, as it comes, prepared, and with its stem folded.

    benchmarks/run stem

All variants take turns window by window, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from benchmarks.random_resnet import INPUT_SHAPE, given_or_random
from benchmarks.report import Report, Table, milliseconds, parser, percentile
from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.networks import ACTIONNET_MEAN, NetworkSpec, prepare
from ros2_actionnet.recognition.score_check import score_window

Run = Callable[[], NDArray[np.float32]]
WARM_UP = 3  # windows


def offered() -> list[str]:
    """The precisions that the CPU computes in."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision in ("fp32", "bf16") if precision.upper() in capabilities]


def unmodified(model: Path, precision: str, window: NDArray[np.uint8]) -> Run:
    """The model as it comes, given float32 that somebody else has normalized (which is not measured)."""
    pixels = window.astype(np.float32) / 255 - np.array(ACTIONNET_MEAN, np.float32)
    tensor = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)[np.newaxis], np.float32)
    element = {"fp32": "f32", "bf16": "bf16"}[precision]
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": element}
    request = openvino.Core().compile_model(str(model), "CPU", options).create_infer_request()

    def run() -> NDArray[np.float32]:
        request.set_input_tensor(openvino.Tensor(tensor, shared_memory=True))
        request.infer()
        logits = np.asarray(request.get_output_tensor().data, np.float64)[0]
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum(), np.float32)

    return run


def prepared(model: Path, precision: str, window: NDArray[np.uint8], *, fold_stem: bool) -> Run:
    """The model as the node runs it: uint8 frames in, scores out."""
    network = prepare(NetworkSpec("resnet", model, model.parent / "labels.txt"), fold_stem=fold_stem)
    session = OpenVINOBackend().load(network, LoadOptions(precision=precision))
    ring = session.create_ring()
    score_window(session, ring, window)
    return lambda: session.infer([ring.window(0)])[0]


def measure(runs: dict[str, Run], windows: int) -> dict[str, list[float]]:
    """Seconds that each of `windows` takes in each of `runs`."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(WARM_UP + windows):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if index >= WARM_UP:
                times[name].append(time.perf_counter() - started)
    return times


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, help="an .onnx with such a stem (default: a random ResNet-18)")
    arguments.add_argument("--windows", type=int, default=100, help="to measure of each (default: %(default)s)")
    arguments.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16"), default=offered(), help="(default: what the CPU has)"
    )
    options = arguments.parse_args()
    report = Report(options)
    columns = ("precision, variant", "median ms", "p95 ms", "of unmodified", "largest difference to fp32")
    table = Table(f"A window of ResNet-18 in OpenVINO, {options.windows} of each in turns", columns)
    _, _, *size = INPUT_SHAPE
    window = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with TemporaryDirectory() as folder:
        model = given_or_random(options.model, Path(folder))
        expected = unmodified(model, "fp32", window)()
        for precision in options.precisions:
            runs = {
                "unmodified": unmodified(model, precision, window),
                "prepared": prepared(model, precision, window, fold_stem=False),
                "prepared, stem folded": prepared(model, precision, window, fold_stem=True),
            }
            times = measure(runs, options.windows)
            base = float(np.median(times["unmodified"]))
            for name, run in runs.items():
                difference = float(np.abs(run() - expected).max() / expected.max())
                median, high = percentile(times[name], 50), percentile(times[name], 95)
                ratio = f"{float(np.median(times[name])) / base:.2f}"
                row = (f"{precision}, {name}", milliseconds(median), milliseconds(high), ratio, f"{difference:.1e}")
                table.rows.append(row)
    report.add(table)
    report.close()


if __name__ == "__main__":
    main()
