"""Many streams on one network, under a virtual clock: none starves, none gets an old result, none disturbs another."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_actionnet.backends import Scores
from ros2_actionnet.live.inference_rounds import InferenceRounds
from ros2_actionnet.live.stream import Classified, Stream
from ros2_actionnet.load_monitor import LoadMonitor
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.recognition.loading import LoadedNetwork
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeSession, Pixels, RecordingListener, grey_image, make_network

N = 4  # frames of a window
NETWORK = make_network(frames=N)


@dataclass
class Clock:
    now: float = 100.0


class SlowSession(FakeSession):
    """Takes virtual time for an inference; its scores are the grey level of the window's newest frame."""

    def __init__(self, clock: Clock, first: float, each: float) -> None:
        super().__init__(NETWORK)
        self.clock, self.first, self.each = clock, first, each
        self.batches: list[int] = []

    def _infer(self, windows: Sequence[Pixels]) -> Scores:
        self.clock.now += self.first + self.each * len(windows)
        self.batches.append(len(windows))
        newest = [int(window[-1, 0, 0, 0]) / 255 for window in windows]
        return np.array([[value, 1 - value] for value in newest], np.float32)


@dataclass
class Camera:
    """A stream that gets a frame every `period` (s); every result is checked as it comes."""

    period: float
    clock: Clock
    fed: int = 0
    results: list[tuple[float, int]] = field(default_factory=list)  # time (s) and frame
    ended: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stream: Stream | None = None

    def feed(self) -> None:
        assert self.stream is not None
        header = FrameHeader.at(nanoseconds(self.clock.now))
        self.stream.submit(grey_image(self.fed), Sample(restart=self.fed == 0), header, self.fed, header.stamp)
        self.fed += 1

    def on_classified(self, result: Classified) -> None:
        frame = result.prediction.frame
        assert result.prediction.scores[0] == np.float32(frame % 256 / 255), "the scores of another window"
        assert frame == self.fed - 1, "the newest one when the inference began"
        assert not self.results or frame > self.results[-1][1], "no window twice, none out of order"
        self.results.append((self.clock.now, frame))

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        self.ended += events

    def on_filter_problem(self, message: str) -> None:
        self.problems.append(message)


class Simulation:
    """Cameras and rounds on one virtual clock: a frame that is due while an inference runs waits for its end."""

    def __init__(self, first: float, each: float, batch: int) -> None:
        self.clock = Clock()
        self.said = RecordingListener()
        self.woken = False
        self.session = SlowSession(self.clock, first, each)
        self.batch = batch
        self.rounds = InferenceRounds(self.said, self._load, lambda: self.clock.now, self._wake)
        self.queue: list[tuple[float, int, Camera]] = []  # the next frames: when (s), of which camera
        self.cameras: list[Camera] = []
        self.rounds.request_network(Settings())
        assert self.rounds.wait_for_loader(TIMEOUT)

    def _load(self, settings: Settings, monitor: LoadMonitor, on_prepared: object) -> LoadedNetwork:
        on_prepared(NETWORK)  # type: ignore[operator]
        return LoadedNetwork(self.session, "as the test wants", self.batch)

    def _wake(self) -> None:
        self.woken = True

    def open(self, period: float, phase: float = 0.0) -> Camera:
        camera = Camera(period, self.clock)
        camera.stream = self.rounds.open_stream(Settings(), camera)
        self.cameras.append(camera)
        heapq.heappush(self.queue, (self.clock.now + phase, len(self.cameras), camera))
        return camera

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while True:
            while self.queue and self.queue[0][0] <= self.clock.now:
                due, number, camera = heapq.heappop(self.queue)
                if camera.stream is not None and not camera.stream.is_closed:
                    camera.feed()
                    heapq.heappush(self.queue, (due + camera.period, number, camera))
            if self.woken:
                self.woken = False
                self.rounds.do_round()
            elif self.queue and self.queue[0][0] <= end:
                self.clock.now = max(self.clock.now, self.queue[0][0])
            else:
                break
            if self.clock.now > end:
                break
        assert self.said.problems == []


