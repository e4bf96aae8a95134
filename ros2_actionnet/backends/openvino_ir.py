"""Gives a model that was read from OpenVINO's IR the signature of all networks, with operators of OpenVINO."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import INPUT_NAME, OUTPUT_NAME, Conversion, NetworkSpec
from ros2_actionnet.networks.layout import axes_of


def with_common_signature(model: Any, spec: NetworkSpec, conversion: Conversion) -> Any:
    """Return `model`, an openvino.Model, with input `frames` uint8 [1, T, H, W, 3] and output `scores` [1, classes].

    The arithmetic is in float32, and the same as in `networks.graph.preparation`. `model` must not be used afterwards.

    Raises BackendError if the model does not have the input or output of `spec`.
    """
    import openvino
    from openvino import opset13 as operators

    source = _named(model.inputs, spec.input_blob)
    shapes, slow = {source: list(conversion.input_shape)}, conversion.slow_path
    if slow is not None:
        second = _named(model.inputs, slow.name)
        shapes[second] = [*conversion.input_shape]
        shapes[second][slow.axis] = len(slow.frames)
    model.reshape({port: openvino.PartialShape(sizes) for port, sizes in shapes.items()})
    shape = [1, *(size or 0 for size in (spec.frames, spec.height, spec.width)), 3]
    frames = operators.parameter(shape, np.uint8, name=INPUT_NAME)
    frames.output(0).get_tensor().set_names({INPUT_NAME})
    mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
    colors = operators.convert(frames, "f32")
    if spec.colors == "BGR":
        colors = operators.gather(colors, np.array([2, 1, 0]), np.int64(4))
    scaled = operators.multiply(colors, (1 / (255 * std)).astype(np.float32))
    normalized = operators.add(scaled, (-mean / std).astype(np.float32))
    order = ["NTHWC".index(letter) for axis in axes_of(spec.layout or "NCTHW") for letter in axis if letter != "M"]
    ordered = operators.reshape(
        operators.transpose(normalized, order), list(conversion.input_shape), special_zero=False
    )
    original = operators.convert(ordered, source.get_element_type().get_type_name())
    if slow is not None:
        _feed(second, operators.gather(original, np.array(slow.frames), np.int64(slow.axis)))
    _feed(source, original)

    result = _named(model.outputs, spec.output_blob).get_node()
    scores = operators.convert(result.input_value(0), "f32")
    scores = operators.reshape(scores, [1, -1], special_zero=False)
    if conversion.offset:
        scores = operators.subtract(scores, np.float32(conversion.offset))
    if conversion.scale != 1:
        scores = operators.divide(scores, np.float32(conversion.scale))
    if conversion.activation == "softmax":
        scores = operators.softmax(scores, 1)
    elif conversion.activation == "sigmoid":
        scores = operators.sigmoid(scores)
    scores.output(0).get_tensor().set_names({OUTPUT_NAME})
    return openvino.Model([scores], [frames], spec.name)


def _feed(port: Any, node: Any) -> None:
    """Give the output of `node` to all consumers of an input of the model."""
    for consumer in port.get_target_inputs():
        consumer.replace_source_output(node.output(0))


def _named(ports: Iterable[Any], name: str) -> Any:
    """Return the input or output called `name`: by a name of its tensor, or of the layer that makes it."""
    for port in ports:
        node = port.get_node()
        maker = node if node.get_type_name() == "Parameter" else node.input_value(0).get_node()
        if name in port.get_names() or name == maker.get_friendly_name():
            return port
    raise BackendError(f"OpenVINO finds no input or output '{name}' in the model; set input_blob and output_blob")
