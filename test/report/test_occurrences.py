"""Beginnings and ends put together to actions, with pictures of a limited number."""

from __future__ import annotations

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult
from ros2_actionnet.report.occurrences import Occurrence, Occurrences, longest
from ros2_actionnet.report.pictures import Filmstrip, Thumbnail
from support.clips import library_clip

EPOCH = 1.7e9  # s; stamps are a camera's, times count from the first frame
LABELS = ("a", "b", "c")


def frame_at(time: float, picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None) -> MediaFrame:
    if picture is None:
        picture = np.zeros((4, 4, 3), np.uint8)
    return MediaFrame(0, time, nanoseconds(EPOCH + time), RawImage.from_array(picture, "bgr8"))


def began(index: int, start: float, at: float, score: float = 0.8) -> ClassifiedFrame:
    return result(at, [Event(EventType.BEGAN, index, score, nanoseconds(EPOCH + start), nanoseconds(at - start))])


def ended(index: int, start: float, end: float, at: float, score: float = 0.7) -> ClassifiedFrame:
    return result(at, [Event(EventType.ENDED, index, score, nanoseconds(EPOCH + start), nanoseconds(end - start))])


def result(time: float, events: list[Event], scores: tuple[float, ...] = (0.5, 0.3, 0.2)) -> ClassifiedFrame:
    return ClassifiedFrame(frame_at(time), Prediction(np.array(scores, np.float32), LABELS, 0), True, tuple(events))


def test_an_action_begins_ends_and_is_counted_from_the_first_frame() -> None:
    occurrences = Occurrences(10)
    for step in (began(1, 2.0, 2.3), result(2.5, []), ended(1, 2.0, 4.0, 4.1), result(4.5, [])):
        occurrences.add(step)
    (occurrence,) = occurrences.so_far()
    assert (occurrence.class_index, occurrence.score, occurrence.is_on) == (1, 0.7, False)
    assert (occurrence.start, occurrence.end) == pytest.approx((2.0, 4.0), abs=1e-6)
    assert occurrence.picture is not None
    assert occurrence.picture.time == 2.3


def test_one_that_is_still_on_lasts_to_the_end_with_the_mean_of_its_scores() -> None:
    occurrences = Occurrences(10)
    occurrences.add(began(0, 1.0, 1.4))
    occurrences.add(result(2.0, [], (0.9, 0.05, 0.05)))
    occurrences.add(result(3.0, [], (0.7, 0.2, 0.1)))
    (occurrence,) = occurrences.so_far()
    assert occurrence.is_on
    assert occurrence.duration == pytest.approx(2.0, abs=1e-6)
    assert occurrence.score == pytest.approx((0.5 + 0.9 + 0.7) / 3)


def test_several_at_once_are_kept_apart_and_sorted_by_their_beginning() -> None:
    occurrences = Occurrences(10)
    steps = [
        began(0, 1.0, 1.4),
        began(2, 0.5, 1.6),
        ended(0, 1.0, 2.0, 2.1),
        began(0, 3.0, 3.3),
        ended(2, 0.5, 3.5, 3.6),
    ]
    for step in steps:
        occurrences.add(step)
    found = [(o.class_index, round(o.start, 3), o.is_on) for o in occurrences.so_far()]
    assert found == [(2, 0.5, False), (0, 1.0, False), (0, 3.0, True)]


def person(track_id: str, box: Box, events: list[Event], score: float = 0.5) -> SubjectResult:
    scores = np.array((score, 1 - score, 0), np.float32)
    return SubjectResult(track_id, box, Prediction(scores, LABELS, 0), True, tuple(events))


