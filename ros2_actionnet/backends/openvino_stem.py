"""Computes nothing twice in the stem of a 3D-CNN: two windows in a row share all frames but one.

A first convolution of length k in time gives each of the T steps of a window from k frames. The (k - 1) / 2 steps at
either edge see the window's zero padding; the others depend on their frames alone, and of these only as many as there
are new frames (n, usually one) were not computed for the window before, up to the spatial half of the max-pool that
follows. They are kept in a ring like the frames', so that every window's steps are contiguous, too:

    frames ──stem──▶ steps 0 to m-1, and T-m-n to T-1 ──▶ ring of T steps ──trunk──▶ scores       m = (k - 1) / 2

In a quantized network the ring holds the numbers of 8 bits that the quantizer behind the max-pool makes, or the one
before it. The trunk turns them back, pools in time and quantizes again, which changes nothing: both are monotonic, and
so every layer behind is computed from the same numbers and in the same way as in the whole network.

The numbers are those of the whole network. A step is used again only if none of its frames has been written since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import Frame, HostRing

Features = NDArray[Any]

MOST_NEW_FRAMES = 4
"""With more new frames since the window before, all steps are computed."""


@dataclass(frozen=True, eq=False)
class SplitModel:
    """A model, split behind its stem.

    Attributes:
        every_step: frames -> features of all T steps, [T, C, H', W'].
        new_steps: for 1, 2, ... new frames n: frames -> features of the first m steps, and of the last m + n.
        trunk: features of all T steps -> scores.
        margin: m.
        shape: of the features of all steps.
        dtype: of the features: int8 or uint8 if a quantizer is next to the max-pool, otherwise float32.
    """

    every_step: Any
    new_steps: tuple[Any, ...]
    trunk: Any
    margin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def split_stem(model: Any, frames: int) -> SplitModel | None:
    """Split an openvino.Model of static shape with the common signature; None if it has no such stem.

    The stem is a convolution that keeps the number of steps, followed by additions and products of constants and ReLUs,
    without branches, a quantizer or none, and a max-pool. `model` must not be used afterwards.
    """
    import openvino
    from openvino import opset13 as ops

    conv = next((op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"), None)
    if conv is None or len(conv.output(0).get_shape()) != 5:
        return None
    margin = _margin(conv.get_attributes(), conv.input_value(1).get_shape()[2])
    chain = _chain(conv)
    steps = conv.output(0).get_shape()[2]
    if chain is None or margin < 1 or steps != frames or conv.input_value(0).get_shape()[2] != frames:
        return None
    if frames < 2 * margin + 3:  # at least two steps can be used again
        return None
    pointwise, before, pool = chain
    quantize, dequantize = before or _quantizer(pool)
    how = pool.get_attributes()
    if (
        how["rounding_type"] != "floor"
        or how["auto_pad"] not in ("explicit", "valid")
        or any(each != 1 for each in how["dilations"])
    ):
        return None

    def steps_of(convolved: Any) -> Any:
        """Return nodes for the features of a convolution's steps, [steps, C, H', W']."""
        value = convolved
        for op in pointwise:
            value = _again(ops, op, value)
        halves = {name: [0, *how[name][1:]] for name in ("pads_begin", "pads_end")}
        strides, kernel = [1, *how["strides"][1:]], [1, *how["kernel"][1:]]
        value = ops.max_pool(value, strides, [1, 1, 1], halves["pads_begin"], halves["pads_end"], kernel).output(0)
        for op in quantize:
            value = _again(ops, op, value)
        shape = value.get_shape()
        moved = ops.transpose(value, np.array([0, 2, 1, 3, 4], np.int64))
        return ops.reshape(moved, np.array([shape[2], shape[1], *shape[3:]], np.int64), special_zero=False)

    def part(first: int, last: int) -> Any:
        """Return nodes for the steps from `first` to `last`, which lie at the edges of the window or between."""
        begin, end = max(first - margin, 0), min(last + margin + 1, frames)
        bounds = (np.array([value], np.int64) for value in (begin, end, 1, 2))
        source = ops.slice(conv.input_value(0), *bounds)
        strides, before, after = ([*conv.get_attributes()[name]] for name in ("strides", "pads_begin", "pads_end"))
        before[0], after[0] = begin - (first - margin), last + margin + 1 - end
        dilations = [*conv.get_attributes()["dilations"]]
        return steps_of(ops.convolution(source, conv.input_value(1), strides, before, after, dilations).output(0))

    inputs = model.get_parameters()
    every = steps_of(conv.output(0))
    every_step = openvino.Model([every], inputs, "every_step")
    most = min(MOST_NEW_FRAMES, frames - 2 * margin - 2)
    new = [[part(0, margin - 1), part(frames - margin - count, frames - 1)] for count in range(1, most + 1)]
    new_steps = [openvino.Model(outputs, inputs, "new_steps") for outputs in new]
    shape, element = tuple(every.output(0).get_shape()), every.output(0).get_element_type()
    features = ops.parameter(list(shape), element, name="features")
    moved = ops.transpose(ops.unsqueeze(features, np.array([0], np.int64)), np.array([0, 2, 1, 3, 4], np.int64))
    series = moved.output(0)
    for op in dequantize:
        series = _again(ops, op, series)
    pooled = ops.max_pool(
        series,
        [how["strides"][0], 1, 1],
        [1, 1, 1],
        [how["pads_begin"][0], 0, 0],
        [how["pads_end"][0], 0, 0],
        [how["kernel"][0], 1, 1],
    )
    pooled = pooled.output(0)
    for op in (*quantize, *dequantize) if before else ():  # what is behind it is then recognized as quantized
        pooled = _again(ops, op, pooled)
    every_step, new_steps = every_step.clone(), [each.clone() for each in new_steps]
    for target in list(pool.output(0).get_target_inputs()):
        target.replace_source_output(pooled)
    trunk = openvino.Model(model.get_results(), [features], "trunk")
    return SplitModel(every_step, tuple(new_steps), trunk, margin, shape, np.dtype(element.to_dtype()))


