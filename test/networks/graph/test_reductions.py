from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ros2_actionnet.networks.graph.onnx_graph import Graph
from ros2_actionnet.networks.graph.reductions import write_out_reductions

WINDOW = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 4, 5)).astype(np.float32)


def reduction(operator: str, opset: int, **attributes: Any) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "reduction",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, WINDOW.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("attributes", [{"axes": [1]}, {"axes": [-1, 1], "keepdims": 0}, {}])
@pytest.mark.parametrize("operator", ["ReduceL1", "ReduceLogSum", "ReduceLogSumExp"])
def test_openvino_reduces_as_onnx_does(operator: str, attributes: dict[str, Any], opset: int) -> None:
    model = reduction(operator, opset, **attributes)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": WINDOW})
    write_out_reductions(Graph(model))
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    (found,) = compiled(WINDOW).values()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-2)  # a CPU may reduce in bfloat16


def test_large_numbers_do_not_overflow() -> None:
    model = reduction("ReduceLogSumExp", 17, axes=[1], keepdims=0)
    write_out_reductions(Graph(model))
    (found,) = ReferenceEvaluator(model).run(None, {"x": 1000 * WINDOW})
    exact = np.logaddexp.reduce(1000 * WINDOW.astype(np.float64), axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
