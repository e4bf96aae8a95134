"""Write trained weights as the bundled network: model.onnx, labels.txt and network.yaml."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import onnx
import torch

from .labels import LABELS
from .motion import FRAMES, SIZE
from .network import MEAN, STD, CameraMotionNet

OPSET = 17  # the newest that TensorRT 8.5 parses
INPUT, OUTPUT = "frames", "logits"


def write_model(network: CameraMotionNet, path: Path) -> None:
    """Write the network as ONNX, batch normalization folded into the convolutions, batch dimension free."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, FRAMES, SIZE, SIZE),),
        str(path),
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        dynamo=False,  # the older exporter writes plain Conv, Relu, AveragePool, Flatten and Gemm
    )
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    print(f"{path}: {path.stat().st_size} bytes, {sorted({node.op_type for node in model.graph.node})}")


def write_description(folder: Path) -> None:
    """Write labels.txt and network.yaml beside model.onnx."""
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    lines = [
        "name: camera_motion",
        "model: model.onnx",
        "labels: labels.txt",
        f"frames: {FRAMES}",
        f"height: {SIZE}",
        f"width: {SIZE}",
        "layout: NCTHW",
        f"mean: [{', '.join(map(str, MEAN))}]",
        f"std: [{', '.join(map(str, STD))}]",
        f"input_blob: {INPUT}",
        f"output_blob: {OUTPUT}",
        "source: trained by tools/camera_motion of this repository",
        "license: MIT",
        f"sha256: {digest}",
    ]
    (folder / "network.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def export(network: CameraMotionNet, folder: Path) -> None:
    """Write all files of the bundled network but its card."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(network, folder / "model.onnx")
    write_description(folder)


def main() -> None:
    """Export the weights that training saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("build/camera_motion/weights.pt"))
    parser.add_argument("--output", type=Path, default=Path("networks/camera_motion"))
    arguments = parser.parse_args()
    network = CameraMotionNet(len(LABELS))
    network.load_state_dict(torch.load(arguments.weights, weights_only=True))
    export(network, arguments.output)


if __name__ == "__main__":
    main()
