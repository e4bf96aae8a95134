"""Tiny networks, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def external_tensor(values: NDArray[Any], file: Path, location: str = "") -> TensorProto:
    """A tensor with its values in `file`, which it calls `location` (default: its name)."""
    file.write_bytes(values.tobytes())
    tensor = TensorProto(data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location or file.name)
    return tensor


def save_brightness_network(
    folder: Path, labels: tuple[str, ...], *, frames: int = 4, size: int = 8, name: str = "model"
) -> Path:
    """A network that says how bright a window is: class i of k answers to a mean grey level of (i + 1/2) / k.

    `folder`/`name`.onnx, input [1, 3, frames, size, size], with labels.txt beside it. Returns the model's path.
    """
    centers = (np.arange(len(labels), dtype=np.float32) + 0.5) / len(labels)
    # -(x - c)^2 * s up to what all classes share: 2 s c x - s c^2.
    sharpness = np.float32(60.0)
    weights: dict[str, NDArray[np.float32]] = {
        "weight": np.asarray(2 * sharpness * centers, np.float32)[np.newaxis],
        "bias": np.asarray(-sharpness * centers**2, np.float32),
    }
    # The mean that the preparation subtracts, added again.
    shift = np.float32(np.mean([0.4344705882352941, 0.4050980392156863, 0.3774901960784314]))
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axes"], ["column"]),
        helper.make_node("Add", ["column", "shift"], ["grey"]),
        helper.make_node("MatMul", ["grey", "weight"], ["slope"]),
        helper.make_node("Add", ["slope", "bias"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    constants += [numpy_helper.from_array(np.array([1], np.int64), "axes"), numpy_helper.from_array(shift, "shift")]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, frames, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(labels)])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    return path
