"""Rewrites a prepared network to compute in fp16, for backends that use the types of the ONNX model.

Weights and activations become float16 between the normalization and the scores. The following stay float32: the
arithmetic on the frames, the softmax or other final operators of the scores, sums and squares (which exceed fp16's
range), values computed from sizes (fp16 represents integers exactly up to 2048 only), and operators that ONNX defines
for float32 alone. Casts are inserted in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.onnx_graph import Graph, attribute, set_attribute
from ros2_actionnet.networks.spec import INPUT_NAME, OUTPUT_NAME
from ros2_actionnet.system.text import printable

LARGEST = float(np.finfo(np.float16).max)  # 65504

# The chain of nodes that the preparation inserts before every network.
NORMALIZATION = ("Cast", "Mul", "Add")
# Operators allowed between the last weights and the scores.
ENDING = frozenset(
    """
    AveragePool Cast Clip Concat Div Dropout Exp Flatten Gather HardSigmoid Identity LogSoftmax Max Mean Min Mul
    ReduceMax ReduceMean ReduceSum Reshape Sigmoid Slice Softmax Squeeze Sub Sum Transpose Unsqueeze
    """.split()  # noqa: SIM905
)
# Sums of many values, squares, and their inverses: their results exceed the range of fp16 long before any others.
# (A LayerNormalization is not among them: as a single operator it computes in float32 internally.)
WIDE_RANGE = frozenset(
    """
    CumSum Exp GlobalAveragePool GlobalLpPool Log LpNormalization LpPool Pow Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare Sqrt
    """.split()  # noqa: SIM905
)
# Operators with nearly all of the arithmetic: in fp16 even between operators that are not.
HEAVY = frozenset(["Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"])
# A constant beyond fp16 in one of these means infinity: a bound, or a mask before a softmax.
BOUNDING = frozenset(["Add", "Clip", "Max", "Min", "Pad", "Where"])


def to_half_precision(model: ModelProto) -> None:
    """Rewrite `model`, a prepared network, in place; its input `frames` and its output `scores` keep their types.

    Raises:
        NetworkError: the network has control flow or operators that are not supported here, or a weight beyond fp16.
    """
    _Rewriting(Graph(model)).run()


class _Rewriting:
    """One pass over the nodes in order, with the known properties of the tensors so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = graph.infer_types()
        self.constants = dict(_constants(graph))
        self.halved: set[str] = set()  # tensors that were float32 and are now float16
        self.casts: dict[tuple[str, int], str] = {}  # (tensor, element type) to the name of its cast
        self.nodes: list[NodeProto] = []
        self._refuse_what_is_unknown()

    def run(self) -> None:
        wide = self._wide_nodes()
        for index, node in enumerate(self.graph.nodes):
            if index in wide:
                self._replace_inputs(node, range(len(node.input)), TensorProto.FLOAT)
            else:
                self._halve(node)
            self.nodes.append(node)
        self.graph.restore_nodes(self.nodes)
        self.graph.keep_only(OUTPUT_NAME)  # removes the float32 weights

    def _refuse_what_is_unknown(self) -> None:
        for node in self.graph.nodes:
            if any(attr.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attr in node.attribute):
                raise NetworkError(
                    f"{_title(node)} has a graph of its own, which cannot be rewritten in fp16; set precision fp32, "
                    "or export the network without control flow"
                )
            unknown = [name for name in node.output if name and not self.types.get(name)]
            if unknown:
                raise NetworkError(
                    f"{_title(node)} makes '{unknown[0]}', whose type is not known, so the network cannot be rewritten "
                    "in fp16; set precision fp32"
                )

    def _wide_nodes(self) -> set[int]:
        """Return the indices of the nodes that stay in float32."""
        nodes = list(self.graph.nodes)
        spreading = {index for index, node in enumerate(nodes) if self._has_wide_range(node)}
        made_wide = {name for index in spreading for name in nodes[index].output}
        for index, node in enumerate(nodes):
            # A node with only wide inputs is between wide nodes: e.g. the epsilon added to a variance before its root.
            taken = {name for name in node.input if self._is_float(name) and name not in self.constants}
            if taken and taken <= made_wide and node.op_type not in HEAVY:
                spreading.add(index)
                made_wide.update(node.output)
        others = {index for index, node in enumerate(nodes) if not self._can_be_halved(node)}
        return spreading | others | set(_normalization(nodes)) | set(_ending(nodes))

    def _has_wide_range(self, node: NodeProto) -> bool:
        made_from_integers = node.op_type == "Cast" and not self._is_float(node.input[0])
        return node.op_type in WIDE_RANGE or made_from_integers

    def _can_be_halved(self, node: NodeProto) -> bool:
        """Return True if every float32 output has the type of a float32 input that can be float16 instead."""
        if node.op_type == "Cast":
            return self._is_float(node.input[0])
        schema = _schema(node, self.graph.opset)
        if schema is None:
            return False
        followed = {_formal(schema.inputs, index).type_str for index in self._variable_inputs(node)}
        outputs = [index for index, name in enumerate(node.output) if self._is_float(name)]
        return all(_formal(schema.outputs, index).type_str in followed for index in outputs)

    def _variable_inputs(self, node: NodeProto) -> list[int]:
        """Return the float32 inputs that the operator's definition allows to be float16."""
        schema = _schema(node, self.graph.opset)
        variables = {
            constraint.type_param_str
            for constraint in schema.type_constraints
            if {"tensor(float)", "tensor(float16)"} <= set(constraint.allowed_type_strs)
        }
        inputs = [index for index, name in enumerate(node.input) if self._is_float(name)]
        return [index for index in inputs if _formal(schema.inputs, index).type_str in variables]

    def _is_float(self, name: str) -> bool:
        """Return True if a tensor was originally float32."""
        return bool(name) and self.types.get(name) == TensorProto.FLOAT

    def _halve(self, node: NodeProto) -> None:
        """Make a node compute in fp16."""
        if node.op_type == "Cast":
            if attribute(node, "to") == TensorProto.FLOAT:
                set_attribute(node, "to", TensorProto.FLOAT16)
        else:
            variable = self._variable_inputs(node)
            self._replace_inputs(node, variable, TensorProto.FLOAT16)
            self._replace_inputs(node, set(range(len(node.input))) - set(variable), TensorProto.FLOAT)
        self.halved.update(name for name in node.output if self._is_float(name))

    def _replace_inputs(self, node: NodeProto, indices: Iterable[int], element: int) -> None:
        """Convert those of a node's inputs that are or were float32 to the type `element`."""
        for index in indices:
            name = node.input[index]
            now = TensorProto.FLOAT16 if name in self.halved else TensorProto.FLOAT
            if self._is_float(name) and now != element:
                node.input[index] = self._as(name, element, node)

    def _as(self, name: str, element: int, node: NodeProto) -> str:
        """Return the name of tensor `name` in another type, for `node`."""
        if (name, element) not in self.casts:
            if name in self.constants and element == TensorProto.FLOAT16:
                value = _halved(numpy_helper.to_array(self.constants[name]), name, node)
                self.casts[name, element] = self.graph.add_constant(f"half/{name}", value)
            else:
                cast = self.graph.new_name(f"{'half' if element == TensorProto.FLOAT16 else 'float'}/{name}")
                self.nodes.append(helper.make_node("Cast", [name], [cast], to=element))
                self.casts[name, element] = cast
        return self.casts[name, element]


