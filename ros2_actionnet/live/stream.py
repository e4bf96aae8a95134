"""One stream of frames in the worker: its lanes, settings, events and counts."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores
from ros2_actionnet.errors import SettingsError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.lane import Lane, SampledFrame
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event, EventDetector
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.window_classifier import WindowClassifier
from ros2_actionnet.settings import Settings


@dataclass(frozen=True)
class Classified:
    """A prediction, the frame that completed its window, and what it took."""

    prediction: Prediction
    network: PreparedNetwork
    header: FrameHeader
    events: tuple[Event, ...]
    inference: float  # s, of all windows that were classified together
    latency: float  # s, from the hand-over of the newest frame to the scores


class StreamListener(Protocol):
    """Receives what happens in one stream, in the worker's thread."""

    def on_classified(self, result: Classified) -> None:
        """A window was classified."""

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """The window was emptied, which ended these events; `header` is that of the last frame classified."""

    def on_filter_problem(self, message: str) -> None:
        """The stream's class filter does not fit the network that runs."""


@dataclass(frozen=True)
class StreamStatus:
    """A snapshot for diagnostics; the counts are since the start."""

    fill: int  # frames in the window
    frames: int  # frames of a full window, 0 while no network runs
    sampled: int  # frames taken in
    classified: int
    overtaken: int  # inferences left out because a newer window was there
    overrun: int  # thumbnails that left the queue before the worker came for them
    filter_problem: str = ""  # why class_filter does not fit the running network


class Owner(Protocol):
    """The worker, as its streams know it; its methods may be called from any thread."""

    lock: threading.Lock
    """Held while the lanes of a stream are replaced."""

    def now(self) -> float:
        """Return the time in seconds, by a clock that never steps back."""

    def next_turn(self) -> int:
        """Return a number above all that were returned before."""

    def wake(self) -> None:
        """Let the worker see that there is something for it to do."""

    def on_stream_configured(self, stream: Stream) -> None:
        """The stream has other settings, perhaps another view of the image."""

    def on_stream_closed(self, stream: Stream) -> None:
        """The stream has ended."""


