"""Finds a model's input and output: from the ONNX file, or by the requested names where the file is ambiguous."""

from __future__ import annotations

import math
from dataclasses import replace

from onnx import TensorProto, ValueInfoProto

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, shape_of, type_name
from ros2_actionnet.networks.spec import Layout, NetworkSpec

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16)


def select_output(graph: Graph, spec: NetworkSpec) -> str:
    """Return the output with the scores: the requested one, or the only one, or the only one of rank 2.

    Raises:
        NetworkError: there is no output of that name, or the choice is ambiguous.
    """
    shapes: dict[str, Shape] = {value.name: shape_of(value) for value in graph.proto.output}
    if spec.output_blob:
        if spec.output_blob in shapes:
            return spec.output_blob
        raise NetworkError(
            f"{spec.model} has no output '{spec.output_blob}'; set output_blob to one of {_listing(shapes)}"
        )
    if len(shapes) == 1:
        return next(iter(shapes))
    candidates = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(candidates) == 1:
        return candidates[0]
    raise NetworkError(
        f"{spec.model} has {len(shapes)} outputs; set output_blob to the one with the scores of the classes, "
        f"one of {_listing(shapes)}"
    )


def select_input(graph: Graph, spec: NetworkSpec) -> ValueInfoProto:
    """Return the model's only input, of a float type and rank 5. Inputs that the output does not need are already gone.

    Raises:
        NetworkError: there is no input of the requested name, or there are several inputs, or it cannot receive frames.
    """
    inputs = {value.name: value for value in graph.inputs}
    shapes = {name: shape_of(value) for name, value in inputs.items()}
    if spec.input_blob and spec.input_blob not in inputs:
        raise NetworkError(
            f"{spec.model} has no input '{spec.input_blob}'; set input_blob to one of {_listing(shapes)}"
        )
    if len(inputs) != 1:
        raise NetworkError(
            f"{spec.model} needs {len(inputs)} inputs ({_listing(shapes)}); a network must take the frames in one "
            "input_blob and nothing else. Export it again with the others as constants"
        )
    (name,) = inputs
    element = inputs[name].type.tensor_type.elem_type
    if element not in FLOAT_TYPES:
        raise NetworkError(
            f"{spec.model}: input '{name}' is {type_name(element)}; it must be float32 or float16, "
            "normalised RGB. Export the network without its own scaling"
        )
    if len(shapes[name]) != 5:
        raise NetworkError(
            f"{spec.model}: input '{name}' has the shape {_show(shapes[name])}; "
            "it must be [1, 3, T, H, W] or [1, T, 3, H, W]"
        )
    return inputs[name]


def complete(spec: NetworkSpec, value: ValueInfoProto, output: str) -> NetworkSpec:
    """Return `spec` with its unspecified values read from the model's input, whose rank is 5.

    Raises:
        NetworkError: the model contradicts the spec, or leaves a value unspecified too: the message names it.
    """
    shape = shape_of(value)
    layout = spec.layout or _read_layout(spec, value.name, shape)
    channels, time = (1, 2) if layout == "NCTHW" else (2, 1)
    if shape[channels] not in (3, None):
        raise NetworkError(
            f"{spec.model}: input '{value.name}' {_show(shape)} has {shape[channels]} channels in layout {layout}; "
            "frames have 3 (RGB). Is the layout right?"
        )
    if shape[0] not in (1, None):
        raise NetworkError(
            f"{spec.model} takes {shape[0]} windows at once, always; export it with a batch of 1, or dynamic"
        )
    sizes = {
        "frames": _agreed(spec, "frames", spec.frames, shape[time]),
        "height": _agreed(spec, "height", spec.height, shape[3]),
        "width": _agreed(spec, "width", spec.width, shape[4]),
    }
    missing = [key for key, size in sizes.items() if not size]
    if missing:
        examples = {"frames": 16, "height": 112, "width": 112}
        lines = ", ".join(f"`{key}: {examples[key]}`" for key in missing)
        raise NetworkError(
            f"{spec.model}: input '{value.name}' {_show(shape)} leaves {', '.join(missing)} open; "
            f"say it in a network.yaml beside the model, e.g. {lines}"
        )
    spec = replace(spec, frames=sizes["frames"], height=sizes["height"], width=sizes["width"])
    return replace(spec, layout=layout, input_blob=value.name, output_blob=output)


def input_shape(spec: NetworkSpec, batch: int = 1) -> tuple[int, ...]:
    """Return the shape of the original model's input, as described by `spec` (complete)."""
    assert spec.frames and spec.height and spec.width
    inner = (3, spec.frames) if spec.layout == "NCTHW" else (spec.frames, 3)
    return (batch, *inner, spec.height, spec.width)


def count_classes(spec: NetworkSpec, shape: Shape | None) -> int:
    """Return the number of classes in an output of this shape (for a batch of 1): all its other dimensions must be 1.

    Raises:
        NetworkError: the shape is unknown, or has more than one dimension that is not 1.
    """
    if shape is not None and len(shape) == 2 and shape[0] is None:
        shape = (1, shape[1])  # the batch, where an export computes it from other shapes
    if shape is None or None in shape:
        raise NetworkError(
            f"{spec.model}: the number of classes in output '{spec.output_blob}' {_show(shape or ())} cannot be read "
            "from the model; export it with static shapes"
        )
    sizes = [size for size in shape if size is not None]
    if math.prod(sizes) != max(sizes, default=1):
        raise NetworkError(
            f"{spec.model}: output '{spec.output_blob}' has the shape {_show(shape)}; it must be [1, classes]. "
            "Set output_blob if another output has the scores"
        )
    return math.prod(sizes)


def _agreed(spec: NetworkSpec, key: str, stated: int | None, found: int | None) -> int | None:
    """Return a size from the network.yaml or from the model; raise NetworkError if the two contradict each other."""
    if stated and found and stated != found:
        raise NetworkError(
            f"{spec.model}: {key} is {stated} in its network.yaml but {found} in the model; remove or correct the line"
        )
    return stated or found


def _read_layout(spec: NetworkSpec, name: str, shape: Shape) -> Layout:
    candidates: list[Layout] = []
    if shape[1] == 3:
        candidates.append("NCTHW")
    if shape[2] == 3:
        candidates.append("NTCHW")
    if len(candidates) == 1:
        return candidates[0]
    why = "both of them could be the 3 colours" if candidates else "neither of them is the 3 colours"
    raise NetworkError(
        f"{spec.model}: the layout of input '{name}' {_show(shape)} cannot be told from its second and third "
        f"dimension: {why}. Put `layout: NCTHW` ([1, 3, T, H, W]) or `layout: NTCHW` ([1, T, 3, H, W]) into a "
        "network.yaml beside the model"
    )


def _show(shape: Shape) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _listing(shapes: dict[str, Shape]) -> str:
    return ", ".join(f"'{name}' {_show(shape)}" for name, shape in shapes.items()) or "(none)"
