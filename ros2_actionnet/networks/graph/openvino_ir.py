"""Reads a network in OpenVINO's IR: an .xml with its layers, and beside it a .bin with its weights.

The .xml is translated to a graph of ONNX nodes without the weights, so that input, output, classes and ending are found
by the rules for ONNX models. The graph is never run: the OpenVINO backend reads the IR itself and adds to it what
the `Conversion` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.ir_conversion import with_recorded_conversion
from ros2_actionnet.networks.graph.onnx_graph import SMALL, Graph, Shape, attribute
from ros2_actionnet.networks.graph.preparation import check_sha256, labels_of
from ros2_actionnet.networks.graph.scores import read_ending
from ros2_actionnet.networks.graph.signature import (
    complete,
    count_classes,
    input_shape,
    output_shape,
    select_input,
    select_output,
)
from ros2_actionnet.networks.graph.slow_path import make_slow_path
from ros2_actionnet.networks.model_files import weights_of
from ros2_actionnet.networks.spec import Conversion, NetworkSpec, PreparedNetwork, SlowPath
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.text import printable

# The operators of this opset have their axes as an input, as the IR's have.
_OPSET = 18
# Version 10 is of OpenVINO 2020. OpenVINO no longer reads older ones.
_OLDEST = 10
_LARGEST = 1 << 26  # bytes of an .xml; that of a large transformer has a tenth of it

_TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "f64": TensorProto.DOUBLE,
    "u8": TensorProto.UINT8,
    "i8": TensorProto.INT8,
    "u16": TensorProto.UINT16,
    "i16": TensorProto.INT16,
    "u32": TensorProto.UINT32,
    "i32": TensorProto.INT32,
    "u64": TensorProto.UINT64,
    "i64": TensorProto.INT64,
    "boolean": TensorProto.BOOL,
}

_DTYPES = {
    name: np.dtype(helper.tensor_dtype_to_np_dtype(element)) for name, element in _TYPES.items() if name != "bf16"
}

# ONNX's names of the operators that may stand between the last weights and the output. All others become opaque.
_OPERATORS = {
    "Abs": "Abs",
    "Add": "Add",
    "AvgPool": "AveragePool",
    "BatchNormInference": "BatchNormalization",
    "Clamp": "Clip",
    "Concat": "Concat",
    "Convert": "Cast",
    "Convolution": "Conv",
    "Divide": "Div",
    "Exp": "Exp",
    "Gather": "Gather",
    "GroupConvolution": "Conv",
    "HardSigmoid": "HardSigmoid",
    "LogSoftmax": "LogSoftmax",
    "MatMul": "MatMul",
    "MaxPool": "MaxPool",
    "Maximum": "Max",
    "Minimum": "Min",
    "Multiply": "Mul",
    "Negative": "Neg",
    "ReLU": "Relu",
    "ReduceMax": "ReduceMax",
    "ReduceMean": "ReduceMean",
    "ReduceMin": "ReduceMin",
    "ReduceSum": "ReduceSum",
    "Reshape": "Reshape",
    "Sigmoid": "Sigmoid",
    "Slice": "Slice",
    "SoftMax": "Softmax",
    "SoftPlus": "Softplus",
    "Squeeze": "Squeeze",
    "Subtract": "Sub",
    "Transpose": "Transpose",
    "Unsqueeze": "Unsqueeze",
}
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
_POOLING = {
    "kernel_shape": "kernel",
    "strides": "strides",
    "dilations": "dilations",
    "begin": "pads_begin",
    "end": "pads_end",
}

_INPUTS, _OUTPUTS = "input/port", "output/port"
_Port = tuple[str, str]  # ids of a layer and of a port of its


def prepare_ir(spec: NetworkSpec) -> PreparedNetwork:
    """Implement `ros2_actionnet.networks.prepare` for a model in OpenVINO's IR."""
    try:
        if spec.sha256:
            check_sha256(spec.model, spec.sha256)
        root = _parse(spec.model)
        return _prepare(with_recorded_conversion(spec, root), _Layers(spec, root))
    except NetworkError:
        raise
    except CycleError as error:
        raise NetworkError(
            f"the model {printable(spec.model)} has layers that need each other's results; convert it again"
        ) from error
    except Exception as error:  # anything that the XML parser, NumPy and onnx raise for malformed files
        raise NetworkError(
            f"the model {printable(spec.model)} cannot be read: {printable(error, 200)}. It is damaged or "
            "incomplete; copy, download or convert it again, the .xml and the .bin together"
        ) from error


def _prepare(spec: NetworkSpec, layers: _Layers) -> PreparedNetwork:
    graph = layers.graph
    output = select_output(graph, spec)
    graph.keep_only(output)
    names = [value.name for value in graph.inputs]
    slow_path = _make_slow_path(graph, spec)
    if slow_path is not None and spec.input_blob in names:
        spec = replace(spec, input_blob="")
    spec = complete(spec, select_input(graph, spec), output)
    shape = output_shape(graph.proto.output[0], layers.shapes.get(output))
    labels = labels_of(spec, count_classes(spec, shape))
    ending, activation = read_ending(graph, output, len(labels), layers.shapes, spec.scores)
    return PreparedNetwork(
        replace(spec, scores=ending.kind),
        labels,
        model=b"",
        max_batch=1,
        file=spec.model,
        scores_from="stated" if spec.scores else "graph" if ending.certain else "assumption",
        digest=sha256_of(spec.model),
        conversion=Conversion(input_shape(spec), ending.offset, ending.scale, activation, slow_path),
    )


