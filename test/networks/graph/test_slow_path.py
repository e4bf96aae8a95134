"""SlowFast's second input, made from the frames of the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ros2_actionnet import ActionNet
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.networks.graph.slow_path import slow_frames

Array = NDArray[Any]
node = helper.make_node
T, H, W, CLASSES = 11, 6, 5, 4
MEAN = np.array([0.4344705882352941, 0.4050980392156863, 0.3774901960784314])
# Every frame in a color of its own, so that scores depend on which frames are taken.
COLORS = np.random.default_rng(1).integers(0, 200, (T, 1, 1, 3), np.uint8)
WINDOW = COLORS + np.random.default_rng(2).integers(0, 56, (T, H, W, 3), np.uint8)
# torch.linspace(0, 10, 4).long(): 0, 3.33, 6.67, 10
SLOW = [0, 3, 6, 10]


def slowfast(slow: list[Any], *, fast: list[Any] | None = None, time: int = 2, backward: bool = False) -> ModelProto:
    """A network of two inputs: the mean color of each frame, of both paths, times a matrix."""
    fast = fast or ["n", 3, T, H, W]
    weights = np.random.default_rng(0).normal(0, 1, (3 * (T + len(SLOW)), CLASSES)).astype(np.float32)
    paths = ["slow", "fast"]
    nodes = [node("ReduceMean", [path], [f"{path} colors"], axes=[3, 4], keepdims=0) for path in paths]
    nodes += [
        node("Concat", ["slow colors", "fast colors"], ["both"], axis=time),
        node("Flatten", ["both"], ["row"]),
        node("MatMul", ["row", "weight"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info(*each) for each in (("fast", 1, fast), ("slow", 1, slow))]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs[::-1] if backward else inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def expected(model: ModelProto, perm: tuple[int, ...]) -> Array:
    """Scores of the original model for both inputs, from ONNX Runtime."""
    colors = (WINDOW / 255 - MEAN).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"fast": colors.transpose(perm)[None], "slow": colors[SLOW].transpose(perm)[None]}
    powers = np.exp(session.run(None, feeds)[0][0].astype(np.float64))
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("blob", ["", "input_blob: fast", "input_blob: slow"])
def test_the_slow_path_is_made_of_frames_of_the_fast_one(blob: str, backward: bool, save: Callable[..., Path]) -> None:
    model = slowfast(["n", 3, len(SLOW), H, W], backward=backward)
    with ActionNet(model=str(save(model, yaml=blob)), precision="fp32", skip_frames=0, backend="openvino") as net:
        for frame in WINDOW:
            prediction = net.classify(frame)
    assert prediction is not None
    np.testing.assert_allclose(prediction.scores, expected(model, (3, 0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("batch", ["n", 1])
def test_frames_before_colors(
    batch: int | str, save: Callable[..., Path], run_model: Callable[[bytes, Array], Array]
) -> None:
    model = slowfast([batch, len(SLOW), 3, H, W], fast=[batch, T, 3, H, W], time=1)
    network = prepare(resolve(NetworkRequest(model=str(save(model)))))
    assert (network.frames, network.spec.layout, network.max_batch) == (T, "NTCHW", None)
    found = run_model(network.model, np.stack([WINDOW, WINDOW[::-1]]))
    np.testing.assert_allclose(found[0], expected(model, (0, 3, 1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    "slow",
    [
        ["n", 2, T, H, W],  # optical flow
        ["n", 3, T, H, W],  # another view, or differences of frames
        ["n", 3, T, H, W + 1],
        ["n", 3, "t", H, W],
        ["n", 3, 4, H + 1, W],
        ["n", 80],
    ],
)
def test_other_second_inputs_are_refused_with_the_reason(slow: list[Any], save: Callable[..., Path]) -> None:
    path = save(slowfast(slow))
    with pytest.raises(NetworkError, match=r"needs 2 inputs .*SlowFast .* fewer frames.*Optical flow, .* cannot be"):
        prepare(resolve(NetworkRequest(model=str(path))))


@pytest.mark.parametrize("free", [("fast", "slow"), ("fast",), ("slow",)])
@pytest.mark.parametrize("size", [16, "h"])
def test_a_free_number_of_frames_is_that_at_which_the_paths_join(
    free: tuple[str, ...], size: int | str, save: Callable[..., Path], run_model: Callable[[bytes, Array], Array]
) -> None:
    """As SlowFast has it: the fast path is convolved to as many steps as the slow one has, and they are joined."""
    shapes = {name: ["n", 3, "t" if name in free else count, size, size] for name, count in (("fast", 8), ("slow", 2))}
    random = np.random.default_rng(4)
    weights = {"kernel": (5, 3, 4, 1, 1), "mixed": (CLASSES, 8, 1, 1, 1)}
    nodes = [
        node("Conv", ["fast", "kernel"], ["lateral"], strides=[4, 1, 1]),
        node("Concat", ["slow", "lateral"], ["joined"], axis=1),
        node("Conv", ["joined", "mixed"], ["mixture"]),
        node("GlobalAveragePool", ["mixture"], ["pooled"]),
        node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [
            numpy_helper.from_array(random.normal(0, 1, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    network = prepare(resolve(NetworkRequest(model=str(save(model, yaml="frames: 8\nheight: 16\nwidth: 16")))))
    assert (network.frames, network.max_batch) == (8, None)
    window = random.integers(0, 256, (1, 8, 16, 16, 3), np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    colors = (window / 255 - MEAN).astype(np.float32).transpose(0, 4, 1, 2, 3)
    powers = np.exp(session.run(None, {"fast": colors, "slow": colors[:, :, [0, 7]]})[0].astype(np.float64))
    np.testing.assert_allclose(run_model(network.model, window), powers / powers.sum(), atol=1e-6)


def test_paths_that_are_joined_at_any_number_of_frames_are_refused(save: Callable[..., Path]) -> None:
    model = slowfast(["n", 3, "t", H, W], fast=["n", 3, "t", H, W])
    with pytest.raises(NetworkError, match=r"needs 2 inputs .* `frames: 32`"):
        prepare(resolve(NetworkRequest(model=str(save(model, yaml="frames: 8")))))


def test_the_frames_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for frames in range(2, 34):
        for kept in range(1, frames):
            wanted = torch.linspace(0, frames - 1, kept).long().numpy()
            np.testing.assert_array_equal(slow_frames(frames, kept), wanted, f"{kept} of {frames}")
