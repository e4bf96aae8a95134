"""Which objects get a stream."""

from __future__ import annotations

import numpy as np

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.detections import Detection
from ros2_actionnet.recognition.subjects.selector import select_subjects


def person(track_id: str, side: float) -> Detection:
    return Detection(track_id, "person", 0.9, Box(0, 0, side, side))


def chosen(sides: dict[str, float], current: set[str], most: int) -> tuple[set[str], int]:
    found, left_out = select_subjects([person(name, side) for name, side in sides.items()], current, most)
    return {detection.track_id for detection in found}, left_out


def test_the_largest_come_first_and_the_others_are_counted() -> None:
    assert chosen({"a": 10, "b": 30, "c": 20, "d": 5}, set(), 2) == ({"b", "c"}, 2)


def test_with_room_for_all_nobody_is_left_out() -> None:
    assert chosen({"a": 10, "b": 30}, set(), 8) == ({"a", "b"}, 0)


def test_who_has_a_stream_keeps_it_until_another_is_clearly_larger() -> None:
    assert chosen({"a": 10, "b": 12}, {"a"}, 1) == ({"a"}, 1)
    assert chosen({"a": 10, "b": 13}, {"a"}, 1) == ({"b"}, 1)


def test_boxes_that_jitter_do_not_change_places() -> None:
    random = np.random.default_rng(0)
    current, _ = chosen(dict.fromkeys("abcd", 100), set(), 2)
    for sides in random.normal(100, 4, (500, 4)):
        now, _ = chosen(dict(zip("abcd", sides, strict=True)), current, 2)
        assert now == current
