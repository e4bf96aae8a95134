"""Converts a network to the common signature of all backends, in a short list of steps on its ONNX graph."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.batching import make_batch_dynamic, takes_any_batch
from ros2_actionnet.networks.graph.external_data import load_checked
from ros2_actionnet.networks.graph.onnx_graph import Graph, shape_of
from ros2_actionnet.networks.graph.scores import append_scores
from ros2_actionnet.networks.graph.signature import complete, count_classes, input_shape, select_input, select_output
from ros2_actionnet.networks.graph.stem import fold_temporal_stem
from ros2_actionnet.networks.labels import labels_for
from ros2_actionnet.networks.spec import BATCH_NAME, INPUT_NAME, NetworkSpec, PreparedNetwork
from ros2_actionnet.system.files import sha256_of

logger = logging.getLogger(__name__)

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
        raise NetworkError(f"the model {spec.model} cannot be prepared: {error}") from error


def load_model(spec: NetworkSpec) -> ModelProto:
    """Load the model of `spec`, with weights from external files beside it.

    Raises:
        NetworkError: the file does not match its checksum, is not a readable ONNX model with a graph, or has weights
            in files that are not in its folder.
    """
    try:
        if spec.sha256:
            _check_sha256(spec.model, spec.sha256)
        model = load_checked(spec.model)
    except NetworkError:
        raise
    except Exception as error:  # protobuf's and onnx's own exceptions, and OSError
        raise NetworkError(
            f"the model {spec.model} cannot be read: {error}. It is damaged or incomplete (a .data file with its "
            "weights must lie beside it); copy, download or export it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise NetworkError(f"the model {spec.model} has no network in it; export it again")
    opset = Graph(model).opset
    if opset < MIN_OPSET:
        raise NetworkError(f"the model {spec.model} has opset {opset}; {MIN_OPSET} or later is needed. Export it again")
    return model


def _prepare(spec: NetworkSpec, model: ModelProto, *, fold_stem: bool) -> PreparedNetwork:
    graph = Graph(model)
    output = select_output(graph, spec)
    graph.keep_only(output)
    spec = complete(spec, select_input(graph, spec), output)
    graph.lift_constants()
    is_dynamic = shape_of(graph.inputs[0])[0] is None
    graph.fix_input(spec.input_blob, input_shape(spec))
    shapes = graph.infer_shapes()
    classes = count_classes(spec, shapes.get(output))
    labels = labels_for(spec.labels, classes, spec.name, is_downloaded=spec.is_downloaded)

    ending = append_scores(graph, output, classes, shapes, spec.scores)
    scores_from: Any = "stated" if spec.scores else "graph" if ending.certain else "assumption"
    spec = replace(spec, scores=ending.kind)
    batches = (is_dynamic and takes_any_batch(graph)) or make_batch_dynamic(graph)
    accept_frames(graph, spec, BATCH_NAME if batches else 1)
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


def accept_frames(graph: Graph, spec: NetworkSpec, batch: str | int) -> None:
    """Replace the graph's input by `frames`, uint8 [batch, T, H, W, 3], normalized in the graph.

    The Cast comes first: TensorRT accepts uint8 in no other operator. The Transpose comes last, so that a step that
    changes the layout can merge with it. The arithmetic is in float32, whatever the network's own type.
    """
    if graph.new_name(INPUT_NAME) != INPUT_NAME:
        graph.rename(INPUT_NAME, graph.new_name("actionnet/input"))
    (original,) = graph.inputs
    name, element = original.name, original.type.tensor_type.elem_type
    mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
    scale = graph.add_constant("actionnet/scale", (1 / (255 * std)).astype(np.float32))
    offset = graph.add_constant("actionnet/offset", (-mean / std).astype(np.float32))
    to_layout = [0, 4, 1, 2, 3] if spec.layout == "NCTHW" else [0, 1, 4, 2, 3]
    chain = [
        helper.make_node("Cast", [INPUT_NAME], ["actionnet/float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["actionnet/float", scale], ["actionnet/scaled"]),
        helper.make_node("Add", ["actionnet/scaled", offset], ["actionnet/normalised"]),
    ]
    if element != TensorProto.FLOAT:
        chain.append(helper.make_node("Cast", [chain[-1].output[0]], ["actionnet/cast"], to=element))
    chain.append(helper.make_node("Transpose", [chain[-1].output[0]], [name], perm=to_layout))
    graph.prepend(chain)
    shape = [batch, spec.frames, spec.height, spec.width, 3]
    graph.remove_input(name)
    graph.proto.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape))


def tidy(graph: Graph) -> None:
    """Leave one input in the graph, and remove stored shapes, which may be valid for a batch of 1 only."""
    graph.keep_only(graph.proto.output[0].name)
    for value in [value.name for value in graph.proto.input if value.name != INPUT_NAME]:
        graph.remove_input(value)
    del graph.proto.value_info[:]
    # From IR version 4, initializers need not be inputs too.
    graph.model.ir_version = max(graph.model.ir_version, 4)
    graph.model.producer_name = "ros2_actionnet"


def _check_sha256(path: Path, expected: str) -> None:
    digest = sha256_of(path)
    if digest != expected.lower():
        raise NetworkError(
            f"the model {path} is not the one that its network.yaml describes: its sha256 is {digest}, not "
            f"{expected}. Copy or download it again; if you changed it on purpose, correct the network.yaml"
        )
