"""Losing a camera or a stream and getting it back, with connections and a clock that the tests control."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media import live_source as live
from ros2_actionnet.media.base import MediaFrame
from ros2_actionnet.media.decoder import Decoded
from ros2_actionnet.media.live_source import LiveSource, Pace, back_off, numbered
from support.fakes import TIMEOUT
from support.videos import Reports, grey

GONE = "No such device"


@dataclass
class FakeConnection:
    """Gives frames at these times, then is lost or, if `error` is empty, ends."""

    times: list[float | None]
    error: str = GONE
    indices: list[int] = field(default_factory=list)
    rate: float = 10.0
    size: tuple[int, int] = (64, 48)
    count: int = 0
    closed: int = 0
    is_live: bool = True

    def frames(self) -> Iterator[Decoded]:
        for place, time in enumerate(self.times):
            index = self.indices[place] if self.indices else place
            self.count = index + 1
            yield Decoded(index, time, RawImage.from_array(grey(index), "bgr8"))
        if self.error:
            raise MediaError(self.error)

    def close(self) -> None:
        self.closed += 1


class Plan:
    """What each try to connect comes to: a connection, or None for a failure."""

    def __init__(self, *tries: FakeConnection | None) -> None:
        self.tries = list(tries)
        self.numbers: list[int] = []
        self.at_the_end: Callable[[], None] = lambda: None

    def __call__(self, number: int) -> FakeConnection:
        self.numbers.append(number)
        found = self.tries.pop(0) if self.tries else None
        if found is None:
            if not self.tries:
                self.at_the_end()
            raise MediaError("it is not there")
        return found


@pytest.fixture(name="waits", autouse=True)
def waits_fixture(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits between tries; the waits that there would have been."""
    waited: list[float] = []

    def without_waiting() -> Iterator[float]:
        for wait in back_off():
            waited.append(wait)
            yield 0.0

    monkeypatch.setattr(live, "back_off", without_waiting)
    return waited


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def frames_of(plan: Plan, report: Reports, absolute: bool = False) -> list[MediaFrame]:
    """All frames until the plan's last try has failed."""
    source = LiveSource("camera", plan, report, absolute)
    plan.at_the_end = source.close
    return list(source.frames())


class TestLoss:
    def test_it_is_told_of_once_and_again_when_it_is_back(self, clock: Clock, waits: list[float]) -> None:
        reports = Reports()
        first, second = FakeConnection([0.0, 0.1]), FakeConnection([5.0, 5.1, 5.2])
        plan = Plan(first, None, None, None, second, None)
        frames = frames_of(plan, reports)
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert reports.lines == [
            "'camera' is lost: No such device; it is reopened as soon as it is back",
            "'camera' is back after 0 s",
            "'camera' is lost: No such device; it is reopened as soon as it is back",
        ]
        assert plan.numbers == [0, 1, 1, 1, 1, 2]
        assert waits == [0.5, 1.0, 2.0, 4.0, 0.5, 1.0]
        assert first.closed
        assert second.closed

    def test_one_that_ends_is_lost_too(self, clock: Clock) -> None:
        reports = Reports()
        frames_of(Plan(FakeConnection([0.0], error=""), None), reports)
        assert reports.lines == ["'camera' is lost: it ended; it is reopened as soon as it is back"]

    def test_waits_double_up_to_ten_seconds(self) -> None:
        assert list(itertools.islice(back_off(), 7)) == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]

    def test_broken_frames_count(self, clock: Clock) -> None:
        plan = Plan(FakeConnection([0.0, 0.3], indices=[0, 3]), FakeConnection([0.0]), None)
        assert [frame.index for frame in frames_of(plan, Reports())] == [0, 3, 4]

    def test_that_it_is_not_there_at_first_is_an_error(self) -> None:
        with pytest.raises(MediaError, match="it is not there"):
            LiveSource("camera", Plan(None), print)

    def test_it_says_what_it_is(self) -> None:
        source = LiveSource("camera", Plan(FakeConnection([])), print)
        assert (source.name, source.rate, source.size) == ("camera", 10.0, (64, 48))
        assert source.is_live
        assert source.length is None


