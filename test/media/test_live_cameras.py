"""Several virtual live sources on one fake network, whose pace the tests control."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame, ResultSink
from ros2_actionnet.media.live_cameras import LiveCameras
from ros2_actionnet.recognition.events import EventType
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeSession, grey_image, make_network

WINDOW = 4
FRAME = 100_000_000  # ns


@dataclass
class Source:
    """Live frames at `stamps` (ns), each after `before` with its index; then it ends, or is silent until closed."""

    stamps: list[int]
    ends: bool = True
    before: Callable[[int], None] = lambda index: None
    is_live: bool = True
    name: str = "virtual"
    rate: float = 10.0
    size: tuple[int, int] = (4, 4)
    length: int | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def frames(self) -> Iterator[MediaFrame]:
        for index, stamp in enumerate(self.stamps):
            self.before(index)
            yield MediaFrame(index, stamp / 1e9, stamp, grey_image(index))
        self.before(len(self.stamps))
        if not self.ends:
            assert self.closed.wait(TIMEOUT)

    def close(self) -> None:
        self.closed.set()


@dataclass
class Sink:
    """Keeps what is written; `before` is called before each frame."""

    before: Callable[[], None] = lambda: None
    wants_pictures: bool = False
    results: list[ClassifiedFrame] = field(default_factory=list)
    closed: int = 0
    has_results: threading.Condition = field(default_factory=threading.Condition)

    def write(self, result: ClassifiedFrame) -> None:
        self.before()
        with self.has_results:
            self.results.append(result)
            self.has_results.notify_all()

    def close(self) -> None:
        self.closed += 1

    def wait(self, count: int) -> None:
        with self.has_results:
            assert self.has_results.wait_for(lambda: len(self.results) >= count, TIMEOUT)


class CountedRounds(LiveCameras):
    """Counts how often the network's thread looks for frames."""

    rounds = 0

    def _do_round(self) -> None:
        self.rounds += 1
        super()._do_round()


class Run:
    """A run of `sources` by name, each with a sink, in a thread of its own."""

    def __init__(
        self, sources: Mapping[str, Source], sinks: Mapping[str, Sink] | None = None, **settings: object
    ) -> None:
        self.session = FakeSession(make_network(frames=WINDOW))
        self.sinks = sinks or {name: Sink() for name in sources}
        self.reports = list[str]()
        self.opening = threading.Event()
        self.opening.set()
        self.error: BaseException | None = None

        def open_source(name: str) -> Source:
            if name == "slow":
                assert self.opening.wait(TIMEOUT)
            return sources[name]

        def open_sinks(name: str, source: object) -> dict[str, ResultSink]:
            return {"print": self.sinks[name]}

        self.cameras = CountedRounds(
            list(sources),
            open_source,
            open_sinks,
            self.session,
            Settings.from_values({"skip_frames": 0, **settings}),
            len(sources),
            self.reports.append,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.cameras.run()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()


def stamps(count: int, start: int = 0) -> list[int]:
    return [start + FRAME * number for number in range(1, count + 1)]


def test_a_camera_that_has_ended_keeps_nothing_busy() -> None:
    run = Run({"ends": Source(stamps(1)), "stays": Source(stamps(1), ends=False)})
    run.thread.start()
    run.sinks["ends"].wait(1)
    run.sinks["stays"].wait(1)
    until = time.monotonic() + TIMEOUT
    while run.sinks["ends"].closed == 0:
        assert time.monotonic() < until
        time.sleep(0.01)
    before = run.cameras.rounds
    time.sleep(0.2)
    assert run.cameras.rounds - before < 10
    assert run.reports == ["ends has ended"]
    run.cameras.stop()
    run.end()
    assert run.cameras.statistics()["stays"].stopped


def test_a_closed_pipe_ends_all_of_them_without_a_word() -> None:
    both = threading.Barrier(2)

    def fail() -> None:
        both.wait(TIMEOUT)
        raise BrokenPipeError(32, "Broken pipe")

    names = ("a", "b")
    run = Run({name: Source(stamps(3), ends=False) for name in names}, {name: Sink(fail) for name in names})
    run.thread.start()
    run.end()
    assert isinstance(run.error, BrokenPipeError)
    assert run.reports == []
    assert run.cameras.failed == []
    assert [sink.closed for sink in run.sinks.values()] == [1, 1]


@pytest.mark.parametrize(("overload", "begins"), [(False, 4), (True, 5)])
def test_an_action_that_ends_at_a_gap_is_told_with_the_frame_that_begins_anew(overload: bool, begins: int) -> None:
    sink = Sink()
    run = Run(
        {"one": Source([*stamps(3), *stamps(3, start=60 * 10**9)], before=lambda index: begin(index))},
        {"one": sink},
        warmup="repeat",
        event_min_duration=0.0,
        max_gap=1.0,
    )

    def begin(index: int) -> None:
        """Send a frame once the one before is written, or all others while the first window is classified."""
        if not overload:
            sink.wait(index)
        elif index == 1:
            run.session.gate.wait_until_reached(1)
        elif index == 6:
            run.session.gate.open()

    if overload:
        run.session.gate.close()
    run.thread.start()
    run.end()
    # One late frame alone may be a slip of the clock: the second one begins a new window.
    told = [(result.frame.index, event.type) for result in sink.results for event in result.events]
    assert told == [(0, EventType.BEGAN), (4, EventType.ENDED), (begins, EventType.BEGAN)]
    assert [result.frame.index for result in sink.results] == list(range(6))


def test_a_run_that_is_closed_ends_as_if_its_sources_had_ended() -> None:
    run = Run({"a": Source(stamps(WINDOW), ends=False), "slow": Source(stamps(1))})
    run.opening.clear()
    run.thread.start()
    run.sinks["a"].wait(WINDOW)
    run.cameras.close()  # one of them is still being opened
    run.end()
    assert run.error is None
    assert not any(each.stopped for each in run.cameras.statistics().values())
    assert run.cameras.statistics()["a"].windows >= 1
    assert (run.cameras.failed, run.cameras.remedies(), run.reports) == ([], {}, [])
    assert run.sinks["a"].closed == 1
    run.opening.set()


def test_the_times_have_those_of_the_source_and_of_the_network() -> None:
    run = Run({"one": Source(stamps(WINDOW))})
    run.thread.start()
    run.end()
    times = run.cameras.statistics()["one"].times
    assert list(times) == ["decode", "thumbnail", "inference", "print"]
    assert times["decode"].count == times["print"].count == WINDOW
