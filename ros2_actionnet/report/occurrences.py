"""The events of a run, combined into actions with a beginning, an end and a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ros2_actionnet.images.box import Box
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame, Picture
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.report.pictures import Thumbnail, thumbnail

_PICTURE_WIDTH = 360  # pixels
_AROUND = 1.5  # size of the picture of a person, in sizes of the box


@dataclass(eq=False)
class Occurrence:
    """An action that took place.

    Attributes:
        class_index: Index of the action's class.
        start, duration: s; the start is relative to the input's first frame.
        score: Mean score, in [0, 1].
        is_on: True if the action continued until the end of the input.
        picture: Picture of the frame with which it was detected, for a person's action the part with the person; None
            if there were too many.
        subject: Track id of the person whose action it is; empty for the whole image.
    """

    class_index: int
    start: float
    duration: float
    score: float
    is_on: bool = True
    picture: Thumbnail | None = None
    subject: str = ""

    @property
    def end(self) -> float:
        """End of the action, s from the input's first frame."""
        return self.start + self.duration


class Occurrences:
    """Joins the beginnings and ends of actions; holds at most twice `most_pictures` pictures at a time."""

    def __init__(self, most_pictures: int) -> None:
        self._most_pictures = most_pictures
        # By the track id, "" for the whole image, and the class; with the scores since the detection.
        self._running: dict[tuple[str, int], tuple[Occurrence, list[float]]] = {}
        self._all: list[Occurrence] = []

    def add(self, result: ClassifiedFrame) -> None:
        """Add the actions that began or ended with a frame, and update those in progress."""
        frame = result.frame
        self._add("", None, frame, result.events, result.prediction if result.is_new else None)
        for person in result.subjects:
            prediction = person.prediction if person.is_new else None
            self._add(person.track_id, person.box, frame, person.events, prediction)

    def _add(
        self, subject: str, box: Box | None, frame: MediaFrame, events: Iterable[Event], prediction: Prediction | None
    ) -> None:
        for event in events:
            if event.type is EventType.BEGAN:
                self._begin(subject, box, event, frame)
            elif (subject, event.class_index) in self._running:
                occurrence, _ = self._running.pop((subject, event.class_index))
                occurrence.duration, occurrence.score, occurrence.is_on = (
                    event.duration / NANOSECONDS,
                    event.score,
                    False,
                )
        if prediction is not None:
            self._go_on(subject, frame.time, prediction)

    def so_far(self) -> list[Occurrence]:
        """Return copies of all occurrences by beginning; the longest ones have pictures."""
        shown = set(longest(self._all, self._most_pictures))
        copies = [replace(one) if one in shown else replace(one, picture=None) for one in self._all]
        return sorted(copies, key=lambda occurrence: occurrence.start)

    def _begin(self, subject: str, box: Box | None, event: Event, frame: MediaFrame) -> None:
        # Convert the event's stamp to time by means of the frame, which has both.
        start = max(0.0, frame.time - (frame.stamp - event.start) / NANOSECONDS)
        shown = frame.picture if box is None else _part(frame.picture, box)
        picture = thumbnail(frame.time, shown, _PICTURE_WIDTH)
        duration = event.duration / NANOSECONDS
        occurrence = Occurrence(event.class_index, start, duration, event.score, picture=picture, subject=subject)
        self._all.append(occurrence)
        self._running[subject, event.class_index] = occurrence, []
        if sum(other.picture is not None for other in self._all) > 2 * self._most_pictures:
            self._drop_pictures()

    def _go_on(self, subject: str, time: float, prediction: Prediction) -> None:
        for (other, class_index), (occurrence, scores) in self._running.items():
            if other == subject:
                scores.append(float(prediction.by_label[class_index]))
                occurrence.duration = max(occurrence.duration, time - occurrence.start)
                occurrence.score = float(np.mean(scores))

    def _drop_pictures(self) -> None:
        for occurrence in longest(self._all, len(self._all))[self._most_pictures :]:
            occurrence.picture = None


def longest(occurrences: Iterable[Occurrence], count: int) -> list[Occurrence]:
    """Return the `count` longest occurrences, longest first."""
    return sorted(occurrences, key=lambda occurrence: -occurrence.duration)[:count]


def _part(picture: Picture, box: Box) -> Picture:
    """Return the part of a picture around `box`, in the proportions of the whole; all of it if the box is not in it."""
    height, width = picture.shape[:2]
    scale = min(1.0, _AROUND * max(box.width / width, box.height / height))
    part_width, part_height = max(1, round(scale * width)), max(1, round(scale * height))
    left = round(min(max(box.x - part_width / 2, 0), width - part_width))
    top = round(min(max(box.y - part_height / 2, 0), height - part_height))
    return picture[top : top + part_height, left : left + part_width]
