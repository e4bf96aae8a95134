"""The actions of an image's subjects, collected from the streams, which are classified one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.subjects.detections import Detection

_REMEMBERED = 64  # images at most whose subjects may still report


@dataclass(frozen=True)
class SubjectActions:
    """A subject as it was detected in an image, and the prediction of the window that ends with that image."""

    detection: Detection
    prediction: Prediction


@dataclass(frozen=True)
class FrameActions:
    """What the subjects in one image do, by falling size of their boxes."""

    header: FrameHeader
    subjects: tuple[SubjectActions, ...]


@dataclass
class _Frame:
    header: FrameHeader
    detections: Mapping[str, Detection]
    predictions: dict[str, Prediction] = field(default_factory=dict)
    is_published: bool = False


class ActionCollector:
    """Publishes the actions of each image once, when all its subjects have reported or gone on to a later image.

    A subject whose first window is not full yet is not waited for. Any thread may call the methods; `publish` is called
    with a lock held, so that images come in their order.
    """

    def __init__(self, publish: Callable[[FrameActions], None]) -> None:
        self._publish = publish
        self._lock = threading.RLock()  # a subject may end while a frame is handed over
        self._frames: dict[int, _Frame] = {}  # by the frame's index, in its order
        self._newest: dict[str, int] = {}  # index of the newest frame that each subject has reported

    @contextmanager
    def expecting(
        self, index: int, header: FrameHeader, detections: Callable[[], Mapping[str, Detection]]
    ) -> Iterator[None]:
        """Prepare for the reports of the subjects in the frame `index`, which is handed to their streams meanwhile.

        `detections` is asked afterwards for what they were detected as, by their tracks' ids.
        """
        with self._lock:  # a stream may report at once
            yield
            self._frames[index] = _Frame(header, dict(detections()))
            while len(self._frames) > _REMEMBERED:
                self._finish(self._frames.pop(next(iter(self._frames))))

    def add(self, track_id: str, prediction: Prediction) -> None:
        """Take in the prediction of one subject."""
        with self._lock:
            self._newest[track_id] = prediction.frame
            frame = self._frames.get(prediction.frame)
            if frame is not None and track_id in frame.detections:
                frame.predictions[track_id] = prediction
                if frame.is_published:  # the subject's first window, which was not waited for
                    self._finish(frame)
            self._release()

    def forget(self, track_id: str) -> None:
        """Wait for this subject no more."""
        with self._lock:
            self._newest.pop(track_id, None)
            self._release()

    def clear(self) -> None:
        """Forget all frames and subjects."""
        with self._lock:
            self._frames.clear()
            self._newest.clear()

    def _release(self) -> None:
        newest = max(self._newest.values(), default=-1)
        for index, frame in self._frames.items():
            waited_for = frame.detections.keys() & self._newest.keys()
            if index > newest or any(self._newest[track_id] < index for track_id in waited_for):
                break
            self._finish(frame)

    def _finish(self, frame: _Frame) -> None:
        """Publish what has been reported of a frame, if anything has."""
        predictions, frame.predictions = frame.predictions, {}
        if not predictions:
            return
        frame.is_published = True
        subjects = [SubjectActions(frame.detections[track_id], one) for track_id, one in predictions.items()]
        subjects.sort(key=lambda one: -one.detection.box.area)
        self._publish(FrameActions(frame.header, tuple(subjects)))