def _margin(how: dict[str, Any], length: int) -> int:
    """Return the steps at either edge of a convolution that see its padding in time; 0 if it is of another kind."""
    margin = (length - 1) // 2
    same = how["pads_begin"][0] == how["pads_end"][0] == margin and length == 2 * margin + 1
    plain = how["auto_pad"] == "explicit" and how["strides"][0] == 1 and how["dilations"][0] == 1
    return margin if same and plain else 0


Quantizer = tuple[list[Any], list[Any]]
"""The operators that make numbers of 8 bits, and those that turn them back."""


def _chain(conv: Any) -> tuple[list[Any], Quantizer | None, Any] | None:
    """Return what is behind a convolution: pointwise operators, a quantizer, if there is one, and the max-pool.

    None if there is something else, or a branch.
    """
    chain: list[Any] = []
    quantizer: Quantizer | None = None
    op = conv
    while True:
        targets = [each for each in op.output(0).get_target_inputs() if each.get_node().get_type_name() != "ShapeOf"]
        if len(targets) != 1:
            return None
        source, op = op, targets[0].get_node()
        kind = op.get_type_name()
        if kind == "MaxPool":
            used = [output for output in op.outputs()[1:] if output.get_target_inputs()]
            return None if used else (chain, quantizer, op)
        if kind == "FakeQuantize" and quantizer is None:
            quantizer = _quantizer(source)
            if not quantizer[0]:
                return None
            op = quantizer[1][-1]
            continue
        if quantizer is not None:
            return None
        is_scaling = kind in ("Add", "Multiply") and _is_fixed(op.input_value(1))
        if kind != "Relu" and not (is_scaling and _is_for_channels(op.input_value(1).get_shape())):
            return None
        chain.append(op)


def _quantizer(source: Any) -> Quantizer:
    """Return the quantizer behind an operator; empty lists if there is none."""
    found: list[Any] = []
    op = source
    for kinds in (("FakeQuantize",), ("Convert",), ("Convert",), ("Subtract", "Multiply"), ("Multiply",)):
        targets = op.output(0).get_target_inputs()
        if len(targets) != 1:
            return [], []
        op = next(iter(targets)).get_node()
        constants = op.input_values()[1:]
        if op.get_type_name() not in kinds or not all(_is_fixed(value) for value in constants):
            return [], []
        if not all(_is_for_channels(value.get_shape()) for value in constants):
            return [], []
        found.append(op)
        if op.get_type_name() == "Multiply":
            break
    whole_numbers = found[1].output(0).get_element_type().get_type_name() in ("i8", "u8")
    return (found[:2], found[2:]) if whole_numbers else ([], [])


