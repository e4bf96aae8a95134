"""Events: hand-made sequences with exact expectations, and what must hold for any sequence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.recognition.events import Event, EventDetector, EventType
from ros2_actionnet.recognition.frame_header import nanoseconds

BEGAN, ENDED = EventType.BEGAN, EventType.ENDED
CLASSES = 3


def event_at(event_type: EventType, class_index: int, score: float, start: float, duration: float) -> Event:
    """An event by its times in seconds."""
    return Event(event_type, class_index, score, nanoseconds(start), nanoseconds(duration))


def feed(detector: EventDetector, *steps: tuple[float, Iterable[float]]) -> list[list[Event]]:
    """Update with (stamp, scores) pairs; the events of each."""
    return [detector.update(np.array(list(scores), np.float32), nanoseconds(stamp)) for stamp, scores in steps]


def flags(*allowed: bool) -> np.ndarray:
    return np.array(allowed, np.bool_)


def test_values_are_those_of_the_message() -> None:
    assert (BEGAN.value, ENDED.value) == (0, 1)


def test_begins_after_the_minimum_duration_and_ends_under_event_off() -> None:
    detector = EventDetector(event_on=0.5, event_off=0.25, event_min_duration=1.0)
    events = feed(detector, (10, [0.5]), (10.5, [0.25]), (11, [0.75]), (11.5, [0.5]), (12, [0.125]), (13, [0.25]))
    assert events == [
        [],
        [],
        [event_at(BEGAN, 0, score=0.5, start=10, duration=1.0)],
        [],
        [event_at(ENDED, 0, score=0.5, start=10, duration=1.5)],
        [],
    ]


def test_a_candidate_that_dies_early_is_never_reported() -> None:
    detector = EventDetector(0.5, 0.25, event_min_duration=1.0)
    assert feed(detector, (0, [0.9]), (0.9, [0.9]), (1.0, [0.2]), (1.1, [0.9]), (2.0, [0.9])) == [[]] * 5
    assert detector.reset() == []


def test_minimum_duration_zero_reports_at_once() -> None:
    detector = EventDetector(0.5, 0.25, event_min_duration=0.0)
    assert feed(detector, (3, [0.75]), (4, [0.0])) == [
        [event_at(BEGAN, 0, 0.75, start=3, duration=0)],
        [event_at(ENDED, 0, 0.75, start=3, duration=0)],
    ]


def test_a_score_between_off_and_on_neither_begins_nor_ends() -> None:
    detector = EventDetector(0.5, 0.25, 0.0)
    assert feed(detector, (0, [0.375])) == [[]]
    assert len(feed(detector, (1, [0.5]))[0]) == 1
    assert feed(detector, (2, [0.375])) == [[]]


def test_ends_come_before_beginnings_each_by_class() -> None:
    detector = EventDetector(0.5, 0.25, 0.0)
    (first, second) = feed(detector, (0, [0, 1, 0, 1]), (1, [1, 0, 1, 0]))
    assert [(event.type, event.class_index) for event in first] == [(BEGAN, 1), (BEGAN, 3)]
    assert [(event.type, event.class_index) for event in second] == [(ENDED, 1), (ENDED, 3), (BEGAN, 0), (BEGAN, 2)]


def test_beginnings_of_one_update_come_by_class_whenever_they_became_candidates() -> None:
    detector = EventDetector(0.5, 0.25, event_min_duration=0.0)
    detector.configure(0.5, 0.25, 10.0)
    feed(detector, (0, [0, 1]), (1, [1, 1]))
    detector.configure(0.5, 0.25, 1.0)
    assert [event.class_index for event in feed(detector, (2, [1, 1]))[0]] == [0, 1]


def test_a_class_that_is_not_allowed_neither_begins_nor_goes_on() -> None:
    detector = EventDetector(0.5, 0.25, 0.0)
    scores = np.array([1, 1], np.float32)
    assert [event.class_index for event in detector.update(scores, 0, flags(True, False))] == [0]
    events = detector.update(scores, nanoseconds(1), flags(False, True))
    assert events == [event_at(ENDED, 0, 1.0, start=0, duration=0), event_at(BEGAN, 1, 1.0, start=1, duration=0)]


def test_inputs_are_left_alone() -> None:
    scores, allowed = np.array([0.9, 0.1], np.float32), flags(True, True)
    EventDetector(0.5, 0.3, 0.3).update(scores, 0, allowed)
    assert scores.tolist() == np.array([0.9, 0.1], np.float32).tolist()
    assert allowed.all()


def test_reset_ends_what_was_reported_and_forgets_candidates() -> None:
    detector = EventDetector(0.5, 0.25, event_min_duration=1.0)
    feed(detector, (0, [0, 1, 0]), (1, [0, 1, 1]))
    assert detector.reset() == [event_at(ENDED, 1, 1.0, start=0, duration=1)]
    assert detector.reset() == []
    assert feed(detector, (2, [0, 0, 1])) == [[]]


def test_after_reset_the_number_of_classes_and_the_time_may_be_others() -> None:
    detector = EventDetector(0.5, 0.25, 0.0)
    feed(detector, (100, [0, 0, 1]))
    detector.reset()
    assert feed(detector, (1, [1])) == [[event_at(BEGAN, 0, 1.0, start=1, duration=0)]]


def test_configure_applies_to_running_events() -> None:
    detector = EventDetector(0.5, 0.25, 0.0)
    feed(detector, (0, [0.5]))
    detector.configure(1.0, 0.5, 5.0)
    assert feed(detector, (1, [0.5]), (2, [0.375])) == [[], [event_at(ENDED, 0, 0.5, start=0, duration=1)]]


def test_times_are_exact_to_the_nanosecond() -> None:
    start = 1_764_000_000_123_456_789  # as float seconds this would be 117 ns off
    detector = EventDetector(0.5, 0.25, event_min_duration=0.3)
    scores = np.array([1.0], np.float32)
    events = [detector.update(scores, start + step) for step in (0, 299_999_999, 300_000_000)]
    assert events == [[], [], [Event(BEGAN, 0, 1.0, start, 300_000_000)]]


def test_a_float32_score_equal_to_the_setting_counts_as_reaching_it() -> None:
    detector = EventDetector(event_on=0.7, event_off=0.7, event_min_duration=0.0)  # float32(0.7) is under 0.7
    assert [len(step) for step in feed(detector, (0, [0.7]), (1, [0.7]))] == [1, 0]


def test_settings_at_their_limits_are_taken() -> None:
    EventDetector(1.0, 1.0, 0.0)
    EventDetector(0.0, 0.0, 0.0)


# Properties. Scores and durations on coarse grids, so that equality with a threshold is common.

scores_strategy = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=CLASSES, max_size=CLASSES)
allowed_strategy = st.none() | st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES)
step_strategy = st.tuples(st.integers(0, 4).map(lambda n: n / 4), scores_strategy, allowed_strategy)
settings_strategy = st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 6)).map(
    lambda s: (max(s[0], s[1]) / 8, min(s[0], s[1]) / 8, s[2] / 4)
)


@dataclass
class Naive:
    """One class, by its whole history: the plain reading of the contract."""

    on: float
    off: float
    minimum: float
    run: list[tuple[float, float]] = field(default_factory=list)
    reported: bool = False

    def end(self) -> list[tuple[EventType, float, float, float]]:
        ended = [self.summary(ENDED)] if self.reported else []
        self.run, self.reported = [], False
        return ended

    def step(self, score: float, stamp: float, allowed: bool) -> list[tuple[EventType, float, float, float]]:
        if self.run and (score < self.off or not allowed):
            return self.end()
        if self.run or (score >= self.on and allowed):
            self.run.append((score, stamp))
        if self.run and not self.reported and stamp - self.run[0][1] >= self.minimum:
            self.reported = True
            return [self.summary(BEGAN)]
        return []

    def summary(self, event_type: EventType) -> tuple[EventType, float, float, float]:
        mean = sum(score for score, _ in self.run) / len(self.run)
        return event_type, mean, self.run[0][1], self.run[-1][1] - self.run[0][1]


Step = tuple[float, list[float], "list[bool] | None"]


@given(settings_strategy, st.lists(step_strategy, max_size=40))
def test_events_are_those_of_the_naive_model(settings: tuple[float, float, float], steps: list[Step]) -> None:
    detector, naive, stamp = EventDetector(*settings), [Naive(*settings) for _ in range(CLASSES)], 0.0
    for gap, scores, allowed in steps:
        stamp += gap
        mask = allowed or [True] * CLASSES
        expected = [
            event_at(event_type, index, mean, start, duration)
            for index, model in enumerate(naive)
            for event_type, mean, start, duration in model.step(scores[index], stamp, mask[index])
        ]
        expected.sort(key=lambda event: (event.type is BEGAN, event.class_index))
        given_mask = None if allowed is None else np.array(allowed, np.bool_)
        assert detector.update(np.array(scores, np.float32), nanoseconds(stamp), given_mask) == expected
    assert detector.reset() == [
        event_at(event_type, index, mean, start, duration)
        for index, model in enumerate(naive)
        for event_type, mean, start, duration in model.end()
    ]


@given(settings_strategy, st.lists(step_strategy, max_size=40), st.lists(st.integers(0, 39), max_size=3))
def test_what_holds_for_any_sequence(
    settings: tuple[float, float, float], steps: list[Step], resets: list[int]
) -> None:
    detector, stamp = EventDetector(*settings), 0.0
    _, event_off, minimum = settings
    running: dict[int, Event] = {}
    for i, (gap, scores, allowed) in enumerate(steps):
        stamp += gap
        events = detector.reset() if i in resets else []
        if i in resets:
            assert [event.class_index for event in events] == sorted(running)
        given_mask = None if allowed is None else np.array(allowed, np.bool_)
        for event in events + detector.update(np.array(scores, np.float32), nanoseconds(stamp), given_mask):
            assert 0 <= event.score <= 1
            if event.type is BEGAN:
                assert event.class_index not in running
                assert event.duration >= nanoseconds(minimum)
                assert event.start + event.duration == nanoseconds(stamp)
                assert event.score >= event_off
                running[event.class_index] = event
            else:
                began = running.pop(event.class_index)
                assert event.start == began.start
                assert began.duration <= event.duration <= nanoseconds(stamp) - event.start
        for index in running:
            assert scores[index] >= event_off
            assert allowed is None or allowed[index]
    ended = detector.reset()
    assert [event.class_index for event in ended] == sorted(running)
    assert all(event.type is ENDED for event in ended)
