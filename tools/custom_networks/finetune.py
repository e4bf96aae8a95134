"""Teaches a network the classes of a folder of clips, and writes it as a network folder.

    export PYTHONPATH="$PYTHONPATH:$PWD/tools"      # in the repository's root
    python -m custom_networks.finetune CLIPS FOLDER --weights r3d18_KM_200ep.pth

CLIPS has a folder for each class, named after it, with video files in it. See docs/training.md.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ros2_actionnet import ActionNetError

from .architectures import ARCHITECTURES, HEAD, Window, load_weights
from .clips import Clip, class_names, read_clips, split
from .export import add_network_arguments, taken_by
from .network_folder import Input, write_network

VALIDATION_WINDOWS = 5  # of each clip, evenly spaced


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    command = argparse.ArgumentParser(prog="custom_networks.finetune", description=__doc__.splitlines()[0])
    command.add_argument("clips", type=Path, help="folder with a folder of video files for each class")
    command.add_argument("folder", type=Path, help="network folder to write")
    command.add_argument("--architecture", choices=tuple(ARCHITECTURES), default="resnet3d_18", help="(%(default)s)")
    command.add_argument("--weights", type=Path, help=".pth file to start from; without it, random weights")
    command.add_argument("--head-only", action="store_true", help="teach the last layer alone: fast, for few clips")
    command.add_argument("--validation-clips", type=Path, help="a folder like CLIPS to check with")
    command.add_argument(
        "--validation", type=float, default=0.2, help="without it, the part of CLIPS to check with (%(default)s)"
    )
    command.add_argument("--sample-rate", type=float, default=15.0, help="frames of a window a second (%(default)s)")
    command.add_argument("--mirror", action="store_true", help="mirror half of the windows; not where sides matter")
    command.add_argument("--epochs", type=int, default=20, help="(%(default)s)")
    command.add_argument("--windows", type=int, default=4, help="of each clip in an epoch (%(default)s)")
    command.add_argument("--batch", type=int, default=8, help="windows at a time (%(default)s)")
    command.add_argument("--rate", type=float, default=1e-3, help="learning rate of the last layer (%(default)s)")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one")
    command.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    add_network_arguments(command)
    return command


def training_batches(
    clips: Sequence[Clip], options: argparse.Namespace, random: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch: uint8 windows [B, T, H, W, 3] from random places, and their classes [B]."""
    order = random.permutation(np.repeat(np.arange(len(clips)), options.windows))
    # Batches of nearly one size: batch normalization cannot learn from a last one with a single window.
    for part in np.array_split(order, -(-len(order) // options.batch)):
        windows = []
        for clip in (clips[index] for index in part):
            start = random.uniform(0, clip.latest_start(options.frames, options.sample_rate))
            window = clip.window(start, options.frames, options.sample_rate)
            windows.append(window[:, :, ::-1] if options.mirror and random.random() < 0.5 else window)
        yield torch.from_numpy(np.stack(windows)), torch.tensor([clips[index].label for index in part])


def optimizer_of(network: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """What changes the weights: all of them, the last layer ten times as fast where the others have learned before."""
    head = [parameter for name, parameter in network.named_parameters() if name in HEAD]
    body = [parameter for name, parameter in network.named_parameters() if name not in HEAD]
    for parameter in body:
        parameter.requires_grad_(not options.head_only)
    body_rate = options.rate / 10 if options.weights else options.rate
    groups = [{"params": head, "lr": options.rate}]
    if not options.head_only:
        groups.append({"params": body, "lr": body_rate})
    return torch.optim.AdamW(groups, weight_decay=0.01)


def scores_of(network: nn.Module, clip: Clip, taken: Input, options: argparse.Namespace) -> Tensor:
    """The mean of the scores of windows from all over a clip: [classes]."""
    starts = np.linspace(0, clip.latest_start(taken.frames, options.sample_rate), VALIDATION_WINDOWS)
    windows = np.stack([clip.window(float(start), taken.frames, options.sample_rate) for start in starts])
    network.eval()
    with torch.no_grad():
        return network(taken.tensor(torch.from_numpy(windows).to(options.device))).softmax(1).mean(0).cpu()


def train(
    network: nn.Module,
    training: Sequence[Clip],
    validation: Sequence[Clip],
    taken: Input,
    options: argparse.Namespace,
) -> list[int]:
    """Teaches `network` and leaves it as it was after its best epoch; what it then takes the validation clips for."""
    random = np.random.default_rng(options.seed)
    optimizer = optimizer_of(network, options)
    steps = -(-len(training) * options.windows // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in optimizer.param_groups], options.epochs * steps
    )
    truth = torch.tensor([clip.label for clip in validation])
    best: tuple[tuple[float, float], list[int], dict[str, Any]] | None = None
    for epoch in range(1, options.epochs + 1):
        network.train(not options.head_only)  # else batch normalization would change what does not learn
        losses = []
        batches = training_batches(training, options, random)
        for windows, labels in tqdm(batches, f"epoch {epoch}", steps, leave=False, disable=None):
            logits = network(taken.tensor(windows.to(options.device)))
            loss = functional.cross_entropy(logits, labels.to(options.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        scores = torch.stack([scores_of(network, clip, taken, options) for clip in validation])
        found = scores.argmax(1)
        right = float((found == truth).float().mean())
        validation_loss = float(functional.nll_loss(scores.clamp_min(1e-9).log(), truth))
        print(f"epoch {epoch}: loss {np.mean(losses):.3f}, validation loss {validation_loss:.3f}, right {right:.0%}")
        if best is None or (right, -validation_loss) > best[0]:
            best = (right, -validation_loss), found.tolist(), copy.deepcopy(network.state_dict())
    assert best is not None
    network.load_state_dict(best[2])
    return best[1]


def report(labels: Sequence[str], validation: Sequence[Clip], found: Sequence[int]) -> str:
    """Of each class, how many validation clips are taken for what; returns a summary in one line."""
    for label, name in enumerate(labels):
        answers = [labels[answer] for clip, answer in zip(validation, found, strict=True) if clip.label == label]
        others = ", ".join(sorted(set(answers) - {name}))
        print(f"  {name}: {answers.count(name)} of {len(answers)} right" + (f"; else {others}" if others else ""))
    right = sum(clip.label == answer for clip, answer in zip(validation, found, strict=True))
    return f"{right} of {len(validation)} validation clips right"


def run(options: argparse.Namespace) -> None:
    """Reads the clips, teaches the network, writes the folder."""
    torch.manual_seed(options.seed)
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    labels = class_names(options.clips)
    architecture = ARCHITECTURES[options.architecture]
    network = architecture.build(len(labels), options.width or architecture.width, Window(options.frames, options.size))
    if options.weights:
        load_weights(network, options.weights, other_classes=True)
    network.to(options.device)
    taken = taken_by(options)

    # $TMPDIR says where; ten seconds at 30 Hz take 11 MB.
    with tempfile.TemporaryDirectory(prefix="custom_networks_") as store:
        training = read_clips(options.clips, labels, options.size, Path(store) / "training")
        if options.validation_clips:
            validation = read_clips(options.validation_clips, labels, options.size, Path(store) / "validation")
        else:
            training, validation = split(training, options.validation, options.seed)
        print(f"{len(training)} clips to learn from, {len(validation)} to check with; on {options.device}")
        found = train(network, training, validation, taken, options)
        summary = report(labels, validation, found)

    options.folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.cpu().state_dict(), options.folder / "weights.pth")  # to go on from
    learned = f"{len(labels)} classes, learned from {len(training)} clips"
    notes = {
        "source": f"{options.architecture}, from {options.weights.name if options.weights else 'random weights'}",
        "description": f"{learned}; {summary}; sample_rate {options.sample_rate:g}",
    }
    write_network(options.folder, network, taken, labels, dynamo=options.dynamo, **notes)
    print(
        f"{summary}: {options.folder}\nros2 launch ros2_actionnet actionnet.launch.py "
        f"model:={options.folder.resolve()} sample_rate:={options.sample_rate:g}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except (ActionNetError, ValueError, OSError) as error:
        print(f"custom_networks.finetune: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
