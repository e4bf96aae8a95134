"""What is used again gives the numbers of the whole network, whatever comes between two windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends import openvino as openvino_backend
from ros2_actionnet.backends.openvino import OpenVINOBackend, OpenVINOSession, ReusingSession
from ros2_actionnet.backends.openvino_stem import split_stem
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.score_check import score_window
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from support.int8 import quantized

FRAMES, SIZE = 10, 20
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32"}


def save_stem_network(
    folder: Path,
    kernel: int = 5,
    stride: int = 1,
    *,
    frames: int = FRAMES,
    branch: bool = False,
    pool: bool = True,
    quantizer: str = "",
) -> Path:
    """Conv -> Relu -> MaxPool -> Conv -> mean -> logits, the first of length `kernel` in time.

    With a `quantizer` before or after the max-pool, such as "int8 before", the second convolution is quantized.
    """
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(0, 0.2, (6, 3, kernel, 3, 3)),
        "b": random.normal(0, 0.2, 6),
        "v": random.normal(0, 0.3, (7, 6, 3, 3, 3)),
        "fc": random.normal(0, 3, (5, 7)),
        "fb": random.normal(0, 1, 5),
    }
    pads, margin = [1, 1], kernel // 2
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], kernel_shape=[kernel, 3, 3], strides=[stride, 2, 2],
            pads=[margin, *pads, margin, *pads],
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool" if pool else "AveragePool", ["r"], ["p"], kernel_shape=[3] * 3, strides=[2] * 3,
                         pads=[1] * 6),
        helper.make_node("Conv", ["p", "v"], ["d"], kernel_shape=[3] * 3, pads=[1] * 6),
        helper.make_node("GlobalAveragePool", ["d"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "fb"], ["y"], transB=1),
    ]  # fmt: skip
    if branch:
        nodes[5:5] = [helper.make_node("ReduceMax", ["r"], ["most"]), helper.make_node("Add", ["g", "most"], ["h"])]
        nodes[7].input[0] = "h"
    numbers: dict[str, NDArray[Any]] = {name: value.astype(np.float32) for name, value in constants.items()}
    if quantizer:
        kind, _, place = quantizer.partition(" ")
        numbers["v"] = np.round(constants["v"] / 0.01).astype(np.int8)
        numbers["scale"], numbers["zero"] = np.array(0.05, np.float32), np.array(3 if kind == "uint8" else 0, kind)
        numbers["v_scale"], numbers["v_zero"] = np.array(0.01, np.float32), np.array(0, np.int8)
        pooling, behind = nodes[2], nodes[3]
        value, at = ("r", 2) if place == "before" else ("p", 3)
        nodes[at:at] = [
            helper.make_node("QuantizeLinear", [value, "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        ]
        (pooling if place == "before" else behind).input[0] = "dq"
        nodes.insert(0, helper.make_node("DequantizeLinear", ["v", "v_scale", "v_zero"], ["v_real"]))
        behind.input[1] = "v_real"
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, frames, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    return folder / "model.onnx"


def read(network: PreparedNetwork) -> Any:
    core = openvino.Core()
    model = core.read_model(str(network.file)) if network.file else core.read_model(network.model, b"")
    model.reshape([1, network.frames, network.height, network.width, 3])
    return model


def compiled(model: Any) -> Any:
    return openvino.Core().compile_model(model, "CPU", PROPERTIES)


@pytest.fixture(name="network", scope="module")
def network_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(save_stem_network(tmp_path_factory.mktemp("stem") / "net")))))


@pytest.fixture(name="sessions", scope="module")
def sessions_fixture(network: PreparedNetwork) -> Iterator[tuple[OpenVINOSession, ReusingSession]]:
    """The whole network, and the one that uses again."""
    split = split_stem(read(network), FRAMES)
    assert split is not None
    whole = OpenVINOSession(network, compiled(read(network)), "CPU", "fp32")
    reusing = ReusingSession(network, split, compiled, "fp32")
    yield whole, reusing
    whole.close()
    reusing.close()


@pytest.fixture(name="int8_sessions", scope="module")
def int8_sessions_fixture(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[OpenVINOSession, ReusingSession]]:
    """The same of the network in int8, which the real quantizer has made."""
    folder = tmp_path_factory.mktemp("int8")
    int8 = quantized(save_stem_network(folder / "net"), folder)
    split = split_stem(read(int8), FRAMES)
    assert split is not None
    assert split.dtype == np.int8
    whole = OpenVINOSession(int8, compiled(read(int8)), "CPU", "int8")
    reusing = ReusingSession(int8, split, compiled, "int8")
    yield whole, reusing
    whole.close()
    reusing.close()


SAMPLES = st.lists(
    st.one_of(
        st.just(Sample()), st.just(Sample()), st.just(Sample()),
        st.integers(1, FRAMES + 2).map(lambda steps: Sample(steps=steps)),
        st.just(Sample(restart=True, reason="a gap")),
    ),
    min_size=1, max_size=50,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=SAMPLES, infer_every=st.integers(1, 3), repeat_first=st.booleans(), seed=st.integers(0, 9))
def test_the_numbers_are_those_of_the_whole_network(
    sessions: tuple[OpenVINOSession, ReusingSession],
    int8_sessions: tuple[OpenVINOSession, ReusingSession],
    samples: list[Sample],
    infer_every: int,
    repeat_first: bool,
    seed: int,
) -> None:
    check(sessions, samples, infer_every, repeat_first, seed, tolerance=1e-6)
    check(int8_sessions, samples, infer_every, repeat_first, seed, tolerance=0)


def check(
    sessions: tuple[OpenVINOSession, ReusingSession],
    samples: list[Sample],
    infer_every: int,
    repeat_first: bool,
    seed: int,
    *,
    tolerance: float,
) -> None:
    """Push the same samples to both sessions and compare the scores of every window."""
    random = np.random.default_rng(seed)
    buffers = [TemporalBuffer(session.create_ring(), infer_every, repeat_first) for session in sessions]
    for sample in samples:
        frame = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        for buffer in buffers:
            buffer.push(frame, sample)
        if buffers[0].due:
            whole, reused = (
                session.infer([buffer.take_window()]) for session, buffer in zip(sessions, buffers, strict=True)
            )
            assert reused == pytest.approx(whole, rel=0, abs=tolerance)


@pytest.mark.parametrize("new_frames", range(1, FRAMES))
def test_a_long_stream_computes_most_steps_once(
    sessions: tuple[OpenVINOSession, ReusingSession], new_frames: int
) -> None:
    whole, reusing = sessions
    rings = whole.create_ring(), reusing.create_ring()
    random, missing = np.random.default_rng(0), []
    for index in range(5 * FRAMES):
        frame = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        for ring in rings:
            ring.write(index % FRAMES, frame)
        first = (index + 1) % FRAMES
        if index >= FRAMES - 1 and (index + 1 - FRAMES) % new_frames == 0:
            missing.append(rings[1].missing(first))
            expected = whole.infer([rings[0].window(first)])
            assert reusing.infer([rings[1].window(first)]) == pytest.approx(expected, abs=1e-6)
    inner = FRAMES - 4
    assert missing == [inner] + [min(new_frames, inner)] * (len(missing) - 1)
    assert reusing.infer([rings[1].window(first)]) == pytest.approx(whole.infer([rings[0].window(first)]), abs=1e-6)
    assert rings[1].missing(first) <= (4 * FRAMES) % new_frames


def test_streams_have_features_of_their_own(sessions: tuple[OpenVINOSession, ReusingSession]) -> None:
    whole, reusing = sessions
    random = np.random.default_rng(0)
    streams = [(whole.create_ring(), reusing.create_ring()) for _ in range(2)]
    for index in range(2 * FRAMES):
        for rings in streams:
            frame = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            for ring in rings:
                ring.write(index % FRAMES, frame)
        first = (index + 1) % FRAMES
        expected = whole.infer([rings[0].window(first) for rings in streams])
        assert reusing.infer([rings[1].window(first) for rings in streams]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [{"kernel": 1}, {"kernel": 7, "frames": 8}, {"stride": 2}, {"branch": True}, {"pool": False}],
    ids=["no time", "short window", "stride", "branch", "average"],
)
def test_other_stems_stay_whole(tmp_path: Path, other: dict[str, Any]) -> None:
    network = prepare(resolve(NetworkRequest(model=str(save_stem_network(tmp_path / "net", **other)))))
    assert split_stem(read(network), network.frames) is None


@pytest.mark.parametrize("quantizer", ["int8 before", "int8 after", "uint8 before", "uint8 after"])
def test_a_quantizer_put_in_by_hand_gives_the_same_scores(tmp_path: Path, quantizer: str) -> None:
    network = prepare(resolve(NetworkRequest(model=str(save_stem_network(tmp_path / "net", quantizer=quantizer)))))
    split = split_stem(read(network), FRAMES)
    assert split is not None
    assert split.dtype == np.dtype(quantizer.split()[0])
    whole = OpenVINOSession(network, compiled(read(network)), "CPU", "fp32")
    reusing = ReusingSession(network, split, compiled, "fp32")
    samples = [Sample()] * (3 * FRAMES)
    for infer_every in (1, 3):
        check((whole, reusing), samples, infer_every, repeat_first=False, seed=0, tolerance=0)
    reference = onnxruntime.InferenceSession(network.model, providers=["CPUExecutionProvider"])
    window = np.random.default_rng(1).integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
    expected = reference.run(None, {"frames": window[np.newaxis]})[0][0]
    assert score_window(reusing, reusing.create_ring(), window) == pytest.approx(expected, abs=0.02)


def test_camera_motion_stays_whole() -> None:
    network = prepare(resolve(NetworkRequest("camera_motion")))
    assert split_stem(read(network), network.frames) is None


@pytest.mark.parametrize("pays", [True, False])
def test_it_is_taken_where_it_pays(
    network: PreparedNetwork, pays: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured = [1.0, 0.84 if pays else 0.86]
    monkeypatch.setattr(openvino_backend, "seconds_per_window", lambda *sessions: measured)
    with caplog.at_level("INFO"):
        session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    assert isinstance(session, ReusingSession) is pays
    assert f"so it {'does' if pays else 'does not'}" in caplog.text
    window = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
    whole = OpenVINOSession(network, compiled(read(network)), "CPU", "fp32")
    expected = score_window(whole, whole.create_ring(), window)
    assert score_window(session, session.create_ring(), window) == pytest.approx(expected, abs=1e-6)


def test_a_network_that_cannot_be_split_runs_whole(
    network: PreparedNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(model: Any, frames: int) -> None:
        raise RuntimeError("no such attribute")

    monkeypatch.setattr(openvino_backend, "split_stem", refuse)
    with caplog.at_level("INFO"):
        session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    assert not isinstance(session, ReusingSession)
    assert "the stem's results are not used again: no such attribute" in caplog.text


def test_int8_is_taken_where_it_pays_and_gives_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    int8 = quantized(save_stem_network(tmp_path / "net"), tmp_path)
    monkeypatch.setattr(openvino_backend, "seconds_per_window", lambda *sessions: [1.0, 0.5])
    session = OpenVINOBackend().load(int8, LoadOptions(precision="int8"))
    assert isinstance(session, ReusingSession)
    assert session.precision == "int8"

    def split_otherwise(model: Any, frames: int) -> Any:
        split = split_stem(model, frames)
        return split and replace(split, trunk=with_other_features(split.trunk))

    monkeypatch.setattr(openvino_backend, "split_stem", split_otherwise)
    with caplog.at_level("INFO"):
        session = OpenVINOBackend().load(int8, LoadOptions(precision="int8"))
    assert not isinstance(session, ReusingSession)
    assert "the scores would be others" in caplog.text


def with_other_features(trunk: Any) -> Any:
    """Return the trunk of a split model, which takes its features for others."""
    from openvino import opset13 as ops

    features = trunk.get_parameters()[0]
    targets = list(features.output(0).get_target_inputs())
    zero = ops.multiply(features, np.zeros((), np.int8))
    for target in targets:
        target.replace_source_output(zero.output(0))
    return trunk
