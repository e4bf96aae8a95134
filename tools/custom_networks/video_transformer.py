"""A small video transformer, for the layout [B, T, 3, H, W]: an example to start one's own from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16  # pixels

# What most vision transformers normalize by.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Layer(nn.Module):
    """Attention among all patches of all frames, then two linear layers for each patch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.each = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, tokens, width] to the same."""
        parts = self.mix(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        tokens = tokens + self.project(attended.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.each(self.norm2(tokens))
        return result


class VideoTransformer(nn.Module):
    """Normalized frames [B, T, 3, H, W] to logits [B, classes]; `width` numbers a token."""

    def __init__(self, classes: int, width: int = 192, *, frames: int = 16, size: int = 112, layers: int = 4) -> None:
        super().__init__()
        patches = (size // PATCH) ** 2
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.place = nn.Parameter(torch.randn(1, 1, patches, width) * 0.02)
        self.moment = nn.Parameter(torch.randn(1, frames, 1, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, max(1, width // 64)) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of windows."""
        frames = x.shape[1]
        tokens = self.patches(x.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (-1, frames))
        tokens = (tokens + self.place + self.moment).flatten(1, 2)
        logits: Tensor = self.fc(self.norm(self.layers(tokens)).mean(1))
        return logits
