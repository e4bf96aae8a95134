"""Makes a 3D-ResNet with random weights, for measurements where the trained one is not at hand: speed is the same.

    benchmarks/run random_resnet FOLDER [--depth 34]

It needs numpy and onnx only. The graph is the one that PyTorch exports of tools/custom_networks/resnet3d.py, but for
the end, which is that of jetson-inference's actionNet: input `0` [1, 3, 16, 112, 112], batch normalization folded into
the convolutions, a Reshape to [1, -1] before the last layer, no softmax.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CLASSES = 1040
INPUT_SHAPE = (1, 3, 16, 112, 112)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Residual blocks in each of the four stages, by the network's depth."""

Shape3 = tuple[int, int, int]


class _Builder:
    """Collects nodes and their random weights; each method returns the name of what its node makes."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(seed)

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, shape: tuple[int, ...], deviation: float) -> str:
        return self.constant(self._random.standard_normal(shape, np.float32) * np.float32(deviation))

    def conv(self, source: str, channels: tuple[int, int], size: int, stride: Shape3, gain: float = 1.0) -> str:
        """A cubic convolution whose output, after a ReLU, has `gain` times its input's root mean square."""
        before, after = channels
        weight = self.normal((after, before, size, size, size), gain * (2 / (before * size**3)) ** 0.5)
        bias = self.constant(np.zeros(after, np.float32))
        pads = [size // 2] * 6
        kernel = [size] * 3
        return self.node(
            "Conv", source, weight, bias, dilations=[1] * 3, group=1, kernel_shape=kernel, pads=pads, strides=stride
        )

    def block(self, source: str, channels: tuple[int, int], step: int) -> str:
        """A basic block: two convolutions beside a shortcut, which is a convolution where the size changes."""
        after = channels[1]
        strides = (step, step, step)
        # The gains keep the sum of the two at about the size of the input, as batch normalization does when trained.
        branch = self.node("Relu", self.conv(source, channels, 3, strides))
        branch = self.conv(branch, (after, after), 3, (1, 1, 1), gain=0.5)
        changes = step != 1 or channels[0] != after
        shortcut = self.conv(source, channels, 1, strides, gain=0.7) if changes else source
        return self.node("Relu", self.node("Add", branch, shortcut))

    def classify(self, source: str, features: int, classes: int, name: str) -> ModelProto:
        """The model called `name`, which ends in logits made of the `features` numbers of `source`."""
        flat = self.node("Reshape", source, self.constant(np.array([1, -1], np.int64)))
        weight, bias = self.normal((classes, features), 0.1), self.normal((classes,), 0.1)
        logits = self.node("Gemm", flat, weight, bias, alpha=1.0, beta=1.0, transB=1)
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("0", TensorProto.FLOAT, INPUT_SHAPE)],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [1, classes])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def build(depth: int = 18, classes: int = CLASSES, seed: int = 0) -> ModelProto:
    """A 3D-ResNet of `depth` layers (18 or 34) with random weights; equal seeds give equal networks."""
    net = _Builder(seed)
    x = net.node("Relu", net.conv("0", (3, 64), 7, (1, 2, 2)))
    x = net.node("MaxPool", x, ceil_mode=0, dilations=[1] * 3, kernel_shape=[3] * 3, pads=[1] * 6, strides=[2] * 3)
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        for index in range(blocks):
            after = 64 << stage
            x = net.block(x, (channels, after), 2 if stage and not index else 1)
            channels = after
    x = net.node("GlobalAveragePool", x)
    return net.classify(x, channels, classes, f"random_resnet_{depth}")


def build_trivial(classes: int = CLASSES) -> ModelProto:
    """A network with the ResNets' input and output that computes next to nothing: what it costs to run it is the rest.

    It takes the first pixel of the first frame, so that not even the window's bytes are all read.
    """
    net = _Builder(seed=0)
    names = [net.constant(np.array(values, np.int64)) for values in ([0, 0, 0], [1, 1, 1], [2, 3, 4])]
    x = net.node("Slice", "0", *names)
    return net.classify(x, 3, classes, "trivial")


def save(model: ModelProto, folder: Path) -> Path:
    """Writes `model` into `folder` with a labels.txt beside it; the model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.graph.name}.onnx"
    onnx.save_model(model, str(path))
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    (folder / "labels.txt").write_text("".join(f"action {number}\n" for number in range(classes)), encoding="utf-8")
    return path


def given_or_random(model: Path | None, folder: Path) -> Path:
    """`model`, or where none is given a random ResNet-18 that is made in `folder`."""
    return model.absolute() if model is not None else save(build(), folder)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Makes a 3D-ResNet with random weights and a labels.txt.")
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument("--depth", type=int, choices=tuple(BLOCKS), default=18, help="layers (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=CLASSES, help="classes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    parser.add_argument("--trivial", action="store_true", help="a network that computes next to nothing instead")
    options = parser.parse_args()
    trivial = options.trivial
    model = build_trivial(options.classes) if trivial else build(options.depth, options.classes, options.seed)
    print(save(model, options.folder))


if __name__ == "__main__":
    main()
