"""A network's prediction for a window, its classes, and the filter of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores
from ros2_actionnet.errors import SettingsError
from ros2_actionnet.networks.shared_labels import SharedLabels
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.text import printable

NONE = "none"
"""The label of a prediction in which no class reaches the threshold; its class index is -1."""


@dataclass(frozen=True)
class ClassScore:
    """One class of a prediction; `score` in [0, 1]."""

    class_id: int
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """A network's prediction for one window.

    `scores` is float32 [classes] in [0, 1], smoothed; `frame` the index of the window's newest frame, counted from 0
    over all frames given to the classifier, and `first_frame` that of its oldest (-1 if unknown). `threshold`
    and `allowed` (bool [classes], None for all) say which classes count as results. Outputs that share a label
    (`shared`, None if none do) count as one class, under the index of the first.
    """

    scores: Scores
    labels: tuple[str, ...]
    frame: int
    threshold: float = Settings.threshold
    allowed: NDArray[np.bool_] | None = None
    top_k: int = Settings.top_k
    first_frame: int = -1
    shared: SharedLabels | None = None

    @cached_property
    def by_label(self) -> Scores:
        """One score for each label, float32 [classes]: `scores`, with outputs that share a label combined at the first.

        Under a softmax their scores are added, under a sigmoid the largest counts; the others have 0.
        """
        return self.scores if self.shared is None else self.shared.combined(self.scores)

    def top(self, count: int | None = None, *, by_label: bool = True) -> list[ClassScore]:
        """The best classes, best first: at most `count` (else `top_k`), each allowed and at least `threshold`.

        With `by_label`, outputs that share a label are one class; otherwise each output is one of its own.
        """
        values = scores = self.by_label if by_label else self.scores
        if self.allowed is not None:
            scores = np.where(self.allowed, scores, np.float32(-1))
        if self.shared is not None and by_label:
            scores = scores.copy()
            scores[self.shared.repeated] = -1
        # Stable, so that equal scores come in the order of their indices (1040 classes take 20 us).
        best = np.argsort(-scores, kind="stable")[: self.top_k if count is None else count]
        return [
            ClassScore(int(i), self.labels[i], float(values[i])) for i in best if scores[i] >= max(self.threshold, 0.0)
        ]

    @property
    def best(self) -> ClassScore:
        """The best class; class_id -1, label "none", score 0 where none reaches the threshold."""
        top = self.top(1)
        return top[0] if top else ClassScore(-1, NONE, 0.0)

    @property
    def class_id(self) -> int:
        """Index of the best class, -1 for none."""
        return self.best.class_id

    @property
    def label(self) -> str:
        """Label of the best class, "none" for none."""
        return self.best.label

    @property
    def score(self) -> float:
        """Score of the best class in [0, 1], 0 for none."""
        return self.best.score


def allowed_classes(labels: Sequence[str], class_filter: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which classes `class_filter` lets through: bool [classes], or None where it is empty and all are.

    Raises SettingsError for an entry that is none of `labels`, naming the nearest.
    """
    if not class_filter:
        return None
    for entry in class_filter:
        if entry not in labels:
            near = get_close_matches(entry[:100], labels, 3)
            raise SettingsError(
                f"class_filter '{printable(entry)}' is no label of the network"
                + (f"; did you mean {' or '.join(repr(label) for label in near)}?" if near else "; see its labels.txt")
            )
    return np.isin(np.asarray(labels), np.asarray(class_filter))
