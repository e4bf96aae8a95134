"""Video networks under torchvision's names, and what torchvision says of their weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn

CATEGORIES = ("abseiling", "air drumming", "answering questions", "applauding")


def get_model(name: str) -> nn.Module:
    """The network `name`, with random weights."""
    if name != "r2plus1d_18":
        raise ValueError(f"Unknown model {name}")
    return nn.Sequential(
        nn.Conv3d(3, 5, 3, stride=(2, 8, 8), padding=1),
        nn.BatchNorm3d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(1),
        nn.Linear(5, len(CATEGORIES)),
    )


def get_weight(name: str) -> Any:
    """The weights called `name`."""
    if name != "R2Plus1D_18_Weights.KINETICS400_V1":
        raise ValueError(f"Invalid weights {name}")
    return SimpleNamespace(
        url="https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
        meta={"categories": CATEGORIES},
        transforms=lambda: SimpleNamespace(
            crop_size=[112, 112], mean=[0.43216, 0.394666, 0.37645], std=[0.22803, 0.22145, 0.216989]
        ),
    )