periods = st.sampled_from([0.02, 1 / 30, 0.05, 1 / 15, 0.2, 0.9])
phases = st.floats(0.0, 0.1)
cameras = st.lists(st.tuples(periods, phases), min_size=1, max_size=8)
costs = st.tuples(st.floats(0.001, 0.05), st.floats(0.0, 0.02))
batches = st.sampled_from([1, 2, 4, 8])


@settings(max_examples=30, deadline=None)
@given(cameras, costs, batches)
def test_no_stream_waits_longer_than_one_turn_of_all_the_others(
    streams: list[tuple[float, float]], cost: tuple[float, float], batch: int
) -> None:
    simulation = Simulation(*cost, batch)
    for period, phase in streams:
        simulation.open(period, phase)
    simulation.run(5.0)
    inference = cost[0] + cost[1] * min(batch, len(streams))
    turn = inference * (-(-len(streams) // batch) + 1)
    for camera in simulation.cameras:
        expected = 5.0 / max(camera.period, turn) - N - 2
        assert len(camera.results) >= 0.6 * expected
        gaps = np.diff([time for time, _ in camera.results])
        # A window waits for the inference that runs when it comes due, then for one turn of the others, at most.
        assert gaps.max(initial=0.0) <= camera.period + turn + inference + 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.floats(1.5, 4.0), batches)
def test_an_overload_is_shared_evenly(count: int, overload: float, batch: int) -> None:
    period = 1 / 15
    each = overload * period / count
    simulation = Simulation(0.0, each, batch)
    for number in range(count):
        simulation.open(period, phase=number * period / count)
    simulation.run(15.0)
    results = [len(camera.results) for camera in simulation.cameras]
    assert max(results) <= 1.1 * min(results)


@settings(max_examples=30, deadline=None)
@given(cameras, costs, batches)
def test_every_result_is_of_the_newest_window_and_every_window_is_accounted_for(
    streams: list[tuple[float, float]], cost: tuple[float, float], batch: int
) -> None:
    simulation = Simulation(*cost, batch)
    for period, phase in streams:
        simulation.open(period, phase)
    simulation.run(4.0)
    for camera in simulation.cameras:
        assert camera.stream is not None
        status = camera.stream.status()
        assert status.sampled == camera.fed
        assert status.classified == len(camera.results)
        windows = max(0, camera.fed - (N - 1))
        assert status.classified + status.overtaken <= windows
        waiting = camera.stream.window.due + N  # not overtaken yet, and those in the queue
        assert status.classified + status.overtaken + status.overrun + waiting >= windows
    assert sum(simulation.session.batches) == sum(len(camera.results) for camera in simulation.cameras)
    assert max(simulation.session.batches, default=0) <= batch


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["open", "close", "view", "run"]), st.integers(0, 7)), min_size=5, max_size=60),
    batches,
)
def test_streams_may_come_and_go_at_any_moment(acts: list[tuple[str, int]], batch: int) -> None:
    simulation = Simulation(0.01, 0.003, batch)
    steady = simulation.open(1 / 15)
    simulation.run(1.0)
    for act, number in acts:
        camera = simulation.cameras[number % len(simulation.cameras)]
        if act == "open" and len(simulation.cameras) < 30:
            simulation.open(0.02 + 0.01 * number)
        elif act == "close" and camera is not steady:
            assert camera.stream is not None
            seen = len(camera.results)
            camera.stream.close()
            simulation.run(0.2)
            assert len(camera.results) == seen, "a stream that was closed reports nothing"
        elif act == "view" and camera.stream is not None:
            camera.stream.configure(Settings(resize_mode=["stretch", "crop", "letterbox"][number % 3]))
        else:
            simulation.run(0.1 * number)
    before = len(steady.results)
    simulation.run(2.0)
    assert len(steady.results) - before >= 20
    closed = [camera.stream for camera in simulation.cameras if camera.stream is not None and camera.stream.is_closed]
    assert all(stream.lanes == [] for stream in closed), "nothing is kept of a stream that was closed"
