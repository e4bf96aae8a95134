"""What all viewers of the page see: the newest frames, and messages with a short history for those who come later."""

from __future__ import annotations

import json
import math
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

HISTORY = 120.0
"""Seconds of scores that a new viewer is given."""

MOST_SCORES = 1200
"""Largest number of results in the history of a stream: ten a second."""

MOST_EVENTS = 100
"""Largest number of events that a new viewer is given."""

MOST_VIEWERS = 16
MOST_RETAINED = 256
"""Largest number of messages that are kept for new viewers, by key."""

MOST_WAITING = 500
"""Messages that may wait for one viewer; one that is slower than that is dropped."""

IN_FLIGHT = 2
"""Frames of a stream that are sent to a viewer before it has drawn the first of them."""

LARGEST_FRAME = 8 * 1024 * 1024
"""Largest JPEG that is forwarded, in bytes."""

Scores = Sequence[tuple[str, float]]


class Viewer:
    """What waits for one viewer. All but `wake` belongs to the hub, and is changed under its lock."""

    def __init__(self, lock: threading.Lock, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.is_too_slow = False
        self.watched: frozenset[int] = frozenset()
        self._lock = lock
        self._messages: deque[str] = deque()
        self._frames: dict[int, bytes] = {}
        self._in_flight: dict[int, int] = {}

    def put(self, message: str) -> None:
        """Queue a message."""
        if len(self._messages) >= MOST_WAITING:
            self.is_too_slow = True
            self._messages.clear()
        if not self.is_too_slow:
            self._messages.append(message)
        self.wake()

    def put_frame(self, stream: int, packed: bytes) -> None:
        """Put a frame in the place of the stream's one before, if the viewer watches the stream."""
        if stream in self.watched:
            self._frames[stream] = packed
            if self._in_flight.get(stream, 0) < IN_FLIGHT:
                self.wake()

    def take(self) -> tuple[list[str], list[bytes]]:
        """Return the messages that wait, and the frames of those streams of which the viewer has drawn enough."""
        with self._lock:
            messages = list(self._messages)
            self._messages.clear()
            ready = [stream for stream in self._frames if self._in_flight.get(stream, 0) < IN_FLIGHT]
            for stream in ready:
                self._in_flight[stream] = self._in_flight.get(stream, 0) + 1
            return messages, [self._frames.pop(stream) for stream in ready]

    def drawn(self, stream: int) -> None:
        """Note that the viewer has drawn a frame."""
        with self._lock:
            if self._in_flight.get(stream, 0) > 0:
                self._in_flight[stream] -= 1
            if stream in self._frames:
                self.wake()

    def watch(self, streams: frozenset[int]) -> None:
        """Replace the streams that are watched."""
        self.watched = streams
        self._frames = {stream: frame for stream, frame in self._frames.items() if stream in streams}
        self._in_flight = {stream: count for stream, count in self._in_flight.items() if stream in streams}


class Hub:
    """Passes frames and messages on to all viewers. Thread-safe, and waits for none of them.

    `watched` is called with the streams whose video any viewer shows, whenever these change.
    """

    def __init__(
        self, watched: Callable[[frozenset[int]], None] = lambda streams: None, most_viewers: int = MOST_VIEWERS
    ) -> None:
        self._lock = threading.Lock()
        self._on_watched, self._watched = watched, frozenset[int]()
        self._most_viewers = most_viewers
        self._viewers: list[Viewer] = []
        self._retained: dict[str, str] = {}
        self._scores: dict[int, deque[tuple[float, Scores]]] = {}
        self._events: deque[tuple[int, str]] = deque(maxlen=MOST_EVENTS)

    def join(self, wake: Callable[[], None]) -> Viewer | None:
        """Return a new viewer with all that it has to know, None if there are too many; `wake` announces more."""
        with self._lock:
            if len(self._viewers) >= self._most_viewers:
                return None
            viewer = Viewer(self._lock, wake)
            self._viewers.append(viewer)
            for message in self._retained.values():
                viewer.put(message)
            for stream, history in self._scores.items():
                if history:
                    viewer.put(_json({"type": "history", "stream": stream, "scores": list(history)}))
            for _, event in self._events:
                viewer.put(event)
            return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        with self._lock:
            if viewer in self._viewers:
                self._viewers.remove(viewer)
        self._report_watched()

    def watch(self, viewer: Viewer, streams: frozenset[int]) -> None:
        """Note which streams' video the viewer shows."""
        with self._lock:
            viewer.watch(streams)
        self._report_watched()

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    def retain(self, key: str, message: Mapping[str, Any]) -> None:
        """Send a message, in the place of the one of the same key before, and keep it for those who come later."""
        text = _json(message)
        with self._lock:
            if self._retained.get(key) == text or (key not in self._retained and len(self._retained) >= MOST_RETAINED):
                return
            self._retained[key] = text
            self._send(text)

    def forget(self, key: str) -> None:
        """No longer keep the message of `key`."""
        with self._lock:
            self._retained.pop(key, None)

    def forget_stream(self, stream: int) -> None:
        """No longer keep scores and events of a stream."""
        with self._lock:
            self._scores.pop(stream, None)
            kept = [event for event in self._events if event[0] != stream]
            self._events.clear()
            self._events.extend(kept)

    def scores(self, stream: int, time: float, results: Scores) -> None:
        """Send the results of a window: its time in seconds, labels and scores."""
        text = _json({"type": "scores", "stream": stream, "time": time, "results": results})
        with self._lock:
            history = self._scores.setdefault(stream, deque(maxlen=MOST_SCORES))
            if history and time < history[-1][0]:
                history.clear()  # time began anew: another recording, a simulator that was reset
            if not history or time - history[-1][0] >= 0.9 * HISTORY / MOST_SCORES:
                history.append((time, results))
            while time - history[0][0] > HISTORY:
                history.popleft()
            self._send(text)

    def event(self, stream: int, message: Mapping[str, Any]) -> None:
        """Send an event."""
        text = _json({**message, "type": "event", "stream": stream})
        with self._lock:
            self._events.append((stream, text))
            self._send(text)

    def frame(self, stream: int, time: float, jpeg: bytes) -> None:
        """Send the newest frame of a stream, a JPEG of `time` (s): uint32, float64, both big-endian, and its bytes."""
        if len(jpeg) > LARGEST_FRAME:
            return
        packed = struct.pack(">Id", stream, time) + jpeg
        with self._lock:
            for viewer in self._viewers:
                viewer.put_frame(stream, packed)

    def _send(self, text: str) -> None:
        for viewer in self._viewers:
            viewer.put(text)

    def _report_watched(self) -> None:
        with self._lock:
            watched = frozenset[int]().union(*(viewer.watched for viewer in self._viewers))
            if watched == self._watched:
                return
            self._watched = watched
        self._on_watched(watched)


def _json(message: Mapping[str, Any]) -> str:
    try:
        return json.dumps(message, separators=(",", ":"), allow_nan=False)
    except ValueError:  # JSON has no NaN and no infinity, and a browser takes nothing that is not JSON
        return json.dumps(_finite(message), separators=(",", ":"))


def _finite(value: Any) -> Any:
    """Return `value` with None in the place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
