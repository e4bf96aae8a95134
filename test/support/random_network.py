"""A small 3D-CNN with random weights, whose scores depend on where, when and in which color things are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MEAN = (0.4344705882352941, 0.4050980392156863, 0.3774901960784314)  # what actionNet subtracts


def save_random_network(
    folder: Path, labels: tuple[str, ...], *, frames: int = 4, size: int = 16, seed: int = 0
) -> Path:
    """`folder`/model.onnx, input [1, 3, frames, size, size], logits out, labels.txt beside it; the model's path."""
    random = np.random.default_rng(seed)
    features = 8
    flattened = features * (frames // 2) * (size // 4) ** 2
    weights = {
        "kernel": random.normal(0, 0.5, (features, 3, 3, 5, 5)),
        "matrix": random.normal(0, 3 / np.sqrt(flattened), (flattened, len(labels))),
    }
    nodes = [
        helper.make_node("Conv", ["clip", "kernel"], ["conv"], strides=[2, 4, 4], pads=[1, 2, 2, 1, 2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Flatten", ["relu"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, [1, 3, frames, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(labels)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    return folder / "model.onnx"


class ReferenceModel:
    """The scores of the model as it is, by ONNX Runtime; normalization and softmax worked out in numpy."""

    def __init__(self, model: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def scores(self, window: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """float64 [classes] for RGB frames uint8 [H, W, 3], oldest first."""
        colors = np.stack(window).astype(np.float64) / 255 - np.array(MEAN)
        (logits,) = self._session.run(None, {"clip": colors.transpose(3, 0, 1, 2)[np.newaxis].astype(np.float32)})
        powers = np.exp(logits[0].astype(np.float64) - logits.max())
        return np.asarray(powers / powers.sum())
