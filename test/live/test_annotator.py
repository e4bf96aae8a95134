"""Drawing happens on the newest frame, in a thread of its own, and never on the memory of the message."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import Annotation, OverlayLine, draw_overlay
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.annotator import Annotator
from support.clips import library_clip
from support.fakes import TIMEOUT, Gate

Pixels = NDArray[np.uint8]


@dataclass
class Rig:
    """An annotator that publishes into a list, at a gate."""

    what: Annotation = field(default_factory=Annotation)
    gate: Gate = field(default_factory=Gate)
    published: list[tuple[Pixels, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.annotator: Annotator[str] = Annotator(lambda: self.what, self.publish, self.fail)

    def publish(self, pixels: Pixels, header: str) -> None:
        self.gate.pass_through()
        with self.changed:
            self.threads.add(threading.current_thread().name)
            self.published.append((pixels.copy(), header))
            assert pixels.flags.c_contiguous
            self.changed.notify_all()

    def fail(self, error: Exception) -> None:
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def wait_for(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, TIMEOUT), self.errors

    def draw(self, image: RawImage, width: int = 0) -> Pixels:
        """What is published of `image`."""
        count = len(self.published) + 1
        self.annotator.offer(image, "header", width)
        self.wait_for(lambda: len(self.published) == count)
        return self.published[-1][0]


@pytest.fixture(name="rig")
def rig_fixture() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.gate.open()
    rig.annotator.close()


@pytest.fixture(name="photo", scope="module")
def photo_fixture() -> Pixels:
    return library_clip("bikes.mp4", 1)[0]


def test_it_publishes_the_image_in_bgr_with_the_results_on_it(rig: Rig, photo: Pixels) -> None:
    rig.what = Annotation((OverlayLine("riding a bike", 0.8), OverlayLine("walking", 0.1)))
    expected = photo.copy()
    draw_overlay(expected, rig.what.lines)
    assert (expected != photo).any()
    assert np.array_equal(rig.draw(RawImage.from_array(photo, "bgr8")), expected)
    assert np.array_equal(rig.draw(RawImage.from_array(np.ascontiguousarray(photo[..., ::-1]), "rgb8")), expected)
    assert rig.published[0][1] == "header"
    assert rig.threads == {"annotator"}


def test_the_message_is_left_as_it_was(rig: Rig, photo: Pixels) -> None:
    rig.what = Annotation((OverlayLine("riding a bike", 0.8),))
    for encoding in ("bgr8", "rgb8"):
        source = photo.copy()
        rig.draw(RawImage.from_array(source, encoding))
        assert np.array_equal(source, photo)


def test_a_window_that_fills_shows_how_far_it_is(rig: Rig, photo: Pixels) -> None:
    rig.what = Annotation(fill=0.25, status="filling window 4/16")
    expected = photo.copy()
    draw_overlay(expected, (), fill=0.25, status="filling window 4/16")
    assert np.array_equal(rig.draw(RawImage.from_array(photo, "bgr8")), expected)


@pytest.mark.parametrize(("width", "height"), [(320, 136), (1280, 544), (100, 42), (640, 272)])
def test_it_is_scaled_to_the_width_asked_for_and_keeps_its_aspect(
    rig: Rig, photo: Pixels, width: int, height: int
) -> None:
    pixels = rig.draw(RawImage.from_array(photo, "bgr8"), width)
    assert pixels.shape == (height, width, 3)
    # Away from the panel it is the picture.
    expected = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)[:, -width // 4 :]
    assert np.abs(pixels[:, -width // 4 :].astype(int) - expected).mean() < 3


def test_the_overlay_is_drawn_after_scaling_so_that_it_stays_legible(rig: Rig, photo: Pixels) -> None:
    rig.what = Annotation((OverlayLine("riding a bike", 0.8),))
    expected = np.array(cv2.resize(photo, (320, 136), interpolation=cv2.INTER_AREA), np.uint8)
    draw_overlay(expected, rig.what.lines)
    assert np.array_equal(rig.draw(RawImage.from_array(photo, "bgr8"), 320), expected)


def test_images_of_changing_sizes_are_each_as_large_as_they_came(rig: Rig, photo: Pixels) -> None:
    for rows, columns in ((100, 200), (50, 60), (1, 1), (100, 200)):
        part = np.ascontiguousarray(photo[:rows, :columns])
        assert rig.draw(RawImage.from_array(part, "bgr8")).shape == (rows, columns, 3)


def test_of_those_that_come_while_it_is_busy_only_the_newest_is_drawn(rig: Rig) -> None:
    rig.gate.close()
    for value in range(5):
        rig.annotator.offer(RawImage.from_array(np.full((2, 2, 3), value, np.uint8), "bgr8"), str(value))
        if value == 0:
            rig.gate.wait_until_reached(1)
    rig.gate.open()
    rig.wait_for(lambda: len(rig.published) == 2)
    assert [header for _, header in rig.published] == ["0", "4"]
    assert [pixels[1, 1, 0] for pixels, _ in rig.published] == [0, 4]


def test_an_image_that_cannot_be_drawn_is_told_and_the_next_one_is(rig: Rig) -> None:
    rig.annotator.offer(RawImage(b"\0" * 5, 4, 4, 12, "bgr8"), "bad")
    rig.wait_for(lambda: rig.errors)
    assert isinstance(rig.errors[0], ImageError)
    rig.draw(RawImage.from_array(np.zeros((2, 2, 3), np.uint8), "bgr8"))
    assert len(rig.published) == 1


def test_a_publisher_that_fails_is_told_of_and_does_not_end_it(rig: Rig) -> None:
    def lose(pixels: Pixels, header: str) -> None:
        raise KeyError(header)

    rig.annotator._publish = lose
    rig.annotator.offer(RawImage.from_array(np.zeros((2, 2, 3), np.uint8), "bgr8"), "lost")
    rig.wait_for(lambda: rig.errors)
    assert isinstance(rig.errors[0], KeyError)
    rig.annotator._publish = rig.publish
    rig.draw(RawImage.from_array(np.zeros((2, 2, 3), np.uint8), "bgr8"))


def test_close_ends_the_thread_and_drops_what_waits(rig: Rig) -> None:
    rig.gate.close()
    image = RawImage.from_array(np.zeros((2, 2, 3), np.uint8), "bgr8")
    rig.annotator.offer(image, "first")
    rig.gate.wait_until_reached(1)
    rig.annotator.offer(image, "second")
    closing = threading.Thread(target=rig.annotator.close)
    closing.start()
    rig.gate.open()
    closing.join(TIMEOUT)
    assert not rig.annotator._thread.is_alive()
    assert rig.published[-1][1] in ("first", "second")
    count = len(rig.published)
    rig.annotator.offer(image, "too late")
    rig.annotator.close()
    assert len(rig.published) == count
