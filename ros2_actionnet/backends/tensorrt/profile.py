"""Profiles a network on a GPU: by stage, and by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ros2_actionnet.backends.base import LoadOptions
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.backends.tensorrt.library import find_tensorrt
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.networks import PreparedNetwork

if TYPE_CHECKING:
    import tensorrt as trt

WARM_UP = 10  # uncounted inferences: clocks rise, and the first one loads kernels
RUNS = 50
SLOWEST = 20  # number of layers listed


def profile_network(network: PreparedNetwork, options: LoadOptions) -> str:
    """Return tables of the GPU time of each stage of an inference, and of the slowest layers, as text.

    A stage's time is measured on the session's stream, by CUDA events: the median of 50 runs with batches of
    `options.max_batch`. Layers are timed one by one, with gaps in between, so their sum exceeds the inference's time.

    Raises BackendError as `TensorRTBackend.load` does.
    """
    session = TensorRTBackend().load(network, options)
    try:
        stages = _stage_times(session)
        layers = _layer_times(session)
    finally:
        session.close()
    head = (
        f"{network.name}, {session.precision}, batch {session.max_batch}, on {session.device} with "
        f"{find_tensorrt().name}; ms, medians of {RUNS}"
    )
    return "\n\n".join([head, _stage_table(stages), _layer_table(layers)])


def _stage_times(session: TensorRTSession) -> dict[str, float]:
    """Return the time of each stage in ms, in order."""
    network = session.network
    frame = np.random.default_rng(0).integers(0, 256, (network.height, network.width, 3), np.uint8)
    ring = session.create_ring()
    windows = [ring.window(0)] * session.max_batch
    stages = {
        f"a frame ({frame.nbytes:,} bytes) into the ring": lambda: ring.write(0, frame),
        "inference": lambda: session.enqueue(windows),
        "scores back": lambda: session.enqueue_scores(session.max_batch),
    }
    with session.cuda.pushed():
        runs = [session.cuda.time(list(stages.values())) for _ in range(WARM_UP + RUNS)]
    return {stage: median(times) for stage, times in zip(stages, zip(*runs[WARM_UP:], strict=True), strict=True)}


def _layer_times(session: TensorRTSession) -> dict[str, float]:
    """Return the time of each layer in ms, in order of execution."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    profiler = _layer_profiler(times)
    session.report_layers(profiler)
    windows = [session.create_ring().window(0)] * session.max_batch
    for _ in range(RUNS):
        session.infer(windows)
    return {layer: median(runs) for layer, runs in times.items()}


def _layer_profiler(times: Mapping[str, list[float]]) -> trt.IProfiler:
    """Return an IProfiler that adds the reported times to `times`; derived here because it needs TensorRT."""
    if not TYPE_CHECKING:
        trt = find_tensorrt().module

    class LayerProfiler(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)  # pybind11 requires an explicit call

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name].append(ms)

    return LayerProfiler()


def _stage_table(stages: Mapping[str, float]) -> str:
    return "\n".join(["stages", *(f"{ms:9.3f}         {stage}" for stage, ms in stages.items())])


def _layer_table(layers: Mapping[str, float]) -> str:
    whole = sum(layers.values())
    rows: Sequence[tuple[str, float]] = sorted(layers.items(), key=lambda layer: -layer[1])[:SLOWEST]
    lines = [f"{ms:9.3f} {100 * ms / whole:5.1f} %  {layer}" for layer, ms in rows]
    lines.append(f"{whole:9.3f} 100.0 %  all {len(layers)} layers, timed one by one")
    return "\n".join([f"the {len(rows)} slowest layers", *lines])
