"""Makes the second input of a SlowFast network, the slow path, from the frames of the first."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto, helper
from onnx.shape_inference import InferenceError

from ros2_actionnet.networks.graph.onnx_graph import Graph, shape_of
from ros2_actionnet.networks.layout import Layout, axes_of

# The layouts in which the frames have a dimension of their own.
_TIMED: tuple[Layout, ...] = ("NCTHW", "NTCHW", "NTHWC", "NMCTHW", "NMTCHW")


def make_slow_path(graph: Graph, layout: Layout | None, frames: int | None = None) -> bool:
    """Replace the input with fewer frames by frames of the other, if the two inputs differ in nothing else.

    The frames are those of pytorchvideo's PackPathway and of SlowFast's pack_pathway_output, the first and the last
    among them.

    Args:
        graph: the graph; one of its inputs is removed.
        layout: of the inputs; None if it is not known: then any is accepted that their shapes agree with.
        frames: in a window, for a graph that leaves the number free.

    Returns:
        False if the graph has other inputs than these two, or does not tell how many frames the second one has; it is
        unchanged then.
    """
    if len(graph.inputs) != 2:
        return False
    first, second = graph.inputs
    axis = _axis_of_time(first, second, layout)
    if axis is None:
        return False
    slow, fast = sorted(graph.inputs, key=lambda value: shape_of(value)[axis] or math.inf)
    few, many = shape_of(slow)[axis], shape_of(fast)[axis]
    if few is None or many is None:
        found = _lengths_that_fit(graph, axis, frames)
        if found is None:
            return False
        slow, fast, few, many = found
        _set_length(fast, axis, many)
    if few == many:
        return False
    indices = graph.add_constant("actionnet/slow_frames", slow_frames(many, few))
    graph.remove_input(slow.name)
    graph.prepend([helper.make_node("Gather", [fast.name, indices], [slow.name], axis=axis)])
    return True


def slow_frames(frames: int, kept: int) -> NDArray[np.int64]:
    """Return `torch.linspace(0, frames - 1, kept).long()`.

    torch computes from both ends in float32, with the product and the sum rounded once: just below a whole number or
    at it makes a difference of a frame.
    """
    if kept == 1:
        return np.zeros(1, np.int64)
    step = float(np.float32(frames - 1) / np.float32(kept - 1))
    places = np.arange(kept)
    exact = np.where(places < kept // 2, step * places, (frames - 1) - step * places[::-1])
    return exact.astype(np.float32).astype(np.int64)


def _axis_of_time(first: ValueInfoProto, second: ValueInfoProto, layout: Layout | None) -> int | None:
    """Return the dimension of time, if the inputs differ in no other one; None otherwise."""
    shapes = shape_of(first), shape_of(second)
    if first.type.tensor_type.elem_type != second.type.tensor_type.elem_type or len(shapes[0]) != len(shapes[1]):
        return None
    different = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if sizes[0] != sizes[1]]
    for name in (layout,) if layout else _TIMED:
        axes = axes_of(name)
        if "C" not in axes or len(axes) != len(shapes[0]) or shapes[0][axes.index("C")] != 3:
            continue
        time = axes.index("T")
        if different == [time] or (not different and shapes[0][time] is None):
            return time
    return None


def _lengths_that_fit(
    graph: Graph, axis: int, frames: int | None
) -> tuple[ValueInfoProto, ValueInfoProto, int, int] | None:
    """Return the slow and the fast input and their numbers of frames, where the graph leaves one or both of them free.

    The paths of a SlowFast network are joined where both have as many frames: that works for one ratio only. None if
    it works for several, for paths that are not joined, or if nothing tells the number of frames.
    """
    fitting = []
    for slow, fast in permutations(graph.inputs):
        few, many = shape_of(slow)[axis], shape_of(fast)[axis] or frames
        if many is None:
            continue
        candidates = [few] if few else [count for count in range(1, many + 1) if many % count == 0]
        fitting += [
            (slow, fast, count, many) for count in candidates if _fits(graph, axis, (slow, count), (fast, many))
        ]
    return fitting[0] if len(fitting) == 1 else None


def _fits(graph: Graph, axis: int, *lengths: tuple[ValueInfoProto, int]) -> bool:
    """Return True if the shapes in the graph agree with these numbers of frames; the graph is unchanged."""
    originals = []
    for value, length in lengths:
        originals.append((value, ValueInfoProto.FromString(value.SerializeToString())))
        _set_length(value, axis, length)
    try:
        graph.infer_shapes(batch=1, strict=True)
    except InferenceError:
        return False
    finally:
        for value, original in originals:
            value.CopyFrom(original)
    return True


def _set_length(value: ValueInfoProto, axis: int, length: int) -> None:
    dimension = value.type.tensor_type.shape.dim[axis]
    dimension.ClearField("dim_param")
    dimension.dim_value = length
