"""OpenVINO against ONNX Runtime on the same prepared network; what it costs; what it refuses."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend, OpenVINOSession
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from support.random_network import save_random_network

FRAMES, SIZE = 8, 48
LABELS = ("one", "two", "three", "four", "five")
WINDOW_BYTES = FRAMES * SIZE * SIZE * 3


@pytest.fixture(name="network", scope="module")
def network_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    model = save_random_network(tmp_path_factory.mktemp("network"), LABELS, frames=FRAMES, size=SIZE)
    return prepare(resolve(NetworkRequest(model=str(model))))


@pytest.fixture(name="session")
def session_fixture(network: PreparedNetwork) -> Iterator[OpenVINOSession]:
    session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    yield session
    session.close()


def clip(seed: int) -> NDArray[np.uint8]:
    """A clip of coarse, colored blocks, so that clips differ in more than what averages out."""
    blocks = np.random.default_rng(seed).integers(0, 256, (FRAMES, 3, 3, 3), np.uint8)
    return blocks.repeat(SIZE // 3, axis=1).repeat(SIZE // 3, axis=2)


def filled_ring(session: OpenVINOSession, frames: NDArray[np.uint8]) -> FrameRing[Any]:
    ring = session.create_ring()
    for slot, frame in enumerate(frames):
        ring.write(slot, frame)
    return ring


def reference(network: PreparedNetwork, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(network.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"frames": windows})
    return np.asarray(scores)


def test_scores_are_those_of_onnx_runtime(network: PreparedNetwork, session: OpenVINOSession) -> None:
    for seed in range(5):
        frames = clip(seed)
        scores = session.infer([filled_ring(session, frames).window(0)])
        assert scores.shape == (1, len(LABELS))
        assert np.abs(scores - reference(network, frames[np.newaxis])).max() < 1e-5
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_several_windows_are_answered_row_by_row_in_their_order(
    network: PreparedNetwork, session: OpenVINOSession
) -> None:
    clips = np.stack([clip(seed) for seed in (11, 12, 13)])
    scores = session.infer([filled_ring(session, frames).window(0) for frames in clips])
    assert scores.shape == (3, len(LABELS))
    assert np.abs(scores - reference(network, clips)).max() < 1e-5
    assert np.ptp(scores, axis=0).max() > 0.01, "the clips were to differ"


def test_every_rotation_of_the_ring_is_a_window_from_its_oldest_frame(
    network: PreparedNetwork, session: OpenVINOSession
) -> None:
    frames = clip(3)
    ring = filled_ring(session, frames)
    for first in range(FRAMES):
        scores = session.infer([ring.window(first)])
        assert np.abs(scores - reference(network, np.roll(frames, -first, axis=0)[np.newaxis])).max() < 1e-5


def test_the_window_is_read_where_it_lies(network: PreparedNetwork, session: OpenVINOSession) -> None:
    ring = filled_ring(session, clip(1))
    window = ring.window(0)
    before = session.infer([window])
    assert np.shares_memory(session._request.get_input_tensor().data, window)
    for slot, frame in enumerate(clip(2)):
        ring.write(slot, frame)
    after = session.infer([window])
    assert np.abs(after - before).max() > 0.01
    assert np.abs(after - reference(network, clip(2)[np.newaxis])).max() < 1e-5


def test_an_inference_allocates_nothing_of_a_windows_size(session: OpenVINOSession) -> None:
    window = filled_ring(session, clip(1)).window(0)
    session.infer([window])
    tracemalloc.start()
    try:
        for _ in range(3):
            session.infer([window])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < WINDOW_BYTES / 4


def test_scores_handed_out_stay_as_they_were_when_the_next_window_is_run(session: OpenVINOSession) -> None:
    first = session.infer([filled_ring(session, clip(1)).window(0)])
    kept = first.copy()
    session.infer([filled_ring(session, clip(2)).window(0)])
    assert np.array_equal(first, kept)


def test_the_session_says_on_what_and_how_it_runs(network: PreparedNetwork, session: OpenVINOSession) -> None:
    assert (session.backend, session.device, session.precision) == ("openvino", "CPU", "fp32")
    automatic = OpenVINOBackend().load(network, LoadOptions(device="cpu"))
    assert automatic.device == "CPU"
    assert automatic.precision in ("fp32", "fp16", "bf16")
    automatic.close()


def test_a_window_of_another_size_is_a_backend_error_that_names_the_network(session: OpenVINOSession) -> None:
    with pytest.raises(BackendError, match="openvino failed on model"):
        session.infer([np.zeros((FRAMES, SIZE, SIZE + 1, 3), np.uint8)])


def test_closing_twice_is_allowed_and_using_it_afterwards_is_a_backend_error(session: OpenVINOSession) -> None:
    window = filled_ring(session, clip(1)).window(0)
    session.close()
    session.close()
    with pytest.raises(BackendError):
        session.infer([window])


def test_a_precision_that_the_device_has_not_is_refused_with_those_it_has(network: PreparedNetwork) -> None:
    offered = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    missing = [precision for precision in ("fp16", "bf16") if precision.upper() not in offered]
    if not missing:
        pytest.skip("this CPU has every precision")
    with pytest.raises(BackendError, match=f"precision {missing[0]} is not offered by CPU.*fp32.*auto"):
        OpenVINOBackend().load(network, LoadOptions(precision=missing[0]))


@pytest.mark.parametrize("device", ["GPU", "NPU"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(network: PreparedNetwork, device: str) -> None:
    if any(name.startswith(device) for name in openvino.Core().available_devices):
        pytest.skip(f"there is a {device} here")
    for precision in ("auto", "fp16"):
        with pytest.raises(BackendError, match=rf"cannot load model on {device} \(devices here: .*CPU"):
            OpenVINOBackend().load(network, LoadOptions(device.lower(), precision))


def test_a_model_that_it_cannot_read_is_a_backend_error_in_one_line(network: PreparedNetwork) -> None:
    with pytest.raises(BackendError, match="OpenVINO cannot load model on CPU") as caught:
        OpenVINOBackend().load(
            replace(network, model=network.model[: len(network.model) // 2]), LoadOptions(precision="fp32")
        )
    assert "\n" not in str(caught.value)
    assert "leave device empty" not in str(caught.value)


def test_operators_that_openvino_lacks_are_named_with_the_other_exporter(network: PreparedNetwork) -> None:
    model = onnx.load_model_from_string(network.model)
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Sparkle", ["before"], ["glitter"], domain="of.my.own"))
    model.graph.node.append(onnx.helper.make_node("Shimmer", ["glitter"], [output], domain="of.my.own"))
    model.opset_import.append(onnx.helper.make_opsetid("of.my.own", 1))
    with pytest.raises(BackendError) as caught:
        OpenVINOBackend().load(replace(network, model=model.SerializeToString()), LoadOptions(precision="fp32"))
    message = str(caught.value)
    assert "of.my.own.Sparkle" in message
    assert "of.my.own.Shimmer" in message
    assert "dynamo=True in place of dynamo=False or the reverse" in message
    assert "leave device empty" not in message
    assert "\n" not in message


def test_an_openvino_that_cannot_be_imported_is_a_backend_error(
    network: PreparedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"OpenVINO cannot be imported.*pip install.* openvino"):
        OpenVINOBackend().load(network)


@pytest.mark.parametrize("device", ["", "CPU", "cpu", "GPU", "GPU.1", "NPU"])
def test_devices_of_openvino_are_taken_in_any_spelling(device: str) -> None:
    assert OpenVINOBackend().unavailable(device) is None


def test_a_device_and_a_precision_are_refused_for_what_is_here() -> None:
    backend = OpenVINOBackend()
    offered = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in ("fp32", "fp16", "bf16"):
        assert (backend.unsupported("cpu", precision) is None) is (precision.upper() in offered)
    assert backend.unsupported("", "auto") is None
    for device in {"GPU", "NPU"} - {name.split(".")[0] for name in openvino.Core().available_devices}:
        assert backend.unsupported(device, "auto") == f"there is no device {device} here, but " + (
            f"{', '.join(openvino.Core().available_devices)}; leave device empty for CPU"
        )


@pytest.mark.parametrize("device", ["0", "CUDA", "TPU.0"])
def test_other_devices_are_named_with_the_ones_it_knows(device: str) -> None:
    reason = OpenVINOBackend().unavailable(device)
    assert reason is not None
    assert f"'{device}'" in reason
    assert "CPU, GPU, NPU" in reason


def test_the_prepared_file_is_not_needed_once_it_is_loaded(tmp_path: Path) -> None:
    path = save_random_network(tmp_path, LABELS, frames=FRAMES, size=SIZE)
    network = prepare(resolve(NetworkRequest(model=str(path))))
    path.unlink()
    session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    assert session.infer([filled_ring(session, clip(1)).window(0)]).shape == (1, len(LABELS))
    session.close()
