"""Finds a model's input and output: from the ONNX file, or by the requested names where the file is ambiguous."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from onnx import TensorProto, ValueInfoProto

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, has_rank, shape_of, type_name
from ros2_actionnet.networks.layout import DESCRIPTIONS, LAYOUTS, Layout, axes_of, shape_in
from ros2_actionnet.networks.spec import NORMALIZED_INSIDE, NetworkSpec
from ros2_actionnet.system.text import printable

logger = logging.getLogger(__name__)

# Operators that choose the best classes, and those that may follow them.
CHOOSING = ("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "TopK")
REARRANGING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
# Types that hold RGB in [0, 255]: a network that takes one of them scales and normalizes the frames itself.
INTEGER_TYPES = (
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.INT16,
    TensorProto.UINT32,
    TensorProto.INT32,
    TensorProto.UINT64,
    TensorProto.INT64,
)


def select_output(graph: Graph, spec: NetworkSpec) -> str:
    """Return the output with the scores: the requested one, or the only one, or the only one of rank 2.

    Raises:
        NetworkError: there is no output of that name, the choice is ambiguous, or it has the best classes in place of
            the scores of all.
    """
    output = _chosen_output(graph, spec)
    _check_scored(graph, spec, output)
    return output


def _chosen_output(graph: Graph, spec: NetworkSpec) -> str:
    shapes: dict[str, Shape] = {value.name: shape_of(value) for value in graph.proto.output}
    if spec.output_blob:
        if spec.output_blob in shapes:
            return spec.output_blob
        raise NetworkError(
            f"{spec.model} has no output '{printable(spec.output_blob)}'; set output_blob to one of {_listing(shapes)}"
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


def _check_scored(graph: Graph, spec: NetworkSpec, output: str) -> None:
    """Raise NetworkError if an output has the best classes only: their scores by rank, or their numbers."""
    producers = graph.producers()
    node = producers.get(output)
    while node is not None and node.op_type in REARRANGING:
        node = producers.get(node.input[0])
    if node is not None and node.op_type in CHOOSING:
        others = [value.name for value in graph.proto.output if value.name != output]
        instead = f"set output_blob to another output ({', '.join(map(printable, others))}), or " if others else ""
        raise NetworkError(
            f"{spec.model}: output '{printable(output)}' has the best classes ({node.op_type}), not the scores of all; "
            f"{instead}export the network without that step"
        )


def select_input(graph: Graph, spec: NetworkSpec) -> ValueInfoProto:
    """Return the model's only input. Inputs that the output does not need are already gone.

    Raises:
        NetworkError: there is no input of the requested name, or there are several inputs, or its type is no number
            that a frame can be written in.
    """
    inputs = {value.name: value for value in graph.inputs}
    shapes = {name: shape_of(value) for name, value in inputs.items()}
    if spec.input_blob and spec.input_blob not in inputs:
        raise NetworkError(
            f"{spec.model} has no input '{printable(spec.input_blob)}'; set input_blob to one of {_listing(shapes)}"
        )
    if len(inputs) != 1:
        raise NetworkError(
            f"{spec.model} needs {len(inputs)} inputs ({_listing(shapes)}); a network must take the frames in one "
            "input_blob and nothing else, or in two as SlowFast does: the same shape with fewer frames. Where the "
            "model leaves their number open, say it in a network.yaml beside it: `frames: 32`. Optical flow, sound "
            "or masks cannot be made from the frames; export it again with the others as constants"
        )
    (name,) = inputs
    element = inputs[name].type.tensor_type.elem_type
    if element not in (*FLOAT_TYPES, *INTEGER_TYPES):
        raise NetworkError(
            f"{spec.model}: input '{printable(name)}' is {type_name(element)}, which cannot hold RGB in [0, 255]; "
            "export the network with a float32 or uint8 input"
        )
    return inputs[name]


def complete(spec: NetworkSpec, value: ValueInfoProto, output: str) -> NetworkSpec:
    """Return `spec` with its unspecified values read from the model's input.

    Raises:
        NetworkError: the model contradicts the spec, or leaves a value unspecified too: the message names it.
    """
    shape: Shape = shape_of(value)
    layout = spec.layout or _read_layout(spec, value)
    axes = axes_of(layout)
    if not has_rank(value):
        shape = (None,) * len(axes)
    if len(axes) != len(shape):
        raise NetworkError(
            f"{spec.model}: input '{value.name}' {_show(shape)} has {len(shape)} dimensions, but layout {layout} has "
            f"{len(axes)}: {DESCRIPTIONS[layout]}; correct `layout`"
        )
    found = dict(zip(axes, shape, strict=True))
    _check_fixed(spec, value.name, layout, found)
    stacked = found.get("CT") or found.get("TC")
    sizes = {
        "frames": _agreed(spec, "frames", spec.frames, stacked // 3 if stacked else found.get("T")),
        "height": _agreed(spec, "height", spec.height, found["H"]),
        "width": _agreed(spec, "width", spec.width, found["W"]),
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
    spec = replace(spec, layout=layout, input_blob=value.name, output_blob=output)
    return _normalized_inside(spec) if value.type.tensor_type.elem_type in INTEGER_TYPES else spec


def input_shape(spec: NetworkSpec, batch: int = 1) -> tuple[int, ...]:
    """Return the shape of the original model's input, as described by `spec` (complete)."""
    assert spec.layout and spec.frames and spec.height and spec.width
    return shape_in(spec.layout, batch=batch, frames=spec.frames, height=spec.height, width=spec.width)


