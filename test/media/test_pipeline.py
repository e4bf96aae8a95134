"""The pipeline over virtual sources and sinks, whose pace the tests control."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from ros2_actionnet.backends import Scores
from ros2_actionnet.errors import BackendError, MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media import pipeline
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.media.channel import Channel
from ros2_actionnet.media.pipeline import MOST_WAITING, WAITING_LIVE, Pipeline
from ros2_actionnet.media.stages import Statistics
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeSession, Gate, Pixels, grey_image, make_network

WINDOW = 4
MOST_UNDER_WAY = 3 * MOST_WAITING + 4
"""Frames between a file of small pictures and its sinks: three channels, and one in each of the four threads' hands."""
LEAST_UNDER_WAY = 3 * MOST_WAITING // 2
"""As many, where the sinks are the slowest: a channel is filled again when it is half empty."""


@dataclass
class VirtualSource:
    """Frames of rising grey level at 10 Hz; `before` is called with the index of each of them and at the end."""

    count: int
    is_live: bool = False
    before: Callable[[int], None] = lambda index: None
    image: Callable[[int], RawImage] = grey_image
    broken: tuple[int, ...] = ()
    on_close: Callable[[], None] = lambda: None
    name: str = "virtual"
    rate: float = 10.0
    size: tuple[int, int] = (4, 4)
    produced: int = 0
    closed: int = 0

    @property
    def length(self) -> int | None:
        return self.count

    def frames(self) -> Iterator[MediaFrame]:
        for index in range(self.count):
            if self.closed:
                return
            self.before(index)
            if index not in self.broken:
                self.produced += 1
                yield MediaFrame(index, index / 10, index * 100_000_000, self.image(index))
        self.before(self.count)

    def close(self) -> None:
        self.closed += 1
        self.on_close()


@dataclass
class RecordingSink:
    """What was written, if `keeps`, and by which thread; `before` is called before each frame."""

    wants_pictures: bool = False
    keeps: bool = True
    before: Callable[[int], None] = lambda index: None
    fails_to_close: Exception | None = None
    results: list[ClassifiedFrame] = field(default_factory=list)
    written: int = 0
    closed: int = 0

    def write(self, result: ClassifiedFrame) -> None:
        assert not self.closed, "written to after it was closed"
        self.before(result.frame.index)
        self.written += 1
        if self.keeps:
            self.results.append(result)

    def close(self) -> None:
        self.closed += 1
        if self.fails_to_close is not None:
            raise self.fails_to_close


class Run:
    """A pipeline in parts that a test looks at."""

    def __init__(
        self, source: VirtualSource, *sinks: RecordingSink, session: FakeSession | None = None, **settings: object
    ) -> None:
        self.session = session or FakeSession(make_network(frames=WINDOW))
        self.source, self.sinks = source, sinks
        self.reports: list[str] = []
        recognizer = Recognizer(self.session, Settings.from_values({"skip_frames": 0, **settings}))
        named = {f"sink {number}": sink for number, sink in enumerate(sinks)}
        self.pipeline = Pipeline(source, recognizer, named, self.reports.append)

    def run(self) -> Statistics:
        try:
            return self.pipeline.run()
        finally:
            assert self.source.closed
            assert all(sink.closed == 1 for sink in self.sinks)
            assert not [
                thread.name for thread in threading.enumerate() if thread.name in ("read_frames", "recognize", "draw")
            ]

    def in_background(self) -> tuple[threading.Thread, list[Statistics]]:
        done: list[Statistics] = []
        thread = threading.Thread(target=lambda: done.append(self.run()), daemon=True)
        thread.start()
        return thread, done


def indices(sink: RecordingSink) -> list[int]:
    return [result.frame.index for result in sink.results]


def test_every_frame_of_a_file_comes_through_in_order_and_every_window_is_classified() -> None:
    sink = RecordingSink()
    run = Run(VirtualSource(200), sink)
    statistics = run.run()
    assert indices(sink) == list(range(200))
    assert run.session.windows == [[(first + i) % 256 for i in range(WINDOW)] for first in range(197)]
    assert [result.is_new for result in sink.results] == [False] * 3 + [True] * 197
    assert [r.prediction.frame for r in sink.results if r.prediction is not None] == list(range(3, 200))
    assert (statistics.frames, statistics.windows, statistics.broken) == (200, 197, 0)
    assert (statistics.dropped, statistics.overtaken, statistics.stopped) == (0, 0, False)


