"""Clips in folders named after their classes, as thumbnails, and the windows that are cut from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.thumbnails import Preprocessor

SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
USUAL_RATE = 30.0  # Hz, where a file does not say

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip.

    Attributes:
        path: its file.
        label: number of its class.
        frames: all its frames in the network's size: uint8 [F, H, W, 3], RGB. Lies on disk.
        rate: frames a second.
    """

    path: Path
    label: int
    frames: Bytes
    rate: float

    def window(self, start: float, count: int, sample_rate: float) -> Bytes:
        """`count` frames from second `start` on, `sample_rate` a second, as the node's setting of that name gives them.

        uint8 [count, H, W, 3], RGB. A clip that is too short is looped.
        """
        places = np.floor((start + np.arange(count) / sample_rate) * self.rate + 0.5).astype(int)
        return np.asarray(self.frames[places % len(self.frames)])

    def latest_start(self, count: int, sample_rate: float) -> float:
        """The second at which its last whole window begins; 0 where it is shorter than a window."""
        return max(0.0, (len(self.frames) - 1) / self.rate - (count - 1) / sample_rate)


def class_names(folder: Path) -> list[str]:
    """The classes of a folder of clips: its folders' names, sorted. Raises ValueError if there are fewer than two."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise ValueError(f"{folder} has {len(names)} folders; it needs one for each class, with video files in it")
    return names


def read_clips(folder: Path, labels: Sequence[str], size: int, store: Path) -> list[Clip]:
    """All clips of a folder, each made into thumbnails of `size` as the node does it, which are kept in `store`.

    A file that cannot be read is reported and left out. Raises ValueError if a class has no clip.
    """
    files = [(path, i) for i, label in enumerate(labels) for path in sorted((folder / label).rglob("*"))]
    files = [(path, label) for path, label in files if path.suffix.lower() in SUFFIXES]
    store.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, (path, label) in enumerate(tqdm(files, desc=str(folder), unit="clip", disable=None)):
        thumbnails, rate = _read(path, size)
        if thumbnails:
            file = store / f"{number}.npy"
            np.save(file, np.stack(thumbnails))
            clips.append(Clip(path, label, np.load(file, mmap_mode="r"), rate))
        else:
            print(f"left out, as no frame of it can be read: {path}", file=sys.stderr)
    for label, name in enumerate(labels):
        if not any(clip.label == label for clip in clips):
            raise ValueError(f"{folder / name} has no clip that can be read ({', '.join(SUFFIXES)})")
    return clips


def split(clips: Sequence[Clip], share: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Clips to learn from and clips to check with: of each class `share`, and at least one, for the latter.

    Raises ValueError if a class has one clip only.
    """
    random = np.random.default_rng(seed)
    training, validation = list[Clip](), list[Clip]()
    for label in sorted({clip.label for clip in clips}):
        own = [clip for clip in clips if clip.label == label]
        if len(own) < 2:
            raise ValueError(f"{own[0].path.parent} has one clip; it needs two, to learn from and to check with")
        count = min(len(own) - 1, max(1, round(share * len(own))))
        order = random.permutation(len(own))
        validation += [own[i] for i in order[:count]]
        training += [own[i] for i in order[count:]]
    return training, validation


def _read(path: Path, size: int) -> tuple[list[Bytes], float]:
    """A file's frames as thumbnails, uint8 [size, size, 3], RGB, and its rate; no frames where it cannot be read."""
    video, preprocessor, thumbnails = cv2.VideoCapture(str(path)), Preprocessor(size, size), list[Bytes]()
    rate = video.get(cv2.CAP_PROP_FPS)
    while True:
        read, frame = video.read()
        if not read:
            break
        thumbnails.append(preprocessor.thumbnail(RawImage.from_array(np.asarray(frame, np.uint8), "bgr8")))
    video.release()
    return thumbnails, rate if rate > 0 else USUAL_RATE