def test_people_who_do_the_same_are_kept_apart_from_each_other_and_from_the_whole_image() -> None:
    occurrences, box = Occurrences(10), Box(2, 2, 1, 1)
    begin = Event(EventType.BEGAN, 0, 0.8, nanoseconds(EPOCH + 1), nanoseconds(0.4))
    end = Event(EventType.ENDED, 0, 0.7, nanoseconds(EPOCH + 1), nanoseconds(0.9))
    occurrences.add(replace(result(1.4, [begin]), subjects=(person("7", box, [begin]), person("9", box, [begin]))))
    last = result(2.0, [], (0.9, 0.1, 0.0))
    occurrences.add(replace(last, subjects=(person("7", box, [], 0.6), person("9", box, [end]))))
    found = {one.subject: (one.is_on, round(one.duration, 3), round(one.score, 3)) for one in occurrences.so_far()}
    assert found == {"": (True, 1.0, 0.7), "7": (True, 1.0, 0.55), "9": (False, 0.9, 0.7)}


@pytest.mark.parametrize("center", [(320, 136), (5, 5), (639, 271)])
def test_the_picture_of_a_persons_action_shows_the_person(center: tuple[int, int]) -> None:
    picture, box = np.zeros((272, 640, 3), np.uint8), Box(*center, 30, 60)
    left, top = round(max(0.0, box.left)), round(max(0.0, box.top))
    picture[top : round(box.top + box.height), left : round(box.left + box.width)] = 255
    begin = Event(EventType.BEGAN, 0, 0.8, nanoseconds(EPOCH + 1), nanoseconds(0.4))
    occurrences = Occurrences(10)
    shown = ClassifiedFrame(frame_at(1.4, picture), None, False, subjects=(person("7", box, [begin]),))
    occurrences.add(shown)
    (occurrence,) = occurrences.so_far()
    assert occurrence.picture is not None
    pixels = decoded(occurrence.picture)
    assert pixels.shape == (90, 212, 3), "of the proportions of the image, half as large again as the box"
    visible = (box.left + box.width - left if left == 0 else min(30, 640 - left)) * (
        box.top + box.height - top if top == 0 else min(60, 272 - top)
    )
    assert (pixels > 128).all(axis=2).sum() == pytest.approx(visible, rel=0.1)


def test_only_the_longest_keep_their_pictures_and_never_many_more_are_held() -> None:
    occurrences = Occurrences(3)
    durations = [1, 9, 2, 8, 3, 7, 4, 6, 5, 1]
    for number, duration in enumerate(durations):
        occurrences.add(began(0, 20.0 * number, 20.0 * number + 0.3))
        occurrences.add(ended(0, 20.0 * number, 20.0 * number + duration, 20.0 * number + duration))
        assert sum(o.picture is not None for o in occurrences._all) <= 6
    kept = [o.duration for o in occurrences.so_far() if o.picture]
    assert kept == pytest.approx([9, 8, 7], abs=1e-6)
    assert len(occurrences.so_far()) == len(durations)


def test_the_longest() -> None:
    made = [Occurrence(0, 0, duration, 0.5) for duration in (1.0, 3.0, 2.0)]
    assert [occurrence.duration for occurrence in longest(made, 2)] == [3.0, 2.0]


def decoded(picture: Thumbnail) -> np.ndarray[tuple[int, ...], np.dtype[np.int_]]:
    head, _, data = picture.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR), int)


def test_a_filmstrip_shows_what_was_there_at_its_times_however_long_it_runs() -> None:
    clip = library_clip("bikes.mp4")
    strip = Filmstrip(most=5, width=160)
    for index, picture in enumerate(clip):
        strip.offer(frame_at(index / 25, picture))
        assert len(strip.thumbnails) < 10
    shown = strip.spread(5, 10.0)
    assert len(shown) == 5
    for part, small in enumerate(shown):
        assert small.time == pytest.approx(2 * part + 1, abs=0.7)
        original = cv2.resize(clip[round(small.time * 25)], (160, 68), interpolation=cv2.INTER_AREA)
        pixels = decoded(small)
        assert pixels.shape == (68, 160, 3)
        assert np.abs(pixels - original).mean() < 6
    assert Filmstrip(5, 160).spread(5, 10.0) == []