def test_all_sinks_get_every_frame() -> None:
    sinks = (RecordingSink(), RecordingSink(wants_pictures=True), RecordingSink())
    Run(VirtualSource(20), *sinks).run()
    assert indices(sinks[0]) == indices(sinks[1]) == indices(sinks[2]) == list(range(20))


def test_what_is_drawn_on_and_what_is_classified_have_the_same_intensity_range() -> None:
    sink = RecordingSink(wants_pictures=True)
    image = RawImage.from_array(np.full((64, 64), 8000, np.uint16), "mono16")
    run = Run(VirtualSource(5, image=lambda index: image), sink, intensity_range="7000,9000")
    run.run()
    assert run.session.windows[0] == [128] * WINDOW
    for result in sink.results:
        assert (result.frame.picture == 128).all()
        assert result.annotated is not None
        assert (result.annotated[-1] == 128).all()


class MeetingSession(FakeSession):
    """Its inference number `at` waits for the others at a barrier."""

    def __init__(self, barrier: threading.Barrier, at: int) -> None:
        super().__init__(make_network(frames=WINDOW))
        self._barrier, self._at = barrier, at

    def _infer(self, windows: Sequence[Pixels]) -> Scores:
        if len(self.windows) == self._at:
            self._barrier.wait(TIMEOUT)
        return super()._infer(windows)


def test_reading_classifying_and_writing_happen_at_the_same_time() -> None:
    barrier = threading.Barrier(3)

    def meet(at: int) -> Callable[[int], None]:
        def check(index: int) -> None:
            if index == at:
                barrier.wait(TIMEOUT)

        return check

    # Frame 20 is being made while the window that ends with frame 15 is classified and frame 10 is written.
    sink = RecordingSink(before=meet(10))
    run = Run(VirtualSource(30, before=meet(20)), sink, session=MeetingSession(barrier, 15 - WINDOW + 1))
    run.run()
    assert not barrier.broken
    assert indices(sink) == list(range(30))


def test_a_slow_sink_holds_back_the_source() -> None:
    sink = RecordingSink(wants_pictures=True)
    ahead: list[int] = []
    source = VirtualSource(100, before=lambda index: ahead.append(source.produced + 1 - sink.written))
    gate = Gate()
    gate.close()
    sink.before = lambda index: gate.pass_through()
    run = Run(source, sink)
    thread, _ = run.in_background()
    gate.wait_until_reached(1)
    wait_until(lambda: source.produced > LEAST_UNDER_WAY)
    gate.open()
    thread.join(TIMEOUT)
    assert indices(sink) == list(range(100))
    assert max(ahead) <= MOST_UNDER_WAY + 1  # the one that was about to be made