def _is_fixed(output: Any) -> bool:
    """Return True if a value depends on no input of the model but by its shape, which is static."""
    node = output.get_node()
    if node.get_type_name() == "ShapeOf":
        return True
    return node.get_type_name() != "Parameter" and all(_is_fixed(value) for value in node.input_values())


def _is_for_channels(shape: Any) -> bool:
    """Return True for the shape of a constant that is the same for all steps and places."""
    return (len(shape) <= 1 and list(shape) in ([], [1])) or (len(shape) == 5 and [*shape][2:] == [1, 1, 1])


def _again(ops: Any, op: Any, value: Any) -> Any:
    """Return the output of a pointwise operator on another value."""
    kind = op.get_type_name()
    if kind == "Relu":
        return ops.relu(value).output(0)
    if kind == "Convert":
        return ops.convert(value, op.output(0).get_element_type().get_type_name()).output(0)
    if kind == "FakeQuantize":
        return ops.fake_quantize(value, *op.input_values()[1:], op.get_attributes()["levels"]).output(0)
    make = {"Add": ops.add, "Subtract": ops.subtract, "Multiply": ops.multiply}[kind]
    return make(value, op.input_value(1)).output(0)


@dataclass(frozen=True, eq=False)
class FeatureWindow:
    """A window of a ring: its frames, uint8 [N, H, W, 3], and the slot of the oldest."""

    ring: FeatureRing
    first: int
    frames: Frame


class FeatureRing:
    """A ring of frames with a mirrored ring of the features of their steps.

    Attributes:
        frames: number of frames in a window, N.
        features: [2N, C, H', W'] of the split model's dtype; like the frames', each window's are contiguous.
    """

    def __init__(self, frames: int, height: int, width: int, split: SplitModel) -> None:
        self._ring, self.frames = HostRing(frames, height, width), frames
        self.features: Features = np.zeros((2 * frames, *split.shape[1:]), split.dtype)
        self._margin = split.margin
        self._writes = 0
        self._written = [0] * frames  # number of the write of each slot
        self._made_of: list[tuple[int, ...]] = [()] * frames  # the writes of the frames that a step was computed from

    def write(self, slot: int, frame: Frame) -> None:
        """Store `frame` in `slot` and its mirror; the steps that depend on it are to be computed anew."""
        self._ring.write(slot, frame)
        self._writes += 1
        self._written[slot] = self._writes

    def repeat(self, source: int, slot: int) -> None:
        """Copy slot `source` to `slot` and its mirror."""
        self.write(slot, self._ring.window(source)[0])

    def window(self, first: int) -> FeatureWindow:
        """Return the window that begins in slot `first`, oldest frame first; valid until the next write."""
        return FeatureWindow(self, first, self._ring.window(first))

    def missing(self, first: int) -> int:
        """Return how many inner steps of the window that begins in slot `first` are to be computed: the last ones."""
        margin, frames = self._margin, self.frames
        for step in range(margin, frames - margin):
            slot = (first + step) % frames
            if self._made_of[slot] != self._frames_of(slot):
                return frames - margin - step
        return 0

    def keep(self, first: int, computed: int) -> None:
        """Record that the last `computed` of the window's inner steps were computed, and the steps at its edges."""
        margin, frames = self._margin, self.frames
        for step in range(frames - margin - computed, frames - margin):
            place = first + step
            self.features[(place + frames) % (2 * frames)] = self.features[place]
            self._made_of[place % frames] = self._frames_of(place % frames)
        for step in (*range(margin), *range(frames - margin, frames)):
            self._made_of[(first + step) % frames] = ()

    def _frames_of(self, slot: int) -> tuple[int, ...]:
        return tuple(self._written[(slot + offset) % self.frames] for offset in range(-self._margin, self._margin + 1))
