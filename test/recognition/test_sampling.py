"""Late frames, clocks that jump and slow cameras, by the stamps alone."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.sampling import FrameSampler, Sample
from ros2_actionnet.settings import Settings

MILLISECOND = 1_000_000  # ns
STAMP = 1_764_000_000_123_456_789


def offer(sampler: FrameSampler, stamps: list[int]) -> list[tuple[int, Sample]]:
    """Return the sampled stamps with their places."""
    return [(stamp, sample) for stamp in stamps if (sample := sampler.offer(stamp)) is not None]


def restarts(settings: Settings, seconds: list[float]) -> list[float]:
    """Return the stamps (s) of the frames that restarted the window."""
    sampler = FrameSampler(settings)
    return [stamp for stamp in seconds if (sample := sampler.offer(nanoseconds(stamp))) is not None and sample.restart]


policies = st.builds(
    Settings,
    skip_frames=st.integers(0, 3),
    sample_rate=st.sampled_from([0.0, 0.5, 7.0, 15.0, 100.0]),
    max_gap=st.sampled_from([0.5, 1.0, 3.0]),
)
# Intervals to the next frame, and for some frames how far behind them late ones come next (all in ms).
streams = st.lists(st.tuples(st.integers(0, 3000), st.lists(st.integers(1, 120), max_size=3)), max_size=80)


class TestLateFrames:
    @given(policies, streams)
    def test_the_others_are_sampled_as_if_they_had_never_come(
        self, settings: Settings, stream: list[tuple[int, list[int]]]
    ) -> None:
        stamp, in_order, as_it_came, late = STAMP, list[int](), list[int](), 0
        for (interval, behind), (next_interval, _) in itertools.pairwise([*stream, (0, [])]):
            stamp += interval * MILLISECOND
            in_order.append(stamp)
            # Not beside a gap, which is itself out of line.
            behind = behind if max(interval, next_interval) <= 400 else []
            as_it_came += [stamp, *(stamp - lateness * MILLISECOND for lateness in behind)]
            late += len(behind)
        sampler, undisturbed = FrameSampler(settings), FrameSampler(settings)
        assert offer(sampler, as_it_came) == offer(undisturbed, in_order)
        assert sampler.late == undisturbed.late + late

    @pytest.mark.parametrize("behind", [0.03, 0.12, 1.0])
    def test_a_clock_that_steps_back_a_little_catches_up(self, behind: float) -> None:
        before = [index / 240 for index in range(480)]
        after = [before[-1] + index / 240 - behind for index in range(1, 480)]
        assert restarts(Settings(max_gap=1.0), before + after) == [0.0]

    def test_a_jump_back_by_more_than_max_gap_restarts(self) -> None:
        sampler = FrameSampler(Settings(max_gap=1.0))
        offer(sampler, [STAMP - 100 * MILLISECOND, STAMP])
        assert sampler.offer(STAMP - 1001 * MILLISECOND) is None
        sample = sampler.offer(STAMP - 968 * MILLISECOND)
        assert sample == Sample(restart=True, reason="time ran backwards by 1.001 s")
        assert sampler.late == 1

    def test_a_recording_shorter_than_max_gap_that_is_played_in_a_loop_is_not_late_for_ever(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=0, max_gap=1.0))
        sampled = offer(sampler, [round(index % 24 * 1e9 / 30) for index in range(3000)])
        assert len(sampled) > 1000

    def test_two_clocks_on_one_topic_cost_the_frames_of_the_slower_one(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=0, max_gap=1.0))
        stamps = [STAMP + index * 33 * MILLISECOND - (index % 2) * 300 * MILLISECOND for index in range(1000)]
        assert len(offer(sampler, stamps)) == 500
        assert sampler.late == 500


class TestGaps:
    @pytest.mark.parametrize(
        ("interval", "settings"),
        [
            (1.0, {}),
            (1.02, {"skip_frames": 0}),
            (10.0, {"skip_frames": 0}),
            (86_400.0, {"skip_frames": 0}),
            (2.0, {"sample_rate": 0.5}),
            (0.2, {"max_gap": 0.0}),
        ],
    )
    def test_a_slow_camera_fills_its_windows(self, interval: float, settings: dict[str, float]) -> None:
        stamps = [100 + index * interval for index in range(100)]
        # Until a second interval is known, the first may be a gap.
        assert set(restarts(Settings.from_values(settings), stamps)) <= set(stamps[:2])

    @pytest.mark.parametrize("settings", [{"sample_rate": 0.5}, {"skip_frames": 30}, {"skip_frames": 300}])
    def test_sampling_slower_than_max_gap_fills_windows(self, settings: dict[str, float]) -> None:
        sampler = FrameSampler(Settings.from_values(settings))
        sampled = offer(sampler, [STAMP + index * 33_333_333 for index in range(30 * 120)])
        assert len(sampled) == {0.5: 60, 30: 117, 300: 12}[next(iter(settings.values()))]
        assert [sample.restart for _, sample in sampled] == [True] + [False] * (len(sampled) - 1)

    def test_frames_that_a_slow_camera_loses_are_no_gap_but_a_long_pause_is(self) -> None:
        stamps = [float(index) * 1.5 for index in range(20) if index not in (9, 15)]
        assert restarts(Settings(skip_frames=0), [*stamps, 60.0, 61.5]) == [0.0, 1.5, 61.5]

    def test_frames_that_are_sent_twice_do_not_make_a_slow_camera_fast(self) -> None:
        stamps = [index // 2 * 1.5 for index in range(40)]
        assert restarts(Settings(skip_frames=0), stamps) == [0.0, 1.5]

    def test_pauses_of_a_fast_camera_stay_gaps_though_they_come_often(self) -> None:
        bursts = [[burst * 5 + index / 30 for index in range(15)] for burst in range(8)]
        expected = [0.0, *(burst[1] for burst in bursts[1:])]
        assert restarts(Settings(), [stamp for burst in bursts for stamp in burst]) == expected

    def test_the_reason_names_the_limit(self) -> None:
        sampler = FrameSampler(Settings(skip_frames=0, max_gap=1.0))
        reasons = [sample.reason for _, sample in offer(sampler, [nanoseconds(s) for s in (0, 2, 4, 6, 20, 22)])]
        assert reasons == [
            "first frame",
            "gap of 2.000 s, above max_gap 1 s",
            "",
            "",
            "gap of 14.000 s, above 2.5 times the usual interval, 5 s",
        ]


class TestStampsOutOfLine:
    """A camera of 30 Hz, whose true times are known, with stamps that are wrong here and there."""

    SETTINGS = Settings(skip_frames=0, max_gap=1.0)
    FRAMES = 900

    def clean(self) -> list[float]:
        return [100 + index / 30 for index in range(self.FRAMES)]

    def windows(self, stamps: list[float]) -> list[int]:
        """Return the indices of the frames that complete a window of 16, by a count that knows nothing of buffers."""
        sampler, fill, complete = FrameSampler(self.SETTINGS), 0, list[int]()
        for index, stamp in enumerate(stamps):
            sample = sampler.offer(nanoseconds(stamp))
            if sample is not None:
                fill = 1 if sample.restart else fill + sample.steps
                complete += [index] if fill >= 16 else []
        return complete

    @pytest.mark.parametrize("ahead", [2.0, -2.0, 5.0, 1e9, -100.0])
    def test_one_wrong_stamp_a_second_costs_that_frame_alone(self, ahead: float) -> None:
        stamps = [stamp + (index % 30 == 29) * ahead for index, stamp in enumerate(self.clean())]
        assert self.windows(stamps) == [index for index in range(15, self.FRAMES) if index % 30 != 29]

    @pytest.mark.parametrize("ahead", [0.9, 0.2])
    def test_one_a_second_that_is_ahead_by_less_than_max_gap_costs_three_more(self, ahead: float) -> None:
        stamps = [stamp + (index % 30 == 29) * ahead for index, stamp in enumerate(self.clean())]
        assert len(self.windows(stamps)) == self.FRAMES - 15 - 29 * 3

    @pytest.mark.parametrize("step", [-0.9, -0.3, -0.15])
    def test_a_clock_that_steps_back_every_second_costs_three_frames_each_time(self, step: float) -> None:
        stamps = [stamp + index // 30 * step for index, stamp in enumerate(self.clean())]
        assert len(self.windows(stamps)) == self.FRAMES - 15 - 29 * 3

    def test_two_clocks_far_apart_cost_the_frames_of_one(self) -> None:
        stamps = [stamp + index % 2 * 5.0 for index, stamp in enumerate(self.clean())]
        assert len(self.windows(stamps)) == pytest.approx(self.FRAMES / 2, abs=20)

    @given(st.integers(0, 2**32), st.sampled_from([0.01, 0.03, 0.05]))
    def test_single_stamps_that_are_wrong_by_more_than_max_gap_cost_themselves(self, seed: int, rate: float) -> None:
        chance, stamps, wrong = random.Random(seed), self.clean(), set[int]()
        for index in range(20, self.FRAMES):
            if index - 1 not in wrong and chance.random() < rate:
                wrong.add(index)
                stamps[index] += chance.choice([-1, 1]) * chance.uniform(1.1, 1e6)
        assert self.windows(stamps) == [index for index in range(15, self.FRAMES) if index not in wrong]

    @given(
        st.lists(st.tuples(st.integers(1, 200), st.floats(-1e9, 1e9) | st.floats(-3, 3)), max_size=20),
        st.lists(st.floats(-1e9, 1e9) | st.floats(-3, 3), max_size=8),
    )
    def test_windows_come_again_soon_after_the_last_disturbance(
        self, steps: list[tuple[int, float]], garbage: list[float]
    ) -> None:
        stamps, clock = list[float](), 1e10
        for frames, step in steps:
            clock += step
            stamps += [clock + index / 30 for index in range(frames)]
            clock = stamps[-1]
        stamps += [clock + ahead for ahead in garbage]
        undisturbed = [clock + index / 30 for index in range(1, 40)]
        complete = self.windows(stamps + undisturbed)
        # Three frames until it is believed, and a window.
        assert set(range(len(stamps) + 19, len(stamps) + 39)) <= set(complete)

    def test_the_sampling_grid_goes_on_over_a_step_back(self) -> None:
        sampler = FrameSampler(Settings(sample_rate=15.0, max_gap=1.0))
        stamps = [stamp - (index >= 100) * 0.5 for index, stamp in enumerate(self.clean()[:200])]
        steps = sum(sample.steps for _, sample in offer(sampler, [nanoseconds(stamp) for stamp in stamps]))
        assert steps == pytest.approx(100, abs=1)
        assert sampler.late == 3


def test_a_change_of_rate_begins_the_grid_at_the_newest_sampled_frame() -> None:
    sampler = FrameSampler(Settings(skip_frames=4))
    offer(sampler, [STAMP + index * 100 * MILLISECOND for index in range(8)])  # the sixth is the newest sampled
    sampler.configure(Settings(sample_rate=2))
    sampled = offer(sampler, [STAMP + index * 100 * MILLISECOND for index in range(8, 20)])
    assert sampled == [(STAMP + index * 100 * MILLISECOND, Sample()) for index in (10, 15)]
