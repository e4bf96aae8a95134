"""Ids for the detections of a detector that does not track."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections

LEAST_OVERLAP = 0.3
"""Intersection over union from which two boxes of successive images may be of one object."""


@dataclass
class _Track:
    track_id: str
    label: str
    box: Box
    stamp: int  # of the image that it was last seen in, ns


class Tracker:
    """Gives detections the id of the object that they overlap most with in the images before.

    Pairs are made by falling overlap, each detection and each track once, of equal labels. A track that is not seen
    for more than `max_gap` ends, and its id does not return. Detections of a source that has ids keep them; there, a
    detection without one is not tracked yet and is left out.
    """

    def __init__(self, max_gap: float) -> None:
        """Begin with no track; `max_gap` in seconds."""
        self.max_gap = max_gap
        self._numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, and whether the source has ids."""
        self._tracks: list[_Track] = []
        self._has_ids = False

    def track(self, frame: FrameDetections) -> FrameDetections:
        """Return the detections of the next image, each with an id."""
        self._has_ids = self._has_ids or any(detection.track_id for detection in frame.detections)
        if self._has_ids:
            return replace(frame, detections=tuple(one for one in frame.detections if one.track_id))
        longest = nanoseconds(self.max_gap)
        self._tracks = [track for track in self._tracks if abs(frame.stamp - track.stamp) <= longest]
        assigned = self._assign(frame.detections)
        return replace(
            frame,
            detections=tuple(
                replace(detection, track_id=self._follow(detection, assigned.get(place), frame.stamp))
                for place, detection in enumerate(frame.detections)
            ),
        )

    def _assign(self, detections: tuple[Detection, ...]) -> dict[int, _Track]:
        """Return the track of each detection, by its place, that continues one."""
        pairs = [
            (overlap, place, number)
            for place, detection in enumerate(detections)
            for number, track in enumerate(self._tracks)
            if track.label == detection.label and (overlap := track.box.overlap(detection.box)) >= LEAST_OVERLAP
        ]
        assigned: dict[int, _Track] = {}
        taken = set[int]()
        for _, place, number in sorted(pairs, reverse=True):
            if place not in assigned and number not in taken:
                assigned[place] = self._tracks[number]
                taken.add(number)
        return assigned

    def _follow(self, detection: Detection, track: _Track | None, stamp: int) -> str:
        if track is None:
            track = _Track(str(next(self._numbers)), detection.label, detection.box, stamp)
            self._tracks.append(track)
        track.box, track.stamp = detection.box, stamp
        return track.track_id
