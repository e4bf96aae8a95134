"""The files in which an ONNX model stores tensors: where they are, checked before any of them is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.network_folder import path_inside

LARGEST = 2**31 - 1
"""Bytes in one protobuf message, at most."""


def load_checked(path: Path) -> ModelProto:
    """Load a model with the tensors that it stores in other files.

    onnx before 1.15 reads whatever file a model names.

    Raises:
        NetworkError: A file that it names is not in the model's folder, or they are too large together.
        Exception: Whatever onnx and protobuf raise for a file that they cannot read.
    """
    _refuse_too_large(path, path.stat().st_size)
    model = onnx.load_model(str(path), load_external_data=False)
    if _files_named_in(model, path):
        outside = (tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL)
        _refuse_too_large(path, path.stat().st_size + sum(map(_size, outside)))
        onnx.load_external_data_for_model(model, str(path.parent))
    return model


def external_files(path: Path) -> list[Path]:
    """Return the other files in which a model stores tensors, which may not exist. Raises as `load_checked` does."""
    return _files_named_in(onnx.load_model(str(path), load_external_data=False), path)


def _refuse_too_large(path: Path, size: int) -> None:
    if size > LARGEST:
        raise NetworkError(
            f"the model {path} has {size / 1e9:.1f} GB with its weights; 2 GB is the most that the format of ONNX "
            "files (protobuf) holds in one piece, which the backends need. Export it in float16 "
            "(`network.half()`), which halves it, or take a smaller network"
        )


def _size(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _files_named_in(model: ModelProto, path: Path) -> list[Path]:
    places = {
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / path_inside(path.parent, place, f"the model {path}", path) for place in sorted(places)]


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Yield all tensors in a message: of weights, constants, subgraphs, functions and whatever else may hold some."""
    if isinstance(message, TensorProto):
        yield message
        return
    for _, value in message.ListFields():
        if isinstance(value, Message):
            yield from _tensors(value)
        elif not isinstance(value, str | bytes | int | float):
            for item in value:
                if not isinstance(item, Message):
                    break
                yield from _tensors(item)
