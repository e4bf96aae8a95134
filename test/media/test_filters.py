"""Turning, mirroring and thinning out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import MediaFrame, Picture
from ros2_actionnet.media.filters import FLIPS, Flipped, Thinned
from ros2_actionnet.recognition.frame_header import nanoseconds
from support.videos import PictureSource, grey

PICTURE: Picture = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)

# As jetson-utils describes them, with NumPy.
EXPECTED: dict[str, Callable[[Picture], NDArray[np.uint8]]] = {
    "none": lambda picture: picture,
    "counterclockwise": lambda picture: np.rot90(picture, 1),
    "rotate-180": lambda picture: np.rot90(picture, 2),
    "clockwise": lambda picture: np.rot90(picture, -1),
    "horizontal": lambda picture: picture[:, ::-1],
    "vertical": lambda picture: picture[::-1],
    "upper-left-diagonal": lambda picture: picture.swapaxes(0, 1),
    "upper-right-diagonal": lambda picture: picture[::-1, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("name", FLIPS)
def test_pixels_go_where_the_flip_says(name: str) -> None:
    source = Flipped(PictureSource([PICTURE]), name)
    (frame,) = source.frames()
    expected = EXPECTED[name](PICTURE)
    assert np.array_equal(frame.picture, expected)
    assert source.size == (expected.shape[1], expected.shape[0])
    assert (frame.image.width, frame.image.height) == source.size


def test_every_flip_of_jetson_utils_is_there() -> None:
    assert set(FLIPS) == set(EXPECTED)
    for name in ("horizontal-flip", "Vertical-Flip", "ROTATE-180"):
        assert Flipped(PictureSource(), name)


def test_the_upper_right_diagonal_stays_where_it_is() -> None:
    (frame,) = Flipped(PictureSource([PICTURE[:, :48]]), "upper-right-diagonal").frames()
    assert np.array_equal(np.fliplr(frame.picture).diagonal(), np.fliplr(PICTURE[:, :48]).diagonal())


def test_a_flip_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(MediaError, match="there is no flip 'sideways'; use one of none, rotate-180, horizontal,"):
        Flipped(PictureSource(), "sideways")


def test_the_rest_of_a_frame_stays() -> None:
    source = PictureSource([grey(0), grey(1)], rate=10.0, length=2)
    flipped = Flipped(source, "clockwise")
    assert [(frame.index, frame.time, frame.stamp) for frame in flipped.frames()] == [
        (0, 0.0, 0),
        (1, 0.1, 100_000_000),
    ]
    assert (flipped.name, flipped.rate, flipped.length, flipped.is_live) == ("pictures", 10.0, 2, False)
    flipped.close()
    assert source.closed == 1


class Timed(PictureSource):
    """A source with given indices and times."""

    def __init__(self, frames: list[tuple[int, float]], rate: float) -> None:
        super().__init__(rate=rate, length=len(frames))
        self.times = frames

    def frames(self) -> Iterator[MediaFrame]:
        (image,) = [frame.image for frame in PictureSource([PICTURE]).frames()]
        return (MediaFrame(index, time, nanoseconds(time), image) for index, time in self.times)


class TestThinned:
    def test_a_third_of_the_frames_is_a_third_of_the_rate(self) -> None:
        source = Thinned(Timed([(index, index / 30) for index in range(30)], 30.0), 10.0)
        assert (source.rate, source.length, source.size) == (10.0, 10, (64, 48))
        frames = list(source.frames())
        assert [frame.time for frame in frames] == pytest.approx([index / 10 for index in range(10)])
        assert [frame.index for frame in frames] == list(range(10))

    def test_a_rate_that_does_not_divide_is_kept_on_average(self) -> None:
        source = Thinned(Timed([(index, index / 30) for index in range(300)], 30.0), 24.0)
        assert len(list(source.frames())) == 240

    def test_times_in_milliseconds_do_not_make_it_miss_frames(self) -> None:
        source = Thinned(Timed([(index, round(index / 30, 3)) for index in range(300)], 30.0), 30.0)
        assert len(list(source.frames())) == 300

    def test_there_are_never_more_than_there_were(self) -> None:
        source = Thinned(Timed([(index, index / 10) for index in range(10)], 10.0), 30.0)
        assert (source.rate, source.length) == (10.0, 10)
        assert len(list(source.frames())) == 10

    def test_after_a_gap_it_goes_on_at_the_rate(self) -> None:
        times = [0.0, 0.1, 5.0, 5.033, 5.066, 5.1, 5.2]
        source = Thinned(Timed(list(enumerate(times)), 30.0), 10.0)
        assert [frame.time for frame in source.frames()] == [0.0, 0.1, 5.0, 5.1, 5.2]

    def test_frames_that_the_source_lost_stay_lost(self) -> None:
        source = Thinned(Timed([(0, 0.0), (1, 0.05), (5, 0.25), (6, 0.3)], 20.0), 10.0)
        assert [(frame.index, frame.time) for frame in source.frames()] == [(0, 0.0), (4, 0.25)]
