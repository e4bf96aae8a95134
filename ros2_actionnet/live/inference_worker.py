"""The thread that owns the running network and its window.

The caller's thread hands over frames with `submit`, which makes the thumbnails and returns; everything else happens in
the worker: it takes all thumbnails that wait into the window, infers once on the newest window, and reports.

A network that is loading has a lane of its own, which collects thumbnails beside the running one's, so that it has a
full window when it takes over. A change of the region of interest is a new lane on the same session.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.errors import BackendError, SettingsError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.lane import Lane, SampledFrame
from ros2_actionnet.live.network_loader import LoadCallbacks, NetworkLoader
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event, EventDetector
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Effect, Settings

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
    """Runs one network over a stream of frames, and replaces it between two of them when asked to."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = self._applied = settings
        self._listener = listener
        self._loader = NetworkLoader(
            LoadCallbacks(listener.on_load_progress, self._on_prepared, self._on_loaded, self._on_load_failed)
        )
        self._detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)
        self._allowed: NDArray[np.bool_] | None = None

        self._work = threading.Condition()  # guards what follows, which both threads touch
        self._running: Lane | None = None
        self._arriving: Lane | None = None
        self._retired: list[Session[Any]] = []  # to be closed by the worker, which owns them
        self._woken = self._stopped = False
        self._filter_waits = False  # whether class_filter is meant for a network that has not taken over

        self._submitted = -float("inf")  # s, monotonic clock
        self._sampled = self._classified = self._overtaken = self._failed = self._failed_in_a_row = 0
        self._overrun = 0  # of the lanes before the running one
        self._last_header: FrameHeader | None = None
        self._last_index = -1
        self._thread = threading.Thread(target=self._run, name="inference_worker", daemon=True)
        self._thread.start()

    # What the caller's thread calls. Nothing here waits for an inference or a load.

    def submit(self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int) -> None:
        """Queue a sampled frame, taken at `taken_at` (ns); `image` may be reused afterwards.

        Raises ImageError for an image that cannot be understood.
        """
        frame = SampledFrame(header, sample, index, time.monotonic(), taken_at)
        for lane in self._lanes():
            lane.offer(image, frame)
        self._sampled += 1
        self._submitted = frame.handed_over
        self._wake()

    def max_downscale(self, height: int, width: int) -> float:
        """Return the largest factor by which an image of [height, width] pixels may be shrunk for `submit`."""
        return min((lane.max_downscale(height, width) for lane in self._lanes()), default=math.inf)

    def request_network(self, settings: Settings) -> None:
        """Makes the network and the view of `settings` the running ones, as soon as nothing is lost by it."""
        with self._work:
            running = self._running
            effects = {Effect.NEW_NETWORK} if running is None else running.settings.changed(settings)
            if self._failed_in_a_row >= FAILING_AFTER:
                effects = {Effect.NEW_NETWORK}
            self._retire_arriving()
            self._loader.cancel()
            if Effect.NEW_NETWORK in effects:
                self._loader.request(settings)
            elif Effect.NEW_WINDOW in effects and running is not None:
                self._arriving = Lane(settings, running.network)
                self._arriving.session, self._arriving.reason = running.session, running.reason
        self._wake()

    def configure(self, settings: Settings) -> None:
        """Takes over the settings that act on the next frame."""
        self._settings = settings
        self._wake()

    def reset(self) -> None:
        """Empties the window; frames handed over before this are forgotten."""
        for lane in self._lanes():
            lane.clear()
        self._wake()

    def status(self) -> WorkerStatus:
        """Return a snapshot for diagnostics."""
        running, arriving, loading = self._running, self._arriving, self._loader.loading
        classifier = running.classifier if running else None
        return WorkerStatus(
            running=_describe(running) if running else None,
            loading=arriving.network.name if arriving else (loading.model or loading.network if loading else ""),
            progress=self._loader.progress,
            fill=classifier.fill if classifier else 0,
            frames=running.network.frames if running else 0,
            sampled=self._sampled,
            classified=self._classified,
            overtaken=self._overtaken,
            overrun=self._overrun + (running.overrun if running else 0),
            failed=self._failed,
            failing=self._failed_in_a_row >= FAILING_AFTER,
        )

    def close(self, timeout: float = 1.5) -> bool:
        """End the worker, which frees the networks; waits at most `timeout` (s) for an inference, and for no load.

        Returns False if its thread has not ended, because it is still inside an inference.
        """
        self._loader.cancel()
        with self._work:
            self._stopped = True
        self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_for_loader(self, timeout: float) -> bool:
        """Waits at most `timeout` (s) for a load that has been cancelled; whether it has ended."""
        return self._loader.join(timeout)

    # What the loader's thread calls.

    def _on_prepared(self, settings: Settings, network: PreparedNetwork) -> None:
        with self._work:
            if self._loader.loading is settings:
                self._arriving = Lane(settings, network)

    def _on_loaded(self, settings: Settings, session: Session[Any], reason: str) -> None:
        with self._work:
            if self._stopped:  # the worker will close nothing any more
                session.close()
            elif self._arriving is not None and self._arriving.settings is settings:
                self._arriving.session, self._arriving.reason = session, reason
            else:
                self._retired.append(session)
        self._wake()

    def _on_load_failed(self, settings: Settings, error: Exception) -> None:
        with self._work:
            if self._arriving is not None and self._arriving.settings is settings:
                self._arriving = None
        self._listener.on_load_failed(settings, error)
        self._wake()

    # The worker's thread.

    def _run(self) -> None:
        while True:
            with self._work:
                waits_for_clock = self._arriving is not None and self._arriving.session is not None
                self._work.wait_for(lambda: self._woken, _POLL if waits_for_clock else None)
                self._woken = False
                if self._stopped:
                    break
            try:
                self._step()
            except Exception as error:
                self._listener.on_problem(f"the inference worker hit an unexpected {type(error).__name__}: {error}")
        self._free_everything()

    def _step(self) -> None:
        self._close_retired()
        if self._settings is not self._applied or (self._filter_waits and not self._is_changing):
            self._apply(self._settings)
        for lane in self._lanes():
            if lane.classifier is None and lane.session is not None:
                # A window that is made of copies of one frame is no reason to take over.
                lane.open(replace(self._applied, warmup="wait") if self._running else self._applied)
            if lane.classifier is not None and lane.drain() and lane is self._running:
                self._end_events()
        self._take_over_if_nothing_is_lost()
        if self._running is not None:
            self._classify(self._running)

    def _take_over_if_nothing_is_lost(self) -> None:
        with self._work:
            arriving, running = self._arriving, self._running
            if arriving is None or arriving.classifier is None:
                return
            stream_paused = time.monotonic() - self._submitted > self._applied.max_gap
            old_has_window = running is not None and running.classifier is not None and running.classifier.full
            if old_has_window and not arriving.classifier.full and not stream_paused:
                return
            self._overrun += running.overrun if running else 0
            self._running, self._arriving = arriving, None
            if running is not None and running.session is not None and running.session is not arriving.session:
                self._retired.append(running.session)
        self._end_events(running)
        self._failed_in_a_row = 0
        self._apply(self._applied)
        self._listener.on_network(_describe(arriving))
        self._close_retired()

    def _classify(self, lane: Lane) -> None:
        classifier, newest = lane.classifier, lane.newest
        if classifier is None or newest is None or not classifier.due:
            return
        if newest.index == self._last_index:  # already classified by the previous network
            classifier.pass_over()
            return
        self._overtaken += classifier.due - 1
        started = time.monotonic()
        try:
            scores = classifier.classify()
        except BackendError as error:
            self._failed += 1
            self._failed_in_a_row += 1
            self._listener.on_problem(f"inference failed ({self._failed_in_a_row} in a row): {error}")
            return
        ended = time.monotonic()
        self._failed_in_a_row = 0
        self._classified += 1
        self._last_header, self._last_index = newest.header, newest.index
        self._report(lane, newest, scores, inference=ended - started, latency=ended - newest.handed_over)

    def _report(self, lane: Lane, newest: SampledFrame, scores: Scores, inference: float, latency: float) -> None:
        settings = self._applied
        labels, allowed = lane.network.labels, self._allowed
        prediction = Prediction(
            scores,
            labels,
            newest.index,
            threshold=settings.threshold,
            allowed=allowed,
            top_k=settings.top_k,
            first_frame=lane.first_frame,
        )
        events = tuple(self._detector.update(scores, newest.time, allowed))
        self._listener.on_classified(Classified(prediction, lane.network, newest.header, events, inference, latency))

    def _apply(self, settings: Settings) -> None:
        """Brings everything that the worker owns to `settings`."""
        self._applied = settings
        self._detector.configure(settings.event_on, settings.event_off, settings.event_min_duration)
        running = self._running
        if running is None or running.classifier is None:
            return
        running.classifier.configure(settings)
        labels = running.network.labels
        self._filter_waits = False
        try:
            self._allowed = allowed_classes(labels, settings.class_filter)
        except SettingsError as error:
            if self._is_changing:
                self._filter_waits = True
                return
            # The filter was set for another network. What it names here still counts, the rest can never match.
            self._allowed = np.isin(np.asarray(labels), np.asarray(settings.class_filter))
            self._listener.on_problem(str(error))

    @property
    def _is_changing(self) -> bool:
        """True while another network is loading or waits to take over."""
        return self._arriving is not None or self._loader.loading is not None

    def _end_events(self, lane: Lane | None = None) -> None:
        """Ends the events of the window of `lane` (the running one's) that is no more."""
        lane = lane or self._running
        events = self._detector.reset()
        if events and lane is not None and self._last_header is not None:
            self._listener.on_events_ended(events, self._last_header, lane.network)

    def _lanes(self) -> list[Lane]:
        with self._work:  # or a take-over between the two would show one lane twice
            return [lane for lane in (self._running, self._arriving) if lane is not None]

    def _retire_arriving(self) -> None:
        """Drops the network that waits to take over; with the lock held."""
        arriving, self._arriving = self._arriving, None
        if arriving is None or arriving.session is None:
            return
        if self._running is None or arriving.session is not self._running.session:
            self._retired.append(arriving.session)

    def _close_retired(self) -> None:
        while self._retired:
            self._retired.pop().close()

    def _free_everything(self) -> None:
        with self._work:
            self._retire_arriving()
            running, self._running = self._running, None
            if running is not None and running.session is not None:
                self._retired.append(running.session)
        self._close_retired()

    def _wake(self) -> None:
        with self._work:
            self._woken = True
            self._work.notify()


def _describe(lane: Lane) -> RunningNetwork:
    assert lane.session is not None
    session = lane.session
    return RunningNetwork(lane.settings, lane.network, session.backend, session.device, session.precision, lane.reason)
