"""The names of an ONNX model's inputs and outputs, read within milliseconds, without its weights and without onnx.

A parameter's callback has to answer at once, and importing onnx or parsing 134 MB takes tenths of a second. Protobuf's
encoding lets a reader skip what it does not need: each field is a number, a type and a length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ros2_actionnet.errors import NetworkError, about
from ros2_actionnet.networks.spec import NetworkSpec
from ros2_actionnet.system.text import printable

_GRAPH, _INPUT, _OUTPUT, _NAME = 7, 11, 12, 1
"""Numbers of the fields ModelProto.graph, GraphProto.input and .output, and ValueInfoProto.name, in onnx.proto."""

_MAX_FIELDS = 200_000  # of a model; a ResNet-34 has about 300
_MAX_NAME = 1000  # bytes


def check_blobs(spec: NetworkSpec) -> None:
    """Raise NetworkError, with the names that there are, for an input or output that the model of `spec` has not.

    What cannot be read here is left to the load, which says why.
    """
    if spec.model.suffix != ".onnx" or not (spec.input_blob or spec.output_blob):
        return
    try:
        inputs, outputs = _names(spec.model)
    except (OSError, ValueError):
        return
    for setting, kind, name, names in (
        ("input_blob", "input", spec.input_blob, inputs),
        ("output_blob", "output", spec.output_blob, outputs),
    ):
        if name and names and name not in names:
            with about(setting):
                raise NetworkError(
                    f"{printable(spec.model)} has no {kind} '{printable(name)}'; set {setting} to "
                    f"{printable(' or '.join(names))}, or to '' to have it read from the model"
                )


def _names(model: Path) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and of the outputs. Raises ValueError for a file that is not understood."""
    found: dict[int, list[str]] = {_INPUT: [], _OUTPUT: []}
    with model.open("rb") as file:
        for graph, end in _fields(file, model.stat().st_size):
            if graph != _GRAPH:
                continue
            for number, value_end in _fields(file, end):
                if number in found:
                    found[number] += _text_fields(file, value_end, _NAME)
    return found[_INPUT], found[_OUTPUT]


def _text_fields(file: BinaryIO, end: int, wanted: int) -> Iterator[str]:
    for number, text_end in _fields(file, end):
        if number == wanted:
            yield file.read(min(text_end - file.tell(), _MAX_NAME)).decode()


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the end of each field with a length, from where `file` is up to `end`; skip all others.

    The file is at the field's content when it is yielded, and wherever the caller left it afterwards.
    """
    for _ in range(_MAX_FIELDS):
        if file.tell() >= end:
            return
        tag = _varint(file)
        kind = tag & 7
        if kind == 0:
            _varint(file)
        elif kind in (1, 5):
            file.seek(8 if kind == 1 else 4, 1)
        elif kind == 2:
            length = _varint(file)
            field_end = file.tell() + length
            if field_end > end:
                raise ValueError("a field is longer than what holds it")
            yield tag >> 3, field_end
            file.seek(field_end)
        else:
            raise ValueError(f"there is no field of type {kind}")
    raise ValueError("there are too many fields")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        (byte,) = file.read(1) or (0x80,)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("the file ends within a number, or a number is too long")
