"""Every panel of the scene is recognized for what it plays, whatever its box does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from ros2_actionnet.backends import Session
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.load_monitor import UNMONITORED
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectRecognizer, SubjectResult
from ros2_actionnet.settings import Settings
from support.subject_scene import OTHER_LABELS, SOME_LABELS, Nervousness, SubjectScene

SETTINGS = Settings(network="camera_motion", detections=True, max_gap=0.5)


@dataclass(frozen=True, eq=False)
class Frame:
    index: int
    stamp: int
    image: RawImage


@pytest.fixture(scope="module")
def session() -> Iterator[Session[Any]]:
    with closing(load(SETTINGS, UNMONITORED).session) as session:
        yield session


def play(scene: SubjectScene, session: Session[Any]) -> Iterator[tuple[int, list[SubjectResult]]]:
    """The number of each frame, and its results."""
    recognizer = SubjectRecognizer(session, SETTINGS, 1)
    for number in range(scene.frames):
        image = RawImage.from_array(scene.picture(number), "bgr8")
        yield number, recognizer.recognize(Frame(number, scene.stamp(number), image), scene.detections(number))


@pytest.mark.parametrize("labels", [SOME_LABELS, OTHER_LABELS], ids=lambda labels: labels[0])
def test_every_track_is_recognized(labels: tuple[str, ...], session: Session[Any]) -> None:
    scene = SubjectScene(labels)
    windows, right = Counter[str](), Counter[str]()
    for _, results in play(scene, session):
        assert len(results) == len(labels)
        for result in results:
            if result.is_new:
                assert result.prediction is not None
                label = labels[int(result.track_id) - 1]
                windows[label] += 1
                right[label] += result.prediction.label == label
    assert min(windows[label] for label in labels) >= 20
    assert all(right[label] >= 0.95 * windows[label] for label in labels), (windows, right)


def test_ids_that_switch_begin_anew_and_are_right_again(session: Session[Any]) -> None:
    scene = SubjectScene(OTHER_LABELS, Nervousness(switch_at=38))
    right, wrong, ended = Counter[str](), Counter[str](), list[str]()
    for number, results in play(scene, session):
        for result in results:
            if not result.is_on:
                ended.append(result.track_id)
            elif result.is_new:
                assert result.prediction is not None
                is_old = len(result.track_id) == 1
                assert is_old == (number < 38 + 16)
                is_right = result.prediction.label == OTHER_LABELS[(int(result.track_id) - 1) % 100]
                (right if is_right else wrong)[result.track_id] += 1
    assert sorted(ended) == ["1", "2", "3", "4"]
    assert {"101", "102", "103", "104"} <= set(right)
    assert sum(right.values()) >= 0.95 * (sum(right.values()) + sum(wrong.values()))
