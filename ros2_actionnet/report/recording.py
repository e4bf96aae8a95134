"""What the live page shows of a recording: its results in memory, its pictures decoded when they are asked for."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.overlay import Annotation, OverlayLine, draw_overlay
from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, Picture, RunDetails
from ros2_actionnet.media.picture_reader import MOST_WALKED, PictureReader
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.report.drawing import clock
from ros2_actionnet.settings import SETTINGS, Effect
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import Access
from ros2_actionnet.web.hub import Hub
from ros2_actionnet.web.server import PageServer

STREAM = 1
"""Number of the recording's stream on the page."""

MOST_RESULTS = 20
"""Results that are kept of a window."""

MOST_EVENTS = 1000
"""Events that are kept; the longest ones."""

MOST_ROWS = 6000
"""Results in one answer; of more, every second is left out, and so on."""

_CACHED = 32 << 20  # bytes of JPEGs
_TELL_EVERY = 0.5  # s
_DIGITS = 6  # as in the results file
_WIDEST = 1280  # pixels, of a picture on the page
# Settings of the node's topics and of people, which change nothing here.
_NOT_SHOWN = {"annotated_width", "box_margin", "class_id_format", "detection_delay", "max_subjects", "subject_classes"}
_SMALL = 240  # pixels, width of an event's picture


@dataclass
class _Happened:
    """An event: `end` (s) is None while it is on."""

    class_index: int
    start: float
    end: float | None
    score: float


