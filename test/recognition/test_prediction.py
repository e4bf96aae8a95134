"""Predictions: the best classes, the threshold and the filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.networks.shared_labels import SharedLabels
from ros2_actionnet.recognition.prediction import NONE, Prediction, allowed_classes

LABELS = ("walk", "run", "ride", "jump", "fall", "sit")
FRAMES, SIZE = 8, 32


class TestSharedLabels:
    LABELS = ("run", "walk", "run", "sit", "walk", "run")
    SCORES = np.array([0.2, 0.05, 0.25, 0.3, 0.1, 0.1], np.float32)

    def predicted(self, *, is_multi_label: bool, **options: Any) -> Prediction:
        shared = SharedLabels.among(self.LABELS, is_multi_label=is_multi_label)
        return Prediction(self.SCORES, self.LABELS, 0, shared=shared, **options)

    @pytest.mark.parametrize(
        ("is_multi_label", "expected"),
        [
            (False, [(0, "run", 0.55), (3, "sit", 0.3), (1, "walk", 0.15)]),
            (True, [(3, "sit", 0.3), (0, "run", 0.25), (1, "walk", 0.1)]),
        ],
    )
    def test_one_result_for_one_label(self, is_multi_label: bool, expected: list[tuple[int, str, float]]) -> None:
        prediction = self.predicted(is_multi_label=is_multi_label)
        top = prediction.top(6)
        assert [(result.class_id, result.label) for result in top] == [result[:2] for result in expected]
        assert np.allclose([result.score for result in top], [result[2] for result in expected], atol=1e-7)
        assert prediction.label == expected[0][1]
        assert np.array_equal(prediction.scores, self.SCORES), "the scores stay the network's own"

    def test_by_index_every_output_is_kept_apart(self) -> None:
        top = self.predicted(is_multi_label=False).top(6, by_label=False)
        assert [(result.class_id, round(result.score, 3)) for result in top] == [
            *((3, 0.3), (2, 0.25), (0, 0.2), (4, 0.1), (5, 0.1), (1, 0.05))
        ]

    def test_threshold_and_filter_are_of_the_label(self) -> None:
        allowed = allowed_classes(self.LABELS, ("walk",))
        prediction = self.predicted(is_multi_label=False, threshold=0.12, allowed=allowed)
        assert [(result.label, round(result.score, 3)) for result in prediction.top(6)] == [("walk", 0.15)]

    def test_a_sum_is_never_above_1(self) -> None:
        scores = np.full(3, np.float32(1) / 3 + np.float32(1e-7), np.float32)
        assert Prediction(scores, ("a",) * 3, 0, shared=SharedLabels.among(("a",) * 3)).score == 1.0

    def test_unique_labels_cost_nothing(self) -> None:
        assert SharedLabels.among(LABELS) is None
        assert Prediction(self.SCORES, LABELS, 0).by_label is self.SCORES


class TestPrediction:
    @given(
        st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.2, 0.2, 0.5]), min_size=1, max_size=12),
        st.integers(1, 15),
        st.sampled_from([0.0, 0.05, 0.2, 0.9]),
        st.data(),
    )
    def test_top_is_a_stable_sort_of_what_is_allowed_and_reaches_the_threshold(
        self, values: list[float], count: int, threshold: float, data: st.DataObject
    ) -> None:
        flags = data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
        scores = np.array(values, np.float32)
        labels = tuple(f"class {i}" for i in range(len(values)))
        allowed = None if flags is None else np.array(flags)
        prediction = Prediction(scores, labels, 0, float(np.float32(threshold)), allowed)
        candidates = [i for i in range(len(values)) if flags is None or flags[i]]
        expected = sorted((i for i in candidates if scores[i] >= np.float32(threshold)), key=lambda i: -scores[i])
        top = prediction.top(count)
        assert [result.class_id for result in top] == expected[:count]
        assert all(result.label == labels[result.class_id] for result in top)
        assert all(result.score == float(scores[result.class_id]) for result in top)
        assert prediction.class_id == (expected[0] if expected else -1)

    def test_ties_go_to_the_lower_index_among_many(self) -> None:
        scores = np.full(1040, 1 / 1040, np.float32)
        prediction = Prediction(scores, tuple(map(str, range(1040))), 0, threshold=0.0)
        assert [result.class_id for result in prediction.top(5)] == [0, 1, 2, 3, 4]

    def test_where_nothing_reaches_the_threshold_it_is_none(self) -> None:
        prediction = Prediction(np.array([0.4, 0.6], np.float32), ("a", "b"), 3, threshold=0.7)
        assert (prediction.class_id, prediction.label, prediction.score) == (-1, NONE, 0.0)
        assert prediction.top(2) == []

    def test_a_score_at_the_threshold_reaches_it(self) -> None:
        prediction = Prediction(np.array([0.25, 0.75], np.float32), ("a", "b"), 0, threshold=0.75)
        assert (prediction.class_id, prediction.label, prediction.score) == (1, "b", 0.75)
        assert len(prediction.top(2)) == 1

    def test_a_filter_leaves_out_even_the_best(self) -> None:
        allowed = allowed_classes(("a", "b", "c"), ("c", "a"))
        prediction = Prediction(np.array([0.3, 0.6, 0.1], np.float32), ("a", "b", "c"), 0, 0.0, allowed)
        assert [result.label for result in prediction.top(3)] == ["a", "c"]
        assert prediction.label == "a"


class TestAllowedClasses:
    def test_no_filter_allows_all(self) -> None:
        assert allowed_classes(("a", "b"), ()) is None

    def test_a_label_of_two_classes_allows_both(self) -> None:
        allowed = allowed_classes(("a", "b", "a"), ("a",))
        assert allowed is not None
        assert allowed.tolist() == [True, False, True]

    def test_a_slip_of_the_pen_is_refused_with_the_nearest_label(self) -> None:
        with pytest.raises(SettingsError, match=r"'runing' is no label.*'running'"):
            allowed_classes(("walking", "running"), ("walking", "runing"))

    def test_what_is_near_to_nothing_is_sent_to_the_label_file(self) -> None:
        with pytest.raises(SettingsError, match=r"'xyz'.*labels.txt"):
            allowed_classes(("walking", "running"), ("xyz",))
