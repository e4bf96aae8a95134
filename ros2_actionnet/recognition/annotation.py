"""Makes what is drawn on a frame from the newest prediction or from how full the window is."""

from __future__ import annotations

from ros2_actionnet.images.box import Box
from ros2_actionnet.images.overlay import Annotation, OverlayLine
from ros2_actionnet.images.subject_overlay import SubjectLabel
from ros2_actionnet.recognition.prediction import Prediction


def annotation_of(prediction: Prediction | None, fill: int, frames: int) -> Annotation:
    """Return the results of `prediction`, best first; without one, the window's fill of `fill` of `frames` frames."""
    if prediction is None:
        return Annotation(fill=fill / frames, status=f"filling window {fill}/{frames}")
    return Annotation(tuple(OverlayLine(result.label, result.score) for result in prediction.top()))


def subject_label(track_id: str, box: Box, prediction: Prediction | None) -> SubjectLabel:
    """Return the box of a subject with its best action and that one's score in percent; empty without one."""
    best = None if prediction is None else prediction.best
    return SubjectLabel(track_id, box, "" if best is None else f"{best.label} {100 * best.score:.0f}%")
