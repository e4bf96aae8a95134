"""Exports a 3D-ResNet (Hara et al., CVPR 2018) with random weights from PyTorch to ONNX, as jetson-inference's are.

    pip install torch onnx onnxruntime
    python tools/export_resnet.py FOLDER [--depth 34]

The graph has input `0` [1, 3, 16, 112, 112], batch normalisation folded into the convolutions, a Reshape to [1, -1]
before the last layer, and no softmax. It is checked against PyTorch in ONNX Runtime.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime
    import torch
    from torch import Tensor, nn
except ImportError as error:
    sys.exit(
        f"export_resnet: {error}. This tool needs more than the package does: pip install torch onnx onnxruntime "
        "(on a machine without a GPU add --index-url https://download.pytorch.org/whl/cpu for torch). "
        "Without PyTorch, benchmarks/random_resnet.py makes the same graph."
    )

CLASSES = 1040
INPUT_SHAPE = (1, 3, 16, 112, 112)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
TOLERANCE = 1e-4  # relative to the largest logit: float32, summed in another order


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution (type B) where the size changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(after)
        self.conv2 = nn.Conv3d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv3d(before, after, 1, stride, bias=False), nn.BatchNorm3d(after))

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, T, H, W] to [B, after, T', H', W']."""
        branch = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(branch)) + self.shortcut(x))


class ResNet3D(nn.Module):
    """3D-ResNet of 18 or 34 layers; [1, 3, T, H, W] to logits [1, classes]."""

    def __init__(self, depth: int = 18, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, padding=1)
        blocks, channels = list[nn.Module](), 64
        for stage, count in enumerate(BLOCKS[depth]):
            for index in range(count):
                after = 64 << stage
                blocks.append(BasicBlock(channels, after, 2 if stage and not index else 1))
                channels = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of one window."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.pool(self.blocks(x))
        # Not flatten(1): the models that are out there were exported for a batch of one, and end like this.
        logits: Tensor = self.fc(x.reshape(1, -1))
        return logits


def random_network(depth: int = 18, classes: int = CLASSES, seed: int = 0) -> ResNet3D:
    """A network with seeded random weights, ready for inference.

    Its batch normalisation has the statistics of what really flows through it, so that activations neither explode nor
    vanish from one block to the next, as in a trained network.
    """
    torch.manual_seed(seed)
    network = ResNet3D(depth, classes)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm3d):
            module.momentum = None  # the mean over all windows, not a moving one
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(_window())
    network.eval()
    return network


def export(network: ResNet3D, path: Path) -> None:
    """Writes `network` as ONNX, opset 13."""
    with warnings.catch_warnings():
        # The exporter that traces is said to be old, but writes the opsets that the parsers of TensorRT 8 read.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(network, (_window(),), str(path), input_names=["frames"], opset_version=13, dynamo=False)
    # PyTorch once called the first input 0, as in the models that are out there, and now refuses to.
    model = onnx.load_model(str(path))
    model.graph.input[0].name = "0"
    for node in model.graph.node:
        node.input[:] = ["0" if name == "frames" else name for name in node.input]
    onnx.save_model(model, str(path))


def largest_difference(network: ResNet3D, path: Path) -> tuple[float, float]:
    """How far the file's logits in ONNX Runtime are from PyTorch's at most, and PyTorch's largest."""
    window = _window()
    with torch.no_grad():
        expected = network(window).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"0": window.numpy()})
    return float(np.abs(logits - expected).max()), float(np.abs(expected).max())


def _window() -> Tensor:
    """A random window of the size of normalised pixels."""
    return torch.rand(INPUT_SHAPE) - 0.4


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Exports a 3D-ResNet with random weights from PyTorch to ONNX.")
    parser.add_argument("folder", type=Path, help="where to write the model and its labels.txt")
    parser.add_argument("--depth", type=int, choices=tuple(BLOCKS), default=18, help="layers (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=CLASSES, help="classes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"resnet_{options.depth}.onnx"
    network = random_network(options.depth, options.classes, options.seed)
    export(network, path)
    labels = "".join(f"action {number}\n" for number in range(options.classes))
    (options.folder / "labels.txt").write_text(labels, encoding="utf-8")
    difference, largest = largest_difference(network, path)
    print(f"{path}: largest difference to PyTorch {difference:.1e}, of logits up to {largest:.2f}")
    if not difference <= TOLERANCE * largest:
        print(
            f"export_resnet: that is more than {TOLERANCE:g} of the largest logit: the export is wrong", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
