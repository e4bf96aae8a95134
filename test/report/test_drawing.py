"""Paths, ribbons and clocks, number by number."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ros2_actionnet.report.drawing import area, bars, clock, ribbon, ticks
from ros2_actionnet.report.occurrences import Occurrence
from ros2_actionnet.report.timeline import Column


def column(start: float, end: float, score: float, best: int = 0) -> Column:
    return Column(start, end, np.array([score], np.float32), np.array([min(1.0, 2 * score)], np.float32), best)


def points(path: str) -> list[list[tuple[float, float]]]:
    """The corners of each piece of a path."""
    pieces = [piece for piece in path.split("Z") if piece]
    assert all(piece.startswith("M") for piece in pieces)
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", piece)] for piece in pieces]


def test_an_area_goes_through_the_middles_of_its_columns() -> None:
    path = area([column(2, 4, 0.5), column(4, 6, 1.0)], 0, duration=10)
    assert points(path) == [[(200, 100), (200, 50), (300, 50), (500, 0), (600, 0), (600, 100)]]


def test_peaks_have_an_area_of_their_own() -> None:
    assert points(area([column(0, 10, 0.25)], 0, 10, peaks=True)) == [
        [(0, 100), (0, 50), (500, 50), (1000, 50), (1000, 100)]
    ]


def test_where_nothing_was_classified_there_is_no_area() -> None:
    first, second = points(area([column(0, 1, 0.5), column(6, 7, 0.5)], 0, 10))
    assert max(x for x, _ in first) == 100
    assert min(x for x, _ in second) == 600


def test_nothing_is_drawn_past_the_end() -> None:
    ((*_, last),) = points(area([column(9, 12, 0.5)], 0, 10))
    assert last == (1000, 100)


def test_equal_neighbors_are_one_segment_of_the_ribbon_but_not_across_a_gap() -> None:
    columns = [column(0, 1, 1, 3), column(1, 2, 1, 3), column(2, 3, 1, -1), column(5, 6, 1, 3), column(6, 7, 1, 3)]
    found = [(segment.left, segment.right, segment.best) for segment in ribbon(columns, 10)]
    assert found == [(0, 200, 3), (200, 300, -1), (500, 700, 3)]


def test_bars_lie_where_their_events_do_and_are_never_more_than_can_be_seen() -> None:
    events = [Occurrence(0, 1.0, 2.0, 0.5), Occurrence(0, 5.0, 99.0, 0.5)]
    assert bars(events, 10) == [(10, 20), (50, 50)]
    many = [Occurrence(0, index / 100, 0.005, 0.5) for index in range(100_000)]
    assert bars(many, 1000) == [pytest.approx((0, 100), abs=0.1)]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0.5, 5), (10, 5), (8.9, 9), (61, 7), (3600, 6), (90, 6), (86400 * 100, None)],
)
def test_ticks_are_round_and_few(duration: float, expected: int | None) -> None:
    marks = ticks(duration)
    assert marks[0] == 0
    assert marks[-1] < duration
    assert len(marks) <= 9
    if expected is not None:
        assert len(marks) == expected


@pytest.mark.parametrize(
    ("seconds", "digits", "expected"),
    [
        (0, 1, "0:00.0"),
        (3.24, 1, "0:03.2"),
        (59.96, 1, "1:00.0"),
        (61.5, 0, "1:02"),
        (3599.99, 2, "59:59.99"),
        (3599.999, 2, "1:00:00.00"),
        (45296, 0, "12:34:56"),
    ],
)
def test_clocks(seconds: float, digits: int, expected: str) -> None:
    assert clock(seconds, digits) == expected
