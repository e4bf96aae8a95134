"""An ONNX model's graph, with the few operations needed to prepare a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

# Dimensions of a tensor; None = unknown.
Shape = tuple[int | None, ...]

# Initializers up to this many elements may be shapes, axes or indices, which shape inference reads.
SMALL = 256


class Graph:
    """A mutable view of a ModelProto. It copies no weights and caches nothing."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.proto: GraphProto = model.graph

    @property
    def nodes(self) -> Any:
        """Nodes of the graph: a mutable sequence of NodeProto, in topological order after `sort_nodes`."""
        return self.proto.node

    @property
    def opset(self) -> int:
        """Opset version of the standard operators that the model uses."""
        return max((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), default=0)

    @property
    def inputs(self) -> list[ValueInfoProto]:
        """Inputs of the graph, without those that have an initial value."""
        initial = {tensor.name for tensor in self.proto.initializer}
        return [value for value in self.proto.input if value.name not in initial]

    def producers(self) -> dict[str, NodeProto]:
        """Map each tensor's name to the node that produces it."""
        return {name: node for node in self.nodes for name in node.output if name}

    def consumers(self, name: str) -> list[NodeProto]:
        """Return the nodes that consume tensor `name`."""
        return [node for node in self.nodes if name in node.input]

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of a tensor that is an initializer or the output of a Constant node; None for any other."""
        for tensor in self.proto.initializer:
            if tensor.name == name:
                return np.asarray(numpy_helper.to_array(tensor))
        node = self.producers().get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        return None

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer under a new name that begins with `name`; return that name."""
        name = self.new_name(name)
        self.proto.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def new_name(self, name: str) -> str:
        """Return `name`, or `name_1`, `name_2`, ... if a tensor of that name exists."""
        taken = self._tensor_names()
        candidate, count = name, 0
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def rename(self, old: str, new: str) -> None:
        """Rename tensor `old` to `new`, wherever it is produced or consumed."""
        for value in (*self.proto.input, *self.proto.output, *self.proto.initializer):
            if value.name == old:
                value.name = new
        for node in self.nodes:
            _rename_in_node(node, old, new)

    def keep_only(self, output: str) -> None:
        """Make `output` the only output and remove the nodes, initializers and inputs that it does not need."""
        needed = {output}
        for index in reversed(range(len(self.nodes))):
            if needed.intersection(self.nodes[index].output):
                needed |= taken_by(self.nodes[index])
            else:
                del self.nodes[index]
        for values, kept in (
            (self.proto.output, {output}),
            (self.proto.input, needed),
            (self.proto.initializer, needed),
        ):
            for index in reversed(range(len(values))):
                if values[index].name not in kept:
                    del values[index]

    def lift_constants(self) -> None:
        """Convert large Constant nodes to initializers, so that copying nodes is cheap."""
        for index in reversed(range(len(self.nodes))):
            node = self.nodes[index]
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                tensor = node.attribute[0].t
                if math.prod(tensor.dims) > SMALL:
                    tensor.name = node.output[0]
                    self.proto.initializer.append(tensor)
                    del self.nodes[index]

    def fix_input(self, name: str, shape: Sequence[int]) -> None:
        """Give the input `name` static dimensions."""
        for value in self.proto.input:
            if value.name == name:
                element = value.type.tensor_type.elem_type
                value.CopyFrom(helper.make_tensor_value_info(name, element, list(shape)))

    def remove_input(self, name: str) -> None:
        """Remove the input `name` from the graph's inputs; nodes may still consume a tensor of that name."""
        _replace(self.proto.input, [value for value in self.proto.input if value.name != name])

    def prepend(self, nodes: list[NodeProto]) -> None:
        """Insert nodes before all others."""
        for node in reversed(nodes):
            self.nodes.insert(0, node)

    def replace(self, node: NodeProto, replacement: list[NodeProto]) -> None:
        """Replace `node` by other nodes."""
        place = list(self.nodes).index(node)
        del self.nodes[place]
        for offset, new in enumerate(replacement):
            self.nodes.insert(place + offset, new)

    def backup_nodes(self) -> list[NodeProto]:
        """Return copies of the nodes, for `restore_nodes`."""
        copy = GraphProto()
        copy.node.extend(self.nodes)
        return list(copy.node)

    def restore_nodes(self, nodes: list[NodeProto]) -> None:
        """Restore the nodes returned by `backup_nodes`."""
        _replace(self.nodes, nodes)

    def _tensor_names(self) -> set[str]:
        names = {value.name for value in (*self.proto.input, *self.proto.output, *self.proto.initializer)}
        for node in self.nodes:
            names.update(node.output)
            names.update(taken_by(node))
        return names

    def infer_shapes(self, batch: int | None = None, *, strict: bool = False) -> dict[str, Shape]:
        """Infer the shapes of the tensors with ONNX's shape inference; `batch` is the input's first dimension.

        Tensors whose rank cannot be inferred are left out.
        Works on the structure only: large weights are represented by their shapes, so this is fast for any model.

        Raises:
            onnx.shape_inference.InferenceError: `strict` is set and the shapes contradict each other.
        """
        inferred = onnx.shape_inference.infer_shapes(self._skeleton(batch), strict_mode=strict, data_prop=True).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        return {value.name: shape_of(value) for value in values if has_rank(value)}

    def infer_types(self) -> dict[str, int]:
        """Infer the ONNX element types of the tensors, initializers included, as far as shape inference finds them."""
        inferred = onnx.shape_inference.infer_shapes(self._skeleton(batch=None)).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        return types | {tensor.name: tensor.data_type for tensor in self.proto.initializer}

    def _skeleton(self, batch: int | None) -> ModelProto:
        """Return the model without stored shapes and large weights, which become inputs; with the batch, if given."""
        skeleton = ModelProto(ir_version=max(self.model.ir_version, 4))
        skeleton.opset_import.extend(self.model.opset_import)
        skeleton.functions.extend(self.model.functions)
        graph = skeleton.graph
        graph.name = "skeleton"
        graph.node.extend(self.nodes)
        for value in self.inputs:
            graph.input.append(value)
            if batch is not None:
                dimension = graph.input[-1].type.tensor_type.shape.dim[0]
                dimension.ClearField("dim_param")
                dimension.dim_value = batch
        for tensor in self.proto.initializer:
            if math.prod(tensor.dims) <= SMALL:
                graph.initializer.append(tensor)
            else:
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        # The types of the outputs without their shapes, which may be valid for another batch.
        for value in self.proto.output:
            graph.output.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
        return skeleton