def _make_slow_path(graph: Graph, spec: NetworkSpec) -> SlowPath | None:
    """Remove the second input of a SlowFast network, and return how it is made; None for other networks."""
    if not make_slow_path(graph, spec.layout, spec.frames):
        return None
    gather = graph.nodes[0]
    frames = graph.constant(gather.input[1])
    assert frames is not None
    return SlowPath(gather.output[0], int(attribute(gather, "axis")), tuple(frames.tolist()))


class _Layers:
    """The layers of an IR as a graph of ONNX nodes.

    Inputs and outputs have the names that OpenVINO knows: the tensor's, or the layer's if the tensor has none.

    Attributes:
        graph: The graph, without constants of more than a few elements.
        shapes: The tensors' shapes, for a batch of 1.
    """

    def __init__(self, spec: NetworkSpec, root: Element) -> None:
        self._layers = {layer.attrib["id"]: layer for layer in root.iterfind("layers/layer")}
        self._sources = {
            (edge.attrib["to-layer"], edge.attrib["to-port"]): (edge.attrib["from-layer"], edge.attrib["from-port"])
            for edge in root.iterfind("edges/edge")
        }
        self._names = self._shown_names({spec.input_blob, spec.output_blob})
        self._constants = _small_constants(spec.model, self._layers.values())
        self.shapes = dict[str, Shape]()
        empty = helper.make_graph([], "ir", [], [])
        self.graph = Graph(helper.make_model(empty, opset_imports=[helper.make_opsetid("", _OPSET)]))
        needed: dict[str, set[str]] = {layer: set() for layer in self._layers}
        for (layer, _), (source, _) in self._sources.items():
            needed[layer].add(source)
        for layer in TopologicalSorter(needed).static_order():
            self._translate(self._layers[layer])
        if not self.graph.proto.output:
            raise NetworkError(f"the model {printable(spec.model)} has no network in it; convert it again")

    def _shown_names(self, requested: set[str]) -> dict[_Port, str]:
        """Return the names of inputs and outputs; of several for one tensor, the requested one or else the first."""
        shown = {(key, port.attrib["id"]) for key, layer in self._of("Parameter") for port in layer.iterfind(_OUTPUTS)}
        shown |= {
            self._sources[key, port.attrib["id"]]
            for key, layer in self._of("Result")
            for port in layer.iterfind(_INPUTS)
        }
        names = dict[_Port, str]()
        for key, number in shown:
            ports = {port.attrib["id"]: port for port in self._layers[key].iterfind(_OUTPUTS)}
            known = re.split(r"(?<!\\),", ports[number].get("names", ""))
            if len(ports) == 1:
                known.append(self._layers[key].get("name", ""))
            known = [name.replace("\\,", ",") for name in known if name] or [f"{key}:{number}"]
            names[key, number] = next((name for name in known if name in requested), known[0])
        return names

    def _of(self, kind: str) -> list[tuple[str, Element]]:
        return [(key, layer) for key, layer in self._layers.items() if layer.attrib["type"] == kind]

    def _name(self, port: _Port) -> str:
        return self._names.get(port, ":".join(port))

    def _translate(self, layer: Element) -> None:
        """Add a layer to the graph: as an input, an output, an initializer or a node."""
        key, kind, proto = layer.attrib["id"], layer.attrib["type"], self.graph.proto
        data = _data(layer)
        inputs = [self._name(self._sources[key, port.attrib["id"]]) for port in layer.iterfind(_INPUTS)]
        ports = {self._name((key, port.attrib["id"])): port for port in layer.iterfind(_OUTPUTS)}
        for name, port in ports.items():
            if shape := _shape(port):  # the batch is 1 where it is free
                self.shapes[name] = (shape[0] or 1, *shape[1:])
        if kind == "Parameter":
            element = _TYPES.get(data["element_type"], TensorProto.UNDEFINED)
            for name, port in ports.items():
                proto.input.append(helper.make_tensor_value_info(name, element, _shape(port) or None))
        elif kind == "Result":
            for name, port in zip(inputs, layer.iterfind(_INPUTS), strict=True):
                if name not in [value.name for value in proto.output]:
                    proto.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, _shape(port) or None))
        elif kind != "Const":
            proto.node.append(self._node(kind, data, inputs, list(ports)))
        elif key in self._constants:
            for name in ports:
                proto.initializer.append(numpy_helper.from_array(self._constants[key], name))

    def _node(self, kind: str, data: Mapping[str, str], inputs: list[str], outputs: list[str]) -> NodeProto:
        """Return the ONNX node of a layer, one of another domain if the two operators differ."""
        if kind in _OPERATORS:
            with suppress(LookupError, ValueError):  # of an operator whose form is not one of those known here
                attributes, taken = _attributes(kind, data), list(inputs)
                if kind == "Transpose":
                    attributes["perm"] = [int(axis) for axis in self._value(taken.pop())]
                elif kind == "Gather":
                    (attributes["axis"],) = (int(axis) for axis in self._value(taken.pop()))
                elif kind in _REDUCTIONS:
                    axes = self._value(taken.pop()).astype(np.int64)
                    taken.append(self.graph.add_constant("axes", axes))
                elif kind == "Slice":
                    data_in, start, stop, step, *axes_in = inputs
                    taken = [data_in, start, stop, *(axes_in or [""]), step]
                return helper.make_node(_OPERATORS[kind], taken, outputs, **attributes)
        return helper.make_node(kind, inputs, outputs, domain="openvino")

    def _value(self, name: str) -> NDArray[Any]:
        """Return a constant as one dimension. Raises KeyError if it is none, or not a small one."""
        constant = self.graph.constant(name)
        if constant is None:
            raise KeyError(name)
        return constant.reshape(-1)


