"""Tiny networks in OpenVINO's IR, made with OpenVINO, and what NumPy computes for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as operators

FRAMES, SIZE = 4, 6
LABELS = ("walk", "sit", "fall")
WEIGHTS = np.array([[9, -6, 3], [-8, 7, 2], [4, 3, -9]], np.float32)
SHAPES = {"NCTHW": (1, 3, FRAMES, SIZE, SIZE), "NTCHW": (1, FRAMES, 3, SIZE, SIZE)}

Ending = Callable[[Any], Any]
"""Appends operators to the logits [1, classes], or does not."""


def save_ir(
    folder: Path,
    ending: Ending = lambda logits: logits,
    *,
    layout: str = "NCTHW",
    shape: Sequence[int] | None = None,
    element: Any = np.float32,
    name: str = "model",
    names: bool = True,
    yaml: str = "",
) -> Path:
    """Save a network whose logits weigh the mean red, green and blue, with its labels; return the path of its .xml.

    The later frames count more, so that it matters that time is where the network has it.
    """
    clip = operators.parameter(list(shape or SHAPES[layout]), element, name="clip")
    floats = operators.convert(clip, "f32")
    over_time = np.arange(1, FRAMES + 1, dtype=np.float32).reshape([-1 if axis == "T" else 1 for axis in layout])
    weighed = operators.multiply(floats, over_time)
    axes = np.array([index for index, axis in enumerate(layout) if axis not in "NC"])
    logits = operators.matmul(operators.reduce_mean(weighed, axes, False), WEIGHTS, False, False)
    result = ending(logits)
    if names:
        clip.output(0).get_tensor().set_names({"frames_in"})
        result.output(0).get_tensor().set_names({"answer"})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.xml"
    openvino.save_model(openvino.Model([result], [clip], name), path, compress_to_fp16=False)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    if yaml:
        (folder / "network.yaml").write_text(yaml)
    return path


def logits_of(window: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float64]:
    """The logits of the network for a window uint8 [T, H, W, 3], in float64."""
    colors = (window / 255 - np.array(mean)) / np.array(std) * np.arange(1, FRAMES + 1).reshape(-1, 1, 1, 1)
    return np.asarray(colors.mean(axis=(0, 1, 2)) @ WEIGHTS)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())
