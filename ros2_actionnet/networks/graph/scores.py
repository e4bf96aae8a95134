"""Converts the output of a network, whatever its last operator, to float32 [B, classes] scores."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, attribute
from ros2_actionnet.networks.spec import BATCH_NAME, OUTPUT_NAME

logger = logging.getLogger(__name__)

Ending = Literal["logits", "probabilities", "log_probabilities", "sigmoid"]

# Nodes that change how the scores are stored but not their values.
TRANSPARENT = ("Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Cast", "Dropout")


def append_scores(graph: Graph, output: str, classes: int, shapes: dict[str, Shape]) -> None:
    """Make tensor `output` the only output `scores`, float32 [B, classes], each row a probability distribution.

    A softmax is added only if the network does not end in one. The scores of a network that ends in a sigmoid are
    independent of each other; they are kept as they are, with a warning.

    Args:
        graph: a graph whose only output is `output`.
        output: the tensor with the network's own scores, of any shape with one dimension that is not 1.
        classes: the length of that dimension.
        shapes: shapes of the tensors for a batch of 1.
    """
    ending = find_ending(graph, output, classes, shapes)
    is_flat = len(shapes[output]) == 2
    element = graph.proto.output[0].type.tensor_type.elem_type
    if graph.new_name(OUTPUT_NAME) != OUTPUT_NAME:
        renamed = graph.new_name("actionnet/output")
        graph.rename(OUTPUT_NAME, renamed)
        output = renamed if output == OUTPUT_NAME else output

    chain = []
    if element != TensorProto.FLOAT:  # before the softmax, so that a float16 network loses no precision in it
        chain.append(helper.make_node("Cast", [output], ["actionnet/float_output"], to=TensorProto.FLOAT))
        output = chain[-1].output[0]
    if not is_flat:
        target = graph.add_constant("actionnet/scores_shape", np.array([-1, classes], np.int64))
        chain.append(helper.make_node("Reshape", [output, target], ["actionnet/flat_output"]))
        output = chain[-1].output[0]
    chain.append(_last_node(ending, output))
    graph.nodes.extend(chain)
    del graph.proto.output[:]
    graph.proto.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [BATCH_NAME, classes]))


def _last_node(ending: Ending, output: str) -> NodeProto:
    """Return the node that converts tensor `output` [B, classes] to the scores."""
    if ending == "logits":
        return helper.make_node("Softmax", [output], [OUTPUT_NAME], axis=1)
    if ending == "log_probabilities":
        return helper.make_node("Exp", [output], [OUTPUT_NAME])
    if ending == "sigmoid":
        logger.warning("the network ends in a sigmoid: its scores are independent of each other and do not sum to 1")
    return helper.make_node("Identity", [output], [OUTPUT_NAME])


def find_ending(graph: Graph, output: str, classes: int, shapes: dict[str, Shape]) -> Ending:
    """Classify the values of tensor `output` by the node that produces them."""
    producers = graph.producers()
    node = producers.get(output)
    while node is not None and node.op_type in TRANSPARENT:
        node = producers.get(node.input[0])
    if node is None:
        return "logits"
    if node.op_type == "Sigmoid":
        return "sigmoid"
    if node.op_type == "Div" and _divides_by_own_sum(node, producers):
        return "probabilities"
    if node.op_type not in ("Softmax", "LogSoftmax") or not _is_over_classes(node, classes, shapes, graph.opset):
        return "logits"
    return "probabilities" if node.op_type == "Softmax" else "log_probabilities"


def _is_over_classes(node: NodeProto, classes: int, shapes: dict[str, Shape], opset: int) -> bool:
    """Return True if a Softmax or LogSoftmax normalizes over the classes and not over some other dimension."""
    shape = shapes.get(node.input[0])
    if not shape:
        return True
    axis = int(attribute(node, "axis", -1 if opset >= 13 else 1)) % len(shape)
    if opset >= 13:
        return shape[axis] == classes
    # Before opset 13, Softmax normalized over all dimensions from `axis` on.
    return [size for size in shape[axis:] if size != 1] == [classes]


def _divides_by_own_sum(node: NodeProto, producers: dict[str, NodeProto]) -> bool:
    """Return True if a Div is the end of an explicit softmax: Exp(x) / ReduceSum(Exp(x))."""
    above, below = (producers.get(name) for name in node.input)
    if above is None or below is None:
        return False
    is_sum = below.op_type == "ReduceSum" and below.input[0] == above.output[0]
    return bool(is_sum and above.op_type == "Exp")