def _constants(graph: Graph) -> Iterator[tuple[str, TensorProto]]:
    for tensor in graph.proto.initializer:
        yield tensor.name, tensor
    for node in graph.nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def _normalization(nodes: list[NodeProto]) -> list[int]:
    """Return the indices of the nodes that compute normalized colors from the frames."""
    name, found = INPUT_NAME, []
    for kind in NORMALIZATION:
        index = next(index for index, node in enumerate(nodes) if name in node.input and node.op_type == kind)
        found.append(index)
        name = nodes[index].output[0]
    return found


def _ending(nodes: list[NodeProto]) -> list[int]:
    """Return the indices of the nodes that compute the scores from the network's own last result."""
    wanted, found = {OUTPUT_NAME}, []
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if wanted.intersection(node.output) and node.op_type in ENDING:
            found.append(index)
            wanted.update(node.input)
    return found


def _halved(value: NDArray[Any], name: str, node: NodeProto) -> NDArray[np.float16]:
    """Return a constant of `node` in float16. Raises NetworkError if a weight exceeds the range of fp16."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    beyond = np.isfinite(value) & ~np.isfinite(half)
    if not beyond.any():
        return half
    if node.op_type in BOUNDING:
        return np.asarray(np.clip(value, -LARGEST, LARGEST), np.float16)
    raise NetworkError(
        f"{_title(node)} has the weight '{printable(name)}', which reaches {np.abs(value[beyond]).max():.3g}; "
        f"fp16 ends at {LARGEST:.0f}. Set precision fp32"
    )


def _schema(node: NodeProto, opset: int) -> Any:
    """Return the definition of a node's operator; None if it is not a standard ONNX operator."""
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None


def _formal(parameters: Any, index: int) -> Any:
    """Return an operator's formal input or output number `index`; the last one may be variadic."""
    return parameters[min(index, len(parameters) - 1)]


def _title(node: NodeProto) -> str:
    return f"the network's {node.op_type} '{printable(node.name or node.output[0])}'"
