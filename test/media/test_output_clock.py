"""The times of an output, whatever the clock of its input does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.media.output_clock import OutputClock
from ros2_actionnet.recognition.frame_header import nanoseconds

START = 1_764_000_000.0


def times(*seconds: float, rate: float = 25.0) -> list[float]:
    clock = OutputClock(rate)
    return [clock.time(nanoseconds(stamp)) for stamp in seconds]


def test_it_begins_at_zero_and_keeps_intervals_and_pauses() -> None:
    assert times(5.0, 5.04, 5.1, 15.0, 15.04) == pytest.approx([0, 0.04, 0.1, 10.0, 10.04])


@pytest.mark.parametrize("jump", [30_000.0, 80_000.0, 1.7e9, -1.5, -30_000.0])
def test_a_jump_is_one_frame_interval(jump: float) -> None:
    stamps = [START, START + 0.04, START + 0.08 + jump, START + 0.12 + jump]
    assert times(*stamps) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_the_intervals_of_a_time_lapse_are_no_jumps() -> None:
    assert times(0, 60, 180, 240, 1000, 1060, rate=1 / 60) == pytest.approx([0, 60, 180, 240, 300, 360])


def test_a_late_frame_does_not_delay_those_after_it() -> None:
    assert times(0, 0.04, 0.02, 0.08, 0.04, 0.12) == pytest.approx([0, 0.04, 0.041, 0.08, 0.081, 0.12])


def test_a_clock_that_steps_back_again_and_again_leaves_the_output_s_length_as_it_was() -> None:
    stamps = [START + index / 25 - index // 25 * 0.9 for index in range(750)]
    shown = times(*stamps)
    assert shown[-1] == pytest.approx(749 / 25, abs=0.001)
    assert sum(later - earlier < 0.03 for earlier, later in itertools.pairwise(shown)) == 29 * 3


def test_after_a_loss_a_long_step_is_the_time_that_it_took() -> None:
    clock = OutputClock(25)
    clock.time(0)
    assert clock.time(nanoseconds(500), after_a_loss=True) == 500
    assert clock.time(nanoseconds(100), after_a_loss=True) == 500.04


def test_another_recording_follows_after_one_interval() -> None:
    clock = OutputClock(25)
    assert [clock.time(0), clock.time(nanoseconds(0.5))] == [0, 0.5]
    clock.rejoin()
    assert [clock.time(0), clock.time(nanoseconds(0.5))] == pytest.approx([0.54, 1.04])


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=50), st.floats(0.1, 240))
def test_it_always_increases_and_never_by_more_than_the_longest_pause(stamps: list[int], rate: float) -> None:
    clock = OutputClock(rate)
    shown = [clock.time(stamp) for stamp in stamps]
    assert shown[0] == 0
    longest = max(10, 4 / rate) + 1e-6
    assert all(0 < later - earlier <= longest for earlier, later in itertools.pairwise(shown))
