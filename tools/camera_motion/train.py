"""Train `camera_motion` on synthetic clips and export it to ONNX. Seeded, on the CPU, in minutes."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .export import export
from .images import all_sources
from .labels import LABELS, transform_clip
from .motion import TRAINING
from .network import CameraMotionNet, normalize
from .pool import Frames, Labels, build_pool

TRAIN_SEED = 1
VALIDATION_SEED = 2  # evaluate.py's clips have a third seed, so the choice of settings never saw them


@dataclass(frozen=True)
class Settings:
    """What the training can be told."""

    photos: Path
    work: Path
    output: Path
    clips: int
    epochs: int
    batch: int
    rate: float
    threads: int
    start: Path | None


def _batch(
    frames: Frames, labels: Labels, chosen: Labels, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of clips, each under a random symmetry, and their classes."""
    pairs = [transform_clip(frames[index], int(labels[index]), rng) for index in chosen]
    clips = torch.from_numpy(np.stack([clip for clip, _ in pairs]))
    classes = torch.tensor([label for _, label in pairs])
    return normalize(clips), classes


def accuracy(network: nn.Module, frames: Frames, labels: Labels, batch: int = 32) -> float:
    """Return the part of the clips that the network gets right."""
    network.eval()
    right = 0
    with torch.inference_mode():
        for first in range(0, len(labels), batch):
            logits = network(normalize(torch.from_numpy(np.array(frames[first : first + batch]))))
            right += int((logits.argmax(1).numpy() == labels[first : first + batch]).sum())
    return right / len(labels)


def train(settings: Settings) -> CameraMotionNet:
    """Return the trained network."""
    torch.manual_seed(TRAIN_SEED)
    torch.set_num_threads(settings.threads)
    sources = all_sources()
    seen = [source for source in sources if not source.held_out]
    unseen = [source for source in sources if source.held_out]
    frames, labels = build_pool(settings.work / "train.u8", seen, settings.photos, settings.clips, TRAIN_SEED, TRAINING)
    check = build_pool(settings.work / "validation.u8", unseen, settings.photos, 540, VALIDATION_SEED, TRAINING)
    network = CameraMotionNet(len(LABELS))
    if settings.start is not None:
        network.load_state_dict(torch.load(settings.start, weights_only=True))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=0.02)
    steps = settings.epochs * (len(labels) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps, pct_start=0.1)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    rng = np.random.default_rng(TRAIN_SEED)
    started = time.monotonic()
    for epoch in range(settings.epochs):
        network.train()
        order, losses = rng.permutation(len(labels)), []
        for first in range(0, len(labels) - settings.batch + 1, settings.batch):
            clips, classes = _batch(frames, labels, order[first : first + settings.batch], rng)
            loss = loss_of(network(clips), classes)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if len(losses) % 50 == 0:
                print(f"  {first + settings.batch}/{len(labels)} loss {np.mean(losses[-50:]):.3f}", flush=True)
        right = accuracy(network, *check)
        minutes = (time.monotonic() - started) / 60
        print(f"epoch {epoch + 1} loss {np.mean(losses):.3f} validation {right:.4f} {minutes:.1f} min", flush=True)
        torch.save(network.state_dict(), settings.work / "weights.pt")
    return network


def _settings() -> Settings:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("build/camera_motion/photos"))
    parser.add_argument("--work", type=Path, default=Path("build/camera_motion"), help="clips and weights")
    parser.add_argument("--output", type=Path, default=Path("networks/camera_motion"))
    parser.add_argument("--clips", type=int, default=12600)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="weights to start from instead of random ones")
    return Settings(**vars(parser.parse_args()))


def main() -> None:
    """Train and export."""
    settings = _settings()
    export(train(settings), settings.output)


if __name__ == "__main__":
    main()
