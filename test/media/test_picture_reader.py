"""The images of a file by frame, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.base import FrameSource, InputOptions, Picture
from ros2_actionnet.media.filters import Flipped
from ros2_actionnet.media.picture_reader import PictureReader
from ros2_actionnet.media.uris import open_source

COUNT = 150


def shade(number: int) -> tuple[int, int]:
    """Lightness of the left and of the right half of a frame, 16 steps each."""
    return 15 + 15 * (number // 15), 15 + 15 * (number % 15)


def picture(number: int) -> Picture:
    left, right = shade(number)
    found = np.full((64, 96, 3), left, np.uint8)
    found[:, 48:] = right
    return found


def number_of(image: Picture) -> int:
    left, right = float(image[:, 8:40].mean()), float(image[:, 56:88].mean())
    return round((left - 15) / 15) * 15 + round((right - 15) / 15)


def save_video(path: Path, group: int, *, has_times: bool = True) -> Path:
    with av.open(str(path), "w", format=None if has_times else "h264") as container:
        stream = container.add_stream("libx264", 10, options={"g": str(group), "crf": "4", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), "bgr24")))
        container.mux(stream.encode(None))
    return path


def save_images(path: Path) -> Path:
    path.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(path / f"{number:04}.png"), picture(number))
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "key frames often": lambda folder: save_video(folder / "often.mp4", 12),
    "one key frame in 15 s": lambda folder: save_video(folder / "once.mp4", COUNT),
    "no times": lambda folder: save_video(folder / "raw.h264", 12, has_times=False),
    "images": lambda folder: save_images(folder / "images"),
}


@pytest.fixture(name="open_", params=list(SOURCES))
def open_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], FrameSource]:
    path = SOURCES[request.param](tmp_path)
    return lambda: open_source(str(path), InputOptions(), pytest.fail)


@pytest.fixture(name="positions")
def positions_fixture(open_: Callable[[], FrameSource]) -> Iterator[list[int]]:
    source = open_()
    frames = list(source.frames())
    source.close()
    assert [number_of(to_bgr(frame.image)) for frame in frames] == list(range(COUNT))
    yield [frame.position for frame in frames]


def test_any_order_gives_the_exact_frame(open_: Callable[[], FrameSource], positions: list[int]) -> None:
    reader = PictureReader(open_)
    wanted = [COUNT - 1, 0, 1, 2, 70, 69, 70, 140, 10, 11, 75, 0, COUNT - 1]
    wanted += random.Random(4).sample(range(COUNT), 15)
    assert [number_of(to_bgr(reader.read(index, positions))) for index in wanted] == wanted
    reader.close()


def test_a_flip_acts_on_it_too(open_: Callable[[], FrameSource], positions: list[int]) -> None:
    reader = PictureReader(lambda: Flipped(open_(), "horizontal"))
    for index in (100, 3):
        assert number_of(to_bgr(reader.read(index, positions))[:, ::-1]) == index
    reader.close()
