"""How well the scores of one form of a network agree with those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros2_actionnet.backends import Scores


@dataclass(frozen=True)
class Agreement:
    """The scores of several windows in two forms of a network.

    Attributes:
        best_class: part of the windows with the same best class.
        mean_difference: mean difference of a score.
        largest_difference: largest difference of a score.
    """

    best_class: float
    mean_difference: float
    largest_difference: float

    @classmethod
    def of(cls, reference: Scores, scores: Scores) -> Agreement:
        """Compare scores [windows, classes] with those of the same windows in the other form."""
        difference = np.abs(scores.astype(np.float64) - reference)
        same = scores.argmax(axis=1) == reference.argmax(axis=1)
        return cls(float(same.mean()), float(difference.mean()), float(difference.max()))
