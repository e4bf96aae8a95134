"""The events of a run, combined into actions with a beginning, an end and a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.report.pictures import Thumbnail, thumbnail

_PICTURE_WIDTH = 360  # pixels


@dataclass(eq=False)
class Occurrence:
    """An action that took place.

    Attributes:
        class_index: Index of the action's class.
        start, duration: s; the start is relative to the input's first frame.
        score: Mean score, in [0, 1].
        is_on: True if the action continued until the end of the input.
        picture: Picture of the frame with which it was detected; None if there were too many.
    """

    class_index: int
    start: float
    duration: float
    score: float
    is_on: bool = True
    picture: Thumbnail | None = None

    @property
    def end(self) -> float:
        """End of the action, s from the input's first frame."""
        return self.start + self.duration


class Occurrences:
    """Joins the beginnings and ends of actions; holds at most twice `most_pictures` pictures at a time."""

    def __init__(self, most_pictures: int) -> None:
        self._most_pictures = most_pictures
        self._running: dict[int, tuple[Occurrence, list[float]]] = {}  # with the scores since its detection
        self._all: list[Occurrence] = []

    def add(self, result: ClassifiedFrame) -> None:
        """Add the actions that began or ended with a frame, and update those in progress."""
        for event in result.events:
            if event.type is EventType.BEGAN:
                self._begin(event, result.frame)
            elif event.class_index in self._running:
                occurrence, _ = self._running.pop(event.class_index)
                occurrence.duration, occurrence.score, occurrence.is_on = (
                    event.duration / NANOSECONDS,
                    event.score,
                    False,
                )
        if result.is_new and result.prediction is not None:
            self._go_on(result.frame.time, result.prediction)

    def so_far(self) -> list[Occurrence]:
        """Return copies of all occurrences by beginning; the longest ones have pictures."""
        shown = set(longest(self._all, self._most_pictures))
        copies = [replace(one) if one in shown else replace(one, picture=None) for one in self._all]
        return sorted(copies, key=lambda occurrence: occurrence.start)

    def _begin(self, event: Event, frame: MediaFrame) -> None:
        # Convert the event's stamp to time by means of the frame, which has both.
        start = max(0.0, frame.time - (frame.stamp - event.start) / NANOSECONDS)
        picture = thumbnail(frame.time, frame.picture, _PICTURE_WIDTH)
        occurrence = Occurrence(event.class_index, start, event.duration / NANOSECONDS, event.score, picture=picture)
        self._all.append(occurrence)
        self._running[event.class_index] = occurrence, []
        if sum(other.picture is not None for other in self._all) > 2 * self._most_pictures:
            self._drop_pictures()

    def _go_on(self, time: float, prediction: Prediction) -> None:
        for occurrence, scores in self._running.values():
            scores.append(float(prediction.by_label[occurrence.class_index]))
            occurrence.duration = max(occurrence.duration, time - occurrence.start)
            occurrence.score = float(np.mean(scores))

    def _drop_pictures(self) -> None:
        for occurrence in longest(self._all, len(self._all))[self._most_pictures :]:
            occurrence.picture = None


def longest(occurrences: Iterable[Occurrence], count: int) -> list[Occurrence]:
    """Return the `count` longest occurrences, longest first."""
    return sorted(occurrences, key=lambda occurrence: -occurrence.duration)[:count]