def _attributes(kind: str, data: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of the ONNX operator. Raises KeyError or ValueError if it has no such form."""
    if kind in ("SoftMax", "LogSoftmax", "Concat"):
        return {"axis": int(data.get("axis", "1"))}
    if kind == "Convert":
        return {"to": _TYPES[data["destination_type"]]}
    if kind in _REDUCTIONS:
        return {"keepdims": int(data.get("keep_dims", "false") in ("true", "1"))}
    if kind == "Gather" and int(data.get("batch_dims", "0")):
        raise ValueError("several gathers")
    if kind in ("AvgPool", "MaxPool"):
        if data.get("auto_pad", "explicit") not in ("explicit", "valid"):
            raise ValueError("padded")
        numbers = {
            key: [int(number) for number in data[name].split(",")] for key, name in _POOLING.items() if name in data
        }
        pads = numbers.pop("begin", []) + numbers.pop("end", [])
        return numbers | {"pads": pads, "ceil_mode": int(data.get("rounding_type", "floor") != "floor")}
    return {}


def _parse(model: Path) -> Element:
    """Return the root of an .xml that OpenVINO can read. External entities are never read."""
    if model.stat().st_size > _LARGEST:
        raise NetworkError(
            f"the model {printable(model)} has more than {_LARGEST >> 20} MB of layers; is it a network?"
        )
    content = model.read_bytes()
    if b"<!" in content.replace(b"<!--", b""):
        raise NetworkError(
            f"the model {printable(model)} declares entities, which OpenVINO's IR has not; convert it again"
        )
    root = ElementTree.fromstring(content)
    if root.tag != "net":
        raise NetworkError(
            f"the model {printable(model)} is not in OpenVINO's IR: it begins with <{printable(root.tag, 40)}>, not "
            "with <net>"
        )
    version = root.get("version", "")
    if not version.isdecimal() or int(version) < _OLDEST:
        raise NetworkError(
            f"the model {printable(model)} is of version '{printable(version, 20)}' of OpenVINO's IR; {_OLDEST} or "
            "later is needed. Convert the original network again, with `ovc`"
        )
    if any(layer.get("type") in ("Assign", "ReadValue") for layer in root.iter("layer")):
        raise NetworkError(
            f"the model {printable(model)} remembers earlier inputs (layers Assign and ReadValue); a network must take "
            "a whole window of frames at once. Export it without its state"
        )
    return root


def _small_constants(model: Path, layers: Iterable[Element]) -> dict[str, NDArray[Any]]:
    """Return the constants of a few elements, by the ids of their layers.

    Raises NetworkError if the .bin is too short for the constants that the .xml places in it.
    """
    constants = [layer for layer in layers if layer.attrib["type"] == "Const"]
    weights = weights_of(model)
    size, end = weights.stat().st_size, 0
    found = dict[str, NDArray[Any]]()
    with weights.open("rb") as file:
        for layer in constants:
            data = _data(layer)
            offset, length = int(data["offset"]), int(data["size"])
            end = max(end, offset + length)
            dtype = _DTYPES.get(data["element_type"])
            if dtype is None or not 0 < length <= SMALL * dtype.itemsize or end > size:
                continue
            file.seek(offset)
            shape = [int(number) for number in data["shape"].split(",") if number.strip()]
            found[layer.attrib["id"]] = np.frombuffer(file.read(length), dtype).reshape(shape)
    if end > size:
        raise NetworkError(
            f"the weights {printable(weights)} are incomplete or of another network: {size} bytes, but "
            f"{printable(model.name)} needs {end}; copy or download both files again"
        )
    return found


def _data(layer: Element) -> Mapping[str, str]:
    data = layer.find("data")
    return {} if data is None else data.attrib


def _shape(port: Element) -> Shape:
    """Return the dimensions at a port; () for a scalar, and where not even their number is known."""
    return tuple(None if size < 0 else size for size in (int(dim.text or "") for dim in port.iterfind("dim")))
