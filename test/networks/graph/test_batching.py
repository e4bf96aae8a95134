"""What may be batched and what must not: each model is one window's, batched only if the windows stay apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet.networks.graph.batching import make_batch_dynamic
from ros2_actionnet.networks.graph.onnx_graph import Graph

Array = NDArray[Any]
node = helper.make_node


def model_of(nodes: list[NodeProto], opset: int = 13, **constants: list[int] | Array | np.generic) -> ModelProto:
    """A model from x [1, 4, 6] to y [1, n]."""
    tensors = [
        numpy_helper.from_array(np.array(value, np.int64) if isinstance(value, list) else np.asarray(value), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def in_batches(model: ModelProto, x: Array, run_model: Callable[[bytes, Array], Array]) -> Array:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return run_model(model.SerializeToString(), x)


WEIGHT = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
SQUARE = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
KERNEL = np.random.default_rng(3).normal(size=(6, 6, 3)).astype(np.float32)

SEPARABLE: dict[str, ModelProto] = {
    "flattened": model_of([node("Reshape", ["x", "s"], ["y"])], s=[1, -1]),
    "fixed target": model_of([node("Reshape", ["x", "s"], ["y"])], s=[1, 24]),
    "time merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("MatMul", ["m", "w"], ["l"]),
            node("Reshape", ["l", "b"], ["s"]),
            node("ReduceMax", ["s"], ["y"], axes=[1], keepdims=0),
        ],
        a=[4, 6],
        b=[1, 4, 6],
        w=WEIGHT,
    ),
    "batch in the middle": model_of(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("Reshape", ["t", "heads"], ["h"]),
            node("Transpose", ["h"], ["q"], perm=[1, 0, 2]),
            node("Transpose", ["h"], ["k"], perm=[1, 2, 0]),
            node("MatMul", ["q", "k"], ["l"]),
            node("Softmax", ["l"], ["p"], axis=-1),
            node("MatMul", ["p", "q"], ["o"]),
            node("Transpose", ["o"], ["r"], perm=[1, 0, 2]),
            node("Reshape", ["r", "back"], ["u"]),
            node("ReduceMean", ["u"], ["y"], axes=[0], keepdims=0),
        ],
        heads=[4, 2, 3],
        back=[4, 1, 6],
    ),
    "squeeze of all ones": model_of(
        [
            node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
            node("Squeeze", ["m"], ["s"]),
            node("Unsqueeze", ["s", "last"], ["y3"]),
            node("Reshape", ["y3", "flat"], ["y"]),
        ],
        last=[-1],
        flat=[1, 6],
    ),
    "padded and cut in time": model_of(
        [
            node("Pad", ["x", "pads"], ["p"]),
            node("Slice", ["p", "from_", "to", "axes"], ["s"]),
            node("Concat", ["x", "s"], ["c"], axis=2),
            node("Flatten", ["c"], ["y"]),
        ],
        pads=[0, 1, 0, 0, 1, 0],
        from_=[0],
        to=[4],
        axes=[1],
    ),
    "quantized": model_of(
        [
            node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
            node("Reshape", ["d", "a"], ["m"]),
            node("QuantizeLinear", ["m", "each", "zeros"], ["qm"], axis=1),
            node("DequantizeLinear", ["qm", "each", "zeros"], ["dm"], axis=1),
            node("Reshape", ["dm", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
        one=np.float32(0.05),
        zero=np.uint8(128),
        each=np.linspace(0.02, 0.07, 6, dtype=np.float32),
        zeros=np.full(6, 128, np.uint8),
    ),
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_windows_in_a_batch_give_what_they_give_alone(name: str, run_model: Callable[[bytes, Array], Array]) -> None:
    original = SEPARABLE[name].SerializeToString()
    model = onnx.load_model_from_string(original)
    assert make_batch_dynamic(Graph(model))
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    alone = np.concatenate([run_model(original, window[None]).reshape(1, -1) for window in x])
    np.testing.assert_allclose(in_batches(model, x, run_model), alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(in_batches(model, x[:1], run_model), alone[:1], rtol=1e-5, atol=1e-6)


MIXING: dict[str, ModelProto] = {
    "mean over the batch's dimension, added back": model_of(
        [
            node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            node("Add", ["x", "m"], ["a"]),
            node("Flatten", ["a"], ["y"]),
        ]
    ),
    "softmax over time that is merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("Softmax", ["m"], ["p"], axis=0),
            node("Reshape", ["p", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
    ),
    "attention over time that is merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("Transpose", ["m"], ["t"]),
            node("MatMul", ["m", "t"], ["l"]),
            node("MatMul", ["l", "m"], ["o"]),
            node("Reshape", ["o", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
    ),
    "convolution along time that is merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("Transpose", ["m"], ["t"]),
            node("Unsqueeze", ["t", "first"], ["u"]),
            node("Conv", ["u", "w"], ["c"], kernel_shape=[3], pads=[1, 1]),
            node("Transpose", ["c"], ["v"], perm=[0, 2, 1]),
            node("Reshape", ["v", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
        first=[0],
        w=KERNEL,
    ),
    "shift along time that is merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("Pad", ["m", "pads"], ["p"]),
            node("Reshape", ["p", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
        pads=[1, 0, -1, 0],
    ),
    "time reversed while merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("Slice", ["m", "from_", "to", "axes", "steps"], ["r"]),
            node("Reshape", ["r", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
        from_=[-1],
        to=[-(2**31)],
        axes=[0],
        steps=[-1],
    ),
    "a weight for each moment, time merged into the batch": model_of(
        [
            node("Reshape", ["x", "a"], ["m"]),
            node("MatMul", ["w", "m"], ["l"]),
            node("Reshape", ["l", "b"], ["y"]),
        ],
        a=[4, 6],
        b=[1, 24],
        w=SQUARE,
    ),
    "an operator that is not known": model_of(
        [node("CumSum", ["x", "axis"], ["c"]), node("Flatten", ["c"], ["y"])], axis=[0]
    ),
    "frames inside a branch": model_of(
        [
            node(
                "If",
                ["yes"],
                ["m"],
                then_branch=helper.make_graph(
                    [node("ReduceMean", ["x"], ["t"], axes=[0], keepdims=1)],
                    "then",
                    [],
                    [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
                ),
                else_branch=helper.make_graph(
                    [node("Identity", ["x"], ["e"])],
                    "else",
                    [],
                    [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)],
                ),
            ),
            node("Add", ["x", "m"], ["a"]),
            node("Flatten", ["a"], ["y"]),
        ],
        yes=np.array(True),
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_what_could_mix_windows_is_left_as_it_was(name: str) -> None:
    model = onnx.load_model_from_string(MIXING[name].SerializeToString())
    before = [node.SerializeToString() for node in model.graph.node]
    assert not make_batch_dynamic(Graph(model))
    assert [node.SerializeToString() for node in model.graph.node] == before
