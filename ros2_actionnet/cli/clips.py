"""Windows of the user's own clips, sampled as the node samples, for what is measured on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import HostRing
from ros2_actionnet.errors import ActionNetError, ImageError, MediaError
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.base import InputOptions
from ros2_actionnet.media.image_files import is_image
from ros2_actionnet.media.uris import VIDEO_SUFFIXES, open_source
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.sampling import FrameSampler
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from ros2_actionnet.recognition.window_classifier import preprocessor
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.text import printable

Window = NDArray[np.uint8]
Report = Callable[[str], None]


def find_clips(folder: Path) -> list[Path]:
    """Return the clips in `folder`, in order: videos, bags, and folders of images; itself if it is a file.

    Raises MediaError if there is none.
    """
    clips = [folder] if folder.is_file() or _is_bag_folder(folder) else sorted(_clips_in(folder))
    if not clips:
        raise MediaError(
            f"there is no clip in {printable(folder)}; give a folder with videos ({', '.join(VIDEO_SUFFIXES)}), bags, "
            "or folders of images"
        )
    return clips


def _clips_in(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        place = Path(name)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        if any(is_image(place / file) for file in files):
            yield place
        paths = [place / file for file in files if not file.startswith(".")]
        yield from (path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES or is_bag(path))
        bags = [each for each in folders if _is_bag_folder(place / each)]
        folders[:] = [each for each in folders if each not in bags]
        yield from (place / bag for bag in bags)


def _is_bag_folder(folder: Path) -> bool:
    """Return True for a bag in a folder, and not for a folder with several bags of one file."""
    return (folder / "metadata.yaml").is_file()


class WindowStore:
    """Windows of clips, at most `most` of each, evenly spread over it, in a file that is removed on closing.

    Of `most` windows of a clip, every other one is held out. Memory is bounded: windows are read from the file.

    Attributes:
        clips: The number of windows taken from each clip.
    """

    def __init__(self, network: PreparedNetwork, settings: Settings, file: Path, most: int) -> None:
        self._network, self._settings, self._most = network, settings, most
        self._shape = (network.frames, network.height, network.width, 3)
        self._size = int(np.prod(self._shape))
        self._file = file.open("w+b")
        self._clips: dict[str, list[int]] = {}  # places in the file, in the order of time

    def add(self, clip: Path, report: Report) -> int:
        """Take the windows of `clip` and return their number; a clip that cannot be read is reported and left out."""
        first = sum(map(len, self._clips.values()))
        random = np.random.default_rng(first)
        places: list[tuple[int, int]] = []  # number of the window in its clip, and place in the file
        try:
            for number, window in enumerate(self._windows(clip, report)):
                # Reservoir sampling: each window of the clip is kept with the same probability.
                place = len(places) if number < self._most else int(random.integers(0, number + 1))
                if place < self._most:
                    places[place : place + 1] = [(number, first + place)]
                    self._file.seek((first + place) * self._size)
                    self._file.write(window.tobytes())
        except ActionNetError as error:
            report(f"{printable(clip)} is left out: {printable(error, 500)}")
            return 0
        if places:
            self._clips[str(clip)] = [place for _, place in sorted(places)]
        return len(places)

    @property
    def clips(self) -> dict[str, int]:
        """Number of windows of each clip."""
        return {name: len(places) for name, places in self._clips.items()}

    def parts(self) -> tuple[list[int], list[int]]:
        """Return the places of the windows for the calibration, and of those that are held out."""
        everything = [place for places in self._clips.values() for place in places]
        return everything[0::2], everything[1::2]

    def read(self, place: int) -> Window:
        """Return the window at `place`, uint8 [T, H, W, 3]."""
        self._file.seek(place * self._size)
        return np.frombuffer(bytearray(self._file.read(self._size)), np.uint8).reshape(self._shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _windows(self, clip: Path, report: Report) -> Iterator[Window]:
        """Yield the windows of a clip that share no frame."""
        network, settings = self._network, self._settings
        sampler, thumbnails = FrameSampler(settings), preprocessor(network, settings)
        ring = HostRing(network.frames, network.height, network.width)
        buffer = TemporalBuffer(ring, infer_every=network.frames, repeat_first=False)
        pixels = np.empty(self._shape[1:], np.uint8)
        with closing(open_source(str(clip), InputOptions(), report)) as source:
            for frame in source.frames():
                sample = sampler.offer(frame.stamp)
                if sample is None:
                    continue
                try:
                    thumbnails.thumbnail(frame.image, pixels)
                except ImageError as error:
                    report(f"{printable(clip)}: {printable(error, 300)}")
                    continue
                buffer.push(pixels, sample)
                if buffer.due:
                    yield buffer.take_window()
