"""Tiny networks, made on the spot, and the original model's scores worked out independently of our preparation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
Build = Callable[..., ModelProto]

T, H, W, CLASSES = 4, 10, 8, 5


def _weights(seed: int, **shapes: tuple[int, ...]) -> list[TensorProto]:
    rng = np.random.default_rng(seed)
    return [
        numpy_helper.from_array(rng.normal(0, 0.6, shape).astype(np.float32), name) for name, shape in shapes.items()
    ]


def _constant(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def make_model(
    nodes: list[Any],
    initializers: list[TensorProto],
    *,
    shape: list[Any],
    outputs: dict[str, list[Any]],
    opset: int = 13,
    element: int = TensorProto.FLOAT,
    input_name: str = "video",
) -> ModelProto:
    """A model with one input and float outputs."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, element, shape)],
        [helper.make_tensor_value_info(name, element, dims) for name, dims in outputs.items()],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _ending(ending: str, opset: int) -> list[Any]:
    """Nodes from `logits` to `out`."""
    match ending:
        case "logits":
            return [helper.make_node("Identity", ["logits"], ["out"])]
        case "softmax":
            return [helper.make_node("Softmax", ["logits"], ["out"], axis=1)]
        case "softmax_reshape":
            return [
                helper.make_node("Softmax", ["logits"], ["p"], axis=1),
                helper.make_node("Flatten", ["p"], ["q"], axis=1),
                helper.make_node("Identity", ["q"], ["out"]),
            ]
        case "log_softmax":
            return [helper.make_node("LogSoftmax", ["logits"], ["out"], axis=1)]
        case "sigmoid":
            return [helper.make_node("Sigmoid", ["logits"], ["out"])]
        case "exp_sum_div":
            assert opset >= 13
            return [
                helper.make_node("Exp", ["logits"], ["e"]),
                helper.make_node("ReduceSum", ["e", "last"], ["s"], keepdims=1),
                helper.make_node("Div", ["e", "s"], ["out"]),
            ]
    raise ValueError(ending)


@pytest.fixture(name="conv3d", scope="session")
def conv3d_fixture() -> Build:
    """A 3D-CNN on [1, 3, T, H, W] that ends in Reshape([1, -1]), as exporters write it."""

    def build(
        ending: str = "logits", *, opset: int = 13, batch: int | str = 1, seed: int = 0, **options: Any
    ) -> ModelProto:
        source = options.get("input_name", "video")
        nodes = [
            helper.make_node("Conv", [source, "w"], ["c"], kernel_shape=[3, 3, 3], pads=[1] * 6),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Reshape", ["g", "target"], ["f"]),
            helper.make_node("Gemm", ["f", "fc", "b"], ["logits"], transB=1),
            *_ending(ending, opset),
        ]
        weights = _weights(seed, w=(7, 3, 3, 3, 3), fc=(CLASSES, 7), b=(CLASSES,))
        constants = [_constant("target", [1, -1] if batch == 1 else [0, -1]), _constant("last", [1])]
        shape = options.pop("shape", [batch, 3, T, H, W])
        return make_model(
            nodes, weights + constants, shape=shape, outputs={"out": [batch, CLASSES]}, opset=opset, **options
        )

    return build


@pytest.fixture(name="segments", scope="session")
def segments_fixture() -> Build:
    """A 2D-CNN over [1, T, 3, H, W], averaged over time: time is merged into the batch and split off again."""

    def build(*, batch: int = 1, seed: int = 0, shape: list[Any] | None = None) -> ModelProto:
        nodes = [
            helper.make_node("Reshape", ["video", "merged"], ["m"]),
            helper.make_node("Conv", ["m", "w"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Squeeze", ["g"], ["f"]),
            helper.make_node("Gemm", ["f", "fc"], ["l"], transB=1),
            helper.make_node("Reshape", ["l", "split"], ["s"]),
            helper.make_node("ReduceMean", ["s"], ["out"], axes=[1], keepdims=0),
        ]
        constants = [_constant("merged", [-1, 3, H, W]), _constant("split", [1, T, CLASSES])]
        weights = _weights(seed, w=(7, 3, 3, 3), fc=(CLASSES, 7))
        return make_model(
            nodes, weights + constants, shape=shape or [batch, T, 3, H, W], outputs={"out": [batch, CLASSES]}
        )

    return build


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model (and, if given, its labels and network.yaml) into a folder; gives the model's path."""

    def write(model: ModelProto, *, labels: str | None = None, yaml: str | None = None, name: str = "net.onnx") -> Path:
        onnx.save_model(model, str(tmp_path / name))
        if labels is not None:
            (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
        if yaml is not None:
            (tmp_path / "network.yaml").write_text(yaml, encoding="utf-8")
        return tmp_path / name

    return write


def run(model: bytes, feed: Array) -> Array:
    """The one output of a serialized model for its one input, from ONNX Runtime."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: feed})
    return np.asarray(output)


@pytest.fixture(scope="session")
def run_model() -> Callable[[bytes, Array], Array]:
    """`run`, for the tests."""
    return run


@pytest.fixture(scope="session")
def expected_scores() -> Callable[..., Array]:
    """The original model's scores: normalization and softmax in numpy, one window at a time."""

    def work_out(
        model: ModelProto,
        frames: Array,
        *,
        layout: str = "NCTHW",
        mean: tuple[float, ...] = (0.4344705882352941, 0.4050980392156863, 0.3774901960784314),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        softmax: bool = True,
        dtype: Any = np.float32,
    ) -> Array:
        colors = (frames.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
        colors = colors.transpose(0, 4, 1, 2, 3) if layout == "NCTHW" else colors.transpose(0, 1, 4, 2, 3)
        serialized = model.SerializeToString()
        outputs = [run(serialized, window[None].astype(dtype)) for window in colors]
        raw = np.concatenate([output.reshape(1, -1) for output in outputs]).astype(np.float64)
        if not softmax:
            return raw
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    return work_out


@pytest.fixture
def windows() -> Array:
    """Three windows of random frames: uint8 [3, T, H, W, 3]."""
    return np.random.default_rng(7).integers(0, 256, (3, T, H, W, 3), np.uint8)
