"""Makes a network that was exported for one window accept any number of windows.

Exporters write the batch of 1 into Reshape targets and the like. This module rewrites those, and then checks that every
node keeps the windows separate; if that cannot be proven, the network stays as it was, for one window at a time.

To follow the batch, shapes are inferred once for a batch of 1 and once for a batch of PROBE, a prime so large that no
dimension is a multiple of it by chance. A dimension that is a multiple of PROBE *carries the batch*. The invariant,
which every accepted node preserves: each tensor computed from the frames carries the batch in exactly one dimension,
and within that dimension the windows follow one another (a dimension of size B * m holds window 0's m entries, then
window 1's, ...).
"""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto
from onnx.shape_inference import InferenceError

from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, attribute, set_attribute, taken_by

PROBE = 7919

# Each output element depends on the elements at the same position, or the shapes alone show that the batch was mixed:
# the output then carries it in no dimension, or in two.
ANYWHERE = frozenset(
    """
    Abs Add And Cast CastLike Ceil Celu Clip Cos Div Dropout Einsum Elu Equal Erf Exp Expand Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish Identity IsNaN LeakyRelu Less LessOrEqual Log MatMul MatMulInteger Max Mean
    Min Mish Mul Neg Not Or PRelu Pow QLinearMatMul Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum
    Swish Tanh ThresholdedRelu Transpose Where Xor
    """.split()  # noqa: SIM905
)
# Each entry of the first dimension of the first input is processed independently.
ALONG_FIRST = frozenset(
    """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool QLinearConv Resize SpaceToDepth Upsample
    """.split()  # noqa: SIM905
)
# Only the shape changes, not the order in memory.
RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze", "Unsqueeze"])
# Entries along `axis` are mixed or selected, all others are processed independently ...
ALONG_AXIS = frozenset(["Concat", "Gather", "LogSoftmax", "LpNormalization", "Softmax", "Split"])
# ... or those along `axis` and all later dimensions.
FROM_AXIS = frozenset(["LayerNormalization", "RMSNormalization"])
# With one scale (and zero point) for all entries, or one for each entry along `axis`.
QUANTIZING = frozenset(["DequantizeLinear", "QuantizeLinear"])


def takes_any_batch(graph: Graph) -> bool:
    """Return True if a model that declares a dynamic batch returns as many outputs, as far as can be determined."""
    shape = graph.infer_shapes(batch=PROBE).get(graph.proto.output[0].name)
    return not shape or shape[0] in (PROBE, None)


def make_batch_dynamic(graph: Graph) -> bool:
    """Rewrite the nodes that fix the batch to 1; the graph has one input and one output [B, classes].

    Returns:
        True if any batch now works; otherwise the graph is unchanged.
    """
    original = graph.backup_nodes()
    single = graph.infer_shapes(batch=1)
    for node in graph.nodes:
        if node.op_type not in ("Reshape", "Squeeze"):
            continue
        # Inferred again for each node, since the shapes after a Reshape are correct only once it has been rewritten.
        data = graph.infer_shapes(batch=PROBE).get(node.input[0])
        if data is None:  # an earlier node does not accept a batch
            break
        if node.op_type == "Reshape":
            _free_reshape(graph, node, data, single.get(node.output[0]))
        else:
            _free_squeeze(graph, node, data, single.get(node.input[0]))
    if keeps_windows_apart(graph):
        return True
    graph.restore_nodes(original)
    return False


def keeps_windows_apart(graph: Graph) -> bool:
    """Return True if every node between the frames and the output is known to keep the windows of a batch separate."""
    try:
        shapes = graph.infer_shapes(batch=PROBE, strict=True)
    except InferenceError:
        return False
    reached = {graph.inputs[0].name}
    for node in graph.nodes:
        carried = sorted(taken_by(node) & reached)
        if not carried or node.op_type in ("Shape", "Size"):
            continue
        outputs = [name for name in node.output if name]
        if any(_batch_axis(shapes.get(name)) is None for name in outputs):
            return False
        if not _is_separable(graph, node, carried, shapes):
            return False
        reached.update(outputs)
    output = graph.proto.output[0].name
    return output in reached and _batch_axis(shapes[output]) == 0 and shapes[output][0] == PROBE