class Stream:
    """A stream of frames with a window of its own, classified by the network that all streams share.

    The methods of the first part belong to one thread of the caller, those of the second to the worker's. A stream has
    up to three lanes: the one that is classified, another view of the image on the same network, and one on the network
    that is to take over; the last two fill up beside the first. They are replaced with the owner's lock held.

    Attributes:
        settings: The newest settings; written by the caller's thread.
        running: The lane that is classified; written by the worker's thread.
        next_view: The lane of another view of the image that fills its window beside it.
        arriving: The lane on the network that is to take over.
        turn: Number of its last turn over all streams' turns, at first that of its beginning; who has the lowest waits
            longest.
    """

    def __init__(self, settings: Settings, listener: StreamListener, owner: Owner) -> None:
        self.settings = self._applied = settings
        self.listener = listener
        self.running: Lane | None = None
        self.next_view: Lane | None = None
        self.arriving: Lane | None = None
        self.is_closed = False
        self.turn = owner.next_turn()
        self._owner = owner
        self._sampled = 0
        self._submitted = -math.inf  # s, of the worker's clock: the newest frame; written by the caller's thread
        self._interval = 0.0  # s, between it and the one before
        self._classified = self._overtaken = 0
        self._overrun = 0  # frames lost in the queues of the lanes before the running one
        self._last_header: FrameHeader | None = None  # of the newest classified frame
        self._last_index = -1
        self._filter_problem = ""
        self._filter_waits = False  # the class filter is meant for a network that has not taken over
        self._allowed: NDArray[np.bool_] | None = None
        self._detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)

    # What the caller's thread calls. Nothing here waits for an inference or a load.

    def submit(
        self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int, box: Box | None = None
    ) -> None:
        """Queue a sampled frame, taken at `taken_at` (ns); `image` may be reused afterwards.

        `box` is the part of it to classify, in place of the setting `roi`. Raises ImageError for an image that cannot
        be understood.
        """
        frame = SampledFrame(header, sample, index, self._owner.now(), taken_at)
        for lane in self.lanes:
            lane.offer(image, frame, box)
        self._sampled += 1
        self._interval = frame.handed_over - self._submitted if self._sampled > 1 else 0.0
        self._submitted = frame.handed_over
        self._owner.wake()

    def max_downscale(self, height: int, width: int) -> float:
        """Return the largest factor by which an image of [height, width] pixels may be shrunk for `submit`."""
        return min((lane.max_downscale(height, width) for lane in self.lanes), default=math.inf)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that act on the next frame, and those of the view once a window of it is full."""
        self.settings = settings
        self._owner.on_stream_configured(self)

    def reset(self) -> None:
        """Empty the window; frames handed over before this are forgotten."""
        for lane in self.lanes:
            lane.clear()
        self._owner.wake()

    def status(self) -> StreamStatus:
        """Return a snapshot for diagnostics; callable from any thread."""
        running = self.running
        classifier = running.classifier if running else None
        return StreamStatus(
            fill=classifier.fill if classifier else 0,
            frames=running.network.frames if running else 0,
            sampled=self._sampled,
            classified=self._classified,
            overtaken=self._overtaken,
            overrun=self._overrun + (running.overrun if running else 0),
            filter_problem=self._filter_problem,
        )

    def close(self) -> None:
        """End the stream: its actions end, and its memory is free for another one."""
        self.is_closed = True
        self._owner.on_stream_closed(self)

    # What the worker's thread calls.

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that take frames, the running one first; callable from any thread."""
        with self._owner.lock:  # or a take-over between two of them would show one lane twice
            return [lane for lane in (self.running, self.next_view, self.arriving) if lane is not None]

    @property
    def window(self) -> WindowClassifier[Any]:
        """The window that is classified."""
        assert self.running is not None
        assert self.running.classifier is not None
        return self.running.classifier

    def take_frames(self, *, is_changing: bool) -> None:
        """Open the lanes whose network is loaded, and take all waiting frames in; for `is_changing` see `apply`."""
        for lane in self.lanes:
            if lane.classifier is None and lane.host.session is not None:
                lane.open(self._applied, is_first=self.running is None or lane is self.running)
                if lane is self.running:
                    self.apply(is_changing=is_changing)
            if lane.classifier is not None and lane.drain() and lane is self.running:
                self.end_events(lane)

    def may_change_to(self, lane: Lane | None) -> bool:
        """Return True if nothing is lost when `lane` takes the place of the running one."""
        if lane is None or lane.classifier is None:
            return False
        return lane.is_full or self.running is None or not self.running.is_full or self.has_paused()

    def change_to(self, lane: Lane) -> Lane | None:
        """Classify `lane` in place of the running one, which is returned; with the owner's lock held."""
        before = self.running
        if before is not None:
            self._overrun += before.overrun
        self.running, self.next_view = lane, None
        if self.arriving is lane:
            self.arriving = None
        return before

    def apply_settings(self, *, is_changing: bool) -> None:
        """Apply the newest settings, if they have changed or are due; `is_changing`: another network is arriving."""
        if self.settings != self._applied or (self._filter_waits and not is_changing):
            self.apply(is_changing=is_changing)

    def apply(self, *, is_changing: bool) -> None:
        """Apply the newest settings to the events and, once a network runs, to its window and filter.

        A class filter that does not fit the network waits while another one is arriving.
        """
        settings = self._applied = self.settings
        self._detector.configure(settings.event_on, settings.event_off, settings.event_min_duration)
        lane = self.running
        if lane is None or lane.classifier is None:
            return
        lane.classifier.configure(settings)
        labels = lane.network.labels
        self._filter_problem, self._filter_waits = "", False
        try:
            self._allowed = allowed_classes(labels, settings.class_filter)
        except SettingsError as error:
            if is_changing:
                self._filter_waits = True
                return
            # The filter was set for another network. What it names here still counts, the rest can never match.
            self._allowed = np.isin(np.asarray(labels), np.asarray(settings.class_filter))
            self._filter_problem = str(error)
            self.listener.on_filter_problem(self._filter_problem)

    def is_due(self) -> bool:
        """Return True if a window waits to be classified."""
        lane = self.running
        if self.is_closed or lane is None or lane.classifier is None or lane.newest is None or not lane.classifier.due:
            return False
        if lane.newest.index != self._last_index:
            return True
        lane.classifier.pass_over()  # the network before has classified the window that ends with this frame
        return False

    def begin_turn(self) -> None:
        """Count the windows that are left out for the newest one, which is classified now."""
        self._overtaken += self.window.due - 1
        self.turn = self._owner.next_turn()

    def finish_turn(self, scores: Scores, inference: float, now: float) -> None:
        """Report the scores of the newest window, whose `inference` (s) ended `now`."""
        lane, settings = self.running, self._applied
        assert lane is not None
        assert lane.newest is not None
        newest = lane.newest
        if self.is_closed:
            return
        self._classified += 1
        self._last_header, self._last_index = newest.header, newest.index
        prediction = Prediction(
            scores,
            lane.network.labels,
            newest.index,
            threshold=settings.threshold,
            allowed=self._allowed,
            top_k=settings.top_k,
            first_frame=lane.first_frame,
            shared=lane.network.shared_labels,
        )
        watched = scores if settings.class_id_format == "index" else prediction.by_label
        events = tuple(self._detector.update(watched, newest.time, self._allowed))
        latency = now - newest.handed_over
        self.listener.on_classified(Classified(prediction, lane.network, newest.header, events, inference, latency))

    def end_events(self, lane: Lane | None) -> None:
        """End the events of the window of `lane`, which is no more."""
        events = self._detector.reset()
        if events and self._last_header is not None and lane is not None:
            self.listener.on_events_ended(events, self._last_header, lane.network)

    def has_paused(self) -> bool:
        """Return True if no frame has come for more than `max_gap`, and for longer than is usual in this stream."""
        return self._owner.now() - self._submitted > max(self._applied.max_gap, 2.5 * self._interval)
