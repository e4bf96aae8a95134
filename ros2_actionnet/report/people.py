"""What each tracked person does over time: a lane a person in the timeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult
from ros2_actionnet.report.drawing import WIDTH

MOST_PEOPLE = 16
"""Maximum number of people in the timeline; those with the most predictions are chosen."""

_LONGEST = 1.0  # s between two predictions of one segment; longer ones leave a gap


@dataclass
class _Segment:
    """A time in which one class was the best; -1 for none."""

    start: float
    end: float
    best: int


@dataclass(frozen=True)
class PersonLane:
    """A person in the timeline.

    Attributes:
        track_id: The id of the track.
        segments: Left end and width in units of the drawing, and the index of the best class, -1 for none.
        mostly: Index of the class that was the best most often, -1 for none.
    """

    track_id: str
    segments: list[tuple[float, float, int]]
    mostly: int


class People:
    """Collects the best class of every person over time."""

    def __init__(self) -> None:
        self._segments: dict[str, list[_Segment]] = {}
        self._counts: dict[str, Counter[int]] = {}

    def __len__(self) -> int:
        """Number of people with a prediction."""
        return len(self._segments)

    def add(self, time: float, subjects: Iterable[SubjectResult]) -> None:
        """Add the new predictions of a frame at `time`, s from the beginning."""
        for subject in subjects:
            if subject.is_new and subject.prediction is not None:
                self._add(subject.track_id, time, subject.prediction.class_id)

    def _add(self, track_id: str, time: float, best: int) -> None:
        segments = self._segments.setdefault(track_id, [])
        self._counts.setdefault(track_id, Counter())[best] += 1
        follows = bool(segments) and time - segments[-1].end <= _LONGEST
        if follows:
            segments[-1].end = time
        if not follows or segments[-1].best != best:
            segments.append(_Segment(time, time, best))

    def lanes(self, duration: float) -> list[PersonLane]:
        """Return the lanes of at most `MOST_PEOPLE`, by their beginning, for an input of `duration` s."""
        chosen = sorted(self._segments, key=lambda track_id: -self._counts[track_id].total())[:MOST_PEOPLE]
        scale = WIDTH / duration
        return [
            PersonLane(
                track_id,
                [(scale * one.start, scale * (one.end - one.start), one.best) for one in self._segments[track_id]],
                self._counts[track_id].most_common(1)[0][0],
            )
            for track_id in sorted(chosen, key=lambda track_id: self._segments[track_id][0].start)
        ]
