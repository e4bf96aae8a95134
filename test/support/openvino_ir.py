"""Tiny networks in OpenVINO's IR, made with OpenVINO, and what NumPy computes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as operators

from ros2_actionnet.networks.layout import Layout, axes_of, shape_in

FRAMES, SIZE = 4, 6
LABELS = ("walk", "sit", "fall")
WEIGHTS = np.array([[9, -6, 3], [-8, 7, 2], [4, 3, -9]], np.float32)

Ending = Callable[[Any], Any]
"""Appends operators to the logits [1, classes], or does not."""


def save_ir(
    folder: Path,
    ending: Ending = lambda logits: logits,
    *,
    layout: Layout = "NCTHW",
    shape: Sequence[int] | None = None,
    element: Any = np.float32,
    name: str = "model",
    names: bool = True,
    yaml: str = "",
    recorded: Mapping[str, str] = {},
) -> Path:
    """Save a network whose logits weigh the mean red, green and blue, with its labels; return the path of its .xml.

    The later frames count more, so that it matters that time is where the network has it. `recorded` are arguments of
    its conversion, as the Model Optimizer writes them.
    """
    usual = shape_in(layout, batch=1, frames=FRAMES, height=SIZE, width=SIZE)
    clip = operators.parameter(list(shape or usual), element, name="clip")
    floats = operators.convert(clip, "f32")
    letters = [letter for axis in axes_of(layout) for letter in axis]
    if len(letters) != len(usual):
        sizes = {"N": 1, "C": 3, "T": FRAMES, "H": SIZE, "W": SIZE}
        floats = operators.reshape(floats, [sizes[letter] for letter in letters], special_zero=False)
    over_time = np.arange(1, FRAMES + 1, dtype=np.float32).reshape([-1 if letter == "T" else 1 for letter in letters])
    axes = np.array([index for index, letter in enumerate(letters) if letter not in "NC"])
    means = operators.reduce_mean(operators.multiply(floats, over_time), axes, False)
    logits = operators.matmul(means, WEIGHTS, False, False)
    result = ending(logits)
    if names:
        clip.output(0).get_tensor().set_names({"frames_in"})
        result.output(0).get_tensor().set_names({"answer"})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.xml"
    openvino.save_model(openvino.Model([result], [clip], name), path, compress_to_fp16=False)
    if recorded:
        entries = "".join(f'<{key} value="{value}"/>' for key, value in recorded.items())
        record = f"<meta_data><cli_parameters>{entries}</cli_parameters></meta_data></net>"
        path.write_text(path.read_text().replace("</net>", record))
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
