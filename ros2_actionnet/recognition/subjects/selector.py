"""Which of the detected objects get a stream of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ros2_actionnet.recognition.subjects.detections import Detection

HYSTERESIS = 1.5
"""How much larger than a subject's a newcomer's box must be to take its place; sizes jitter from frame to frame."""


def select_subjects(
    candidates: Iterable[Detection], current: Collection[str], max_subjects: int
) -> tuple[list[Detection], int]:
    """Return the detections with the largest boxes, at most `max_subjects`, and the number of those left out.

    Those whose ids are in `current` have streams already, and keep them until another one is `HYSTERESIS` times as
    large.
    """

    def claim(detection: Detection) -> tuple[float, str]:
        favor = HYSTERESIS if detection.track_id in current else 1.0
        return -favor * detection.box.area, detection.track_id

    ranked = sorted(candidates, key=claim)
    return ranked[:max_subjects], max(0, len(ranked) - max_subjects)
