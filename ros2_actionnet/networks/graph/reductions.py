"""Writes reductions out that OpenVINO gets wrong: in opsets 13 to 17 it ignores their axes, and reduces over all."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from ros2_actionnet.networks.graph.onnx_graph import Graph, attribute

MISREAD = frozenset(["ReduceL1", "ReduceLogSum", "ReduceLogSumExp"])


def write_out_reductions(graph: Graph) -> None:
    """Replace ReduceL1, ReduceLogSum and ReduceLogSumExp over some axes by operators that all backends read alike."""
    if 13 <= graph.opset <= 17:
        for node in [node for node in graph.nodes if node.op_type in MISREAD and node.domain in ("", "ai.onnx")]:
            if attribute(node, "axes") is not None:
                graph.replace(node, _written_out(graph, node))


def _written_out(graph: Graph, node: NodeProto) -> list[NodeProto]:
    (source,), (result,) = node.input, node.output
    axes, keepdims = list(attribute(node, "axes")), int(attribute(node, "keepdims", 1))
    places = graph.add_constant("actionnet/axes", np.array(axes, np.int64))
    name = {part: graph.new_name(f"{result}/{part}") for part in ("top", "kept", "shifted", "each", "sum", "log")}

    def summed(above: str, output: str) -> NodeProto:
        return helper.make_node("ReduceSum", [above, places], [output], keepdims=keepdims)

    if node.op_type == "ReduceL1":
        return [helper.make_node("Abs", [source], [name["each"]]), summed(name["each"], result)]
    if node.op_type == "ReduceLogSum":
        return [summed(source, name["sum"]), helper.make_node("Log", [name["sum"]], [result])]
    return [
        # Less the largest, so that no exponential is infinite.
        helper.make_node("ReduceMax", [source], [name["top"]], axes=axes, keepdims=1),
        helper.make_node("ReduceMax", [source], [name["kept"]], axes=axes, keepdims=keepdims),
        helper.make_node("Sub", [source, name["top"]], [name["shifted"]]),
        helper.make_node("Exp", [name["shifted"]], [name["each"]]),
        summed(name["each"], name["sum"]),
        helper.make_node("Log", [name["sum"]], [name["log"]]),
        helper.make_node("Add", [name["log"], name["kept"]], [result]),
    ]
