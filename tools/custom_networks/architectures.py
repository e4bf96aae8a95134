"""The networks that can be asked for by name, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from ros2_actionnet.networks import Layout

from . import resnet3d, video_resnet, video_transformer
from .resnet3d import ResNet3D
from .video_resnet import VideoResNet
from .video_transformer import VideoTransformer

HEAD = ("fc.weight", "fc.bias")
"""The layer that makes the scores, of every network here; the only one whose shape depends on the classes."""


@dataclass(frozen=True)
class Window:
    """What a network looks at: frames, and pixels across and down."""

    frames: int = 16
    size: int = 112


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Attributes:
        build: makes one with random weights, from its classes, its width and its window.
        width: the usual one.
        mean, std: what its published weights were trained with, of RGB in [0, 1].
        layout: order of its input's dimensions.
    """

    build: Callable[[int, int, Window], nn.Module]
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: Layout = "NCTHW"


def _resnet3d(depth: int, classes: int, width: int, window: Window) -> nn.Module:
    return ResNet3D(depth, classes, width)


def _video_resnet(name: str, classes: int, width: int, window: Window) -> nn.Module:
    return VideoResNet(name, classes, width)


def _video_transformer(classes: int, width: int, window: Window) -> nn.Module:
    return VideoTransformer(classes, width, frames=window.frames, size=window.size)


ARCHITECTURES = {
    **{
        f"resnet3d_{depth}": Architecture(partial(_resnet3d, depth), 64, resnet3d.MEAN, resnet3d.STD)
        for depth in resnet3d.BLOCKS
    },
    **{
        name: Architecture(partial(_video_resnet, name), 64, video_resnet.MEAN, video_resnet.STD)
        for name in video_resnet.STAGES
    },
    "video_transformer": Architecture(
        _video_transformer, 192, video_transformer.MEAN, video_transformer.STD, layout="NTCHW"
    ),
}


def load_weights(network: nn.Module, path: Path, *, other_classes: bool = False) -> None:
    """Loads a .pth file into `network`; with `other_classes` its last layer stays as it is if the file's does not fit.

    Understands what torchvision, 3D-ResNets-PyTorch and `torch.save(network.state_dict(), ...)` write.

    Raises ValueError, saying how they differ, if the file is not of such a network.
    """
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{path} holds more than weights, and is not opened for that reason: {error}") from error
    state = saved.get("state_dict", saved)  # 3D-ResNets-PyTorch puts the epoch and the like beside it
    state = {key.removeprefix("module."): value for key, value in state.items()}  # from a network on several GPUs
    own = network.state_dict()
    if other_classes:
        state |= {key: own[key] for key in HEAD if key in state and state[key].shape != own[key].shape}
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"{path} is not of this architecture: it lacks {missing[:3] or 'nothing'} "
            f"and has {unknown[:3] or 'nothing'} too much"
        )
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise ValueError(f"{path}: {key} is {list(state[key].shape)} there, {list(value.shape)} in this network")
    network.load_state_dict(state)
