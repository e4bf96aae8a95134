"""R3D, MC3 and R(2+1)D with 18 layers (Tran et al., "A Closer Look at Spatiotemporal Convolutions", CVPR 2018).

Parameters are named as in torchvision's `r3d_18`, `mc3_18` and `r2plus1d_18`, so that its .pth files load.
"""

from __future__ import annotations

from torch import Tensor, nn

# What torchvision normalizes by for these.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

# For each network the kind of convolution in its four stages: over time and space, over space alone, or one after the
# other.
STAGES = {
    "r3d_18": ("3d", "3d", "3d", "3d"),
    "mc3_18": ("3d", "2d", "2d", "2d"),
    "r2plus1d_18": ("2+1d", "2+1d", "2+1d", "2+1d"),
}


def _factorised(
    before: int, middle: int, after: int, spatial: tuple[int, int], temporal: tuple[int, int]
) -> list[nn.Module]:
    """A convolution over space and one over time, each given as (size of the kernel, stride)."""
    (kernel, stride), (kernel_t, stride_t) = spatial, temporal
    return [
        nn.Conv3d(before, middle, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, after, (kernel_t, 1, 1), (stride_t, 1, 1), (kernel_t // 2, 0, 0), bias=False),
    ]


def _convolution(kind: str, before: int, middle: int, after: int, stride: int) -> nn.Module:
    if kind == "2+1d":
        return nn.Sequential(*_factorised(before, middle, after, (3, stride), (3, stride)))
    if kind == "2d":
        return nn.Conv3d(before, after, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    return nn.Conv3d(before, after, 3, stride, 1, bias=False)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, kind: str, before: int, after: int, stride: int) -> None:
        super().__init__()
        # So many channels between a convolution over space and one over time that the two have about as many weights as
        # one over both. Both pairs of a block have the first one's number.
        middle = 27 * before * after // (9 * before + 3 * after)
        self.conv1 = nn.Sequential(
            _convolution(kind, before, middle, after, stride), nn.BatchNorm3d(after), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(_convolution(kind, after, middle, after, 1), nn.BatchNorm3d(after))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != after:
            strides = (1 if kind == "2d" else stride, stride, stride)
            self.downsample = nn.Sequential(nn.Conv3d(before, after, 1, strides, bias=False), nn.BatchNorm3d(after))

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, T, H, W] to [B, after, T', H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(self.conv2(self.conv1(x)) + shortcut)
        return result


class VideoResNet(nn.Module):
    """Normalized frames [B, 3, T, H, W] to logits [B, classes]; `width` channels in the first stage.

    `name` is one of `STAGES`.
    """

    def __init__(self, name: str, classes: int, width: int = 64) -> None:
        super().__init__()
        if name == "r2plus1d_18":
            stem = _factorised(3, 45 * width // 64, width, (7, 2), (3, 1))
        else:
            stem = [nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)]
        self.stem = nn.Sequential(*stem, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        stages, before = [], width
        for stage, kind in enumerate(STAGES[name]):
            after = width << stage
            stages.append(nn.Sequential(Block(kind, before, after, 2 if stage else 1), Block(kind, after, after, 1)))
            before = after
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of windows."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
