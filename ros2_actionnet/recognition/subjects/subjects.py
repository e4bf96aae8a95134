"""The subjects of one camera: a stream of its own for every track that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.recognition.sampling import FrameSampler, MissedFrames, Sample
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.recognition.subjects.selector import select_subjects
from ros2_actionnet.recognition.subjects.tracker import Tracker
from ros2_actionnet.recognition.subjects.view import SubjectView
from ros2_actionnet.settings import Settings


class SubjectStream(Protocol):
    """A stream with a window of its own, such as `live.stream.Stream`."""

    def submit(
        self,
        image: RawImage,
        sample: Sample,
        header: FrameHeader,
        index: int,
        taken_at: int,
        box: Box | None = None,
    ) -> None:
        """Take the part of a sampled frame that is in `box`. Raises ImageError if it cannot be understood."""

    def configure(self, settings: Settings) -> None:
        """Take over other settings."""

    def reset(self) -> None:
        """Empty the window."""

    def close(self) -> None:
        """End the stream: its actions end, its memory is free."""


OpenStream = Callable[[str], SubjectStream]
"""Opens the stream of a new subject, given its track's id."""


@dataclass(frozen=True)
class SampledImage:
    """A sampled frame of the camera, as `Subjects.sample` said; `index` counts all its frames from 0.

    `taken_at` (ns) is the time by which it was sampled, the same clock for all frames; the stamp of its detections is
    that of its header.
    """

    image: RawImage
    sample: Sample
    header: FrameHeader
    index: int
    taken_at: int


@dataclass(frozen=True)
class SubjectsStatus:
    """A snapshot for diagnostics; the counts are since the start."""

    subjects: int  # that have a stream
    left_out: int  # in the newest image, because there were more than max_subjects
    begun: int  # streams opened
    lost: int  # streams closed because their track was not seen for max_gap


@dataclass
class _Subject:
    detection: Detection
    stream: SubjectStream
    view: SubjectView
    seen: int  # the time of the image that it was last detected in, ns


class Subjects:
    """Opens, feeds and closes the streams of the tracks in one camera's images; not thread-safe.

    A track that is not detected keeps its view, which moves on ever slower, for `max_gap`; then its stream is closed.
    An id that returns later begins anew.
    """

    def __init__(self, settings: Settings, open_stream: OpenStream) -> None:
        """Begin with no subject."""
        self._settings = settings
        self._open_stream = open_stream
        self._sampler = FrameSampler(settings)
        self._missed = MissedFrames()
        self._tracker = Tracker(settings.max_gap)
        self._subjects: dict[str, _Subject] = {}
        self._newest: int | None = None
        self._left_out = self._begun = self._lost = 0

    def sample(self, taken_at: int) -> Sample | None:
        """Return the place in the windows of the next frame, taken at `taken_at` (ns); None if it is not sampled.

        It is decided before the frame waits for its detections, so that only sampled frames do.
        """
        sample = self._sampler.offer(taken_at)
        return None if sample is None else self._missed.combined_with(sample)

    def miss(self, sample: Sample) -> None:
        """Record that the frame of `sample` is not coming, because its pixels cannot be understood."""
        self._missed.add(sample)

    def show(self, frame: SampledImage, detections: FrameDetections | None) -> None:
        """Hand a frame with its detections to the streams; None if no detections came for it.

        Raises ImageError, after the tracks are updated, for an image that cannot be understood.
        """
        now = frame.taken_at
        if frame.sample.restart:
            self._close_all()
        if detections is not None:
            self._update(self._tracker.track(detections.usable()), now)
        self._end_lost(now)
        error: ImageError | None = None
        for subject in self._subjects.values():
            if subject.seen != now:
                subject.view.bridge(now)
            try:
                subject.stream.submit(frame.image, frame.sample, frame.header, frame.index, now, box=subject.view.box)
            except ImageError as unusable:  # for one subject, so for all of them
                error = unusable
        if error is not None:
            self.miss(frame.sample)
            raise error

    def configure(self, settings: Settings) -> None:
        """Take over other settings, for the streams too."""
        self._settings = settings
        self._sampler.configure(settings)
        self._tracker.max_gap = settings.max_gap
        for subject in self._subjects.values():
            subject.view.margin = settings.box_margin
            subject.stream.configure(settings)

    def reset(self) -> None:
        """End all subjects, as before the first frame."""
        self._close_all()
        self._sampler.reset()
        self._missed.clear()
        self._tracker.reset()

    def close(self) -> None:
        """End all streams."""
        self._close_all()

    @property
    def detections(self) -> Mapping[str, Detection]:
        """The newest detection of each subject, by its track's id; one that is missed is as it was last seen."""
        return {track_id: subject.detection for track_id, subject in self._subjects.items()}

    @property
    def views(self) -> Mapping[str, Box]:
        """The newest view of each subject, by its track's id."""
        return {track_id: subject.view.box for track_id, subject in self._subjects.items()}

    def status(self) -> SubjectsStatus:
        """Return a snapshot for diagnostics."""
        return SubjectsStatus(len(self._subjects), self._left_out, self._begun, self._lost)

    def _update(self, frame: FrameDetections, now: int) -> None:
        classes = self._settings.subject_classes
        seen = {one.track_id: one for one in frame.detections if not classes or one.label in classes}
        # A subject that is missed for a moment keeps its stream as if it were where it was last seen.
        candidates = {**self.detections, **seen}
        chosen, self._left_out = select_subjects(
            candidates.values(), self._subjects.keys(), self._settings.max_subjects
        )
        chosen_ids = {detection.track_id for detection in chosen}
        for track_id in [track_id for track_id in self._subjects if track_id not in chosen_ids]:
            self._subjects.pop(track_id).stream.close()
        for detection in chosen:
            if detection.track_id in seen:
                self._follow(detection, now)

    def _follow(self, detection: Detection, now: int) -> None:
        subject = self._subjects.get(detection.track_id)
        if subject is not None and now - subject.seen > nanoseconds(self._settings.max_gap):
            self._lose(detection.track_id)
            subject = None
        if subject is None:
            view = SubjectView(detection.box, now, self._settings.box_margin)
            stream = self._open_stream(detection.track_id)
            self._subjects[detection.track_id] = _Subject(detection, stream, view, now)
            self._begun += 1
            return
        subject.detection, subject.seen = detection, now
        subject.view.update(detection.box, now)

    def _end_lost(self, now: int) -> None:
        longest = nanoseconds(self._settings.max_gap)
        for track_id in [name for name, one in self._subjects.items() if now - one.seen > longest]:
            self._lose(track_id)

    def _lose(self, track_id: str) -> None:
        self._subjects.pop(track_id).stream.close()
        self._lost += 1

    def _close_all(self) -> None:
        for subject in self._subjects.values():
            subject.stream.close()
        self._subjects.clear()
