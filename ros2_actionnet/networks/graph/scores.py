"""Converts the output of a network, whatever its last operator, to float32 [B, classes] scores in [0, 1]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.ending import Ending, find_ending
from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape
from ros2_actionnet.networks.spec import BATCH_NAME, OUTPUT_NAME, Activation, ScoreKind
from ros2_actionnet.system.text import printable


def append_scores(
    graph: Graph, output: str, classes: int, shapes: dict[str, Shape], stated: ScoreKind | None = None
) -> Ending:
    """Make tensor `output` the only output `scores`, float32 [B, classes] in [0, 1]; return what it is taken to be.

    Logits get a softmax. Probabilities, and the scores of a network that ends in a sigmoid, which are independent of
    each other, are kept, and only a constant factor of theirs is undone.

    Args:
        graph: a graph whose only output is `output`.
        output: the tensor with the network's own scores, of any shape with one dimension that is not 1.
        classes: the length of that dimension.
        shapes: shapes of the tensors for a batch of 1.
        stated: what the network gives, if the user says so.
    """
    ending, activation = read_ending(graph, output, classes, shapes, stated)
    is_flat = len(shapes[output]) == 2
    element = graph.proto.output[0].type.tensor_type.elem_type
    if graph.new_name(OUTPUT_NAME) != OUTPUT_NAME:
        renamed = graph.new_name("actionnet/output")
        graph.rename(OUTPUT_NAME, renamed)
        output = renamed if output == OUTPUT_NAME else output

    chain: list[NodeProto] = []

    def append(operator: str, name: str, *constants: str, **attributes: int) -> None:
        above = chain[-1].output[0] if chain else output
        chain.append(helper.make_node(operator, [above, *constants], [name], **attributes))

    if element != TensorProto.FLOAT:  # before the softmax, so that a float16 network loses no precision in it
        append("Cast", "actionnet/float_output", to=TensorProto.FLOAT)
    if not is_flat:
        target = graph.add_constant("actionnet/scores_shape", np.array([-1, classes], np.int64))
        append("Reshape", "actionnet/flat_output", target)
    for operator, value in (("Sub", ending.offset), ("Div", ending.scale)):
        if value != {"Sub": 0, "Div": 1}[operator]:
            constant = graph.add_constant("actionnet/score_range", np.array([value], np.float32))
            append(operator, f"actionnet/scores_{operator.lower()}", constant)
    if activation == "sigmoid":
        append("Sigmoid", OUTPUT_NAME)
    elif activation == "softmax":
        append("Softmax", OUTPUT_NAME, axis=1)
    else:
        append("Identity", OUTPUT_NAME)
    graph.nodes.extend(chain)
    del graph.proto.output[:]
    graph.proto.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [BATCH_NAME, classes]))
    return ending


def read_ending(
    graph: Graph, output: str, classes: int, shapes: dict[str, Shape], stated: ScoreKind | None
) -> tuple[Ending, Activation | None]:
    """Return what tensor `output` is taken to be, and what is added to it; the arguments are as in `append_scores`."""
    found = find_ending(graph, output, classes, shapes)
    if found.fault:
        raise NetworkError(
            f"output '{printable(output)}' {found.fault}. Export the network with its softmax over the classes (dim=-1 "
            "in PyTorch), or without one"
        )
    # What the user states wins; only what the graph says of the same kind, its scale, is used too.
    ending = found if stated in (None, found.kind) else Ending(stated or found.kind)
    if found.kind == "logits" and stated in (None, "sigmoid") and (classes == 1 or (stated and found.certain)):
        # Of one class, a softmax would always give 1; and a sigmoid is stated of a network that ends before it.
        return replace(ending, kind="sigmoid"), "sigmoid"
    return ending, "softmax" if ending.kind == "logits" else None
