from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.graph.half_precision import to_half_precision
from ros2_actionnet.networks.graph.onnx_graph import Graph
from support.larger_networks import save_attention_network

Array = NDArray[Any]
Run = Callable[[bytes, Array], Array]
Build = Callable[..., ModelProto]
Save = Callable[..., Path]

node = helper.make_node
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
ARITHMETIC = ("Conv", "Gemm", "MatMul")


def prepared(path: Path) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(path))))


def half_of(network: PreparedNetwork) -> ModelProto:
    model = onnx.load_model_from_string(network.model)
    to_half_precision(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def window_for(network: PreparedNetwork, batch: int = 1) -> Array:
    shape = (batch, network.frames, network.height, network.width, 3)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def types_of(model: ModelProto, *kinds: str) -> set[int]:
    """The types of what nodes of these kinds take, shapes and axes aside."""
    graph = Graph(model)
    types = graph.infer_types()
    taken = {types[name] for item in graph.nodes if item.op_type in kinds for name in item.input if name}
    return taken - {TensorProto.INT64}


def assert_close(run_model: Run, network: PreparedNetwork, half: ModelProto, windows: Array, tolerance: float) -> None:
    """The scores in fp16 are those in fp32."""
    windows = windows[: network.max_batch]
    exact, rounded = run_model(network.model, windows), run_model(half.SerializeToString(), windows)
    np.testing.assert_allclose(rounded, exact, atol=tolerance)


def decibels(exact: Array, rounded: Array) -> float:
    """How far under the scores the error is."""
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - rounded)))


def test_camera_motion_scores_as_in_fp32(run_model: Run) -> None:
    network = prepare(resolve(NetworkRequest("camera_motion")))
    model = half_of(network)
    assert types_of(model, *ARITHMETIC) == {HALF}
    window = window_for(network, batch=3)
    exact, rounded = run_model(network.model, window), run_model(model.SerializeToString(), window)
    assert rounded.shape == exact.shape == (3, network.num_classes)
    assert 45 < decibels(exact, rounded) < 140


@pytest.mark.parametrize("opset", [13, 17])
def test_a_transformer_with_masks_and_tiny_epsilons_scores_as_in_fp32(
    opset: int, tmp_path: Path, run_model: Run
) -> None:
    network = prepared(save_attention_network(tmp_path, opset=opset))
    model = half_of(network)
    assert types_of(model, *ARITHMETIC) == {HALF}
    assert types_of(model, "Pow", "ReduceMean", "Sqrt") == {FLOAT}
    window = window_for(network, batch=2)
    exact, rounded = run_model(network.model, window), run_model(model.SerializeToString(), window)
    assert np.isfinite(rounded).all()
    assert 45 < decibels(exact, rounded) < 100


def test_what_comes_in_and_goes_out_stays_as_it_is(save: Save, conv3d: Build) -> None:
    network = prepared(save(conv3d()))
    before, after = onnx.load_model_from_string(network.model).graph, half_of(network).graph
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)
    assert not [tensor.name for tensor in after.initializer if tensor.data_type == FLOAT and len(tensor.dims) > 1]


@pytest.mark.parametrize("ending", ["logits", "softmax", "softmax_reshape", "log_softmax", "sigmoid", "exp_sum_div"])
def test_the_ending_stays_in_float32(ending: str, save: Save, conv3d: Build, windows: Array, run_model: Run) -> None:
    network = prepared(save(conv3d(ending)))
    model = half_of(network)
    assert types_of(model, "Softmax", "LogSoftmax", "Sigmoid", "Exp", "Div", "ReduceSum") == {FLOAT}
    assert types_of(model, "Conv", "Gemm") == {HALF}
    assert_close(run_model, network, model, windows, 1e-3)


def test_a_network_that_is_fp16_already_stays_as_it_is(
    save: Save, conv3d: Build, windows: Array, run_model: Run
) -> None:
    model = conv3d(element=HALF)
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    network = prepared(save(model))
    half = half_of(network)
    assert [item.op_type for item in half.graph.node] == [
        item.op_type for item in onnx.load_model_from_string(network.model).graph.node
    ]
    np.testing.assert_array_equal(run_model(half.SerializeToString(), windows), run_model(network.model, windows))


@pytest.fixture(name="extended")
def extended_fixture(save: Save, conv3d: Build) -> Callable[..., PreparedNetwork]:
    """`conv3d`, with nodes between its Relu `r` and its pooling, which make `z` of `y`; and their constants."""

    def build(*nodes: Any, opset: int = 13, **constants: Any) -> PreparedNetwork:
        model = conv3d(opset=opset)
        relu = next(item for item in model.graph.node if item.op_type == "Relu")
        pool = next(item for item in model.graph.node if item.op_type == "GlobalAveragePool")
        relu.output[0], pool.input[0] = "y", "z"
        place = list(model.graph.node).index(pool)
        for item in reversed(nodes):
            model.graph.node.insert(place, item)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )
        return prepared(save(model))

    return build


