"""The files in which an ONNX model stores tensors: where they are, checked before any of them is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from ros2_actionnet.networks.network_folder import path_inside


def load_checked(path: Path) -> ModelProto:
    """Load a model with the tensors that it stores in other files.

    onnx before 1.15 reads whatever file a model names.

    Raises:
        NetworkError: A file that it names is not in the model's folder.
        Exception: Whatever onnx and protobuf raise for a file that they cannot read.
    """
    model = onnx.load_model(str(path), load_external_data=False)
    if _files_named_in(model, path):
        onnx.load_external_data_for_model(model, str(path.parent))
    return model


def external_files(path: Path) -> list[Path]:
    """Return the other files in which a model stores tensors, which may not exist. Raises as `load_checked` does."""
    return _files_named_in(onnx.load_model(str(path), load_external_data=False), path)


def _files_named_in(model: ModelProto, path: Path) -> list[Path]:
    places = {
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / path_inside(path.parent, place, f"the model {path}") for place in sorted(places)]


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
