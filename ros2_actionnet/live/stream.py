"""The state of one stream of frames in the worker, whichever network classifies it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores
from ros2_actionnet.errors import SettingsError
from ros2_actionnet.live.lane import Lane, SampledFrame
from ros2_actionnet.recognition.events import Event, EventDetector
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.settings import Settings


class Stream:
    """Counts, events, class filter and the newest classified frame of a stream.

    Attributes:
        sampled: frames handed over; written by the caller's thread.
        classified, overtaken: windows classified, and left out because a newer one was there; the worker's thread.
        overrun: frames lost in the queues of the lanes before the running one; the worker's thread.
        last_header: header of the newest classified frame; the worker's thread.
        filter_problem: why the class filter does not fit the running network, "" if it does; the worker's thread.
        filter_waits: True while the class filter is meant for a network that has not taken over; the worker's thread.
    """

    def __init__(self, settings: Settings) -> None:
        self.sampled = 0
        self._submitted = -math.inf  # s, of the worker's clock: the newest frame; written by the caller's thread
        self._interval = 0.0  # s, between it and the one before
        self.classified = self.overtaken = self.overrun = 0
        self.last_header: FrameHeader | None = None
        self.filter_problem = ""
        self.filter_waits = False
        self._last_index = -1
        self._allowed: NDArray[np.bool_] | None = None
        self._detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)

    def count_submitted(self, now: float) -> None:
        """Count a frame that was handed over at `now`, in seconds of the worker's clock."""
        self.sampled += 1
        self._interval = now - self._submitted if self.sampled > 1 else 0.0
        self._submitted = now

    def has_paused(self, now: float, max_gap: float) -> bool:
        """Return True if no frame has come for more than `max_gap` (s), and for longer than is usual in this stream."""
        return now - self._submitted > max(max_gap, 2.5 * self._interval)

    def configure(self, settings: Settings, lane: Lane | None, *, is_changing: bool) -> str:
        """Apply `settings` to the events and, once a network runs, to its window and filter; return a problem, or "".

        A class filter that does not fit the network waits while another one is arriving (`is_changing`).
        """
        self._detector.configure(settings.event_on, settings.event_off, settings.event_min_duration)
        if lane is None or lane.classifier is None:
            return ""
        lane.classifier.configure(settings)
        labels = lane.network.labels
        self.filter_problem, self.filter_waits = "", False
        try:
            self._allowed = allowed_classes(labels, settings.class_filter)
        except SettingsError as error:
            if is_changing:
                self.filter_waits = True
                return ""
            # The filter was set for another network. What it names here still counts, the rest can never match.
            self._allowed = np.isin(np.asarray(labels), np.asarray(settings.class_filter))
            self.filter_problem = str(error)
        return self.filter_problem

    def is_classified(self, frame: SampledFrame) -> bool:
        """Return True if the window that ends with `frame` has been classified, by the network before."""
        return frame.index == self._last_index

    def predict(
        self, lane: Lane, newest: SampledFrame, scores: Scores, settings: Settings
    ) -> tuple[Prediction, tuple[Event, ...]]:
        """Return the prediction of the window that ends with `newest`, and the events that begin and end with it."""
        self.classified += 1
        self.last_header, self._last_index = newest.header, newest.index
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
        return prediction, tuple(self._detector.update(watched, newest.time, self._allowed))

    def end_events(self) -> list[Event]:
        """End the events of a window that is no more."""
        return self._detector.reset()
