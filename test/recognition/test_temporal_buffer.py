"""The sampling policy and the window, against naive models of both."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.backends.ring import Frame, HostRing
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.sampling import FrameSampler, Sample
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from ros2_actionnet.settings import Settings


def frame_of(value: int, height: int = 2, width: int = 3) -> Frame:
    return np.full((height, width, 3), value % 256, np.uint8)


def sampled_stamps(sampler: FrameSampler, stamps: list[float]) -> list[float]:
    return [stamp for stamp in stamps if sampler.offer(nanoseconds(stamp)) is not None]


class TestSamplerByCount:
    @pytest.mark.parametrize(("skip_frames", "expected"), [(0, [0, 1, 2, 3, 4, 5]), (1, [0, 2, 4]), (2, [0, 3])])
    def test_skips_between_sampled_frames(self, skip_frames: int, expected: list[int]) -> None:
        sampler = FrameSampler(Settings(skip_frames=skip_frames, max_gap=100))
        assert sampled_stamps(sampler, [0, 1, 2, 3, 4, 5]) == expected

    def test_a_gap_restarts_with_the_second_frame_after_it_and_says_how_long_it_was(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=1, max_gap=1.0))
        for stamp in (0.0, 0.1, 0.2):
            sampler.offer(nanoseconds(stamp))
        assert sampler.offer(nanoseconds(10.2)) is None
        sample = sampler.offer(nanoseconds(10.3))
        assert sample is not None
        assert sample.restart
        assert "10.000 s" in sample.reason
        assert sampler.offer(nanoseconds(10.4)) is None

    def test_a_gap_of_exactly_max_gap_is_no_gap(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=0, max_gap=1.0))
        sampler.offer(nanoseconds(0.0))
        assert sampler.offer(nanoseconds(1.0)) == Sample()

    def test_time_that_runs_backwards_restarts(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=3))
        sampler.offer(nanoseconds(100.0))
        sampler.offer(nanoseconds(100.1))
        assert sampler.offer(nanoseconds(0.0)) is None
        sample = sampler.offer(nanoseconds(0.1))
        assert sample is not None
        assert sample.restart
        assert "backwards by 100.100 s" in sample.reason

    def test_equal_stamps_are_counted_like_any(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=1))
        assert [sampler.offer(nanoseconds(0.0)) is not None for _ in range(6)] == [True, False] * 3

    def test_a_change_of_policy_acts_on_the_next_frame_and_keeps_the_window(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=1))
        assert sampled_stamps(sampler, [0.0, 0.1, 0.2, 0.3]) == [0.0, 0.2]
        sampler.configure(Settings(skip_frames=0))
        sample = sampler.offer(nanoseconds(0.4))
        assert sample == Sample(steps=1, restart=False)


class TestSamplerByRate:
    def test_takes_the_frames_nearest_to_the_grid_in_spite_of_jitter(self) -> None:
        random = np.random.default_rng(0)
        stamps = [i / 30 + random.uniform(-0.004, 0.004) for i in range(300)]
        kept = sampled_stamps(FrameSampler(Settings(sample_rate=15)), stamps)
        assert len(kept) == 150
        assert np.abs(np.diff(kept) - 1 / 15).max() < 0.009

    @given(
        st.floats(1, 60),
        st.lists(st.floats(0.001, 0.4), min_size=60, max_size=120),
    )
    def test_steps_keep_pace_with_the_clock_whatever_the_camera_does(self, rate: float, intervals: list[float]) -> None:
        sampler = FrameSampler(Settings(sample_rate=rate, max_gap=10))
        stamps = np.cumsum([5.0, *intervals])
        steps = 0
        for i, stamp in enumerate(stamps):
            sample = sampler.offer(nanoseconds(float(stamp)))
            steps += sample.steps if sample and i else 0
            # At any time the grid is within a period (and the half interval of being early) of the clock.
            assert steps / rate <= stamp - 5.0 + 0.5 / rate + 1e-6
            assert steps / rate > stamp - 5.0 - 1 / rate - 1e-6

    @pytest.mark.parametrize("camera_rate", [30.0, 5.0])
    def test_the_window_keeps_its_length_in_seconds(self, camera_rate: float) -> None:
        sampler = FrameSampler(Settings(sample_rate=15))
        buffer = TemporalBuffer(HostRing(16, 1, 1), 1, False)
        for i in range(int(camera_rate * 4)):
            sample = sampler.offer(nanoseconds(i / camera_rate))
            if sample:
                buffer.push(frame_of(i, 1, 1), sample)
        newest, oldest = (buffer.take_window()[i, 0, 0, 0] / camera_rate for i in (-1, 0))
        assert newest - oldest == pytest.approx(1.0, abs=1 / camera_rate)

    def test_a_rate_that_drops_from_30_to_5_hz_in_mid_window_changes_nothing(self) -> None:
        sampler = FrameSampler(Settings(sample_rate=10))
        buffer = TemporalBuffer(HostRing(16, 1, 1), 1, False)
        stamps = [i / 30 for i in range(60)] + [2 + i / 5 for i in range(10)]
        for stamp in stamps:
            sample = sampler.offer(nanoseconds(stamp))
            if sample:
                buffer.push(frame_of(round(stamp * 30), 1, 1), sample)
            if buffer.full:
                window = buffer.take_window()[:, 0, 0, 0].astype(int) / 30
                assert window[-1] - window[0] == pytest.approx(1.5, abs=0.21)


class NaiveWindow:
    """The model: a list, cut to N."""

    def __init__(self, frames: int) -> None:
        self.frames, self.values = frames, list[int]()
        self.waiting = 0

    def push(self, value: int, sample: Sample, infer_every: int, repeat_first: bool) -> None:
        if sample.restart:
            self.values = []
        was_full = len(self.values) == self.frames
        if self.values:
            self.values += [self.values[-1]] * (sample.steps - 1)
        elif repeat_first:
            self.values = [value] * (self.frames - 1)
        self.values = [*self.values, value][-self.frames :]
        is_full = len(self.values) == self.frames
        self.waiting = self.waiting + 1 if was_full else (infer_every if is_full else 0)


actions = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 12), st.booleans()),
    st.tuples(st.just("push"), st.just(1), st.just(False)),
    st.tuples(st.just("infer_every"), st.integers(1, 4)),
    st.tuples(st.just("repeat_first"), st.booleans()),
    st.tuples(st.just("take")),
    st.tuples(st.just("reset")),
)


@given(st.integers(1, 9), st.lists(actions, max_size=120))
def test_buffer_equals_a_naive_list(frames: int, script: list[tuple[object, ...]]) -> None:
    buffer, model = TemporalBuffer(HostRing(frames, 2, 3), 1, False), NaiveWindow(frames)
    for number, action in enumerate(script):
        if action[0] == "push":
            sample = Sample(steps=int(str(action[1])), restart=bool(action[2]))
            model.push(number % 256, sample, buffer.infer_every, buffer.repeat_first)
            buffer.push(frame_of(number), sample, number)
        elif action[0] == "infer_every":
            buffer.infer_every = int(str(action[1]))
        elif action[0] == "repeat_first":
            buffer.repeat_first = bool(action[1])
        elif action[0] == "reset":
            buffer.reset()
            model.values, model.waiting = [], 0
        elif buffer.full:
            window = buffer.take_window()
            model.waiting %= buffer.infer_every
            assert window.shape == (frames, 2, 3, 3)
            assert window.flags.c_contiguous
            assert [int(frame[0, 0, 0]) for frame in window] == model.values
            assert (window == window[:, :1, :1, :1]).all()
            assert buffer.first_index % 256 == window[0, 0, 0, 0]
        else:
            with pytest.raises(RuntimeError, match=f"holds {len(model.values)} of {frames}"):
                buffer.take_window()
        assert buffer.fill == len(model.values)
        assert (buffer.first_index == -1) == (not model.values)
        assert buffer.due == (model.waiting // buffer.infer_every if len(model.values) == frames else 0)


def test_the_first_whole_window_is_due_at_once_and_then_every_third() -> None:
    buffer = TemporalBuffer(HostRing(4, 1, 1), 3, False)
    due = []
    for i in range(13):
        buffer.push(frame_of(i, 1, 1), Sample())
        if buffer.due:
            due.append(int(buffer.take_window()[-1, 0, 0, 0]))
    assert due == [3, 6, 9, 12]


def test_overtaken_inferences_are_counted_and_the_rhythm_is_kept() -> None:
    buffer = TemporalBuffer(HostRing(2, 1, 1), 2, False)
    for i in range(2):
        buffer.push(frame_of(i, 1, 1), Sample())
    buffer.take_window()
    for i in range(5):
        buffer.push(frame_of(i, 1, 1), Sample())
    assert buffer.due == 2
    buffer.take_window()
    buffer.push(frame_of(9, 1, 1), Sample())
    assert buffer.due == 1


def test_a_step_allocates_no_frame() -> None:
    buffer = TemporalBuffer(HostRing(16, 112, 112), 1, False)
    frame = frame_of(7, 112, 112)
    for _ in range(40):
        buffer.push(frame, Sample())
    tracemalloc.start()
    for _ in range(100):
        buffer.push(frame, Sample())
        buffer.take_window()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < frame.nbytes / 4


def test_a_camera_s_real_stamps_are_told_apart_to_the_nanosecond() -> None:
    """As float seconds, these two would be the same number."""
    first = 1_764_000_000_123_456_789
    sampler = FrameSampler(Settings(skip_frames=0))
    sampler.offer(first + 1)
    assert sampler.offer(first) is None
    assert sampler.late == 1


@given(st.sampled_from([7.0, 15.0, 29.97]), st.integers(0, 2**61))
def test_a_grid_does_not_drift(rate: float, start: int) -> None:
    sampler = FrameSampler(Settings(sample_rate=rate))
    stamps = [start + round(index * 1e9 / rate) for index in range(3000)]
    assert [sampler.offer(stamp) is not None for stamp in stamps] == [True] * len(stamps)
