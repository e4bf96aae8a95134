"""The classifier's part in a run over a source: its frames in, classified frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from ros2_actionnet.backends import Session
from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import Annotation, OverlayLine
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.recognition.events import Event, EventDetector
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.sampling import FrameSampler, Sample, sampling_policy
from ros2_actionnet.recognition.window_classifier import WindowClassifier, preprocessor
from ros2_actionnet.settings import Settings


@dataclass
class Stopwatch:
    """Adds up the time that one thread spends in its `with` blocks (s), and counts them."""

    seconds: float = 0.0
    count: int = 0
    _started: float = field(default=0.0, repr=False)

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += perf_counter() - self._started
        self.count += 1


class Recognizer:
    """One network over the frames of a source, and after `reset` of the next one; not thread-safe.

    Attributes:
        sampled: frames taken into the window.
        restarts: how often the window was emptied after the first frame.
        windows: windows classified.
        overtaken: windows left out because a newer one was there.
        broken: frames that could not be understood.
        thumbnail, inference: the time that these took.
    """

    def __init__(self, session: Session[Any], settings: Settings) -> None:
        """Begins with an empty window. Raises SettingsError for a class filter that names no class of the network."""
        network = session.network
        self._settings = settings
        self._labels, self._frames = network.labels, network.frames
        self._allowed = allowed_classes(network.labels, settings.class_filter)
        self._sampler = FrameSampler(sampling_policy(settings))
        self._preprocessor = preprocessor(network, settings)
        self._pixels = np.empty((network.height, network.width, 3), np.uint8)
        self._classifier = WindowClassifier(session, settings)
        self._detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)
        self.reset()

    def reset(self) -> None:
        """Forgets all frames and counts from 0 again."""
        self._sampler.reset()  # so that the next frame empties the window
        self._detector.reset()
        self._owed: Sample | None = None  # the place in the window of frames that could not be understood
        self._prediction: Prediction | None = None
        self.sampled = self.restarts = self.windows = self.overtaken = self.broken = 0
        self.thumbnail, self.inference = Stopwatch(), Stopwatch()

    def recognize(self, frames: Sequence[MediaFrame], report: Callable[[str], None]) -> Iterator[ClassifiedFrame]:
        """What is made of `frames`, which come one after the other; of several, only the newest window is classified.

        A frame that cannot be understood is told to `report` and left out. Raises BackendError if the inference fails.
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
                    report(f"frame {frame.index} is left out: {error}")
                    continue
            is_new = index == newest and self._classifier.due > 0
            if is_new:
                events += self._classify(frame)
            yield ClassifiedFrame(frame, self._prediction, is_new, tuple(events))

    def annotation(self) -> Annotation:
        """What is drawn on the newest frame."""
        fill = self._classifier.fill
        if self._prediction is None:
            return Annotation(fill=fill / self._frames, status=f"filling window {fill}/{self._frames}")
        return Annotation(tuple(OverlayLine(result.label, result.score) for result in self._prediction.top()))

    def remedy(self) -> str:
        """Why no window was ever full, and what to do about it."""
        settings = self._settings
        if self.restarts:
            return (
                f"no window of {self._frames} frames was ever full, because frames were more than {settings.max_gap:g} "
                "s apart, or time ran backwards: give a larger --max-gap"
            )
        smaller = f"a smaller --skip-frames than {settings.skip_frames}, " if settings.skip_frames else ""
        if settings.sample_rate:
            smaller = f"a larger --sample-rate than {settings.sample_rate:g}, "
        return (
            f"too short for one window: {self.sampled} of its frames were sampled and {self._frames} are needed; give "
            f"a longer input, {smaller}or --warmup repeat"
        )

    def _push(self, frame: MediaFrame, sample: Sample) -> list[Event]:
        """Takes a sampled frame into the window; what ended because that emptied it."""
        self._owed = sample if self._owed is None else self._owed.then(sample)
        with self.thumbnail:
            self._preprocessor.thumbnail(frame.image, self._pixels)
        place, self._owed = self._owed, None
        self._classifier.push(self._pixels, place, frame.index)
        self.sampled += 1
        if not place.restart:
            return []
        self.restarts += self.sampled > 1
        self._prediction = None
        return self._detector.reset()

    def _classify(self, frame: MediaFrame) -> list[Event]:
        """Classifies the newest window, which ends with `frame`; what began and ended with it."""
        self.overtaken += self._classifier.due - 1
        with self.inference:
            scores = self._classifier.classify()
        self.windows += 1
        self._prediction = Prediction(
            scores,
            self._labels,
            frame.index,
            threshold=self._settings.threshold,
            allowed=self._allowed,
            top_k=self._settings.top_k,
            first_frame=self._classifier.first_frame,
        )
        return self._detector.update(scores, frame.stamp, self._allowed)
