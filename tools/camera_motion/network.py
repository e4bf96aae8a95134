"""The network: a small 3D CNN over 16 frames of 112x112."""

from __future__ import annotations

import math

import torch
from torch import nn

MEAN = (0.4344705882352941, 0.4050980392156863, 0.3774901960784314)
STD = (1.0, 1.0, 1.0)


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """Return a 3D convolution with batch normalization and ReLU; the export folds the normalization away."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)
    )


class CameraMotionNet(nn.Module):
    """Normalized frames [B, 3, 16, 112, 112] in, logits [B, classes] out."""

    def __init__(self, classes: int = 9) -> None:
        """Build the layers."""
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, 16, (3, 5, 5), (1, 4, 4)),  # 16x28x28
            _convolution(16, 32, (3, 3, 3), (2, 2, 2)),  # 8x14x14
            _convolution(32, 40, (3, 3, 3)),
            _convolution(40, 64, (3, 3, 3), (2, 2, 2)),  # 4x7x7
            _convolution(64, 80, (3, 3, 3)),
            _convolution(80, 24, (1, 1, 1)),
            nn.AvgPool3d((4, 1, 1)),  # 1x7x7
        )
        self._start_as_motion_filters()
        # Which way the scene moves *where* tells a zoom or a roll from a pan, so the position must survive: the last
        # feature map is flattened instead of averaged over the image.
        self.classifier = nn.Sequential(
            nn.Flatten(1), nn.Dropout(0.2), nn.Linear(24 * 7 * 7, 64), nn.ReLU(inplace=True), nn.Linear(64, classes)
        )

    def _start_as_motion_filters(self) -> None:
        """Start the first convolution as drifting Gabor filters: motion energy (Adelson and Bergen, 1985).

        From random filters the loss was still at chance after half an epoch.
        """
        stem = next(layer for layer in self.features.modules() if isinstance(layer, nn.Conv3d))
        frame = torch.arange(-1.0, 2.0)[:, None, None]
        across, down = torch.arange(-2.0, 3.0)[None, None, :], torch.arange(-2.0, 3.0)[None, :, None]
        envelope = torch.exp(-(across**2 + down**2) / 6.0)
        filters = []
        for horizontal, vertical in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            for step in (math.pi / 2, math.pi / 5):  # what the pattern drifts from a frame to the next
                position = 2 * math.pi / 6 * (horizontal * across + vertical * down) - step * frame
                filters += [envelope * torch.cos(position + phase) for phase in (0.0, math.pi / 2)]
        bank = torch.stack([each - each.mean() for each in filters])[:, None]
        with torch.no_grad():
            stem.weight.copy_(0.3 * stem.weight + 0.1 * bank)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of windows."""
        logits: torch.Tensor = self.classifier(self.features(frames))
        return logits


def normalize(frames: torch.Tensor) -> torch.Tensor:
    """Turn uint8 frames [B, T, H, W, 3] into the network's input [B, 3, T, H, W]."""
    scaled = frames.float().mul_(1.0 / 255.0)
    scaled.sub_(torch.tensor(MEAN)).div_(torch.tensor(STD))
    return scaled.permute(0, 4, 1, 2, 3)  # a view: what was channels last stays so, which the convolutions like
