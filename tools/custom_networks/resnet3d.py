"""The 3D-ResNets of Hara, Kataoka and Satoh (CVPR 2018), of which jetson-inference's two networks are.

Parameters are named as in their repository (3D-ResNets-PyTorch, model `resnet`, shortcut B), so that its .pth files
load.
"""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}

# What 3D-ResNets-PyTorch normalizes Kinetics by. (jetson-inference takes the same mean, and a std of 1.)
MEAN = (0.4345, 0.4051, 0.3775)
STD = (0.2768, 0.2713, 0.2737)


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(before, after, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """Two 3x3x3 convolutions, or three from a depth of 50 on (1x1x1, 3x3x3, 1x1x1), beside a shortcut."""

    def __init__(self, before: int, middle: int, after: int, stride: int) -> None:
        super().__init__()
        self.is_deep = after != middle
        if self.is_deep:
            self.conv1, self.conv2 = _convolution(before, middle, 1), _convolution(middle, middle, 3, stride)
            self.conv3, self.bn3 = _convolution(middle, after, 1), nn.BatchNorm3d(after)
        else:
            self.conv1, self.conv2 = _convolution(before, middle, 3, stride), _convolution(middle, after, 3)
        self.bn1, self.bn2 = nn.BatchNorm3d(middle), nn.BatchNorm3d(middle)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm3d(after))

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, T, H, W] to [B, after, T', H', W']."""
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.is_deep:
            branch = self.bn3(self.conv3(self.relu(branch)))
        result: Tensor = self.relu(branch + (x if self.downsample is None else self.downsample(x)))
        return result


class ResNet3D(nn.Module):
    """Normalized frames [B, 3, T, H, W] to logits [B, classes]; `width` channels in the first stage."""

    def __init__(self, depth: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 7, (1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, 2, padding=1)
        expansion, before = 4 if depth >= 50 else 1, width
        stages = []
        for stage, count in enumerate(BLOCKS[depth]):
            middle, stride = width << stage, 2 if stage else 1
            after = expansion * middle
            blocks = [Block(before if not i else after, middle, after, 1 if i else stride) for i in range(count)]
            stages.append(nn.Sequential(*blocks))
            before = after
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of windows."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
