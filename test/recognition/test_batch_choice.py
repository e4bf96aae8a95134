"""How many windows are worth one inference, by what they take."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from ros2_actionnet.backends import Scores
from ros2_actionnet.recognition.batch_choice import best_batch, choose_batch
from support.fakes import FakeSession, Pixels, make_network


@pytest.mark.parametrize(
    ("milliseconds", "batch"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0}, 1),
        ({1: 10.0, 2: 19.0, 4: 37.0, 8: 72.1}, 1),
        ({1: 10.0, 2: 11.0, 4: 13.0, 8: 17.0}, 8),
        ({1: 10.0, 2: 12.0, 4: 24.0, 8: 48.0}, 2),
        ({1: 10.0, 2: 21.0, 4: 20.0, 8: 50.0}, 4),
    ],
)
def test_a_larger_batch_must_bring_a_tenth_of_a_windows_time(milliseconds: dict[int, float], batch: int) -> None:
    assert choose_batch(milliseconds) == batch


class TimedSession(FakeSession):
    """An inference takes `first` and `each` for every window, by a clock of its own."""

    def __init__(self, max_batch: int, first: float, each: float) -> None:
        super().__init__(make_network())
        self.max_batch = max_batch
        self.now, self.first, self.each = 0.0, first, each
        self.sizes: list[int] = []

    def _infer(self, windows: Sequence[Pixels]) -> Scores:
        self.now += self.first + self.each * len(windows)
        self.sizes.append(len(windows))
        return np.zeros((len(windows), self.network.num_classes), np.float32)


def test_it_is_measured_and_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    session = TimedSession(4, first=0.009, each=0.001)
    with caplog.at_level(logging.INFO):
        assert best_batch(session, lambda: session.now) == 4
    assert [record.message for record in caplog.records] == [
        "first: up to 4 windows are classified at once (1: 10.0 ms, 2: 11.0 ms, 4: 13.0 ms)"
    ]
    assert set(session.sizes) == {1, 2, 4}


def test_where_windows_are_computed_one_by_one_nothing_is_measured() -> None:
    session = TimedSession(1, first=0.009, each=0.001)
    assert best_batch(session, lambda: session.now) == 1
    assert session.sizes == []
