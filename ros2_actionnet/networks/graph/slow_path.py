"""Makes the second input of a SlowFast network, the slow path, from the frames of the first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto, helper

from ros2_actionnet.networks.graph.onnx_graph import Graph, shape_of
from ros2_actionnet.networks.layout import Layout, axes_of

# The layouts in which the frames have a dimension of their own.
_TIMED: tuple[Layout, ...] = ("NCTHW", "NTCHW", "NTHWC", "NMCTHW", "NMTCHW")


def make_slow_path(graph: Graph, layout: Layout | None) -> bool:
    """Replace the input with fewer frames by frames of the other, if the two inputs differ in nothing else.

    The frames are those of pytorchvideo's PackPathway and of SlowFast's pack_pathway_output, the first and the last
    among them.

    Args:
        graph: the graph; one of its inputs is removed.
        layout: of the inputs; None if it is not known: then any is accepted that their shapes agree with.

    Returns:
        False if the graph has other inputs than these two; it is unchanged then.
    """
    pair = sorted(graph.inputs, key=_entries)
    if len(pair) != 2:
        return False
    slow, fast = pair
    axis = _axis_of_time(slow, fast, layout)
    if axis is None:
        return False
    few, many = shape_of(slow)[axis], shape_of(fast)[axis]
    assert few and many
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


def _axis_of_time(slow: ValueInfoProto, fast: ValueInfoProto, layout: Layout | None) -> int | None:
    """Return the only dimension in which the inputs differ, if it can be that of time; None otherwise."""
    shapes = shape_of(slow), shape_of(fast)
    if slow.type.tensor_type.elem_type != fast.type.tensor_type.elem_type or len(shapes[0]) != len(shapes[1]):
        return None
    different = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if sizes[0] != sizes[1]]
    if len(different) != 1 or None in (shapes[0][different[0]], shapes[1][different[0]]):
        return None
    for name in (layout,) if layout else _TIMED:
        axes = axes_of(name)
        has_colors = "C" in axes and len(axes) == len(shapes[1]) and shapes[1][axes.index("C")] == 3
        if has_colors and axes[different[0]] == "T":
            return different[0]
    return None


def _entries(value: ValueInfoProto) -> int:
    """Return the number of entries of an input, to order two inputs that differ in one dimension."""
    return int(np.prod([size or 1 for size in shape_of(value)], dtype=np.int64))