def test_a_bound_beyond_fp16_becomes_fp16s_own(
    extended: Callable[..., PreparedNetwork], windows: Array, run_model: Run
) -> None:
    low, high = np.float32(0.1), np.finfo(np.float32).max
    network = extended(node("Clip", ["y", "low", "high"], ["z"]), low=low, high=high)
    model = half_of(network)
    bounds = [
        numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name.startswith("half/high")
    ]
    assert [bound.item() for bound in bounds] == [65504]
    assert_close(run_model, network, model, windows, 1e-3)


def test_a_weight_beyond_fp16_is_refused_with_its_name_and_size(extended: Callable[..., PreparedNetwork]) -> None:
    network = extended(node("Mul", ["y", "gain"], ["z"], name="amplifier"), gain=np.float32(7e4))
    with pytest.raises(NetworkError, match=r"Mul 'amplifier' has the weight 'gain', which reaches 7e\+04; .* fp32"):
        half_of(network)


def test_what_is_worked_out_from_sizes_stays_in_float32(
    extended: Callable[..., PreparedNetwork], windows: Array, run_model: Run
) -> None:
    # The number of entries, 2240 a window, is not to be had in fp16, nor is 4097.
    nodes = [
        node("Shape", ["y"], ["shape"]),
        node("Cast", ["shape"], ["sizes"], to=FLOAT),
        node("Mul", ["sizes", "many"], ["large"]),
        node("Cast", ["large"], ["whole"], to=TensorProto.INT64),
        node("Div", ["whole", "count"], ["again"]),
        node("Expand", ["y", "again"], ["z"]),
    ]
    network = extended(*nodes, many=np.float32(4097), count=np.int64(4097))
    model = half_of(network)
    assert types_of(model, "Mul") == {FLOAT}
    assert_close(run_model, network, model, windows, 1e-3)


def test_operators_that_onnx_has_in_float32_alone_get_float32(
    extended: Callable[..., PreparedNetwork], windows: Array, run_model: Run
) -> None:
    nodes = [
        node("Resize", ["y", "", "scales"], ["wide"], mode="nearest"),  # its scales are float32, whatever it resizes
        node("QuantizeLinear", ["wide", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["z"]),
    ]
    scales = np.array([1, 1, 1, 2, 2], np.float32)
    network = extended(*nodes, scales=scales, step=np.float32(0.02), zero=np.uint8(0))
    model = half_of(network)
    assert types_of(model, "DequantizeLinear") == {FLOAT, TensorProto.UINT8}
    assert_close(run_model, network, model, windows, 3e-3)


def test_a_batch_normalization_is_rewritten_too(
    extended: Callable[..., PreparedNetwork], windows: Array, run_model: Run
) -> None:
    rng = np.random.default_rng(0)
    vectors = {name: rng.uniform(0.5, 1.5, 7).astype(np.float32) for name in ("scale", "shift", "mean", "variance")}
    network = extended(node("BatchNormalization", ["y", *vectors], ["z"]), **vectors, opset=15)
    model = half_of(network)
    assert types_of(model, "BatchNormalization") == {HALF}
    assert_close(run_model, network, model, windows, 1e-3)


def test_control_flow_is_refused_with_the_remedy(extended: Callable[..., PreparedNetwork]) -> None:
    branch = helper.make_graph(
        [node("Neg", ["y"], ["n"])], "branch", [], [helper.make_tensor_value_info("n", FLOAT, None)]
    )
    network = extended(
        node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch, name="choice"), yes=np.bool_(1)
    )
    with pytest.raises(NetworkError, match=r"If 'choice' has a graph of its own.*set precision fp32"):
        half_of(network)


def test_a_tensor_that_two_precisions_need_is_cast_once(extended: Callable[..., PreparedNetwork]) -> None:
    network = extended(
        node("Exp", ["y"], ["e"]),
        node("Log", ["y"], ["l"]),
        node("Conv", ["e", "w1"], ["c1"], kernel_shape=[1, 1, 1]),
        node("Conv", ["e", "w1"], ["c2"], kernel_shape=[1, 1, 1]),
        node("Sum", ["c1", "c2", "l"], ["z"]),
        w1=np.eye(7, dtype=np.float32).reshape(7, 7, 1, 1, 1),
    )
    casts = [item for item in half_of(network).graph.node if item.op_type == "Cast"]
    assert len({(item.input[0], item.attribute[0].i) for item in casts}) == len(casts)
    assert [item.input[0] for item in casts].count("y") == 1
    assert [item.input[0] for item in casts].count("e") == 1
