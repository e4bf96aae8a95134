"""The ids of objects that come without."""

from __future__ import annotations

import pytest

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.recognition.subjects.tracker import Tracker

INTERVAL = 33_333_333  # ns


def seen(frame: int, *boxes: tuple[float, float, float], label: str = "person", track_id: str = "") -> FrameDetections:
    """Squares by their center and side."""
    found = tuple(Detection(track_id, label, 0.9, Box(x, y, side, side)) for x, y, side in boxes)
    return FrameDetections(frame * INTERVAL, found)


def ids(frame: FrameDetections) -> list[str]:
    return [detection.track_id for detection in frame.detections]


def test_objects_keep_their_ids_in_any_order() -> None:
    tracker = Tracker(1.0)
    assert ids(tracker.track(seen(0, (0, 0, 100), (300, 200, 100)))) == ["1", "2"]
    for frame in range(1, 50):
        assert ids(tracker.track(seen(frame, (300 - 3 * frame, 200, 100), (3 * frame, 0, 100)))) == ["2", "1"]


def test_two_that_are_close_are_paired_by_their_overlap() -> None:
    tracker = Tracker(1.0)
    tracker.track(seen(0, (0, 0, 100), (40, 0, 100)))
    assert ids(tracker.track(seen(1, (42, 0, 100), (2, 0, 100)))) == ["2", "1"]


def test_a_missed_one_keeps_its_id_for_max_gap_and_no_longer() -> None:
    tracker = Tracker(1.0)
    tracker.track(seen(0, (0, 0, 100)))
    assert ids(tracker.track(seen(29, (0, 0, 100)))) == ["1"]
    assert ids(tracker.track(seen(60, (0, 0, 100)))) == ["2"]


def test_another_label_is_another_object() -> None:
    tracker = Tracker(1.0)
    tracker.track(seen(0, (0, 0, 100)))
    assert ids(tracker.track(seen(1, (0, 0, 100), label="dog"))) == ["2"]


def test_ids_of_the_detector_are_kept_and_those_without_are_then_left_out() -> None:
    tracker = Tracker(1.0)
    assert ids(tracker.track(seen(0, (0, 0, 100), track_id="17"))) == ["17"]
    assert ids(tracker.track(seen(1, (0, 0, 100)))) == []


@pytest.mark.parametrize(
    ("other", "overlap"),
    [(Box(0, 0, 10, 10), 1.0), (Box(5, 0, 10, 10), 1 / 3), (Box(5, 5, 10, 10), 1 / 7), (Box(10, 0, 10, 10), 0.0)],
)
def test_overlap_is_intersection_over_union(other: Box, overlap: float) -> None:
    assert Box(0, 0, 10, 10).overlap(other) == pytest.approx(overlap)
    assert other.overlap(Box(0, 0, 10, 10)) == pytest.approx(overlap)
