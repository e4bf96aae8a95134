"""A pool of synthetic clips on disk, made by a few processes; clip i depends only on the seed and i."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from .images import Source
from .motion import FRAMES, SIZE, Limits
from .synthesis import Scene, load_scenes, synthesise

Frames = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_scenes: list[Scene] = []  # inherited by the worker processes, so that the photographs are in memory once


def _write(job: tuple[Path, Limits, int, int, int, int]) -> list[int]:
    """Write clips [first, last) of a pool; return their classes."""
    path, limits, count, seed, first, last = job
    pool = np.memmap(path, dtype=np.uint8, mode="r+", shape=(count, FRAMES, SIZE, SIZE, 3))
    labels = []
    for index in range(first, last):
        pool[index], label = synthesise(_scenes, (seed, index), limits)
        labels.append(label)
    return labels


def build_pool(
    path: Path, sources: list[Source], photos: Path, count: int, seed: int, limits: Limits, workers: int = 2
) -> tuple[Frames, Labels]:
    """Return `count` clips of the given sources, and their classes; made once, then read from disk."""
    labels_path = path.with_suffix(".labels.npy")
    if not labels_path.exists():
        cv2.setNumThreads(1)  # before the fork: OpenCV's own threads do not survive it
        path.parent.mkdir(parents=True, exist_ok=True)
        np.memmap(path, dtype=np.uint8, mode="w+", shape=(count, FRAMES, SIZE, SIZE, 3)).flush()
        _scenes[:] = load_scenes(sources, photos)
        jobs = [(path, limits, count, seed, first, min(first + 90, count)) for first in range(0, count, 90)]
        with multiprocessing.get_context("fork").Pool(workers) as processes:
            labels = [label for part in processes.imap(_write, jobs) for label in part]
        _scenes.clear()
        np.save(labels_path, np.array(labels, dtype=np.int64))
    stored: Labels = np.load(labels_path)
    frames = np.memmap(path, dtype=np.uint8, mode="r", shape=(count, FRAMES, SIZE, SIZE, 3))
    if len(stored) != count:
        raise ValueError(f"{path} holds {len(stored)} clips, not {count}: delete it")
    return frames, stored
