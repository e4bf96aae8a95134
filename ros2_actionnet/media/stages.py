"""The stages of a run that are the same for one source and for several: reading, drawing, writing, and their totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.overlay import Annotation, draw_overlay
from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.images.subject_overlay import draw_subjects
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, ResultSink
from ros2_actionnet.media.channel import Channel
from ros2_actionnet.recognition.annotation import subject_label
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.recognition.stopwatch import Stopwatch

LeaveOut = Callable[[MediaFrame, ImageError], None]
"""Reports a frame that cannot be understood."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Statistics:
    """Totals of a finished run.

    Attributes:
        frames: Number of frames handed to the sinks.
        windows: Number of windows classified.
        broken: Number of frames that could not be decoded or understood.
        late: Number of frames left out of the window because their stamps did not go on from those before.
        dropped: Number of frames of a live source that were dropped.
        overtaken: Number of windows left out because a newer one was there.
        stopped: True if the run was interrupted before the source ended.
        times: The time that each stage took.
    """

    frames: int
    windows: int
    broken: int
    late: int
    dropped: int
    overtaken: int
    stopped: bool
    times: Mapping[str, Stopwatch]


class Stages:
    """What happens to the frames of one source before and after the recognizer; each stage is used by one thread.

    Attributes:
        sinks: Those of the source, by what they do.
        writing: The time that each of them takes.
        drawing: The time that drawing takes.
    """

    def __init__(self, recognizer: Recognizer, sinks: Mapping[str, ResultSink] | None = None) -> None:
        """Begin; the sinks may be opened later."""
        self._recognizer = recognizer
        self._intensity = IntensityRange(recognizer.settings.intensity_range)
        self._decoding, self.drawing = Stopwatch(), Stopwatch()
        self._frames = self._missing = self._undrawable = 0
        self.open(sinks or {})

    def open(self, sinks: Mapping[str, ResultSink]) -> None:
        """Take the sinks, before the first frame is written."""
        self.sinks, self.writing = sinks, {name: Stopwatch() for name in sinks}

    @property
    def wants_pictures(self) -> bool:
        """True if a sink wants the next frame to be drawn."""
        return any(sink.wants_pictures for sink in self.sinks.values())

    def read(self, source: FrameSource, read: Channel[MediaFrame]) -> bool:
        """Queue the frames of the source until it ends; return False if nobody wants any more before that."""
        expected = 0
        for frame in _timed(source.frames(), self._decoding):
            self._missing += frame.index - expected  # the source counts frames that it could not decode
            expected = frame.index + 1
            if not read.put(_stretched(frame, self._intensity)):
                return False
        return True

    def draw(self, result: ClassifiedFrame, annotation: Annotation, leave_out: LeaveOut) -> ClassifiedFrame | None:
        """Return the frame with its results drawn; None, and tell `leave_out`, for one that cannot be understood."""
        try:
            with self.drawing:
                return _draw_results(result, annotation)
        except ImageError as error:  # it was not sampled, or the recognizer would have found out
            self._undrawable += 1
            leave_out(result.frame, error)
            return None

    def write(self, result: ClassifiedFrame) -> None:
        """Hand a frame to all sinks. Raises what they raise."""
        for name, sink in self.sinks.items():
            with self.writing[name]:
                sink.write(result)
        self._frames += 1

    def statistics(self, *, dropped: int, stopped: bool, draws: bool) -> Statistics:
        """Return the totals so far; the time of drawing is among them if the run `draws`."""
        recognizer = self._recognizer
        times = {"decode": self._decoding, "thumbnail": recognizer.thumbnail, "inference": recognizer.inference}
        if draws:
            times["draw"] = self.drawing
        return Statistics(
            frames=self._frames,
            windows=recognizer.windows,
            broken=self._missing + recognizer.broken + self._undrawable,
            late=recognizer.late,
            dropped=dropped,
            overtaken=recognizer.overtaken,
            stopped=stopped,
            times=times | self.writing,
        )


def _draw_results(result: ClassifiedFrame, annotation: Annotation) -> ClassifiedFrame:
    """Return the frame with its results drawn on a picture. Raises ImageError if it cannot be understood."""
    image = result.frame.image
    picture = np.empty((image.height, image.width, 3), np.uint8)
    to_bgr(image, picture)
    people = [subject_label(one.track_id, one.box, one.prediction) for one in result.subjects if one.is_on]
    draw_subjects(picture, people)
    draw_overlay(picture, annotation.lines, fill=annotation.fill, status=annotation.status)
    return replace(result, annotated=picture)


def _stretched(frame: MediaFrame, intensity: IntensityRange) -> MediaFrame:
    """Return the frame with 8 bits a sample, for the network and for all pictures of it alike."""
    try:
        image = intensity.stretch(frame.image)
    except ImageError:  # reported where the frame is used
        return frame
    return frame if image is frame.image else replace(frame, image=image)


def _timed(items: Iterable[Made], watch: Stopwatch) -> Iterator[Made]:
    """Yield `items`, adding up the time that it takes to make them."""
    iterator = iter(items)
    while True:
        with watch:
            item = next(iterator, None)
        if item is None:
            watch.count -= 1
            return
        yield item
