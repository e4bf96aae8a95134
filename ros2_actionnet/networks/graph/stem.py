"""Folds the stem of a 3D-CNN: its first convolution, exactly rewritten from 3D on RGB to 2D on stacked frames.

A 3D convolution with kernel kT x kH x kW on 3 channels is slow on hardware that is built for many channels. Its kT
taps in time, of 3 channels each, are equivalent to the kT * 3 channels of a 2D convolution, with time as the batch.
Relu and the spatial half of the max-pool follow in 2D, where they are cheapest, and only their smaller result is
reshaped back to [B, C, T, H, W], for the temporal half of the max-pool. This holds for any batch.

The gain depends on the backend and its precision: measure it where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper

from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, attribute

# Operators allowed between the convolution and the max-pool: they treat each entry of a channel alike, in 2D and 3D.
POINTWISE = ("BatchNormalization", "Relu", "Clip", "LeakyRelu")
SWAP_TIME_AND_CHANNELS = [0, 2, 1, 3, 4]


@dataclass(frozen=True)
class Kernel:
    """The window of a 3D convolution or pooling: sizes, strides and padding (before, after) in time, height, width."""

    size: tuple[int, int, int]
    strides: tuple[int, int, int]
    begins: tuple[int, int, int]
    ends: tuple[int, int, int]

    @classmethod
    def of(cls, node: NodeProto) -> Kernel | None:
        """Return the kernel of a node; None if it is not 3D, or dilated, or uses automatic padding or rounds up."""
        size = tuple(attribute(node, "kernel_shape", ()))
        plain = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and not attribute(node, "ceil_mode", 0)
        if len(size) != 3 or not plain or any(step != 1 for step in attribute(node, "dilations", ())):
            return None
        pads = tuple(attribute(node, "pads", (0,) * 6))
        return cls(size, tuple(attribute(node, "strides", (1, 1, 1))), pads[:3], pads[3:])

    def spatial(self) -> dict[str, list[int]]:
        """Return the attributes of the spatial half, for a 2D node."""
        pads = [*self.begins[1:], *self.ends[1:]]
        return {"kernel_shape": list(self.size[1:]), "strides": list(self.strides[1:]), "pads": pads}

    def temporal(self) -> dict[str, list[int]]:
        """Return the attributes of the temporal half, for a 3D node."""
        pads = [self.begins[0], 0, 0, self.ends[0], 0, 0]
        return {"kernel_shape": [self.size[0], 1, 1], "strides": [self.strides[0], 1, 1], "pads": pads}


def fold_temporal_stem(model: ModelProto) -> bool:
    """Rewrite the stem of `model` in place; the network computes the same.

    This applies to a Conv longer than 1 in time on [B, 3, T, H, W] with static T, H and W, not grouped or dilated, that
    continues through BatchNormalization and Relu (if any) into a MaxPool without branches: the stem of 3D-ResNets. It
    does not apply to R(2+1)D, whose first convolution has length 1 in time.

    Returns:
        True if the stem was rewritten; otherwise the model is unchanged. Leftovers of the old stem remain, unused.
    """
    graph = Graph(model)
    shapes = graph.infer_shapes(batch=1)
    for conv in graph.nodes:
        pool = _pool_after(graph, conv)
        if pool is None:
            continue
        kernel, pool_kernel = Kernel.of(conv), Kernel.of(pool)
        weight = graph.constant(conv.input[1])
        sizes = [_sizes(shapes, name) for name in (conv.input[0], conv.output[0], pool.output[0])]
        if kernel is None or pool_kernel is None or weight is None or not all(sizes):
            continue
        if kernel.size[0] == 1 or weight.shape[1] != 3 or attribute(conv, "group", 1) != 1:
            continue
        steps = sizes[1][2]
        before = _stack_frames(graph, conv, kernel, steps, sizes[0][3:])
        before.append(_conv_2d(graph, conv, kernel, before[-1].output[0]))
        pooled = sizes[2]
        after = _split_pool(graph, pool, pool_kernel, [-1, steps, pooled[1], *pooled[3:]])
        graph.replace(conv, before)
        graph.replace(pool, after)
        return True
    return False


def _sizes(shapes: dict[str, Shape], name: str) -> list[int]:
    """Return a tensor's dimensions, or an empty list if one of them is unknown."""
    shape = shapes.get(name, ())
    return [size for size in shape if size is not None] if None not in shape else []


