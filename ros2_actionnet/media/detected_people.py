"""The people in a video whose boxes are known, from a file or from a topic of the bag."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ros2_actionnet.media.base import MediaFrame
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectRecognizer, SubjectResult


def index_of(frame: MediaFrame) -> int:
    """Return the number of a frame, by which the boxes of a file are found."""
    return frame.index


def header_stamp_of(frame: MediaFrame) -> int:
    """Return the stamp (ns) in the header of a frame's message, by which those of a topic are."""
    return frame.stamp if frame.message is None else frame.message.header.stamp


class DetectedPeople:
    """Recognizes what the people in a video do, whose boxes are known; not thread-safe.

    Attributes:
        matched: Number of frames that had boxes.
    """

    def __init__(
        self,
        recognizer: SubjectRecognizer,
        detections: Mapping[int, tuple[Detection, ...]],
        key: Callable[[MediaFrame], int] = index_of,
    ) -> None:
        """Begin; `detections` are those of each frame, by its `key`."""
        self._recognizer, self._detections, self._key = recognizer, detections, key
        self.matched = 0

    @property
    def found(self) -> int:
        """Number of people recognized so far."""
        return self._recognizer.begun

    @property
    def windows(self) -> int:
        """Number of their windows classified so far."""
        return self._recognizer.windows

    def recognize(self, frame: MediaFrame) -> list[SubjectResult]:
        """Return the people in the next frame; one that is not among the detections has no boxes."""
        found = self._detections.get(self._key(frame))
        self.matched += found is not None
        return self._recognizer.recognize(frame, FrameDetections(frame.stamp, found or ()))
