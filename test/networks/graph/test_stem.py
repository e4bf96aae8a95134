from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.networks.graph.stem import fold_temporal_stem

Array = NDArray[Any]
Run = Callable[[bytes, Array], Array]
node = helper.make_node


def stem_model(
    kernel: tuple[int, int, int] = (7, 7, 7),
    strides: tuple[int, int, int] = (1, 2, 2),
    pads: tuple[int, ...] = (3, 3, 3, 3, 3, 3),
    *,
    size: tuple[int, int, int] = (8, 20, 18),
    between: tuple[str, ...] = ("Relu",),
    pool: dict[str, Any] | None = None,
    channels: int = 3,
    opset: int = 13,
    **conv: Any,
) -> ModelProto:
    """Conv -> `between` -> MaxPool -> mean -> logits, on [batch, channels, T, H, W]."""
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": rng.normal(0, 0.1, (6, channels, *kernel)),
        "b": rng.normal(0, 0.1, 6),
        "one": rng.uniform(0.5, 1.5, 6),
        "zero": rng.normal(0, 0.1, 6),
        "fc": rng.normal(0, 1, (5, 6)),
        "fb": rng.normal(0, 1, 5),
    }
    nodes = [node("Conv", ["x", "w", "b"], ["t0"], kernel_shape=kernel, strides=strides, pads=pads, **conv)]
    for index, operator in enumerate(between):
        extra = ["one", "zero", "zero", "one"] if operator == "BatchNormalization" else []
        nodes.append(node(operator, [f"t{index}", *extra], [f"t{index + 1}"]))
    pool = pool or {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6}
    nodes += [
        node("MaxPool", [f"t{len(between)}"], ["p"], **pool),
        node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fc", "fb"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def folded(model: ModelProto) -> ModelProto | None:
    copy = onnx.load_model_from_string(model.SerializeToString())
    return copy if fold_temporal_stem(copy) else None


def convolutions(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def assert_equal(model: ModelProto, run_model: Run, batch: int = 2, shape: tuple[int, ...] = (3, 8, 20, 18)) -> None:
    rewritten = folded(model)
    assert rewritten is not None
    onnx.checker.check_model(rewritten, full_check=True)
    (conv,) = convolutions(rewritten)
    assert len(next(a for a in conv.attribute if a.name == "kernel_shape").ints) == 2
    x = np.random.default_rng(1).normal(size=(batch, *shape)).astype(np.float32)
    expected = run_model(model.SerializeToString(), x)
    found = run_model(rewritten.SerializeToString(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17])
@pytest.mark.parametrize("between", [("Relu",), ("BatchNormalization", "Relu"), ()])
def test_the_stem_of_a_3d_resnet(opset: int, between: tuple[str, ...], run_model: Run) -> None:
    assert_equal(stem_model(between=between, opset=opset), run_model)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_kernel_stride_and_padding(data: st.DataObject, run_model: Run) -> None:
    kernel = (data.draw(st.integers(2, 5)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    strides = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)))
    pads = tuple(data.draw(st.integers(0, size - 1)) for size in kernel * 2)
    window = [data.draw(st.integers(1, 3)) for _ in range(3)]
    pool = {
        "kernel_shape": window,
        "strides": [data.draw(st.integers(1, 2)) for _ in range(3)],
        "pads": [data.draw(st.integers(0, size // 2)) for size in window * 2],
    }
    size = (data.draw(st.integers(5, 9)), 12, 11)
    batch = data.draw(st.integers(1, 3))
    # A max-pool longer than what the convolution leaves gives nothing: no network has it, and it is not folded.
    padded = [length + pads[axis] + pads[axis + 3] for axis, length in enumerate(size)]
    left = [(length - kernel[axis]) // strides[axis] + 1 for axis, length in enumerate(padded)]
    around = pool["pads"]
    assume(all(left[axis] + around[axis] + around[axis + 3] >= window[axis] for axis in range(3)))
    assert_equal(stem_model(kernel, strides, pads, size=size, pool=pool), run_model, batch, (3, *size))


R2PLUS1D = {"kernel": (1, 7, 7), "strides": (1, 2, 2), "pads": (0, 3, 3, 0, 3, 3)}


@pytest.mark.parametrize(
    "options",
    [
        R2PLUS1D,
        {"channels": 4},
        {"dilations": [2, 1, 1], "pads": (6, 3, 3, 6, 3, 3)},
        {"between": ("Relu", "Sigmoid", "Relu")},
        {"pool": {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6, "ceil_mode": 1}},
    ],
    ids=["R(2+1)D", "four channels", "dilated", "something else between", "rounded up"],
)
def test_what_is_not_such_a_stem_is_left_alone(options: dict[str, Any]) -> None:
    model = stem_model(**options)
    before = model.SerializeToString()
    assert not fold_temporal_stem(model)
    assert model.SerializeToString() == before


def test_a_stem_with_a_branch_is_left_alone() -> None:
    model = stem_model()
    model.graph.output.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, None))
    assert folded(model) is None


@pytest.mark.parametrize("layout", ["NCTHW", "NTCHW"])
def test_a_whole_network_prepared_with_and_without(layout: str, tmp_path: Path, run_model: Run) -> None:
    model = stem_model(size=(8, 20, 18))
    if layout == "NTCHW":
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 8, 3, 20, 18]))
        model.graph.node.insert(0, node("Transpose", ["v"], ["x"], perm=[0, 2, 1, 3, 4]))
    onnx.save_model(model, str(tmp_path / "net.onnx"))
    spec = resolve(NetworkRequest(model=str(tmp_path / "net.onnx")))
    plain, fast = prepare(spec), prepare(spec, fold_stem=True)
    assert plain.sha256 != fast.sha256
    nodes = onnx.load_model_from_string(fast.model).graph.node
    assert [node.op_type for node in nodes][:4] == ["Cast", "Mul", "Add", "Transpose"]
    frames = np.random.default_rng(2).integers(0, 256, (3, 8, 20, 18, 3), np.uint8)
    np.testing.assert_allclose(run_model(fast.model, frames), run_model(plain.model, frames), rtol=1e-5)


def test_under_openvino_too(run_model: Run) -> None:
    openvino = pytest.importorskip("openvino")
    model = stem_model(between=("BatchNormalization", "Relu"))
    rewritten = folded(model)
    assert rewritten is not None
    x = np.random.default_rng(3).normal(size=(2, 3, 8, 20, 18)).astype(np.float32)
    core = openvino.Core()
    read = core.read_model(rewritten.SerializeToString())
    found = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
    expected = run_model(model.SerializeToString(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