def _pool_after(graph: Graph, conv: NodeProto) -> NodeProto | None:
    """Return the MaxPool that is the only consumer of a Conv, with only pointwise nodes in between; None otherwise."""
    if conv.op_type != "Conv":
        return None
    node, kept = conv, {value.name for value in graph.proto.output}
    while True:
        consumers = graph.consumers(node.output[0])
        if len(consumers) != 1 or node.output[0] in kept or consumers[0].input[0] != node.output[0]:
            return None
        node = consumers[0]
        if node.op_type == "MaxPool":
            return node if len(node.output) == 1 else None
        if node.op_type not in POINTWISE:
            return None


def _stack_frames(graph: Graph, conv: NodeProto, kernel: Kernel, steps: int, size: list[int]) -> list[NodeProto]:
    """Return nodes for the 2D convolution's input, [B * steps, kT * 3, H, W]: per step the frames under the kernel.

    `size` is H, W.
    """
    source, perm = conv.input[0], SWAP_TIME_AND_CHANNELS
    producer = graph.producers().get(source)
    if producer is not None and producer.op_type == "Transpose":  # one transposition instead of two
        source, perm = producer.input[0], [attribute(producer, "perm", (4, 3, 2, 1, 0))[axis] for axis in perm]
    nodes = [helper.make_node("Transpose", [source], [graph.new_name("stem/frames")], perm=perm)]
    if kernel.begins[0] or kernel.ends[0]:
        nodes.append(_pad_time(graph, kernel, nodes[-1].output[0]))
    taps = np.arange(steps)[:, None] * kernel.strides[0] + np.arange(kernel.size[0])
    indices = graph.add_constant("stem/taps", taps.astype(np.int64))
    nodes.append(helper.make_node("Gather", [nodes[-1].output[0], indices], [graph.new_name("stem/stacked")], axis=1))
    target = graph.add_constant("stem/stacked_shape", np.array([-1, 3 * kernel.size[0], *size], np.int64))
    nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], target], [graph.new_name("stem/images")]))
    return nodes


def _pad_time(graph: Graph, kernel: Kernel, source: str) -> NodeProto:
    """Pad [B, T, 3, H, W] in time with zeros, as the convolution did: after the normalization."""
    pads = [0, kernel.begins[0], 0, 0, 0, 0, kernel.ends[0], 0, 0, 0]
    output = graph.new_name("stem/padded")
    if graph.opset < 11:
        return helper.make_node("Pad", [source], [output], pads=pads, mode="constant")
    return helper.make_node("Pad", [source, graph.add_constant("stem/pads", np.array(pads, np.int64))], [output])


def _conv_2d(graph: Graph, conv: NodeProto, kernel: Kernel, source: str) -> NodeProto:
    """Return the 2D convolution that computes `conv`'s output from the stacked frames, as [B * steps, C, H', W']."""
    weight = graph.constant(conv.input[1])
    assert weight is not None
    stacked = weight.transpose(0, 2, 1, 3, 4).reshape(weight.shape[0], -1, *weight.shape[3:])
    inputs = [source, graph.add_constant("stem/weight", stacked), *conv.input[2:]]
    return helper.make_node("Conv", inputs, [conv.output[0]], **kernel.spatial())


def _split_pool(graph: Graph, pool: NodeProto, kernel: Kernel, shape: list[int]) -> list[NodeProto]:
    """Split a 3D max-pool into its spatial half, the reshape back to 3D, and its temporal half.

    `shape` is [-1, steps, C, H, W] after the spatial half. A max-pool never selects padding, so the halves are exact.
    """
    names = [graph.new_name(f"stem/{name}") for name in ("pooled", "series", "volume")]
    target = graph.add_constant("stem/series_shape", np.array(shape, np.int64))
    return [
        helper.make_node("MaxPool", [pool.input[0]], [names[0]], **kernel.spatial()),
        helper.make_node("Reshape", [names[0], target], [names[1]]),
        helper.make_node("Transpose", [names[1]], [names[2]], perm=SWAP_TIME_AND_CHANNELS),
        helper.make_node("MaxPool", [names[2]], [pool.output[0]], **kernel.temporal()),
    ]
