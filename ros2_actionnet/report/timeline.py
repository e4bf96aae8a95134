"""Scores over time, in a limited number of columns for an input of any length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.recognition.prediction import Prediction

MOST_COLUMNS = 512
"""Maximum number of columns; at least half as many are used once there are enough predictions to fill them."""

_GAP = 2.5  # usual intervals without a prediction that make a gap
_FINEST = 1 / 64  # s, initial width of a column; shorter than the frame interval of any camera


@dataclass(frozen=True, eq=False)
class Column:
    """Predictions from `start` to `end` (s): mean and highest scores, float32 [classes], and the main winner."""

    start: float
    end: float
    scores: NDArray[np.float32]
    peaks: NDArray[np.float32]
    best: int  # -1 for none


@dataclass(eq=False)
class _Cell:
    """Predictions of one column: time of the first (s), sums and maxima of scores, their number, and wins by class."""

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
    """Averages predictions in columns of equal width, which doubles when there are too many.

    Attributes:
        width: Width of a column, s.
        predictions: Number of predictions.
        shares: Number of predictions that each class won, for classes that ever won; -1 is none.
        means: Mean score of each class, float64 [classes].
        peaks, peak_times: Highest score of each class, float32 [classes], and its time, s.
        strengths: Sum of each class's squared scores, float64 [classes], which ranks a short clear action above a class
            that is always slightly likely.
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
        """Mean score of each class, float64 [classes]."""
        return self._sums / max(self.predictions, 1)

    def add(self, time: float, prediction: Prediction) -> None:
        """Add a prediction made at `time`, s from the beginning (>= 0)."""
        scores = prediction.by_label if prediction.allowed is None else prediction.by_label * prediction.allowed
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
        """Return the columns with predictions; each ends where the next begins, unless there is a gap between them."""
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
    """Split the columns into runs without gaps, in which each begins at the end of the previous one."""
    cut: list[list[Column]] = []
    for column in columns:
        if cut and column.start == cut[-1][-1].end:
            cut[-1].append(column)
        else:
            cut.append([column])
    return cut
