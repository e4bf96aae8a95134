"""The thread that owns the running network and its window.

The caller's thread hands over frames with `submit`, which makes the thumbnails and returns; everything else happens in
the worker: it takes all thumbnails that wait into the window, infers once on the newest window, and reports.

A network that is loading has a lane of its own, which collects thumbnails beside the running one's, so that it has a
full window when it takes over (see `network_exchange`). What belongs to a stream, whichever network
runs, is in `stream`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ros2_actionnet.errors import BackendError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.lane import Lane, SampledFrame
from ros2_actionnet.live.network_exchange import NetworkExchange
from ros2_actionnet.live.network_loader import Load, load_in_background
from ros2_actionnet.live.stream import Stream
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings

FAILING_AFTER = 3
"""Inferences that must fail in a row for the network to count as failing, not as having had a bad moment."""

_POLL = 0.1  # s between looks at the clock while a loaded network waits to take over


@dataclass(frozen=True)
class RunningNetwork:
    """The network that classifies, and the backend that runs it."""

    settings: Settings
    network: PreparedNetwork
    backend: str
    device: str
    precision: str
    reason: str  # why this backend


@dataclass(frozen=True)
class Classified:
    """A prediction, the frame that completed its window, and what it took."""

    prediction: Prediction
    network: PreparedNetwork
    header: FrameHeader
    events: tuple[Event, ...]
    inference: float  # s
    latency: float  # s, from the hand-over of the newest frame to the scores


@dataclass(frozen=True)
class WorkerStatus:
    """A snapshot for diagnostics; the counts are since the start."""

    running: RunningNetwork | None
    loading: str  # the network that is loading or waits for its window to fill, empty for none
    progress: str  # what is being done to load it, empty where that takes no time worth mentioning
    fill: int  # frames in the window
    frames: int  # frames of a full window
    sampled: int  # frames taken in
    classified: int
    overtaken: int  # inferences left out because a newer window was there
    overrun: int  # thumbnails that left the queue before the worker came for them
    failed: int  # inferences that raised
    failing: bool
    filter_problem: str = ""  # why class_filter does not fit the running network


class Listener(Protocol):
    """Receives reports in the worker's thread; `on_load_progress` and `on_load_failed` in the loader's."""

    def on_classified(self, result: Classified) -> None:
        """A window was classified."""

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """The window was emptied, which ended these events; `header` is that of the last frame classified."""

    def on_network(self, running: RunningNetwork) -> None:
        """Another network, or another view of the image, has taken over."""

    def on_load_progress(self, settings: Settings, what: str) -> None:
        """Report a slow step in loading the network of `settings`."""

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        """The network of `settings` cannot be loaded; what ran before still runs."""

    def on_problem(self, message: str) -> None:
        """Report a problem that a person should know of; the worker continues."""


class InferenceWorker:
    """Runs one network over a stream of frames, and replaces it between two of them when asked to.

    `_settings` and the stream's counters of submission are written by the caller's thread, `_woken` and `_stopped` with
    `_work` held, all else by the worker's thread; other threads read only numbers and references, for diagnostics.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        load: Load = load_in_background,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread; `load` loads networks, `clock` gives seconds that never step back."""
        self._settings = self._applied = settings
        self._listener = listener
        self._clock = clock
        self._work = threading.Condition()
        self._woken = self._stopped = False
        self._stream = Stream(settings)
        self._exchange = NetworkExchange(load, listener.on_load_progress, listener.on_load_failed, self._wake)
        self._failed = self._failed_in_a_row = 0  # inferences
        self._thread = threading.Thread(target=self._run, name="inference_worker", daemon=True)
        self._thread.start()

    # What the caller's thread calls. Nothing here waits for an inference or a load.

    def submit(self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int) -> None:
        """Queue a sampled frame, taken at `taken_at` (ns); `image` may be reused afterwards.

        Raises ImageError for an image that cannot be understood.
        """
        frame = SampledFrame(header, sample, index, self._clock(), taken_at)
        for lane in self._exchange.lanes:
            lane.offer(image, frame)
        self._stream.count_submitted(frame.handed_over)
        self._wake()

    def max_downscale(self, height: int, width: int) -> float:
        """Return the largest factor by which an image of [height, width] pixels may be shrunk for `submit`."""
        return min((lane.max_downscale(height, width) for lane in self._exchange.lanes), default=math.inf)

    def request_network(self, settings: Settings) -> None:
        """Make the network and the view of `settings` the running ones, as soon as nothing is lost by it."""
        self._exchange.request(settings, anew=self._failed_in_a_row >= FAILING_AFTER)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that act on the next frame."""
        self._settings = settings
        self._wake()

    def reset(self) -> None:
        """Empty the window; frames handed over before this are forgotten."""
        for lane in self._exchange.lanes:
            lane.clear()
        self._wake()

    def status(self) -> WorkerStatus:
        """Return a snapshot for diagnostics."""
        running, stream = self._exchange.running, self._stream
        classifier = running.classifier if running else None
        return WorkerStatus(
            running=_describe(running) if running else None,
            loading=self._exchange.loading,
            progress=self._exchange.progress,
            fill=classifier.fill if classifier else 0,
            frames=running.network.frames if running else 0,
            sampled=stream.sampled,
            classified=stream.classified,
            overtaken=stream.overtaken,
            overrun=stream.overrun + (running.overrun if running else 0),
            failed=self._failed,
            failing=self._failed_in_a_row >= FAILING_AFTER,
            filter_problem=stream.filter_problem,
        )

    def close(self, timeout: float = 1.5) -> bool:
        """End the worker, which frees the networks; waits at most `timeout` (s) for an inference, and for no load.

        Returns False if its thread has not ended, because it is still inside an inference.
        """
        self._exchange.cancel()
        with self._work:
            self._stopped = True
        self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_for_loader(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for a load that has been cancelled; return True if it has ended."""
        return self._exchange.wait_for_loader(timeout)

    # The worker's thread.

    def _run(self) -> None:
        while True:
            with self._work:
                poll = _POLL if self._exchange.is_waiting_for_window else None
                self._work.wait_for(lambda: self._woken, poll)
                self._woken = False
                if self._stopped:
                    break
            try:
                self._step()
            except Exception as error:
                self._listener.on_problem(f"the inference worker hit an unexpected {type(error).__name__}: {error}")
        self._exchange.free()

    def _step(self) -> None:
        self._exchange.close_retired()
        if self._settings != self._applied or (self._stream.filter_waits and not self._exchange.is_changing):
            self._apply(self._settings)
        self._exchange.open_lanes(self._applied, self._on_emptied)
        self._take_over()
        running = self._exchange.running
        if running is not None:
            self._classify(running)

    def _on_emptied(self, lane: Lane) -> None:
        if lane is self._exchange.running:
            self._end_events(lane)

    def _take_over(self) -> None:
        paused = self._stream.has_paused(self._clock(), self._applied.max_gap)
        lanes = self._exchange.take_over(stream_paused=paused)
        if lanes is None:
            return
        before, after = lanes
        if before is not None:
            self._stream.overrun += before.overrun
            self._end_events(before)
        self._failed_in_a_row = 0
        self._apply(self._applied)
        self._listener.on_network(_describe(after))
        self._exchange.close_retired()

    def _classify(self, lane: Lane) -> None:
        classifier, newest = lane.classifier, lane.newest
        if classifier is None or newest is None or not classifier.due:
            return
        if self._stream.is_classified(newest):
            classifier.pass_over()
            return
        self._stream.overtaken += classifier.due - 1
        started = self._clock()
        try:
            scores = classifier.classify()
        except BackendError as error:
            self._failed += 1
            self._failed_in_a_row += 1
            self._listener.on_problem(f"inference failed ({self._failed_in_a_row} in a row): {error}")
            return
        ended = self._clock()
        self._failed_in_a_row = 0
        prediction, events = self._stream.predict(lane, newest, scores, self._applied)
        self._listener.on_classified(
            Classified(prediction, lane.network, newest.header, events, ended - started, ended - newest.handed_over)
        )

    def _apply(self, settings: Settings) -> None:
        """Apply `settings` to everything that the worker owns."""
        self._applied = settings
        exchange = self._exchange
        problem = self._stream.configure(settings, exchange.running, is_changing=exchange.is_changing)
        if problem:
            self._listener.on_problem(problem)

    def _end_events(self, lane: Lane) -> None:
        """End the events of the window of `lane`, which is no more."""
        events, header = self._stream.end_events(), self._stream.last_header
        if events and header is not None:
            self._listener.on_events_ended(events, header, lane.network)

    def _wake(self) -> None:
        with self._work:
            self._woken = True
            self._work.notify()


def _describe(lane: Lane) -> RunningNetwork:
    assert lane.session is not None
    session = lane.session
    return RunningNetwork(lane.settings, lane.network, session.backend, session.device, session.precision, lane.reason)