def _is_separable(graph: Graph, node: NodeProto, carried: list[str], shapes: dict[str, Shape]) -> bool:
    """Return True if a node keeps the windows separate, given that each output carries the batch in one dimension."""
    if node.domain not in ("", "ai.onnx"):
        return False
    shape, result = shapes[carried[0]], shapes[node.output[0]]
    batch, result_batch = _batch_axis(shape), _batch_axis(result)
    assert batch is not None  # the invariant
    if node.op_type in ALONG_FIRST:
        return batch == 0 and carried == [node.input[0]]
    if node.op_type in RESHAPING:
        return _entries(shape[:batch]) == _entries(result[:result_batch])
    if node.op_type == "Slice":
        return carried == [node.input[0]] and _slices_elsewhere(graph, node, batch, len(shape))
    if node.op_type == "Pad":
        return carried == [node.input[0]] and _pads_elsewhere(graph, node, batch, len(shape))
    if node.op_type == "Gather" and carried != [node.input[0]]:
        return False
    if node.op_type in QUANTIZING:
        scale = graph.constant(node.input[1])
        is_single = scale is not None and scale.size == 1
        return carried == [node.input[0]] and (is_single or attribute(node, "axis", 1) % len(shape) != batch)
    if node.op_type in ALONG_AXIS | FROM_AXIS:
        old_softmax = "Softmax" in node.op_type and graph.opset < 13
        default = {"Concat": 0, "Split": 0, "Gather": 0}.get(node.op_type, 1 if old_softmax else -1)
        axis = attribute(node, "axis", default) % len(shape)
        return bool(axis > batch if node.op_type in FROM_AXIS or old_softmax else axis != batch)
    return node.op_type in ANYWHERE


def _slices_elsewhere(graph: Graph, node: NodeProto, batch: int, rank: int) -> bool:
    """Return True if a Slice does not touch the batch dimension."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 3 and node.input[3]:
        axes = graph.constant(node.input[3])
    return axes is not None and batch not in [int(axis) % rank for axis in axes]


def _pads_elsewhere(graph: Graph, node: NodeProto, batch: int, rank: int) -> bool:
    """Return True if a Pad skips the batch dimension: padding by +1 and -1 would keep its size but shift it."""
    pads = attribute(node, "pads")
    if pads is None and (len(node.input) < 4 or not node.input[3]):  # with a list of axes: not supported here
        pads = graph.constant(node.input[1])
    return pads is not None and len(pads) == 2 * rank and pads[batch] == pads[batch + rank] == 0


def _free_reshape(graph: Graph, node: NodeProto, data: Shape, single: Shape | None) -> None:
    """Give a Reshape a target with -1 for the batch dimension.

    Args:
        graph: the graph.
        node: the Reshape.
        data: shape of the input, for a batch of PROBE.
        single: shape of the output, for a batch of 1.
    """
    axis = _batch_axis(data)
    if axis is None or single is None or None in single:
        return
    target = [size for size in single if size is not None]
    # The result must have as many entries before the batch dimension as the data: then the entries of each window
    # remain within that window's part of memory.
    before = _entries(data[:axis])
    places = [place for place in range(len(target)) if math.prod(target[:place]) == before]
    if places:
        target[axis if axis in places else places[0]] = -1
        node.input[1] = graph.add_constant("actionnet/shape", np.array(target, np.int64))


def _free_squeeze(graph: Graph, node: NodeProto, data: Shape, single: Shape | None) -> None:
    """Give a Squeeze that removes every dimension of 1 an explicit list of axes, without the batch's."""
    if attribute(node, "axes") is not None or (len(node.input) > 1 and node.input[1]):
        return
    batch = _batch_axis(data)
    if batch is None or single is None or None in single:
        return
    axes = [axis for axis, size in enumerate(single) if size == 1 and axis != batch]
    if graph.opset < 13:
        set_attribute(node, "axes", axes)
        return
    del node.input[1:]
    node.input.append(graph.add_constant("actionnet/axes", np.array(axes, np.int64)))


def _entries(shape: Shape) -> int:
    """Return the number of entries of a tensor with known dimensions."""
    return math.prod(size for size in shape if size is not None)


def _batch_axis(shape: Shape | None) -> int | None:
    """Return the dimension that carries the batch; None if none or several do, or if a dimension is unknown."""
    if shape is None or None in shape:
        return None
    axes = [axis for axis, size in enumerate(shape) if size and size % PROBE == 0]
    return axes[0] if len(axes) == 1 else None
