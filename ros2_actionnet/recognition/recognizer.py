"""The one recognition loop: sample, thumbnail, push, classify, predict.

    stamp ── sample ──▶ image ── push ──▶ window ── classify ──▶ prediction, events

`ActionNet` is a thin face of it and the command uses it whole. The node runs the same steps split at the queue between
ROS's thread (sampler, thumbnail) and the worker's (window, prediction, events).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.annotation import annotation_of
from ros2_actionnet.recognition.events import Event, EventDetector
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.sampling import FrameSampler, MissedFrames, Sample
from ros2_actionnet.recognition.stopwatch import Stopwatch
from ros2_actionnet.recognition.window_classifier import WindowClassifier, classify_together, preprocessor
from ros2_actionnet.settings import Effect, Settings


class TimedImage(Protocol):
    """A frame to recognize: its index, counted from 0 over the stream, its stamp (ns) and its pixels."""

    @property
    def index(self) -> int:
        """Number of the frame in its stream, from 0."""

    @property
    def stamp(self) -> int:
        """Time at which the frame was taken, in nanoseconds."""

    @property
    def image(self) -> RawImage:
        """The pixels."""


FrameT = TypeVar("FrameT", bound=TimedImage)


@dataclass(frozen=True, eq=False)
class Recognized(Generic[FrameT]):
    """A frame with the state of the recognition after it.

    Attributes:
        frame: As it was given.
        prediction: The newest one, None until a window has been classified.
        is_new: True if this frame completed the window of `prediction`.
        events: Actions that began or ended with this frame.
    """

    frame: FrameT
    prediction: Prediction | None
    is_new: bool
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Taken:
    """Says what became of a frame that was offered to the window.

    Attributes:
        is_sampled: True if it is in the window now.
        is_due: True if a window is due, which ends with it.
        ended: Actions that ended because it emptied the window.
    """

    is_sampled: bool
    is_due: bool = False
    ended: tuple[Event, ...] = ()


class Recognizer:
    """Recognizes actions in one stream of frames, and after `reset` in the next one; not thread-safe.

    Attributes:
        session: The network.
        sampled: Number of frames taken into the window.
        restarts: Number of times the window was emptied after the first frame.
        windows: Number of windows classified.
        overtaken: Number of windows left out because a newer one was there.
        broken: Number of frames that could not be understood.
        thumbnail, inference: Time that these took.
        prediction: The newest one, None until a window has been classified.
    """

    def __init__(self, session: Session[Any], settings: Settings) -> None:
        """Begin with an empty window. Raises SettingsError for a class filter that names no class of the network."""
        network = session.network
        self.session = session
        self._settings = settings
        self._allowed = allowed_classes(network.labels, settings.class_filter)
        self._sampler = FrameSampler(settings)
        self._preprocessor = preprocessor(network, settings)
        self._intensity = IntensityRange(settings.intensity_range)
        self._pixels = np.empty((network.height, network.width, 3), np.uint8)
        self._classifier = WindowClassifier(session, settings)
        self._detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)
        self._missed = MissedFrames()
        self.reset()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def configure(self, settings: Settings) -> None:
        """Apply settings that need no other network to the next frame; a new view of the image starts a new window.

        Raises SettingsError, and leaves everything as it was, for a class filter that names no class of the network.
        """
        allowed = allowed_classes(self.session.network.labels, settings.class_filter)
        if Effect.NEW_WINDOW in self._settings.changed(settings):
            self._preprocessor = preprocessor(self.session.network, settings)
            self.empty_window()
        self._detector.configure(settings.event_on, settings.event_off, settings.event_min_duration)
        self._intensity.configure(settings.intensity_range)
        self._allowed, self._settings = allowed, settings
        self._sampler.configure(settings)
        self._classifier.configure(settings)

    def reset(self) -> None:
        """Forget all frames and count from 0 again."""
        self.empty_window()
        self._detector.reset()
        self._sampler.late = 0
        self.sampled = self.restarts = self.windows = self.overtaken = self.broken = 0
        self.thumbnail, self.inference = Stopwatch(), Stopwatch()

    def empty_window(self) -> None:
        """Empty the window and forget the prediction, as before the first frame."""
        self._sampler.reset()
        self._classifier.reset()
        self._missed.clear()
        self.prediction: Prediction | None = None

    def recognize(
        self, frames: Sequence[FrameT], report: Callable[[FrameT, ImageError], None]
    ) -> Iterator[Recognized[FrameT]]:
        """Recognize consecutive frames; of the windows that they complete, only the newest is classified.

        A frame that cannot be understood is passed to `report` and left out. Raises BackendError if the inference
        fails.
        """
        samples = [self._sampler.offer(frame.stamp) for frame in frames]
        newest = max((index for index, sample in enumerate(samples) if sample is not None), default=-1)
        for index, (frame, sample) in enumerate(zip(frames, samples, strict=True)):
            events: list[Event] = []
            if sample is not None:
                try:
                    events += self._push(frame, sample)
                except ImageError as error:
                    self.broken += 1
                    report(frame, error)
                    continue
            is_new = index == newest and self.is_due
            if is_new:
                events += recognize_together([(self, frame)])[0]
            yield Recognized(frame, self.prediction, is_new, tuple(events))

    def take(self, frame: TimedImage) -> Taken:
        """Take a frame into the window if it is sampled.

        Raises ImageError for a frame that cannot be understood.
        """
        sample = self._sampler.offer(frame.stamp)
        if sample is None:
            return Taken(is_sampled=False)
        try:
            ended = self._push(frame, sample)
        except ImageError:
            self.broken += 1
            raise
        return Taken(is_sampled=True, is_due=self.is_due, ended=tuple(ended))

    @property
    def is_due(self) -> bool:
        """True if a window waits to be classified, by `recognize_together`."""
        return self._classifier.due > 0

    def take_sampled(self, frame: TimedImage, sample: Sample, box: Box) -> bool:
        """Take the part of a frame in `box`, whose place is decided, into the window; return True if one is due.

        A `Taken` would say no more: the frame is sampled, and no action ends by it, because one that empties the window
        comes to a new recognizer (`Subjects`).

        Raises ImageError for a frame that cannot be understood.
        """
        self._push(frame, sample, box)
        return self.is_due

    def end_events(self) -> list[Event]:
        """End all actions, as when the stream ends; return what ended."""
        return self._detector.reset()

    @property
    def late(self) -> int:
        """Number of frames left out because their stamps did not go on from those before."""
        return self._sampler.late

    def annotation(self) -> Annotation:
        """Return what is drawn on the newest frame."""
        return annotation_of(self.prediction, self._classifier.fill, self.session.network.frames)

    def remedy(self) -> str:
        """Return why no window was ever full, and what to do about it."""
        settings, frames = self._settings, self.session.network.frames
        if self.restarts:
            return (
                f"no window of {frames} frames was ever full, because frames were more than {settings.max_gap:g} "
                "s apart, or time ran backwards: give a larger --max-gap"
            )
        if self.late > self.sampled:
            return (
                f"no window of {frames} frames was ever full, because {self.late} frames were left out, whose "
                "stamps do not go on from those before: see whether the input's stamps are right"
            )
        smaller = f"a smaller --skip-frames than {settings.skip_frames}, " if settings.skip_frames else ""
        if settings.sample_rate:
            smaller = f"a larger --sample-rate than {settings.sample_rate:g}, "
        return (
            f"too short for one window: {self.sampled} of its frames were sampled and {frames} are needed; give "
            f"a longer input, {smaller}or --warmup repeat"
        )

    def _push(self, frame: TimedImage, sample: Sample, box: Box | None = None) -> list[Event]:
        """Take a sampled frame into the window; return the events that ended because that emptied it."""
        place = self._missed.combined_with(sample)
        if place.restart:
            self.prediction = None
        try:
            with self.thumbnail:
                image = self._intensity.stretch(frame.image)
                if box is None:
                    self._preprocessor.thumbnail(image, self._pixels)
                else:
                    self._preprocessor.thumbnail_of(image, box, self._pixels)
        except ImageError:
            self._missed.add(place)
            raise
        self._classifier.push(self._pixels, place, frame.index)
        self.sampled += 1
        if not place.restart:
            return []
        self.restarts += self.sampled > 1
        return self._detector.reset()

    def _finish(self, frame: TimedImage, scores: Scores) -> list[Event]:
        """Take the scores of the window that ends with `frame`; return the events that began and ended with it."""
        self.windows += 1
        self.prediction = Prediction(
            scores,
            self.session.network.labels,
            frame.index,
            threshold=self._settings.threshold,
            allowed=self._allowed,
            top_k=self._settings.top_k,
            first_frame=self._classifier.first_frame,
            shared=self.session.network.shared_labels,
        )
        return self._detector.update(self.prediction.by_label, frame.stamp, self._allowed)


def recognize_together(due: Sequence[tuple[Recognizer, TimedImage]]) -> list[list[Event]]:
    """Classify the windows that are due, each of another recognizer on one session, in one inference.

    Each comes with the frame that its window ends with; the events that began and ended with it are returned. Raises
    BackendError if the inference fails.
    """
    classifiers = []
    for recognizer, _ in due:
        recognizer.overtaken += recognizer._classifier.due - 1
        classifiers.append(recognizer._classifier)
    with due[0][0].inference:
        scores = classify_together(classifiers)
    return [recognizer._finish(frame, row) for (recognizer, frame), row in zip(due, scores, strict=True)]
