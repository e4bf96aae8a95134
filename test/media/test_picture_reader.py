"""The images of a file by frame, in any order."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.media.base import FrameSource, InputOptions, MediaFrame, Picture
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


def test_a_file_that_cannot_jump_shows_no_other_time(tmp_path: Path) -> None:
    path = save_video(tmp_path / "raw.h264", 12, has_times=False)
    source = open_source(str(path), InputOptions(), pytest.fail)
    positions = [frame.position for frame in source.frames()]
    source.close()
    reader = PictureReader(lambda: open_source(str(path), InputOptions(), pytest.fail), most_walked=70)
    assert number_of(to_bgr(reader.read(70, positions))) == 70
    with pytest.raises(MediaError, match=r"raw\.h264' has no frame there .* within 70 frames .* write the video anew"):
        reader.read(140, positions)
    with pytest.raises(MediaError, match="within 70 frames"):
        reader.read(141, positions)
    assert number_of(to_bgr(reader.read(20, positions))) == 20
    assert number_of(to_bgr(reader.read(75, positions))) == 75, "read on from there"
    reader.close()


class Endless:
    """A file with an endless way to any frame; `close` ends it, as that of a source does."""

    name, rate, size, length, is_live = "endless", 10.0, (96, 64), None, False

    def __init__(self) -> None:
        self.is_walking, self.is_closed = threading.Event(), threading.Event()

    def frames(self) -> Iterator[MediaFrame]:
        return iter(())

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        image = RawImage.from_array(picture(0), "bgr8")
        while not self.is_closed.is_set():
            yield -1, image
            self.is_walking.set()

    def close(self) -> None:
        self.is_closed.set()


def test_closing_it_ends_a_search_in_another_thread() -> None:
    source = Endless()
    reader = PictureReader(lambda: source, most_walked=1 << 62)
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(reader.read, 5, range(10))
        assert source.is_walking.wait(30)
        reader.close()
        with pytest.raises(MediaError, match="'endless' is closed"):
            search.result(30)
    with pytest.raises(MediaError, match="closed"):
        reader.read(5, range(10))


def test_closing_it_while_the_source_is_opened_closes_that_one_too() -> None:
    source = Endless()

    def open_() -> FrameSource:
        reader.close()  # as another thread may
        return source

    reader = PictureReader(open_)
    with pytest.raises(MediaError, match="'endless' is closed"):
        reader.read(5, range(10))
    assert source.is_closed.is_set()
