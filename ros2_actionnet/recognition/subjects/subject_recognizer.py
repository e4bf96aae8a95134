"""The actions of every tracked object in frames that come with their detections, such as those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.recognizer import Recognizer, TimedImage, recognize_together
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.subjects.detections import FrameDetections
from ros2_actionnet.recognition.subjects.subjects import SampledImage, Subjects
from ros2_actionnet.settings import Settings


@dataclass(frozen=True, eq=False)
class SubjectResult:
    """A tracked object in a frame.

    Attributes:
        track_id: The id of its track.
        box: Where it is, or was last seen, pixels.
        prediction: The newest one, None until its window has been classified.
        is_new: True if this frame completed the window of `prediction`.
        events: Its actions that began or ended with this frame.
        is_on: False if its stream has ended with this frame.
    """

    track_id: str
    box: Box
    prediction: Prediction | None
    is_new: bool = False
    events: tuple[Event, ...] = ()
    is_on: bool = True


class SubjectRecognizer:
    """Recognizes the actions of each tracked object in one stream of frames; not thread-safe.

    Attributes:
        windows: Number of windows classified.
    """

    def __init__(self, session: Session[Any], settings: Settings, batch: int) -> None:
        """Begin with no object; at most `batch` windows are classified in one inference."""
        self._session, self._settings, self._batch = session, settings, batch
        self._subjects = Subjects(settings, self._open)
        self._streams: dict[str, _Stream] = {}
        self._ended: list[_Stream] = []
        self.windows = 0

    @property
    def begun(self) -> int:
        """Number of tracks that had a stream."""
        return self._subjects.status().begun

    def recognize(self, frame: TimedImage, detections: FrameDetections | None) -> list[SubjectResult]:
        """Recognize one frame; return its objects by id, and those that have ended with it.

        Raises ImageError for a frame that cannot be understood, and BackendError if the inference fails.
        """
        sample = self._subjects.sample(frame.stamp)
        if sample is None:
            return self._results(self._boxes(detections), {})
        header = FrameHeader.at(frame.stamp)
        image = SampledImage(frame.image, sample, header, frame.index, frame.stamp)
        self._subjects.show(image, detections)
        due = [stream for stream in self._streams.values() if stream.is_due]
        events: dict[str, tuple[Event, ...]] = {}
        for first in range(0, len(due), self._batch):
            batch = due[first : first + self._batch]
            found = recognize_together([(stream.recognizer, frame) for stream in batch])
            for stream, its_events in zip(batch, found, strict=True):
                events[stream.track_id] = tuple(its_events)
                stream.is_due = False
        self.windows += len(due)
        return self._results(self._boxes(detections), events)

    def reset(self) -> None:
        """Forget all frames and objects."""
        self._subjects.reset()
        self._ended.clear()
        self.windows = 0

    def _open(self, track_id: str) -> _Stream:
        stream = _Stream(track_id, Recognizer(self._session, self._settings), self._close)
        self._streams[track_id] = stream
        return stream

    def _close(self, stream: _Stream) -> None:
        del self._streams[stream.track_id]
        self._ended.append(stream)

    def _boxes(self, detections: FrameDetections | None) -> dict[str, Box]:
        """Return the box of each object, the one in this frame where it is known."""
        boxes = {track_id: one.box for track_id, one in self._subjects.detections.items()}
        for detection in () if detections is None else detections.usable().detections:
            if detection.track_id in boxes:
                boxes[detection.track_id] = detection.box
        return boxes

    def _results(self, boxes: dict[str, Box], events: dict[str, tuple[Event, ...]]) -> list[SubjectResult]:
        results = []
        for track_id, box in sorted(boxes.items()):
            prediction = self._streams[track_id].recognizer.prediction
            results.append(SubjectResult(track_id, box, prediction, track_id in events, events.get(track_id, ())))
        for stream in self._ended:
            ended = tuple(stream.recognizer.end_events())
            results.append(SubjectResult(stream.track_id, stream.box, None, events=ended, is_on=False))
        self._ended.clear()
        return results


@dataclass(frozen=True, eq=False)
class _Part:
    """A frame, of which a part is recognized."""

    index: int
    stamp: int
    image: RawImage


class _Stream:
    """The stream of one object, as `Subjects` feeds it."""

    def __init__(self, track_id: str, recognizer: Recognizer, on_closed: Callable[[_Stream], None]) -> None:
        self.track_id, self.recognizer = track_id, recognizer
        self.is_due = False
        self.box = Box(0, 0, 0, 0)
        self._on_closed = on_closed

    def submit(
        self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int, box: Box | None = None
    ) -> None:
        assert box is not None
        self.box = box
        self.is_due = self.recognizer.take_sampled(_Part(index, taken_at, image), sample, box)

    def configure(self, settings: Settings) -> None:
        self.recognizer.configure(settings)

    def reset(self) -> None:
        self.recognizer.empty_window()

    def close(self) -> None:
        self._on_closed(self)
