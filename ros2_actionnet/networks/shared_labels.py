"""Outputs of a network that share a label, and their combined scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SharedLabels:
    """The outputs of a network whose label another output, with a lower index, has too.

    Attributes:
        repeated: indices of these outputs, int [n].
        first: for each, the index of the first output with its label, int [n].
        is_multi_label: True if the scores are independent of each other (sigmoid) and the largest counts; False if
            they are a distribution (softmax) and their sum counts.
    """

    repeated: NDArray[np.intp]
    first: NDArray[np.intp]
    is_multi_label: bool = False

    @classmethod
    def among(cls, labels: Sequence[str], *, is_multi_label: bool = False) -> SharedLabels | None:
        """Return the outputs that share a label; None if every label is unique."""
        firsts = dict[str, int]()
        pairs = [
            (index, first) for index, label in enumerate(labels) if (first := firsts.setdefault(label, index)) != index
        ]
        if not pairs:
            return None
        repeated, first = np.array(pairs, np.intp).T
        return cls(repeated, first, is_multi_label)

    def combined(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `scores`, float32 [classes], with the score of a label at its first output, and 0 at the others."""
        combined = scores.copy()
        if self.is_multi_label:
            np.maximum.at(combined, self.first, scores[self.repeated])
        else:
            np.add.at(combined, self.first, scores[self.repeated])
            np.minimum(combined, 1, out=combined)  # rounding may exceed 1
        combined[self.repeated] = 0
        return combined
