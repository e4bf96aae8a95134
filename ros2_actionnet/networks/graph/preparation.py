"""Converts a network to the common signature of all backends, in a short list of steps on its ONNX graph."""

from __future__ import annotations

import logging
from dataclasses import replace
from graphlib import CycleError
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.batching import make_batch_dynamic, takes_any_batch
from ros2_actionnet.networks.graph.external_data import load_checked
from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, attribute, shape_of, sort_nodes, taken_by
from ros2_actionnet.networks.graph.reductions import write_out_reductions
from ros2_actionnet.networks.graph.scores import append_scores
from ros2_actionnet.networks.graph.signature import (
    complete,
    count_classes,
    input_shape,
    output_shape,
    select_input,
    select_output,
)
from ros2_actionnet.networks.graph.slow_path import make_slow_path
from ros2_actionnet.networks.graph.stem import fold_temporal_stem
from ros2_actionnet.networks.labels import labels_for, read_labels
from ros2_actionnet.networks.layout import axes_of
from ros2_actionnet.networks.spec import BATCH_NAME, INPUT_NAME, NetworkSpec, PreparedNetwork
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.text import printable

logger = logging.getLogger(__name__)

# Operators that move entries of their first input, of any type.
MOVES = ("Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")

# The oldest opset whose operators broadcast as the added nodes require.
MIN_OPSET = 7


def prepare_network(spec: NetworkSpec, *, fold_stem: bool = False) -> PreparedNetwork:
    """Implement `ros2_actionnet.networks.prepare`."""
    model = load_model(spec)
    try:
        return _prepare(spec, model, fold_stem=fold_stem)
    except NetworkError:
        raise
    except Exception as error:  # anything that onnx and protobuf raise for a malformed file
        raise NetworkError(f"the model {spec.model} cannot be prepared: {printable(error, 500)}") from error


def load_model(spec: NetworkSpec) -> ModelProto:
    """Load the model of `spec`, with weights from external files beside it.

    Raises:
        NetworkError: the file does not match its checksum, is not a readable ONNX model with a graph, or has weights
            in files that are not in its folder.
    """
    try:
        if spec.sha256:
            check_sha256(spec.model, spec.sha256)
        model = load_checked(spec.model)
    except NetworkError:
        raise
    except Exception as error:  # protobuf's and onnx's own exceptions, and OSError
        raise NetworkError(
            f"the model {spec.model} cannot be read: {printable(error, 500)}. It is damaged or incomplete (a .data "
            "file with its weights must lie beside it); copy, download or export it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise NetworkError(f"the model {spec.model} has no network in it; export it again")
    try:
        for nodes in (model.graph.node, *(function.node for function in model.functions)):
            sort_nodes(nodes)
    except CycleError as error:
        raise NetworkError(
            f"the model {spec.model} has nodes that need each other's results; export it again"
        ) from error
    opset = Graph(model).opset
    if opset < MIN_OPSET:
        raise NetworkError(f"the model {spec.model} has opset {opset}; {MIN_OPSET} or later is needed. Export it again")
    return model


def _prepare(spec: NetworkSpec, model: ModelProto, *, fold_stem: bool) -> PreparedNetwork:
    graph = Graph(model)
    named = select_output(graph, spec)
    graph.keep_only(named)
    output = _dequantized(graph, named)
    names = [value.name for value in graph.inputs]
    if make_slow_path(graph, spec.layout, spec.frames) and spec.input_blob in names:
        spec = replace(spec, input_blob="")
    spec = complete(spec, select_input(graph, spec), named)
    graph.lift_constants()
    is_dynamic = not shape_of(graph.inputs[0]) or shape_of(graph.inputs[0])[0] is None
    graph.fix_input(spec.input_blob, input_shape(spec))
    shapes = graph.infer_shapes()
    shape = output_shape(graph.proto.output[0], shapes.get(output))
    counted = count_classes(spec, shape)
    labels = labels_of(spec, counted)
    classes = len(labels)
    if shape is None or (None in shape and len(shape) != 2):
        output, shape = _flatten(graph, output, shape), (1, classes)
    shapes[output] = shape

    ending = append_scores(graph, output, classes, shapes, spec.scores)
    scores_from: Any = "stated" if spec.scores else "graph" if ending.certain else "assumption"
    spec = replace(spec, scores=ending.kind)
    batches = (is_dynamic and takes_any_batch(graph)) or make_batch_dynamic(graph)
    accept_frames(graph, spec, BATCH_NAME if batches else 1)
    write_out_reductions(graph)
    if not batches:
        graph.proto.output[0].type.tensor_type.shape.dim[0].dim_value = 1
        logger.info(
            "network %s takes one window at a time: it was exported with a fixed batch. "
            "Export it with a dynamic batch to let several streams share it",
            spec.name,
        )
    if fold_stem and not fold_temporal_stem(model):
        logger.info("network %s has no stem that can be folded", spec.name)
    tidy(graph)
    return PreparedNetwork(
        spec,
        labels,
        model.SerializeToString(deterministic=True),
        max_batch=None if batches else 1,
        scores_from=scores_from,
    )


def labels_of(spec: NetworkSpec, classes: int | None) -> tuple[str, ...]:
    """Return the labels of the classes; the label file says how many there are if `classes` is None.

    Raises NetworkError as `labels_for` does, or if nothing tells the number of classes.
    """
    if classes is not None:
        return labels_for(spec.labels, classes, spec.name, is_downloaded=spec.is_downloaded)
    if spec.labels is None:
        raise NetworkError(
            f"{spec.model}: the number of classes in output '{spec.output_blob}' can be told only by running the "
            "network; put a labels.txt beside the model, one label a line, or set `labels`"
        )
    return read_labels(spec.labels)


def _flatten(graph: Graph, output: str, shape: Shape | None) -> str:
    """Flatten `output` to [1, classes] with as many classes as a run gives, for the first inference to count them.

    Return the name of the new output. `shape` is that of `output`, None for an unknown rank: then for one window only.
    """
    flat = graph.new_name("actionnet/row")
    if shape and shape[0] == 1:
        graph.nodes.append(helper.make_node("Flatten", [output], [flat], axis=1))
    else:
        target = graph.add_constant("actionnet/one_row", np.array([1, -1], np.int64))
        graph.nodes.append(helper.make_node("Reshape", [output, target], [flat]))
    graph.proto.output[0].name = flat
    return flat


def _dequantized(graph: Graph, output: str) -> str:
    """Append what undoes a QuantizeLinear that the network ends in, if it does; return the name of the new output."""
    node = graph.producers().get(output)
    if node is None or node.op_type != "QuantizeLinear":
        return output
    name, scale = graph.new_name("actionnet/dequantized"), graph.constant(node.input[1])
    axis = {"axis": attribute(node, "axis")} if attribute(node, "axis") is not None else {}
    graph.nodes.append(helper.make_node("DequantizeLinear", [output, *node.input[1:]], [name], **axis))
    is_half = scale is not None and scale.dtype == np.float16
    graph.proto.output[0].name = name
    graph.proto.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
    return name


def accept_frames(graph: Graph, spec: NetworkSpec, batch: str | int) -> None:
    """Replace the graph's input by `frames`, uint8 [batch, T, H, W, 3], normalized in the graph.

    The Cast comes first: TensorRT accepts uint8 in no other operator. The Transpose comes last, so that a step that
    changes the layout can merge with it. The arithmetic is in float32, whatever the network's own type.
    """
    if graph.new_name(INPUT_NAME) != INPUT_NAME:
        graph.rename(INPUT_NAME, graph.new_name("actionnet/input"))
    (original,) = graph.inputs
    name, element = original.name, original.type.tensor_type.elem_type
    if element not in (TensorProto.FLOAT, TensorProto.FLOAT16) and is_cast_at_once(graph, name):
        element = TensorProto.FLOAT  # the same numbers to its Cast, and no type that TensorRT has not
    mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
    scale = graph.add_constant("actionnet/scale", (1 / (255 * std)).astype(np.float32))
    offset = graph.add_constant("actionnet/offset", (-mean / std).astype(np.float32))
    chain = [helper.make_node("Cast", [INPUT_NAME], ["actionnet/float"], to=TensorProto.FLOAT)]
    if spec.colors == "BGR":
        backwards = graph.add_constant("actionnet/backwards", np.array([2, 1, 0], np.int64))
        chain.append(helper.make_node("Gather", ["actionnet/float", backwards], ["actionnet/bgr"], axis=4))
    chain += [
        helper.make_node("Mul", [chain[-1].output[0], scale], ["actionnet/scaled"]),
        helper.make_node("Add", ["actionnet/scaled", offset], ["actionnet/normalized"]),
    ]
    if element != TensorProto.FLOAT:
        chain.append(helper.make_node("Cast", [chain[-1].output[0]], ["actionnet/cast"], to=element))
    chain += _to_layout(graph, spec, chain[-1].output[0])
    chain[-1].output[0] = name
    graph.prepend(chain)
    shape = [batch, spec.frames, spec.height, spec.width, 3]
    graph.remove_input(name)
    graph.proto.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape))


