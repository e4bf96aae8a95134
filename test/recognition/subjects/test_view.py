"""What the view of a track does when its box jitters, moves, and is missed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.view import LEAST_LAG, SubjectView

INTERVAL = 33_333_333  # ns
MARGIN = 0.25


def test_the_view_is_a_square_around_the_box_with_the_margin() -> None:
    view = SubjectView(Box(100, 50, 40, 80), 0, MARGIN)
    assert view.box.x == 100
    assert view.box.y == 50
    assert view.box.width == pytest.approx(100)
    assert view.box.height == pytest.approx(100)


def test_jitter_is_smoothed() -> None:
    random = np.random.default_rng(0)
    boxes = [Box(500 + x, 400 + y, 200 + s, 200 + s) for x, y, s in random.normal(0, 4, (300, 3))]
    view = SubjectView(boxes[0], 0, MARGIN)
    views = []
    for number, box in enumerate(boxes):
        view.update(box, number * INTERVAL)
        views.append((view.box.x, view.box.y, view.box.width))
    steps = np.abs(np.diff(views[30:], axis=0)).mean(axis=0)
    raw = np.abs(np.diff([(box.x, box.y, 1.25 * box.width) for box in boxes[30:]], axis=0)).mean(axis=0)
    assert (steps < raw / 6).all()


def test_a_steady_motion_is_followed_with_no_lag_from_the_first_second_on() -> None:
    view = SubjectView(Box(0, 0, 100, 100), 0, MARGIN)
    for number in range(1, 60):
        view.update(Box(5 * number, -3 * number, 100, 100), number * INTERVAL)
        assert view.box.x == pytest.approx(5 * number, abs=0.01)
        assert view.box.y == pytest.approx(-3 * number, abs=0.01)


def test_a_missed_track_moves_on_and_comes_to_rest() -> None:
    view = SubjectView(Box(0, 0, 100, 100), 0, MARGIN)
    for number in range(1, 30):
        view.update(Box(5 * number, 0, 100, 100), number * INTERVAL)
    last, seen = view.box.x, []
    for number in range(30, 90):
        view.bridge(number * INTERVAL)
        seen.append(view.box.x)
    assert seen[0] - last == pytest.approx(5, rel=0.1)
    assert seen[-1] - seen[-2] < 0.1
    assert view.box.width == pytest.approx(125)


def test_a_stamp_that_comes_twice_changes_nothing() -> None:
    view = SubjectView(Box(0, 0, 100, 100), 0, MARGIN)
    view.update(Box(1, 0, 100, 100), INTERVAL)
    before = view.box
    view.update(Box(2, 0, 100, 100), INTERVAL)
    view.bridge(INTERVAL)
    assert view.box == before


coordinates = st.floats(-2000, 4000)
sides = st.floats(1, 3000)
boxes = st.builds(Box, coordinates, coordinates, sides, sides)


@given(st.lists(st.tuples(boxes, st.integers(1, 10**9)), min_size=1, max_size=30), st.sampled_from([0.0, 0.25, 1.0]))
def test_the_view_never_lags_behind_by_more_than_its_bound(tracks: list[tuple[Box, int]], margin: float) -> None:
    view, stamp = SubjectView(tracks[0][0], 0, margin), 0
    for box, interval in tracks:
        stamp += interval
        view.update(box, stamp)
        side, lag = max(box.width, box.height), max(LEAST_LAG, margin / 2)
        assert abs(view.box.x - box.x) <= lag * side + 1e-6
        assert abs(view.box.y - box.y) <= lag * side + 1e-6
        assert side / (1 + lag) - 1e-6 <= view.box.width / (1 + margin) <= side * (1 + lag) + 1e-6
        assert view.box.is_valid
