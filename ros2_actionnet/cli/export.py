"""The subcommand `actionnet-networks export`, which writes the model repository of an inference server."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ros2_actionnet.backends.triton.repository import PLATFORMS, ExportOptions, export_repository
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.cli.trial import try_out
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.paths import user_path


def export_network(options: argparse.Namespace) -> int:
    """Writes a network into the model repository of a Triton server, for the robots that use backend triton."""
    spec = resolve(options.request(options.name))
    with LoadProgress() as monitor:
        # What the numbers say of the scores is served, as it is used by every other backend.
        trial = try_out(spec, Settings(), monitor)
    network = prepare(replace(trial.network.spec, sha256=sha256_of(spec.model)))
    folder = user_path(options.triton)
    written = export_repository(
        network,
        folder,
        ExportOptions(options.platform, options.stateful, options.max_batch, options.instances, options.precision),
        again=options.again,
    )
    for path in written:
        print(f"wrote {path}")
    print(
        f"\nServe it: tritonserver --model-repository {folder.resolve()}\n"
        f"Use it: backend:=triton device:=HOST:8001 network:={network.name} for the node, or "
        f"--backend triton --device HOST:8001 --network {network.name} for the command"
    )
    return 0


def add_flags(
    command: argparse.ArgumentParser, request: Callable[[str], NetworkRequest], positive: Callable[[str], int]
) -> None:
    """Add the flags of `export`; `request` reads a network's name or path, `positive` a number from 1."""
    command.add_argument("name", metavar="NETWORK", help="a network's name, or a path")
    command.add_argument("--triton", required=True, type=Path, metavar="FOLDER", help="the server's model repository")
    command.add_argument(
        "--platform",
        choices=tuple(PLATFORMS),
        default="onnxruntime",
        help="; ".join(f"{name}: {what}" for name, what in PLATFORMS.items()) + " (default: onnxruntime)",
    )
    command.add_argument(
        "--stateful",
        action="store_true",
        help="the server keeps the windows, and a request brings one frame: a sixteenth of the traffic",
    )
    command.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="fp16: with --platform tensorrt")
    command.add_argument("--max-batch", type=positive, default=8, metavar="N", help="most windows at once (default: 8)")
    command.add_argument("--instances", type=positive, default=1, metavar="N", help="copies of it (default: 1)")
    command.add_argument("--again", action="store_true", help="replace a model of that name")
    command.set_defaults(request=request)
