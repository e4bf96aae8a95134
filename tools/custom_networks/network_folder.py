"""Writes a PyTorch network as a network folder, and checks what came out against PyTorch."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from ros2_actionnet import ActionNet, ActionNetError
from ros2_actionnet.networks import Layout

TOLERANCE = 1e-3  # of the range of the logits; a faithful export differs by some 1e-6, in float32


@dataclass(frozen=True)
class Input:
    """What a network takes: windows of RGB in [0, 1], less `mean`, divided by `std`, in `layout`."""

    frames: int
    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: Layout = "NCTHW"

    def tensor(self, windows: Tensor) -> Tensor:
        """Frames as they come, uint8 [B, T, H, W, 3], as the network's input, float32."""
        scaled = (windows.float() / 255 - windows.new_tensor(self.mean, dtype=torch.float32)) / windows.new_tensor(
            self.std, dtype=torch.float32
        )
        return scaled.permute(0, 4, 1, 2, 3) if self.layout == "NCTHW" else scaled.permute(0, 1, 4, 2, 3)


def write_network(
    folder: Path, network: nn.Module, taken: Input, labels: Sequence[str], *, dynamo: bool = False, **notes: str
) -> float:
    """Writes model.onnx, labels.txt and network.yaml into `folder`, and checks them.

    `network` gives logits [B, classes]; `notes` (source, license, description) go into the network.yaml.

    Returns:
        How far it is from PyTorch: its largest error over the range of the logits.

    Raises:
        ActionNetError: the network cannot be used, or does not give what it gives in PyTorch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export(network, taken, folder / "model.onnx", dynamo=dynamo)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    description: dict[str, Any] = {
        "frames": taken.frames,
        "height": taken.height,
        "width": taken.width,
        "layout": taken.layout,
        "mean": list(taken.mean),
        "std": list(taken.std),
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        **notes,
    }
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
    (folder / "network.yaml").write_text(text, encoding="utf-8")
    found = difference(folder, network, taken)
    if not found < TOLERANCE:
        raise ActionNetError(
            f"{folder}: the exported network is off by {found:.1e} of the range of its logits in PyTorch; at most "
            f"{TOLERANCE:g} is allowed. The export changed it: try the other exporter, and look at what forward() does"
        )
    return found


def export(network: nn.Module, taken: Input, path: Path, *, dynamo: bool = False) -> None:
    """Writes `network` as ONNX with a free batch dimension, by either of PyTorch's exporters.

    The older one writes opset 17, which TensorRT 8.5 and 8.6 (JetPack 5 and 6.0) read; `dynamo` writes 18.
    """
    network = network.eval().cpu()
    window = torch.zeros(1, taken.frames, taken.height, taken.width, 3, dtype=torch.uint8)
    names: dict[str, Any] = {"input_names": ["frames"], "output_names": ["logits"]}
    arguments = (network, (taken.tensor(window),), str(path))
    if dynamo:
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            *arguments, **names, dynamo=True, dynamic_shapes=batch, opset_version=18, external_data=False, verbose=False
        )
        return
    axes = {name: {0: "batch"} for name in ("frames", "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(*arguments, **names, dynamo=False, dynamic_axes=axes, opset_version=17)


def difference(folder: Path, network: nn.Module, taken: Input) -> float:
    """How far the network in `folder` is from PyTorch at most, over the range of its logits, on windows of noise.

    Logits and not scores, because those of a thousand classes can be all wrong and all next to nothing.
    """
    random, off = np.random.default_rng(0), 0.0
    with ActionNet(model=str(folder), backend="openvino", precision="fp32", skip_frames=0) as net:
        for contrast in (127, 32, 8):  # a network that is quite sure of one class shows little of the others
            size = (taken.frames, taken.height, taken.width, 3)
            frames = random.integers(128 - contrast, 128 + contrast, size, np.uint8)
            for frame in frames:
                prediction = net.classify(frame)
            assert prediction is not None
            with torch.no_grad():
                logits = network.eval().cpu()(taken.tensor(torch.from_numpy(frames)[None]))[0].double()
            known = logits.softmax(0) > 1e-30  # below, float32 ends
            found = torch.from_numpy(prediction.scores).double()
            error = (found[known].log() - logits.log_softmax(0)[known]).abs().max()
            off = max(off, float(error / (logits.max() - logits.min())))
    return off
