"""What a detector saw in one image: boxes with labels and, from a tracker, with ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ros2_actionnet.images.box import Box


@dataclass(frozen=True)
class Detection:
    """An object in an image.

    Attributes:
        track_id: The same for the same object in every image; empty from a detector that does not track.
        label: The detector's own class, such as "person".
        score: In [0, 1].
        box: Where it is, pixels.
    """

    track_id: str
    label: str
    score: float
    box: Box


@dataclass(frozen=True)
class FrameDetections:
    """All detections in the image taken at `stamp` (ns)."""

    stamp: int
    detections: tuple[Detection, ...]

    def usable(self) -> FrameDetections:
        """Return those whose box has a size; of several with one id, the one with the highest score."""
        by_score = sorted((one for one in self.detections if one.box.is_valid), key=lambda one: -one.score)
        ids = set[str]()
        kept = []
        for detection in by_score:
            if not detection.track_id or detection.track_id not in ids:
                kept.append(detection)
                ids.add(detection.track_id)
        return replace(self, detections=tuple(kept))
