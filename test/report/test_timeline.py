"""The timeline against means taken over all predictions at once, however many there are."""

from __future__ import annotations

import numpy as np
import pytest

from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.report.timeline import MOST_COLUMNS, Column, Timeline, runs

LABELS = ("a", "b", "c")


def predict(scores: list[float], **more: object) -> Prediction:
    return Prediction(np.array(scores, np.float32), LABELS, 0, **more)  # type: ignore[arg-type]


def filled(times: list[float], scores: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Timeline:
    timeline = Timeline(3)
    for time, row in zip(times, scores, strict=True):
        timeline.add(time, Prediction(row, LABELS, 0))
    return timeline


def random_scores(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 3), np.float32)


def test_of_a_short_input_every_prediction_is_a_column_until_the_next() -> None:
    times = [1.2 + 0.08 * index for index in range(100)]
    scores = random_scores(100)
    columns = filled(times, scores).columns()
    assert [column.start for column in columns] == times
    assert [column.end for column in columns[:-1]] == times[1:]
    assert columns[-1].end == pytest.approx(times[-1] + 0.08)
    assert np.array_equal([column.scores for column in columns], scores)
    assert [column.best for column in columns] == scores.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("count", "interval"), [(MOST_COLUMNS, 0.08), (MOST_COLUMNS + 1, 0.08), (700, 0.37), (5000, 1 / 15), (9999, 0.5)]
)
def test_of_a_long_one_columns_are_means_of_what_lies_in_them(count: int, interval: float) -> None:
    times = [index * interval for index in range(count)]
    scores = random_scores(count)
    timeline = filled(times, scores)
    columns = timeline.columns()
    assert len(columns) <= MOST_COLUMNS
    assert len(columns) >= min(count, MOST_COLUMNS) / 2 - 1
    edges = np.searchsorted(times, [column.start for column in columns]).tolist()
    assert edges[0] == 0
    for column, first, last in zip(columns, edges, [*edges[1:], count], strict=True):
        part = scores[first:last]
        assert np.allclose(column.scores, part.mean(axis=0), atol=1e-5)
        assert np.array_equal(column.peaks, part.max(axis=0))
        wins = np.bincount(part.argmax(axis=1), minlength=3)
        assert wins[column.best] == wins.max()
    assert np.allclose(timeline.means, scores.mean(axis=0))
    assert np.array_equal(timeline.peaks, scores.max(axis=0))
    assert timeline.peak_times.tolist() == [times[index] for index in scores.argmax(axis=0)]
    assert timeline.predictions == count == timeline.shares.total()


def test_a_gap_stays_a_gap() -> None:
    times = [*np.arange(0, 10, 0.1), *np.arange(30, 40, 0.1)]
    first, second = runs(filled(times, random_scores(200)).columns())
    assert (first[0].start, second[0].start) == (0, 30)
    assert first[-1].end == pytest.approx(10, abs=0.13)
    assert second[-1].end == pytest.approx(40, abs=0.13)


def test_a_gap_in_a_long_input_stays_one_too() -> None:
    times = [*np.arange(0, 600, 0.1), *np.arange(1800, 3600, 0.1)]
    first, second = runs(filled(times, random_scores(len(times))).columns())
    assert first[-1].end == pytest.approx(600, abs=10)
    assert second[0].start == pytest.approx(1800, abs=10)


def test_jitter_and_a_lost_frame_make_no_gap() -> None:
    random = np.random.default_rng(0)
    times = [0.1 * index + random.uniform(-0.03, 0.03) for index in range(1, 100) if index % 20]
    assert len(runs(filled(times, random_scores(len(times))).columns())) == 1


def test_nothing_over_the_threshold_is_none_and_a_class_that_is_filtered_out_is_not_there() -> None:
    timeline = Timeline(3)
    timeline.add(0.0, predict([0.3, 0.4, 0.3], threshold=0.5))
    timeline.add(0.1, predict([0.6, 0.3, 0.1], threshold=0.5))
    timeline.add(0.2, predict([0.9, 0.05, 0.05], allowed=np.array([False, True, True])))
    assert [column.best for column in timeline.columns()] == [-1, 0, 1]
    assert timeline.shares == {-1: 1, 0: 1, 1: 1}
    assert timeline.peaks[0] == np.float32(0.6)
    assert timeline.means[0] == pytest.approx(0.3)


def test_a_short_clear_action_is_stronger_than_a_long_faint_one() -> None:
    timeline = Timeline(3)
    for index in range(1000):
        timeline.add(index / 10, predict([0.9, 0.05, 0.05] if 500 <= index < 520 else [0.0, 0.05, 0.95]))
    assert np.argsort(-timeline.strengths).tolist() == [2, 0, 1]
    assert np.argsort(-timeline.means).tolist() == [2, 1, 0]


def test_one_prediction_alone_is_a_column() -> None:
    timeline = Timeline(3)
    assert timeline.columns() == []
    timeline.add(5.0, predict([0.2, 0.5, 0.3]))
    (column,) = timeline.columns()
    assert column.start == 5.0
    assert column.end > 5.0
    assert isinstance(column, Column)
