"""The lanes of people in the timeline."""

from __future__ import annotations

import numpy as np
import pytest

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult
from ros2_actionnet.report.people import MOST_PEOPLE, People


def result(track_id: str, best: int, is_new: bool = True) -> SubjectResult:
    scores = np.zeros(3, np.float32)
    if best >= 0:
        scores[best] = 0.9
    return SubjectResult(track_id, Box(0, 0, 1, 1), Prediction(scores, ("a", "b", "c"), 0), is_new)


def test_each_person_has_a_lane_of_what_was_done_when() -> None:
    people = People()
    for step in range(11):
        people.add(step / 10, [result("7", 0 if step < 4 else 2), result("9", 1, is_new=step >= 5)])
    first, second = people.lanes(2.0)
    assert (first.track_id, first.mostly) == ("7", 2)
    assert first.segments == [pytest.approx((0, 200, 0)), pytest.approx((200, 300, 2))]
    assert (second.track_id, second.mostly) == ("9", 1)
    assert second.segments == [pytest.approx((250, 250, 1))]


def test_who_is_gone_for_a_while_leaves_a_gap() -> None:
    people = People()
    for time in (0.0, 0.5, 3.0, 3.5):
        people.add(time, [result("7", 0)])
    assert people.lanes(10.0)[0].segments == [pytest.approx((0, 50, 0)), pytest.approx((300, 50, 0))]


def test_of_many_people_those_with_the_most_predictions_are_shown() -> None:
    people = People()
    for time in range(5):
        people.add(time / 10, [result(str(number), 0) for number in range(30 if time == 0 else 10)])
    shown = {lane.track_id for lane in people.lanes(1.0)}
    assert len(people) == 30
    assert len(shown) == MOST_PEOPLE
    assert shown >= {str(number) for number in range(10)}
