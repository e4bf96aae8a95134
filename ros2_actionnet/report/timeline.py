"""The scores over time, in as few columns as a page can show, however long the input is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.recognition.prediction import Prediction

MOST_COLUMNS = 512
"""Columns of a timeline, at most; there are at least half as many once there is enough to fill them."""

_GAP = 2.5  # usual intervals without a prediction, from which on the time between two is a gap
_FINEST = 1 / 64  # s; a column's width to begin with, shorter than any camera's interval


@dataclass(frozen=True, eq=False)
class Column:
    """What was seen from `start` to `end` (s): mean and highest scores, float32 [classes], and who mostly won."""

    start: float
    end: float
    scores: NDArray[np.float32]
    peaks: NDArray[np.float32]
    best: int  # -1 for none


@dataclass(eq=False)
class _Cell:
    """The predictions of one column: when the first was, sum and maximum of their scores, how many, and who won."""

    start: float
    total: NDArray[np.float32]
    peaks: NDArray[np.float32]
    count: int = 1
    winners: Counter[int] = field(default_factory=Counter)

    def absorb(self, other: _Cell) -> None:
        self.start = min(self.start, other.start)
        self.total += other.total
        np.maximum(self.peaks, other.peaks, out=self.peaks)
        self.count += other.count
        self.winners += other.winners


class Timeline:
    """Takes predictions in and keeps their means in columns of equal width, which doubles when there are too many.

    Attributes:
        width: of a column, s.
        predictions: how many there were.
        shares: for each class that ever won, how many of them it won; -1 is none.
        means: mean score of each class, float64 [classes].
        peaks, peak_times: highest score of each class, float32 [classes], and when that was, s.
        strengths: the sum of each class's squared scores, float64 [classes], by which a short clear action ranks above
            a class that is always a little likely.
    """

    def __init__(self, classes: int) -> None:
        self.width = _FINEST
        self._cells: dict[int, _Cell] = {}
        self._sums = np.zeros(classes)
        self._intervals: list[float] = []
        self._newest: float | None = None
        self.predictions = 0
        self.shares: Counter[int] = Counter()
        self.peaks, self.peak_times = np.full(classes, -1, np.float32), np.zeros(classes)
        self.strengths = np.zeros(classes)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean score of each class."""
        return self._sums / max(self.predictions, 1)

    def add(self, time: float, prediction: Prediction) -> None:
        """Takes in a prediction made at `time`, s from the beginning (>= 0)."""
        scores = prediction.scores if prediction.allowed is None else prediction.scores * prediction.allowed
        winner = prediction.class_id
        self.predictions += 1
        self.shares[winner] += 1
        self._sums += scores
        self.strengths += np.square(scores, dtype=np.float64)
        higher = scores > self.peaks
        self.peaks[higher], self.peak_times[higher] = scores[higher], time
        if self._newest is not None and len(self._intervals) < MOST_COLUMNS:
            self._intervals.append(time - self._newest)
        self._newest = time
        self._put(
            int(time / self.width),
            _Cell(time, scores.astype(np.float32), scores.astype(np.float32), winners=Counter([winner])),
        )

    def columns(self) -> list[Column]:
        """The columns in which there was a prediction; each ends where the next begins, unless that is long after."""
        usual = max(self.width, median(self._intervals) if self._intervals else 0.0)
        cells = [cell for _, cell in sorted(self._cells.items())]
        following = [*(cell.start for cell in cells[1:]), float("inf")]
        return [
            Column(
                cell.start,
                next_start if next_start - cell.start < _GAP * usual else cell.start + usual,
                np.asarray(cell.total / cell.count, np.float32),
                cell.peaks,
                cell.winners.most_common(1)[0][0],
            )
            for cell, next_start in zip(cells, following, strict=False)
        ]

    def _put(self, index: int, cell: _Cell) -> None:
        while index >= MOST_COLUMNS:
            self._widen()
            index //= 2
        if index in self._cells:
            self._cells[index].absorb(cell)
        else:
            self._cells[index] = cell

    def _widen(self) -> None:
        cells, self._cells = self._cells, {}
        self.width *= 2
        for index, cell in cells.items():
            self._put(index // 2, cell)


def runs(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns, cut where one does not begin at the other's end."""
    cut: list[list[Column]] = []
    for column in columns:
        if cut and column.start == cut[-1][-1].end:
            cut[-1].append(column)
        else:
            cut.append([column])
    return cut
