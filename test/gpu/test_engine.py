"""Engines on the GPU: built, kept, right, and how fast."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.backends.tensorrt.profile import profile_network
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.thumbnails import Preprocessor
from ros2_actionnet.networks import INPUT_NAME, PreparedNetwork
from support.clips import demo_clip

pytestmark = pytest.mark.gpu

PRECISIONS = ("fp32", "fp16")
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2}  # of scores in [0, 1]; fp16 has 10 bits of mantissa
Window = NDArray[np.uint8]


def windows_of_the_clip(network: PreparedNetwork, count: int) -> list[Window]:
    """`count` windows from all over the bundled clip, uint8 [N, H, W, 3], RGB."""
    clip, preprocessor = demo_clip(), Preprocessor(network.height, network.width)
    starts = np.linspace(0, len(clip) - 2 * network.frames, count).astype(int)
    blank = (network.height, network.width, 3)
    return [
        np.stack(
            [
                preprocessor.thumbnail(RawImage.from_array(frame, "bgr8"), np.empty(blank, np.uint8))
                for frame in clip[start : start + 2 * network.frames : 2]
            ]
        )
        for start in starts
    ]


def reference_scores(network: PreparedNetwork, windows: list[Window]) -> NDArray[np.float32]:
    """What another library makes of them, on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        pass
    else:
        session = onnxruntime.InferenceSession(network.model, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, {INPUT_NAME: window[np.newaxis]})[0] for window in windows])
    openvino = pytest.importorskip("openvino", reason="neither onnxruntime nor openvino is there to compare with")
    compiled = openvino.Core().compile_model(
        openvino.Core().read_model(network.model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.concatenate([compiled([window[np.newaxis]])[0] for window in windows])


def infer(session: TensorRTSession, windows: list[Window]) -> NDArray[np.float32]:
    """The scores of `windows`, each from a ring of its own that was filled beginning in another slot."""
    rings = []
    for number, window in enumerate(windows):
        ring, first = session.create_ring(), number % len(window)
        for position, frame in enumerate(window):
            ring.write((first + position) % len(window), frame)
        rings.append(ring.window(first))
    return session.infer(rings)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_camera_motion_scores_are_those_of_another_library(
    backend: TensorRTBackend, camera_motion: PreparedNetwork, cache: Path, announcer: Any, measured: Any, precision: str
) -> None:
    options = LoadOptions(precision=precision, max_batch=4, engine_cache=str(cache))
    session = backend.load(camera_motion, options, announcer)
    try:
        windows = windows_of_the_clip(camera_motion, 10)
        scores = infer(session, windows)  # in batches of 4, 4 and 2
        alone = np.concatenate([infer(session, [window]) for window in windows[:3]])
    finally:
        session.close()
    expected = reference_scores(camera_motion, windows)
    difference = float(np.abs(scores - expected).max())
    measured(f"camera_motion, {precision}: largest difference of a score from the CPU's", f"{difference:.1e}")
    assert difference < TOLERANCE[precision]
    assert (scores.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(alone, scores[:3], atol=TOLERANCE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resnet18_builds_is_kept_and_gives_the_same_scores_from_the_cache(
    backend: TensorRTBackend, resnet18: PreparedNetwork, cache: Path, announcer: Any, measured: Any,
    caplog: pytest.LogCaptureFixture, precision: str,
) -> None:  # fmt: skip
    options = LoadOptions(precision=precision, engine_cache=str(cache))
    windows = windows_of_the_clip(resnet18, 2)
    seconds, scores, words = [], [], []
    for _ in range(2):
        caplog.clear()
        started = time.perf_counter()
        with caplog.at_level(logging.INFO):
            session = backend.load(resnet18, options, announcer)
        seconds.append(time.perf_counter() - started)
        words.append(caplog.text)
        scores.append(infer(session, windows))
        session.close()
    measured(f"resnet-18, {precision}: building the engine", f"{seconds[0]:.1f} s")
    measured(f"resnet-18, {precision}: loading it from the cache", f"{seconds[1]:.1f} s")
    assert "building the engine" in words[0]
    assert "building the engine" not in words[1]
    np.testing.assert_array_equal(scores[0], scores[1])
    difference = float(np.abs(scores[0] - reference_scores(resnet18, windows)).max())
    measured(f"resnet-18, {precision}: largest difference of a score from the CPU's", f"{difference:.1e}")
    assert difference < TOLERANCE[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_resnet18_window_takes(
    backend: TensorRTBackend, resnet18: PreparedNetwork, cache: Path, announcer: Any, measured: Any, precision: str
) -> None:
    session = backend.load(resnet18, LoadOptions(precision=precision, engine_cache=str(cache)), announcer)
    try:
        ring = session.create_ring()
        frame = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
        for slot in range(resnet18.frames):
            ring.write(slot, frame)
        times, cpu = [], []
        for turn in range(220):
            started, used = time.perf_counter(), time.thread_time()
            ring.write(turn % resnet18.frames, frame)
            session.infer([ring.window((turn + 1) % resnet18.frames)])
            times.append(time.perf_counter() - started)
            cpu.append(time.thread_time() - used)
    finally:
        session.close()
    counted = sorted(times[20:])
    measured(
        f"resnet-18, {precision}: a frame in, its window's scores out: median, p95",
        f"{1e3 * median(counted):.2f}, {1e3 * counted[int(0.95 * len(counted))]:.2f} ms",
    )
    measured(f"resnet-18, {precision}: of it the calling thread computes or spins", f"{1e3 * median(cpu[20:]):.2f} ms")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cuda_graphs_give_the_same_scores_and_what_they_save(
    backend: TensorRTBackend, camera_motion: PreparedNetwork, cache: Path, announcer: Any, measured: Any,
    caplog: pytest.LogCaptureFixture, precision: str,
) -> None:  # fmt: skip
    scores: list[NDArray[np.float32]] = []
    frames = camera_motion.frames
    clip = windows_of_the_clip(camera_motion, 1)[0]
    for cuda_graphs in (False, True):
        options = LoadOptions(precision=precision, engine_cache=str(cache), cuda_graphs=cuda_graphs)
        session = backend.load(camera_motion, options, announcer)
        try:
            ring = session.create_ring()
            for slot, frame in enumerate(clip):
                ring.write(slot, frame)
            rows, times, cpu = [], [], []
            for turn in range(20 * frames):  # every start position again and again
                started, used = time.perf_counter(), time.thread_time()
                rows.append(session.infer([ring.window(turn % frames)])[0])
                times.append(time.perf_counter() - started)
                cpu.append(time.thread_time() - used)
        finally:
            session.close()
        scores.append(np.stack(rows))
        how = "as CUDA graphs" if cuda_graphs else "without CUDA graphs"
        measured(
            f"camera_motion, {precision}, {how}: an inference, of it CPU (medians)",
            f"{1e3 * median(times[2 * frames :]):.2f}, {1e3 * median(cpu[2 * frames :]):.2f} ms",
        )
    assert "run without CUDA graphs" not in caplog.text
    np.testing.assert_array_equal(scores[0], scores[1])


def test_a_frame_gets_to_one_network_while_another_infers(
    backend: TensorRTBackend, resnet18: PreparedNetwork, camera_motion: PreparedNetwork, cache: Path, announcer: Any,
    measured: Any,
) -> None:  # fmt: skip
    slow = backend.load(resnet18, LoadOptions(precision="fp32", engine_cache=str(cache)), announcer)
    other = backend.load(camera_motion, LoadOptions(precision="fp32", max_batch=4, engine_cache=str(cache)), announcer)
    window, ring = slow.create_ring().window(0), other.create_ring()
    frame = np.zeros((camera_motion.height, camera_motion.width, 3), np.uint8)
    inferences, copies = [], []
    try:
        for _ in range(30):
            with slow.cuda.pushed():
                started = time.perf_counter()
                slow.enqueue([window])
                queued = time.perf_counter()
                ring.write(0, frame)
                with other.cuda.pushed():
                    other.cuda.synchronize()
                copies.append(time.perf_counter() - queued)
                slow.cuda.synchronize()
                inferences.append(time.perf_counter() - started)
    finally:
        slow.close()
        other.close()
    measured(
        "a frame into one network's ring while another infers, and that inference",
        f"{1e3 * median(copies):.2f} of {1e3 * median(inferences):.2f} ms",
    )


def test_networks_that_come_and_go_leave_no_memory_behind(
    gpu: Any, backend: TensorRTBackend, camera_motion: PreparedNetwork, cache: Path, announcer: Any, measured: Any
) -> None:
    def live() -> int:
        options = LoadOptions(precision="fp32", max_batch=4, engine_cache=str(cache))
        session = backend.load(camera_motion, options, announcer)
        infer(session, windows)
        session.close()
        free: int = gpu.free_memory()
        return free

    windows = windows_of_the_clip(camera_motion, 2)
    live()
    before = live()
    lost = before - [live() for _ in range(10)][-1]
    measured("GPU memory lost over 10 loads of camera_motion", f"{lost / 1e6:.2f} MB")
    assert lost < 20e6 or gpu.is_integrated


def test_the_layer_profile_prints(
    backend: TensorRTBackend, resnet18: PreparedNetwork, cache: Path, measured: Any
) -> None:
    text = profile_network(resnet18, LoadOptions(precision="fp32", engine_cache=str(cache)))
    assert "slowest layers" in text
    for line in text.splitlines():
        if line.strip().endswith(("into the ring", "inference", "scores back")):
            ms, stage = line.split(maxsplit=1)
            measured(f"resnet-18, fp32, on the GPU: {stage}", f"{ms} ms")