def _to_layout(graph: Graph, spec: NetworkSpec, source: str) -> list[NodeProto]:
    """Return nodes that bring [B, T, H, W, 3] into the network's layout; there is at least one."""
    assert spec.layout
    axes = axes_of(spec.layout)
    order = ["NTHWC".index(letter) for letter in "".join(axes) if letter != "M"]
    nodes = []
    if order != sorted(order):
        nodes.append(helper.make_node("Transpose", [source], ["actionnet/transposed"], perm=order))
    if len(axes) != len(order):
        target = graph.add_constant("actionnet/input_shape", np.array([-1, *input_shape(spec)[1:]], np.int64))
        nodes.append(helper.make_node("Reshape", ["actionnet/transposed", target], ["actionnet/reshaped"]))
    return nodes or [helper.make_node("Identity", [source], ["actionnet/kept"])]


def is_cast_at_once(graph: Graph, name: str) -> bool:
    """Return True if nothing is computed from a tensor before a Cast: its entries are moved at most."""
    consumers = [node for node in graph.nodes if name in taken_by(node)]
    return bool(consumers) and all(
        node.op_type == "Cast"
        or (
            node.op_type in MOVES
            and node.input[0] == name
            and all(is_cast_at_once(graph, output) for output in node.output)
        )
        for node in consumers
    )


def tidy(graph: Graph) -> None:
    """Leave one input in the graph, and remove stored shapes, which may be valid for a batch of 1 only."""
    graph.keep_only(graph.proto.output[0].name)
    for value in [value.name for value in graph.proto.input if value.name != INPUT_NAME]:
        graph.remove_input(value)
    del graph.proto.value_info[:]
    # From IR version 4, initializers need not be inputs too.
    graph.model.ir_version = max(graph.model.ir_version, 4)
    graph.model.producer_name = "ros2_actionnet"


def check_sha256(path: Path, expected: str) -> None:
    """Raise NetworkError unless the file has the expected SHA-256, in hex."""
    digest = sha256_of(path)
    if digest != expected.lower():
        raise NetworkError(
            f"the model {path} is not the one that its network.yaml describes: its sha256 is {digest}, not "
            f"{expected}. Copy or download it again; if you changed it on purpose, correct the network.yaml"
        )
