"""Converts a network to an older ONNX opset, for parsers that do not support the newer one."""

from __future__ import annotations

import onnx
from onnx import ModelProto, version_converter

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.onnx_graph import Graph, attribute
from ros2_actionnet.system.text import printable


def to_opset(model: ModelProto, opset: int) -> ModelProto:
    """Return `model` unchanged if its opset is `opset` or older, else the same network in that opset.

    Raises:
        NetworkError: the network uses a feature that the older opset lacks.
    """
    graph = Graph(model)
    if graph.opset <= opset:
        return model
    for node in graph.nodes:
        # An attribute with its default value, which onnx's converter keeps although the older opset does not allow it.
        if attribute(node, "noop_with_empty_axes") == 0:
            kept = [candidate for candidate in node.attribute if candidate.name != "noop_with_empty_axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
    try:
        converted: ModelProto = version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted)
    except Exception as error:  # RuntimeError, ValidationError, or anything else that a converter's step raises
        raise NetworkError(
            f"the network is written in ONNX opset {graph.opset}, which cannot be turned into opset {opset}, the "
            f"newest that is read here: {printable(error, 500)}. Export it again with opset {opset} "
            f"(torch.onnx.export(..., opset_version={opset}, dynamo=False))"
        ) from error
    return converted
