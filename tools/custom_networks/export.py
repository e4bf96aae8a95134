"""Writes a network folder from the weights of 3D-ResNets-PyTorch, torchvision or your own training.

    export PYTHONPATH="$PYTHONPATH:$PWD/tools"      # in the repository's root
    python -m custom_networks.export resnet3d_18 FOLDER --weights r3d18_KM_200ep.pth --labels labels.txt

See docs/custom-networks.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ros2_actionnet import ActionNetError
from ros2_actionnet.networks.labels import read_labels

from .architectures import ARCHITECTURES, Window, load_weights
from .network_folder import Input, write_network


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what the network is."""
    window = Window()
    parser.add_argument("--frames", type=int, default=window.frames, help="in a window (default: %(default)s)")
    parser.add_argument("--size", type=int, default=window.size, help="of a frame, pixels (default: %(default)s)")
    parser.add_argument("--width", type=int, default=0, help="channels in the first stage (default: the usual)")
    for name in ("mean", "std"):
        parser.add_argument(
            f"--{name}", type=float, nargs=3, metavar="X", help="of RGB in [0, 1] (default: the architecture's)"
        )
    parser.add_argument("--dynamo", action="store_true", help="use PyTorch's newer exporter (opset 18 in place of 17)")


def taken_by(options: argparse.Namespace) -> Input:
    """What the network takes that the arguments describe."""
    architecture = ARCHITECTURES[options.architecture]
    mean, std = (tuple(getattr(options, name) or getattr(architecture, name)) for name in ("mean", "std"))
    return Input(options.frames, options.size, options.size, mean, std, architecture.layout)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    command = argparse.ArgumentParser(prog="custom_networks.export", description=__doc__.splitlines()[0])
    command.add_argument("architecture", choices=tuple(ARCHITECTURES))
    command.add_argument("folder", type=Path, help="network folder to write")
    command.add_argument("--weights", type=Path, required=True, help=".pth file")
    command.add_argument("--labels", type=Path, required=True, help="text file with one label a line")
    command.add_argument("--license", default="", help="of the weights, for the network.yaml")
    add_network_arguments(command)
    return command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    options = parser().parse_args(arguments)
    architecture = ARCHITECTURES[options.architecture]
    try:
        labels = read_labels(options.labels)
        network = architecture.build(
            len(labels), options.width or architecture.width, Window(options.frames, options.size)
        )
        load_weights(network, options.weights)
        notes = {"source": f"{options.architecture}, {options.weights.name}"}
        if options.license:
            notes["license"] = options.license
        off = write_network(options.folder, network, taken_by(options), labels, dynamo=options.dynamo, **notes)
    except (ActionNetError, ValueError, OSError) as error:
        print(f"custom_networks.export: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {len(labels)} classes; off by {off:.1e} of the range of PyTorch's logits")
    return 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
