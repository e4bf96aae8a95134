"""What is quantized, by which rules, and that the numbers stay near."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import quantize_static

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.graph.quantization import layers_of, quantize, with_named_nodes
from support.int8 import prepared, quantized, windows_for
from support.networks import save_brightness_network

CAMERA_MOTION = prepare(resolve(NetworkRequest("camera_motion")))


def scores_of(
    model: bytes, windows: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(model)
    return np.concatenate([session.run(None, {"frames": window[None]})[0] for window in windows])


@pytest.fixture(name="int8", scope="module")
def int8_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    return quantized(CAMERA_MOTION.spec.model, tmp_path_factory.mktemp("int8"))


def test_camera_motion_keeps_its_scores(int8: PreparedNetwork) -> None:
    assert int8.file is not None
    windows = windows_for(CAMERA_MOTION, 5, seed=1)
    expected, found = scores_of(CAMERA_MOTION.model, windows), scores_of(int8.file.read_bytes(), windows)
    assert np.abs(found - expected).max() < 0.05
    assert np.abs(found - expected).max() > 0


def test_the_rules_of_tensorrt(int8: PreparedNetwork) -> None:
    assert int8.file is not None
    graph = onnx.load(str(int8.file)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    steps = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zero_points = [constants[node.input[2]] for node in steps]
    assert {zero.dtype for zero in zero_points} == {np.dtype(np.int8)}
    assert not any(zero.any() for zero in zero_points)
    makers = {output: node for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 8
    for layer in layers:
        weight = makers[layer.input[1]]
        assert weight.op_type == makers[layer.input[0]].op_type == "DequantizeLinear"
        assert constants[weight.input[1]].shape == (constants[weight.input[0]].shape[0],), "a scale for each channel"
        assert constants[layer.input[2]].dtype == np.float32, "a bias is not quantized"


def test_what_normalizes_frames_and_makes_scores_stays(int8: PreparedNetwork) -> None:
    assert int8.file is not None
    kinds = [node.op_type for node in onnx.load(str(int8.file)).graph.node]
    assert kinds[:3] == ["Cast", "Mul", "Add"] or {"Cast", "Mul", "Add", "Softmax"} <= set(kinds)
    assert kinds.count("QuantizeLinear") == 8


def test_a_layer_left_out_computes_as_before(tmp_path: Path) -> None:
    first, *_ = layers_of(with_named_nodes(CAMERA_MOTION.model))
    network = quantized(CAMERA_MOTION.spec.model, tmp_path, (first,))
    assert network.file is not None
    (conv,) = [node for node in onnx.load(str(network.file)).graph.node if node.name == first]
    original = [node for node in onnx.load_from_string(CAMERA_MOTION.model).graph.node if node.name == first]
    assert list(conv.input) == list(original[0].input)


@pytest.mark.skipif(
    "calibration_cache_path" not in signature(quantize_static).parameters, reason="this ONNX Runtime keeps no ranges"
)
def test_ranges_are_kept_for_the_next_variant(tmp_path: Path) -> None:
    model, ranges = with_named_nodes(CAMERA_MOTION.model), tmp_path / "ranges.json"
    quantize(model, windows_for(CAMERA_MOTION, 3), tmp_path / "a.onnx", (), ranges)
    quantize(model, iter(()), tmp_path / "b.onnx", (), ranges)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_nodes_without_names_get_unique_ones(tmp_path: Path) -> None:
    model = with_named_nodes(prepared(save_brightness_network(tmp_path, ("dark", "bright"))).model)
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert layers_of(model) == ["slope"]


def test_an_opset_without_scales_for_channels(tmp_path: Path) -> None:
    model = with_named_nodes(CAMERA_MOTION.model)
    model.opset_import[0].version = 11
    with pytest.raises(NetworkError, match="has opset 11; int8 needs 13"):
        quantize(model, windows_for(CAMERA_MOTION, 1), tmp_path / "a.onnx", (), tmp_path / "ranges.json")
