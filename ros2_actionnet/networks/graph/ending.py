"""Reads from the end of a graph whether a network gives logits, probabilities, or a sigmoid's independent scores.

    ... ── Gemm ── Softmax ── ReduceMean over clips ── Mul by 100 ── output
                   source     └─────────── tail ─────────────┘

A source is a node that makes probabilities or sigmoid scores, the tail the operators after it that average, select,
rearrange or scale them. What the tail does to the values is not derived operator by operator: it is evaluated on
made-up values of its sources, and the results tell how the output is brought back to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ros2_actionnet.networks.graph.onnx_graph import Graph, Shape, attribute
from ros2_actionnet.networks.spec import ScoreKind

Array = NDArray[Any]

# Operators that change how values are stored but not the values. (A Clip does, but only those that it bounds.)
SAME_VALUES = frozenset(["Cast", "Clip", "DequantizeLinear", "Dropout", "Identity", "QuantizeLinear"])
SAME_ORDER = frozenset(["Flatten", "Reshape", "Squeeze", "Unsqueeze"])
# Of two inputs that both depend on the sources, these make something that is not a probability.
SCALING = frozenset(["Div", "Mul", "Sub"])
BOUNDS = frozenset(["Clip", "Max", "Min"])
POOLS: dict[str, Callable[..., Array]] = {"AveragePool": np.mean, "MaxPool": np.max}
TAIL = frozenset(
    """
    Add Concat Div Expand Gather GatherElements GatherND GlobalAveragePool GlobalMaxPool Max Mean Min Mul Neg ReduceMax
    ReduceMean ReduceMin ReduceSum Slice Split Sub Sum Tile Transpose
    """.split()  # noqa: SIM905
)
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
SIGMOIDS = frozenset(["HardSigmoid", "Sigmoid"])
# Whatever ends in one of these has no bounds: logits.
UNBOUNDED = frozenset(["BatchNormalization", "Conv", "Einsum", "Gemm", "LayerNormalization", "MatMul", "Relu"])
# What may be divided by its own sum to make probabilities.
NOT_NEGATIVE = frozenset(["Abs", "Exp", "Relu", "Softplus", *SIGMOIDS])


@dataclass(frozen=True)
class Ending:
    """The meaning of a network's output.

    Attributes:
        kind: The values of (output - offset) / scale.
        offset: 0 unless the network adds a constant to its scores.
        scale: 1 unless the network multiplies its scores by a constant.
        certain: False if nothing was recognized and logits are assumed.
        fault: Why no score of a class can be told from the output; "" if one can.
    """

    kind: ScoreKind = "logits"
    offset: float = 0.0
    scale: float = 1.0
    certain: bool = True
    fault: str = ""


def find_ending(graph: Graph, output: str, classes: int, shapes: dict[str, Shape]) -> Ending:
    """Return the meaning of tensor `output`, which has `classes` values in a batch of 1."""
    tail = _Tail(graph, shapes)
    try:
        return _classify(tail, output, classes)
    except _UnrecognizedError as end:
        bounded = any(node.op_type in BOUNDS for node in tail.passed)
        return Ending(certain=end.unbounded and not bounded)


class _UnrecognizedError(Exception):
    """The output depends on something that is neither a source nor a constant."""

    def __init__(self, node: NodeProto | None = None) -> None:
        super().__init__()
        self.unbounded = node is not None and node.op_type in UNBOUNDED and node.domain in ("", "ai.onnx")


def _classify(tail: _Tail, output: str, classes: int) -> Ending:
    def run(values: _Values) -> Array:
        found = tail.evaluate(output, values)
        if found.size != classes:
            raise _UnrecognizedError
        return found.reshape(-1)

    zero, one = run(_constant(0.0)), run(_constant(1.0))
    alike = run(_distribution(0, alike=True))
    first, second = (run(_distribution(seed)) for seed in (1, 2))
    kinds = {source.kind for source in tail.sources.values()}
    if not kinds:
        raise _UnrecognizedError
    is_over_one = any(source.axes and source.size == 1 for source in tail.sources.values())
    if kinds != {"sigmoid"} and classes > 1 and (is_over_one or np.ptp(alike - zero) < 1e-9):
        return Ending(certain=False, fault=_misplaced(tail.sources.values(), is_constant=np.ptp(first - second) < 1e-9))
    if "log" in kinds:
        step = float((one - zero).mean())
        is_scaled = kinds == {"log"} and step > 1e-6 and np.ptp(one - zero) < 1e-6 and np.ptp(zero) < 1e-6
        return Ending(scale=_rounded(step)) if is_scaled else Ending()
    total = float(first.sum())
    is_distribution = (first > -1e-9).all() and total > 1e-9 and np.isclose(total, second.sum(), rtol=1e-6)
    # Scaled by their sum, unless that is of several distributions side by side, such as verbs and nouns.
    is_distribution = is_distribution and (np.isclose(total, 1) or (not zero.any() and np.allclose(one, total)))
    if kinds == {"softmax"} and is_distribution:
        return Ending("probabilities", scale=_rounded(total))
    low, high = float(min(zero.min(), one.min())), float(max(zero.max(), one.max()))
    if high - low < 1e-9 or min(first.min(), second.min()) < low - 1e-6 or max(first.max(), second.max()) > high + 1e-6:
        return Ending(certain=False)
    return Ending("sigmoid", offset=_rounded(low), scale=_rounded(high - low))


def _misplaced(sources: Collection[_Source], *, is_constant: bool) -> str:
    """Return in words what is wrong with a softmax over other dimensions than that of the classes."""
    source = min((source for source in sources if source.axes), key=lambda source: source.size)
    where = " and ".join(map(str, source.axes))
    which = "dimension" if len(source.axes) == 1 else "dimensions"
    batch = ", the batch" if source.axes == (0,) else ""
    given = "so every class has the same score" if is_constant else "so the classes are not compared"
    return f"has a softmax over {which} {where} of {list(source.shape)}{batch}, not over the classes, {given}"


def _rounded(value: float) -> float:
    """Return `value` without what rounding to float32 has added: 1 for 0.99999999."""
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class _Source:
    """A node's output that holds probabilities over `axes`, their logarithms, or sigmoid scores.

    Attributes:
        kind: softmax, log or sigmoid.
        shape: Its dimensions, for a batch of 1.
        axes: Those over which it is normalized.
        index: Its number among the sources, so that each gets values of its own.
    """

    kind: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    index: int

    @property
    def size(self) -> int:
        """Number of values that are normalized together."""
        return math.prod(self.shape[axis] for axis in self.axes)


_Values = Callable[[_Source], Array]


def _constant(value: float) -> _Values:
    return lambda source: np.full(source.shape, value)


def _distribution(seed: int, *, alike: bool = False) -> _Values:
    """Return random probabilities; if `alike`, the same distribution wherever a source has several."""

    def make(source: _Source) -> Array:
        rng = np.random.default_rng([seed, source.index])
        drawn = source.shape
        if alike and source.kind != "sigmoid":
            drawn = tuple(size if axis in source.axes else 1 for axis, size in enumerate(source.shape))
        values = np.broadcast_to(np.exp(2 * rng.normal(size=drawn)), source.shape)
        if source.kind == "sigmoid":
            return np.asarray(values / (1 + values))
        values = values / values.sum(axis=source.axes, keepdims=True)
        return np.asarray(np.log(values) if source.kind == "log" else values)

    return make


class _Tail:
    """The operators between the sources and an output.

    Attributes:
        sources: The sources found so far, by the name of their output.
        passed: The nodes of the tail that were evaluated.
    """

    def __init__(self, graph: Graph, shapes: dict[str, Shape]) -> None:
        self.sources: dict[str, _Source] = {}
        self.passed: list[NodeProto] = []
        self._graph = graph
        self._shapes = shapes
        self._producers = graph.producers()
        self._constants: dict[str, Array] = {}
        self._varying: set[str] = set()  # tensors that depend on a source

    def evaluate(self, name: str, values: _Values) -> Array:
        """Return tensor `name` for these values of the sources; _UnrecognizedError if it depends on anything else."""
        self.passed.clear()
        return self._evaluate(name, values, {})

    def _evaluate(self, name: str, values: _Values, known: dict[str, Array]) -> Array:
        if name not in known:
            constant = self._constant(name)
            known[name] = self._produced(name, values, known) if constant is None else constant
        return known[name]

    def _constant(self, name: str) -> Array | None:
        if name not in self._constants:
            found = self._graph.constant(name)
            if found is None:
                return None
            self._constants[name] = found.astype(np.float64) if found.dtype.kind == "f" else found
        return self._constants[name]

    def _produced(self, name: str, values: _Values, known: dict[str, Array]) -> Array:
        node = self._producers.get(name)
        if node is None or node.domain not in ("", "ai.onnx"):
            raise _UnrecognizedError(node)
        if name in self.sources or self._is_source(node):
            self._varying.add(name)
            return values(self.sources[name])
        if node.op_type == "Shape":
            return np.array(self._shape(node.input[0]), np.int64)
        if node.op_type not in (TAIL | SAME_VALUES | SAME_ORDER | set(POOLS)):
            raise _UnrecognizedError(node)
        self.passed.append(node)
        # What is beside the values, such as the target of a Reshape, may be computed by anything, and is not needed.
        only_values = node.op_type in (*SAME_VALUES, *POOLS) or (node.op_type in SAME_ORDER and name in self._shapes)
        inputs = node.input[:1] if only_values else [other for other in node.input if other]
        feed = {other: self._evaluate(other, values, known) for other in inputs}
        varying = [other for other in inputs if other in self._varying]
        if varying:
            self._varying.add(name)
        if (node.op_type in SCALING and len(varying) > 1) or (node.op_type == "DequantizeLinear" and not varying):
            raise _UnrecognizedError
        return self._result(node, name, feed)

    def _result(self, node: NodeProto, name: str, feed: dict[str, Array]) -> Array:
        """Return output `name` of a node of the tail for these inputs."""
        above = feed[node.input[0]]
        if node.op_type in SAME_VALUES:
            is_number = node.op_type == "Cast" and attribute(node, "to") in FLOATS
            return above.astype(np.float64) if is_number else above
        if node.op_type in SAME_ORDER and len(feed) == 1:
            return above.reshape(self._shape(name))
        if node.op_type in POOLS:
            return _pooled(node, above)
        return _run(node, feed, self._graph.opset)[list(node.output).index(name)]

    def _is_source(self, node: NodeProto) -> bool:
        """Return True for a source, which is then in `sources`."""
        name, kind, normalizing = node.output[0], "softmax", node
        if node.op_type in SIGMOIDS:
            kind = "sigmoid"
        elif node.op_type == "LogSoftmax":
            kind = "log"
        elif node.op_type == "Exp" and (log := self._origin(node.input[0], "LogSoftmax")) is not None:
            normalizing = log
        elif node.op_type == "Div" and (divisor := self._own_sum(node)) is not None:
            normalizing = divisor
        elif node.op_type != "Softmax":
            return False
        axes = () if kind == "sigmoid" else self._axes(normalizing)
        self.sources[name] = _Source(kind, self._shape(name, of=node.input[0]), axes, len(self.sources))
        return True

    def _axes(self, node: NodeProto) -> tuple[int, ...]:
        """Return the axes over which a Softmax, LogSoftmax or a reduction works."""
        rank = len(self._shapes.get(node.input[0]) or ())
        if not rank:
            return ()
        if "Softmax" in node.op_type:
            axis = int(attribute(node, "axis", -1 if self._graph.opset >= 13 else 1)) % rank
            # Before opset 13, a softmax normalized over all dimensions from `axis` on.
            return (axis,) if self._graph.opset >= 13 else tuple(range(axis, rank))
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1:
            axes = self._constant(node.input[1])
        return tuple(int(axis) % rank for axis in (range(rank) if axes is None else axes))

    def _own_sum(self, node: NodeProto) -> NodeProto | None:
        """Return the sum by which a Div divides its own numerator, as an explicit softmax does."""
        numerator = self._producers.get(node.input[0])
        divisor = self._origin(node.input[1], "ReduceSum", "ReduceL1")
        is_own = numerator is not None and divisor is not None and divisor.input[0] == node.input[0]
        return divisor if is_own and numerator is not None and numerator.op_type in NOT_NEGATIVE else None

    def _origin(self, name: str, *kinds: str) -> NodeProto | None:
        node = self._producers.get(self._walk(name))
        return node if node is not None and node.op_type in kinds else None

    def _walk(self, name: str) -> str:
        """Return the tensor whose values `name` has, but for bounds, a tiny constant and a broadcast shape."""
        while (node := self._producers.get(name)) is not None and node.op_type in {*SAME_VALUES, "Expand", "Add"}:
            name = node.input[0]
        return name

    def _shape(self, name: str, of: str = "") -> tuple[int, ...]:
        for candidate in (name, of):
            shape = self._shapes.get(candidate)
            if shape and None not in shape:
                return tuple(size for size in shape if size is not None)
        raise _UnrecognizedError


def _run(node: NodeProto, feed: dict[str, Array], opset: int) -> Sequence[Array]:
    """Return the outputs of one node, computed by ONNX's reference implementation in float64."""
    types = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in feed.items()}
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info(name, types[name], value.shape) for name, value in feed.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feed)]
    except Exception as error:  # whatever it raises for a node that it does not support
        raise _UnrecognizedError from error


def _pooled(node: NodeProto, values: Array) -> Array:
    """Return an AveragePool or MaxPool without padding."""
    kernel = attribute(node, "kernel_shape")
    strides = attribute(node, "strides") or [1] * len(kernel)
    dilations = attribute(node, "dilations") or [1]
    is_padded = any(attribute(node, "pads") or []) or attribute(node, "auto_pad", b"NOTSET") not in (
        b"NOTSET",
        b"VALID",
    )
    if is_padded or attribute(node, "ceil_mode", 0) or set(dilations) != {1}:
        raise _UnrecognizedError
    axes = tuple(range(2, values.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(values, kernel, axis=axes)
    steps: Iterator[slice] = (slice(None, None, step) for step in strides)
    chosen = windows[(slice(None), slice(None), *steps)]
    return np.asarray(POOLS[node.op_type](chosen, axis=tuple(range(values.ndim, chosen.ndim))))