@pytest.mark.parametrize(
    ("size", "waiting"), [((640, 360), 16), ((1280, 720), 16), ((1920, 1080), 8), ((3840, 2160), 2), ((0, 0), 8)]
)
def test_large_frames_wait_in_smaller_numbers(size: tuple[int, int], waiting: int) -> None:
    sink, gate = RecordingSink(), Gate()
    gate.close()
    sink.before = lambda index: gate.pass_through()
    ahead: list[int] = []
    source = VirtualSource(100, size=size, before=lambda index: ahead.append(source.produced - sink.written))
    thread, _ = Run(source, sink).in_background()
    wait_until(lambda: source.produced > 3 * waiting // 2)
    gate.open()
    thread.join(TIMEOUT)
    assert sink.written == 100
    assert 3 * waiting // 2 <= max(ahead) <= 3 * waiting + 4


def test_frames_are_let_go_of_once_they_are_written() -> None:
    alive: weakref.WeakSet[RawImage] = weakref.WeakSet()
    most: list[int] = []

    def image(index: int) -> RawImage:
        made = grey_image(index)
        alive.add(made)
        most.append(len(alive))
        return made

    Run(VirtualSource(300, image=image), RecordingSink(wants_pictures=True, keeps=False)).run()
    assert max(most) <= MOST_UNDER_WAY + 2  # a frame may be about to be made, and one just written


def wait_until(condition: Callable[[], bool]) -> None:
    """Looks again and again; fails after a while."""
    for _ in range(int(TIMEOUT / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


# ---- errors --------------------------------------------------------------------------------------------------------


def raise_at(at: int, error: BaseException) -> Callable[[int], None]:
    def check(index: int) -> None:
        if index == at:
            raise error

    return check


def test_an_error_of_the_source_ends_the_run() -> None:
    sinks = RecordingSink(), RecordingSink()
    run = Run(VirtualSource(100, before=raise_at(50, MediaError("the file ends here"))), *sinks)
    with pytest.raises(MediaError, match="the file ends here"):
        run.run()
    assert indices(sinks[0]) == list(range(len(sinks[0].results)))
    assert len(sinks[0].results) <= 50


def test_a_failing_inference_ends_the_run() -> None:
    session = FakeSession(make_network(frames=WINDOW))
    session.failures = 1
    with pytest.raises(BackendError, match="the fake device is gone"):
        Run(VirtualSource(100), RecordingSink(), session=session).run()


def pace(index: int) -> None:
    """A camera at 1 kHz."""
    time.sleep(1e-3)


@pytest.mark.parametrize("live", [False, True])
def test_a_sink_that_cannot_write_ends_the_run(live: bool) -> None:
    sinks = RecordingSink(), RecordingSink(before=raise_at(20, MediaError("the disk is full"))), RecordingSink()
    with pytest.raises(MediaError, match="the disk is full"):
        Run(VirtualSource(10_000_000, live, pace), *sinks).run()
    assert sinks[0].written == sinks[2].written + 1


def test_a_sink_that_cannot_be_closed_fails_the_run_when_all_others_are_closed() -> None:
    sinks = RecordingSink(fails_to_close=MediaError("the index cannot be written")), RecordingSink()
    with pytest.raises(MediaError, match="the index cannot be written"):
        Run(VirtualSource(10), *sinks).run()
    assert indices(sinks[0]) == list(range(10))


def test_the_first_error_is_raised_and_the_others_are_told() -> None:
    sink = RecordingSink(before=raise_at(5, MediaError("first")), fails_to_close=MediaError("second"))
    run = Run(VirtualSource(100), sink)
    with pytest.raises(MediaError, match="first"):
        run.run()
    assert run.reports == ["another error followed: second"]


def test_a_source_that_cannot_be_closed_fails_the_run() -> None:
    def fail() -> None:
        raise MediaError("what was saved is lost")

    sink = RecordingSink()
    with pytest.raises(MediaError, match="what was saved is lost"):
        Run(VirtualSource(5, on_close=fail), sink).run()
    assert indices(sink) == list(range(5))


def test_an_unforeseen_error_ends_the_run_too() -> None:
    with pytest.raises(ZeroDivisionError):
        Run(VirtualSource(100, image=lambda index: grey_image(1 // (30 - index))), RecordingSink()).run()


# ---- being told to end ---------------------------------------------------------------------------------------------


def test_a_keyboard_interrupt_in_a_sink_closes_everything_and_is_raised() -> None:
    with pytest.raises(KeyboardInterrupt):
        Run(VirtualSource(10_000_000), RecordingSink(before=raise_at(20, KeyboardInterrupt()))).run()


@pytest.mark.parametrize("live", [False, True])
def test_stopped_from_another_thread_it_ends_with_what_is_written(live: bool) -> None:
    sink = RecordingSink()
    run = Run(VirtualSource(10_000_000, live, pace), sink)
    sink.before = lambda index: run.pipeline.stop() if sink.written == 50 else None
    statistics = run.run()
    assert statistics.stopped
    assert statistics.frames == len(sink.results) == 51


def test_stopped_while_the_source_waits_for_a_frame() -> None:
    gate = Gate()
    gate.close()
    wait_at_10: Callable[[int], None] = lambda index: gate.pass_through() if index == 10 else None  # noqa: E731
    run = Run(VirtualSource(100, is_live=True, before=wait_at_10, on_close=gate.open), RecordingSink())
    thread, done = run.in_background()
    gate.wait_until_reached(1)
    run.pipeline.stop()
    thread.join(TIMEOUT)
    assert done[0].stopped


def test_a_source_that_does_not_let_go_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "LAST_READ", 0.05)
    gate = Gate()
    gate.close()
    sink = RecordingSink()
    run = Run(VirtualSource(100, is_live=True, before=lambda index: gate.pass_through()), sink)

    def stop() -> None:
        gate.wait_until_reached(1)
        run.pipeline.stop()

    threading.Thread(target=stop, daemon=True).start()
    assert run.pipeline.run().stopped
    assert sink.closed == 1
    assert run.reports == ["'virtual' did not stop within 0.05 s and is abandoned"]
    gate.open()


# ---- live sources --------------------------------------------------------------------------------------------------


def test_of_a_live_source_the_newest_frames_win_and_the_others_are_counted() -> None:
    session = FakeSession(make_network(frames=WINDOW))
    session.gate.close()

    def after_the_window(index: int) -> None:
        if index == WINDOW:
            session.gate.wait_until_reached(1)  # from here on the recognizer is busy
        if index == 60:
            session.gate.open()

    sink = RecordingSink()
    statistics = Run(VirtualSource(60, is_live=True, before=after_the_window), sink, session=session).run()
    kept = indices(sink)
    assert kept == [*range(WINDOW), *range(60 - WAITING_LIVE, 60)]
    assert statistics.dropped == 60 - len(kept)


def test_of_frames_that_wait_only_the_newest_window_is_classified() -> None:
    session = FakeSession(make_network(frames=WINDOW))
    recognizer = Recognizer(session, Settings(skip_frames=1))
    frames = [MediaFrame(index, index / 10, index * 100_000_000, grey_image(index)) for index in range(20)]
    results = [*recognizer.recognize(frames[:10], print), *recognizer.recognize(frames[10:16], print)]
    # Frames 0, 2, ... are sampled: the first window is full at 6, the newest of the first ten is 8, of the next 14.
    assert [result.frame.index for result in results] == list(range(16))
    assert [result.frame.index for result in results if result.is_new] == [8, 14]
    assert session.windows == [[2, 4, 6, 8], [8, 10, 12, 14]]
    assert (recognizer.windows, recognizer.overtaken) == (2, 3)


def test_a_live_source_is_never_held_back() -> None:
    gate = Gate()
    gate.close()
    sink = RecordingSink(before=lambda index: gate.pass_through())
    source = VirtualSource(500, is_live=True)
    run = Run(source, sink)
    thread, done = run.in_background()
    wait_until(lambda: source.produced == 500)
    gate.open()
    thread.join(TIMEOUT)
    assert done[0].dropped == 500 - len(sink.results)
    assert indices(sink) == sorted(indices(sink))
    assert indices(sink)[-1] == 499


def test_a_channel_is_ended_by_either_side() -> None:
    channel: Channel[int] = Channel(2)
    assert channel.put(1)
    channel.finish()
    assert list(channel) == [[1]]
    channel.abandon()
    assert not channel.put(2)
    assert channel.take() == []


# ---- frames that cannot be used, and pictures ----------------------------------------------------------------------


def test_broken_frames_are_counted() -> None:
    sink = RecordingSink()
    statistics = Run(VirtualSource(20, broken=(3, 4, 11)), sink).run()
    assert statistics.broken == 3
    assert indices(sink) == [index for index in range(20) if index not in (3, 4, 11)]


@pytest.mark.parametrize("skip_frames", [0, 1])
def test_a_frame_that_cannot_be_understood_is_told_and_left_out(skip_frames: int) -> None:
    def image(index: int) -> RawImage:
        # 7 is sampled where none is skipped; where every other one is, only the overlay finds out.
        return RawImage(b"", 4, 4, 12, "rgb8") if index == 7 else grey_image(index)

    sink = RecordingSink(wants_pictures=True)
    run = Run(VirtualSource(20, image=image), sink, skip_frames=skip_frames)
    statistics = run.run()
    assert statistics.broken == 1
    assert indices(sink) == [index for index in range(20) if index != 7]
    assert len(run.reports) == 1
    assert run.reports[0].startswith("frame 7 is skipped: ")


def test_pictures_are_drawn_if_a_sink_wants_them_and_never_on_the_source_s_memory() -> None:
    pixels = np.full((240, 320, 3), 200, np.uint8)
    sink = RecordingSink(wants_pictures=True)
    run = Run(VirtualSource(8, image=lambda index: RawImage.from_array(pixels, "bgr8")), sink)
    statistics = run.run()
    pictures = [result.annotated for result in sink.results]
    assert all(picture is not None and (picture != 200).any() for picture in pictures)
    assert (pixels == 200).all()
    # While the window fills the panel says so; then it shows the results.
    assert pictures[0] is not None
    assert pictures[-1] is not None
    assert (pictures[0] != pictures[-1]).any()
    assert len({id(picture) for picture in pictures}) == len(pictures)
    assert statistics.times["draw"].count == 8


def test_nothing_is_drawn_if_no_sink_wants_it() -> None:
    sink = RecordingSink()
    statistics = Run(VirtualSource(8), sink).run()
    assert [result.annotated for result in sink.results] == [None] * 8
    assert "draw" not in statistics.times


def test_the_time_of_every_stage_is_taken() -> None:
    statistics = Run(VirtualSource(30), RecordingSink(), RecordingSink(), skip_frames=1).run()
    counts = {name: watch.count for name, watch in statistics.times.items()}
    # The frames and the closing; frame 6 completes the first window of four.
    assert counts == {"decode": 30, "thumbnail": 15, "inference": 12, "sink 0": 31, "sink 1": 31}
    assert all(watch.seconds > 0 for watch in statistics.times.values())