class Recording:
    """A sink that keeps the results for the page.

    It needs 20 bytes for a frame, and 8 for a window and each of its results: 10 MB for an hour at 30 Hz with five
    results. Pictures are decoded in a thread of their own, from another opened source, and the last 32 MB of them kept.

    Args:
        hub: Is told how far the analysis is.
        details: The run.
        open_: Opens the input once more, for its pictures.
        most_walked: As of `PictureReader`.
    """

    wants_pictures = False

    def __init__(
        self, hub: Hub, details: RunDetails, open_: Callable[[], FrameSource], most_walked: int = MOST_WALKED
    ) -> None:
        self._hub, self._details = hub, details
        self._lock = threading.Lock()
        self._times, self._positions, self._windows = array("d"), array("q"), array("i")  # of frames
        self._width = min(details.settings.top_k, MOST_RESULTS)
        self._window_times, self._classes, self._scores = array("d"), array("i"), array("f")  # of windows
        self._events: list[_Happened] = []
        self._running: dict[int, _Happened] = {}
        self._left_out = 0
        self._reader = PictureReader(open_, most_walked)
        self._intensity = IntensityRange(details.settings.intensity_range)
        self._pictures = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._cache: OrderedDict[tuple[int, bool], bytes] = OrderedDict()  # of the pictures' thread
        self._cached = 0
        self._due, self._done = 0.0, False
        name = printable(Path(details.input).name or details.input)
        hub.retain("nodes", {"type": "nodes", "nodes": [{"name": name, "streams": [{"id": STREAM, "camera": ""}]}]})
        self._name = name
        hub.retain("parameters", {"type": "parameters", "node": name, "parameters": _parameters(details)})
        self._tell()

    # The sink.

    def write(self, result: ClassifiedFrame) -> None:
        """Keep the results of a frame."""
        frame, prediction = result.frame, result.prediction
        with self._lock:
            if prediction is not None and result.is_new:
                self._keep(frame.time, prediction)
            self._times.append(frame.time)
            self._positions.append(frame.position)
            self._windows.append(-1 if prediction is None else len(self._window_times) - 1)
            for event in result.events:
                self._happened(event, frame.time)
        if monotonic() >= self._due:
            self._tell()

    def close(self) -> None:
        """Tell the page that this is all."""
        if not self._done:
            self._done = True
            self._tell()

    def _keep(self, time: float, prediction: Prediction) -> None:
        self._window_times.append(time)
        top = prediction.top(self._width)
        missing = self._width - len(top)
        self._classes.extend([one.class_id for one in top] + [-1] * missing)
        self._scores.extend([one.score for one in top] + [0.0] * missing)

    def _happened(self, event: Event, time: float) -> None:
        if event.type is EventType.BEGAN:
            one = _Happened(event.class_index, max(0.0, time - event.duration / NANOSECONDS), None, event.score)
            self._events.append(one)
            self._running[event.class_index] = one
            if len(self._events) >= 2 * MOST_EVENTS:
                self._left_out += len(self._events) - MOST_EVENTS
                self._events = sorted(self._events, key=self._length, reverse=True)[:MOST_EVENTS]
        elif event.class_index in self._running:
            one = self._running.pop(event.class_index)
            one.end, one.score = one.start + event.duration / NANOSECONDS, event.score

    def _length(self, event: _Happened) -> float:
        return float("inf") if event.end is None else event.end - event.start

    def _tell(self) -> None:
        self._due = monotonic() + _TELL_EVERY
        details = self._details
        with self._lock:
            end = self._times[-1] if self._times else 0.0
            frames, windows, events = len(self._times), len(self._window_times), len(self._events) + self._left_out
        period = 1 / details.rate if details.rate > 0 else 0.0
        content = {"type": "recording", "stream": STREAM, "end": end, "period": period, "done": self._done}
        self._hub.retain("recording", content | {"windows": windows, "events": events})
        total = f" of about {clock(details.length * period, 0)}" if details.length else ""
        said = f"analyzed: {clock(end)}" if self._done else f"being analyzed: {clock(end, 0)}{total} so far"
        values = [("input", printable(details.input, 300)), ("network", printable(details.network)),
                  ("backend", f"{details.backend} {details.device} {details.precision}"),
                  ("frames", str(frames)), ("windows", str(windows)), ("events", str(events)),
                  ("rate", f"{details.rate:.4g} Hz"), ("size", "x".join(map(str, details.size)))]  # fmt: skip
        status = {"name": "recording", "level": 0, "message": said, "values": values}
        self._hub.retain("health", {"type": "health", "node": self._name, "statuses": [status]})

    # What the page asks for, in the server's thread.

    def picture(self, time: float, *, small: bool) -> Future[bytes]:
        """Return the JPEG of the frame that is shown at a time: with its results, or `small` and as it came."""
        return self._pictures.submit(self._picture, time, small)

    def scores(self, start: float, end: float) -> dict[str, Any]:
        """Return the results of a span: `labels`, and `rows` of a time and of pairs of label and score, best first.

        The row before the span is in it, and is the one in effect at its beginning.
        """
        with self._lock:
            first = max(0, bisect_right(self._window_times, start) - 1)
            last = bisect_right(self._window_times, end)
            step = max(1, -(-(last - first) // MOST_ROWS))
            rows = [(round(self._window_times[i], _DIGITS), self._results(i)) for i in range(first, last, step)]
        labels: dict[int, int] = {}
        numbered = [
            (time, [(labels.setdefault(index, len(labels)), round(score, _DIGITS)) for index, score in results])
            for time, results in rows
        ]
        return {"labels": [printable(self._details.labels[index]) for index in labels], "rows": numbered}

    def events(self) -> dict[str, Any]:
        """Return the events by their beginning, and how many shorter ones are left out."""
        with self._lock:
            listed = sorted(self._events, key=self._length, reverse=True)[:MOST_EVENTS]
            events = [
                {
                    "label": printable(self._details.labels[one.class_index]),
                    "start": round(one.start, _DIGITS),
                    "end": None if one.end is None else round(one.end, _DIGITS),
                    "score": round(one.score, _DIGITS),
                }
                for one in sorted(listed, key=lambda event: event.start)
            ]
            return {"events": events, "omitted": self._left_out + len(self._events) - len(listed)}

    def stop(self) -> None:
        """Close the input that pictures are read from, without waiting for one that is searched for."""
        self._pictures.shutdown(wait=False, cancel_futures=True)
        self._reader.close()
        self._pictures.shutdown(wait=True)

    def _results(self, window: int) -> list[tuple[int, float]]:
        span = range(window * self._width, (window + 1) * self._width)
        return [(self._classes[i], self._scores[i]) for i in span if self._classes[i] >= 0]

    # In the pictures' thread.

    def _picture(self, time: float, small: bool) -> bytes:
        with self._lock:
            if not self._times:
                raise MediaError("no frame has been analyzed yet")
            index = max(0, bisect_right(self._times, time + 1e-6) - 1)
            window = self._windows[index]
            lines = (
                [OverlayLine(self._details.labels[i], score) for i, score in self._results(window)]
                if window >= 0
                else []
            )
        if (index, small) in self._cache:
            self._cache.move_to_end((index, small))
            return self._cache[index, small]
        picture = np.array(to_bgr(self._intensity.stretch(self._reader.read(index, self._positions))))
        if small:
            jpeg = _encode(picture, _SMALL)
        else:
            draw_overlay(picture, tuple(lines), fill=Annotation.fill, status="")
            jpeg = _encode(picture, _WIDEST)
        self._cache[index, small] = jpeg
        self._cached += len(jpeg)
        while self._cached > _CACHED:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return jpeg


def _encode(picture: Picture, width: int) -> bytes:
    height, full = picture.shape[:2]
    if full > width:
        size = (width, max(1, round(height * width / full)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _parameters(details: RunDetails) -> list[dict[str, Any]]:
    """Return the settings of the run as the page's parameters, those that the results depend on."""
    shown: list[dict[str, Any]] = []
    for group in (Effect.NEXT_FRAME, Effect.NEW_WINDOW):
        for setting in SETTINGS:
            value = getattr(details.settings, setting.name)
            if setting.effect is group and setting.name not in _NOT_SHOWN and value not in ("", ()):
                shown.append(_parameter(setting, list(value) if isinstance(value, tuple) else value))
    return shown


def _parameter(setting: Any, value: bool | int | float | str | Sequence[Any]) -> dict[str, Any]:
    content = {"name": setting.name, "kind": setting.kind, "value": value, "description": setting.description}
    nothing: list[str] = []
    more = {"limits": setting.limits, "choices": nothing, "suggestions": nothing, "minimum": None, "maximum": None}
    return content | more | {"group": "With which it was analyzed"}


class RecordingPage:
    """The page of a recording, served from the beginning of the analysis on.

    Raises MediaError if it cannot be served.
    """

    def __init__(self, access: Access, details: RunDetails, open_: Callable[[], FrameSource]) -> None:
        hub = Hub()
        self.recording = Recording(hub, details, open_)
        self._server = PageServer(hub, None, access, recording=self.recording)
        try:
            self._server.start()
        except BaseException:
            self.recording.stop()
            raise

    @property
    def link(self) -> str:
        """The link that opens the page."""
        return self._server.link

    def stop(self) -> None:
        """Close the page."""
        self._server.stop()
        self.recording.stop()