class TestTimes:
    def test_a_camera_says_when_a_frame_was_taken(self, clock: Clock) -> None:
        plan = Plan(FakeConnection([900.0, 900.1]), FakeConnection([950.0, 950.1]), None)
        frames = frames_of(plan, Reports(), absolute=True)
        assert [frame.stamp / 1e9 for frame in frames] == [900.0, 900.1, 950.0, 950.1]
        assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 50.0, 50.1])

    def test_a_stream_counts_from_when_its_first_frame_came(self, clock: Clock) -> None:
        second = FakeConnection([3.0, 3.1])
        plan = Plan(FakeConnection([7.0, 7.1, 7.3]), None, second, None)
        source = LiveSource("camera", plan, Reports())
        plan.at_the_end = source.close
        frames = []
        for frame in source.frames():
            frames.append(frame)
            clock.now += 2.0  # however long it takes to use them
        assert [frame.stamp / 1e9 for frame in frames] == pytest.approx([1000.0, 1000.1, 1000.3, 1006.0, 1006.1])
        assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 0.3, 6.0, 6.1])

    def test_time_never_runs_backwards_even_if_a_stream_was_sent_ahead(self, clock: Clock) -> None:
        plan = Plan(FakeConnection([0.0, 5.0, 10.0]), FakeConnection([0.0, 0.1]), None)
        frames = frames_of(plan, Reports())
        assert [frame.time for frame in frames] == pytest.approx([0.0, 5.0, 10.0, 10.001, 10.101])

    def test_a_frame_without_a_time_comes_after_the_last_one(self, clock: Clock) -> None:
        plan = Plan(FakeConnection([None, 5.0, 5.1]), FakeConnection([None, -0.02, 0.02]), None)
        frames = frames_of(plan, Reports())
        assert [frame.time for frame in frames] == pytest.approx([0.0, 0.001, 0.101, 0.102, 0.103, 0.143])

    def test_without_a_clock_a_frame_has_the_time_at_which_it_came(self, clock: Clock) -> None:
        plan = Plan(FakeConnection([None, None]), None)
        source = LiveSource("camera", plan, Reports())
        plan.at_the_end = source.close
        stamps = []
        for frame in source.frames():
            stamps.append(frame.stamp)
            clock.now += 0.25
        assert stamps == [1_000_000_000_000, 1_000_250_000_000]


class TestClosing:
    def test_it_ends_between_two_frames(self) -> None:
        connection = FakeConnection([index / 10 for index in range(100)])
        source = LiveSource("camera", Plan(connection), Reports())
        frames = source.frames()
        next(frames)
        source.close()
        source.close()
        assert list(frames) == []
        assert connection.closed

    def test_it_ends_the_wait_for_the_next_try(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "back_off", lambda: itertools.repeat(3600.0))
        lost = threading.Event()
        source = LiveSource("camera", Plan(FakeConnection([0.0])), lambda line: lost.set())
        reader = threading.Thread(target=lambda: list(source.frames()))
        reader.start()
        assert lost.wait(TIMEOUT)
        source.close()
        reader.join(TIMEOUT)
        assert not reader.is_alive()

    def test_what_is_connected_just_then_is_closed_again(self) -> None:
        second = FakeConnection([0.0])
        source: LiveSource

        def connect(number: int) -> FakeConnection:
            if number:
                source.close()
                return second
            return FakeConnection([0.0])

        source = LiveSource("camera", connect, Reports())
        assert len(list(source.frames())) == 1
        assert second.closed


class TestPace:
    def test_frames_of_a_file_are_due_at_their_times(self, clock: Clock) -> None:
        pace, waits = Pace(is_live=False), []
        for time in (3.0, 3.1, 3.2, 3.3):
            waits.append(pace.wait(time))
            clock.now += waits[-1] + 0.04
        assert waits == pytest.approx([0.0, 0.06, 0.06, 0.06])

    def test_who_is_late_does_not_wait_until_he_has_caught_up(self, clock: Clock) -> None:
        pace = Pace(is_live=False)
        assert pace.wait(0.0) == 0.0
        clock.now += 0.35
        assert [pace.wait(0.1), pace.wait(0.2), pace.wait(0.3)] == [0.0, 0.0, 0.0]
        assert pace.wait(0.4) == pytest.approx(0.05)

    def test_a_gap_is_passed_over(self, clock: Clock) -> None:
        pace = Pace(is_live=False)
        pace.wait(0.0)
        assert pace.wait(60.0) == pytest.approx(1.0)
        clock.now += 1.0
        assert pace.wait(60.1) == pytest.approx(0.1)

    def test_frames_of_a_camera_are_due_when_they_come(self, clock: Clock) -> None:
        pace = Pace(is_live=True)
        assert [pace.wait(time) for time in (0.0, 10.0, 10.1, 3.0)] == [0.0] * 4


def test_files_of_later_connections_are_numbered() -> None:
    assert [numbered("new/kept.mkv", number) for number in (0, 1, 2)] == [
        "new/kept.mkv",
        "new/kept-2.mkv",
        "new/kept-3.mkv",
    ]
    assert numbered("", 3) == ""