def shape_of(value: ValueInfoProto) -> Shape:
    """Return the dimensions of an input, an output or an inferred tensor; None for each unknown one."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in value.type.tensor_type.shape.dim
    )


def has_rank(value: ValueInfoProto) -> bool:
    """Return False if the number of a tensor's dimensions is unknown; `shape_of` is () then, as it is for a scalar."""
    return bool(value.type.tensor_type.HasField("shape"))


def sort_nodes(nodes: Any) -> None:
    """Sort a graph's nodes topologically, those of its subgraphs too; nodes that are sorted keep their order.

    `nodes` is a mutable sequence of NodeProto. Some converters append nodes whose results earlier nodes consume.

    Raises graphlib.CycleError if nodes need each other's results.
    """
    for node in nodes:
        for graph in _subgraphs(node):
            sort_nodes(graph.node)
    places = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    needed = {place: {places[name] for name in taken_by(node) & places.keys()} for place, node in enumerate(nodes)}
    if any(other >= place for place, others in needed.items() for other in others):
        _replace(nodes, [nodes[place] for place in TopologicalSorter(needed).static_order()])


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return a node's attribute as a Python value, or `default` if the node has none of that name."""
    for candidate in node.attribute:
        if candidate.name == name:
            return helper.get_attribute_value(candidate)
    return default


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Set a node's attribute."""
    _replace(node.attribute, [kept for kept in node.attribute if kept.name != name])
    node.attribute.append(helper.make_attribute(name, value))


def type_name(element: int) -> str:
    """Return the name of an ONNX element type: "float32", "float16", "uint8", ..."""
    name = str(TensorProto.DataType.Name(element)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _replace(repeated: Any, values: Iterable[Any]) -> None:
    """Assign `repeated[:] = values`, which protobuf lacks; the values may be members of `repeated`."""
    copy = list(values)
    del repeated[:]
    repeated.extend(copy)


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the bodies of an If, Loop or Scan, which can use tensors of the enclosing graph by name."""
    graphs = [attr.g for attr in node.attribute if attr.type == AttributeProto.GRAPH]
    return graphs + [graph for attr in node.attribute if attr.type == AttributeProto.GRAPHS for graph in attr.graphs]


def taken_by(node: NodeProto) -> set[str]:
    """Return the names of the tensors that a node consumes, including the outer tensors used by its subgraphs."""
    names = set(node.input) - {""}
    for graph in _subgraphs(node):
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names |= taken_by(inner)
    return names


def _rename_in_node(node: NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    for graph in _subgraphs(node):
        for value in graph.output:
            if value.name == old:
                value.name = new
        for inner in graph.node:
            _rename_in_node(inner, old, new)