def _check_fixed(spec: NetworkSpec, name: str, layout: Layout, found: dict[str, int | None]) -> None:
    """Raise NetworkError unless the dimensions other than T, H and W are those of one window of RGB, or free."""
    for axis in ("C", "CT", "TC"):
        channels = found.get(axis)
        if channels is not None and (channels != 3 if axis == "C" else channels % 3):
            frames_have = "3 (RGB)" if axis == "C" else "a multiple of 3 (RGB of each)"
            raise NetworkError(
                f"{spec.model}: input '{name}' {_show(tuple(found.values()))} has {channels} channels in layout "
                f"{layout}; frames have {frames_have}. Is the layout right?"
            )
    if found["N"] not in (1, None):
        raise NetworkError(
            f"{spec.model} takes {found['N']} windows at once, always; export it with a batch of 1, or dynamic"
        )
    if found.get("M") not in (1, None):
        raise NetworkError(
            f"{spec.model} takes {found['M']} clips of a video at once, always; export it with 1 clip (in mmaction2's "
            "configs num_clips=1 and one crop), or with that dimension dynamic"
        )


def _normalized_inside(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec of a network that takes RGB in [0, 255], whose mean and std are in its graph."""
    if spec.normalization != "inside":
        stated = spec.mean_from
        logger.log(
            logging.WARNING if stated else logging.INFO,
            "network %s takes whole numbers: RGB in [0, 255], which it normalizes itself%s",
            spec.name,
            "; the mean and std that are stated for it are not applied" if stated else "",
        )
    source = spec.mean_from if spec.normalization == "inside" else "the type of its input: whole numbers"
    return replace(spec, **NORMALIZED_INSIDE, mean_from=source)


def output_shape(value: ValueInfoProto, inferred: Shape | None) -> Shape | None:
    """Return the shape of an output for a batch of 1, from shape inference and from what the file declares.

    None where neither knows the number of dimensions.
    """
    declared = shape_of(value) if has_rank(value) else None
    if inferred is None:
        shape = declared
    elif declared is not None and len(declared) == len(inferred):
        shape = tuple(size or stated for size, stated in zip(inferred, declared, strict=True))
    else:
        shape = inferred
    if shape and shape[0] is None and len(shape) > 1:  # the batch
        shape = (1, *shape[1:])
    return shape


def count_classes(spec: NetworkSpec, shape: Shape | None) -> int | None:
    """Return the number of classes in an output of this shape (for a batch of 1): all its other dimensions must be 1.

    None if only a run of the network can tell. Beside a size that is known, dimensions that are not (such as the clips
    of a recognizer that does not average them) are taken for 1; the first inference checks it.

    Raises:
        NetworkError: the shape has more than one dimension that is not 1.
    """
    known = [size for size in shape or () if size not in (1, None)]
    if len(known) > 1 or (not known and (shape or ()).count(None) > 1):
        raise NetworkError(
            f"{spec.model}: output '{spec.output_blob}' has the shape {_show(shape or ())}; it must be [1, classes]. "
            "Set output_blob if another output has the scores"
        )
    if shape is None or (not known and None in shape):
        return None
    return math.prod(known)


def _agreed(spec: NetworkSpec, key: str, stated: int | None, found: int | None) -> int | None:
    """Return a size from the network.yaml or from the model; raise NetworkError if the two contradict each other."""
    if stated and found and stated != found:
        raise NetworkError(
            f"{spec.model}: {key} is {stated} in its network.yaml but {found} in the model; remove or correct the line"
        )
    return stated or found


def _read_layout(spec: NetworkSpec, value: ValueInfoProto) -> Layout:
    """Return the only layout that fits the shape of an input.

    Raises NetworkError if none does, or several do: the message lists what to type.
    """
    shape = shape_of(value)
    ranked = [layout for layout in LAYOUTS if len(axes_of(layout)) == len(shape) or not has_rank(value)]
    candidates = [layout for layout in ranked if has_rank(value) and _has_colors(layout, shape)]
    if "NTHWC" in candidates:  # no frame is 3 pixels wide
        return "NTHWC"
    if len(candidates) == 1:
        return candidates[0]
    of_one_image = len(shape) == 4 and not {shape[1], shape[3]}.isdisjoint((1, 3))
    without_batch = len(shape) == 4 and shape[0] == 3
    if not ranked or without_batch or (of_one_image and not candidates):
        raise NetworkError(
            f"{spec.model}: input '{value.name}' has the shape {_show(shape)}; it must be [1, 3, T, H, W] or "
            "[1, T, 3, H, W], [1, T, H, W, 3], [1, 1, 3, T, H, W], [1, 3*T, H, W] or [1, H, W, 3*T]: a batch of "
            "windows of frames"
        )
    why = "several of them could be the 3 colors" if candidates else "none of them is the 3 colors"
    said = "; or ".join(f"`layout: {layout}` ({DESCRIPTIONS[layout]})" for layout in candidates or ranked)
    raise NetworkError(
        f"{spec.model}: the layout of input '{printable(value.name)}' {_show(shape)} cannot be told from its "
        f"dimensions: {why}. Put one line into a network.yaml beside the model: {said}"
    )


def _has_colors(layout: Layout, shape: Shape) -> bool:
    """Return True if the colors of several frames fit into this shape where `layout` has them."""
    for axis, size in zip(axes_of(layout), shape, strict=True):
        if axis == "C":
            return size == 3
        if axis in ("CT", "TC"):
            return size is None or (size % 3 == 0 and size > 3)
    return False


def _show(shape: Shape) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _listing(shapes: dict[str, Shape]) -> str:
    return ", ".join(f"'{printable(name, 80)}' {_show(shape)}" for name, shape in shapes.items()) or "(none)"
