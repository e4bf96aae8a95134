"""Writes a network folder from weights of torchvision: the subprocess of `published_weights`."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.system.child_process import answer_parent
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.text import printable

FRAMES = 16
"""Frames in a window of torchvision's video networks, at 15 per second."""

_OPSET = 17  # of TensorRT 8.5 and 8.6, too


def _convert(question: Any) -> bytes:
    weights, file, folder = question
    try:
        _write_network(weights, file, folder)
    except Exception as error:  # anything that PyTorch raises
        raise NetworkError(f"PyTorch cannot convert {weights}: {printable(error, 500)}") from error
    return b""


def _write_network(name: str, file: Path, folder: Path) -> None:
    import torch
    from torchvision.models import get_model, get_weight

    weights = get_weight(name)
    preprocessing = weights.transforms()
    height, width = preprocessing.crop_size
    network = get_model(name.partition("_Weights")[0].lower())
    # Nothing but tensors is read: other objects in a .pth are code that runs when they are loaded.
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    model = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, FRAMES, height, width),),
            str(model),
            input_names=["frames"],
            output_names=["logits"],
            dynamic_axes={"frames": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in weights.meta["categories"]), encoding="utf-8")
    stated = {
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "sha256": sha256_of(model),
        "source": f"{weights.url}, sha256 {sha256_of(file)}",
        "license": "BSD-3-Clause (torchvision); weights may be subject to the terms of the data set, Kinetics-400",
    }
    lines = ["# Written by ros2_actionnet when it converted these weights."]
    lines += [f"{key}: {json.dumps(value)}" for key, value in stated.items()]
    (folder / "network.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    answer_parent(_convert)
