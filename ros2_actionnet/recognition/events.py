"""Hysteresis over score vectors: which actions began and which ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.recognition.frame_header import nanoseconds


class EventType(Enum):
    """The kind of an event; the values are those of ``msg/ActionEvent.msg``."""

    BEGAN = 0
    ENDED = 1


@dataclass(frozen=True)
class Event:
    """An action began or ended.

    Attributes:
        type: Whether it began or ended.
        class_index: Index of the class in the network's scores.
        score: Mean score over the predictions of the event so far, in [0, 1].
        start: Stamp of the first prediction of the event, in nanoseconds.
        duration: Nanoseconds from `start` to the prediction that reports it; for ENDED, to the last one in which the
            class was still on.
    """

    type: EventType
    class_index: int
    score: float
    start: int
    duration: int


@dataclass
class _Run:
    """The unbroken run of predictions in which one class is on: a candidate, and once reported an event."""

    class_index: int
    start: int
    last: int
    score_sum: float = 0.0
    predictions: int = 0
    reported: bool = False

    def extend(self, score: float, stamp: int) -> None:
        self.last = stamp
        self.score_sum += score
        self.predictions += 1

    def event(self, event_type: EventType) -> Event:
        return Event(
            event_type, self.class_index, self.score_sum / self.predictions, self.start, self.last - self.start
        )


class EventDetector:
    """Turns a sequence of score vectors into events, with a hysteresis of its own for each class.

    A class becomes a candidate when its score reaches `event_on` and stays one while its score is at least
    `event_off`. Once that has lasted `event_min_duration` its beginning is reported, and from then on its end will be.
    Shorter candidates are discarded without an event. Several classes can be on at once.
    """

    def __init__(self, event_on: float, event_off: float, event_min_duration: float) -> None:
        """Start with no class on; for the arguments see `configure`."""
        self._runs: dict[int, _Run] = {}
        self.configure(event_on, event_off, event_min_duration)

    def configure(self, event_on: float, event_off: float, event_min_duration: float) -> None:
        """Change the settings, whose ranges `Settings` has checked; running events continue under the new ones.

        Args:
            event_on: Score in [0, 1] at which a class becomes a candidate.
            event_off: Score in [0, `event_on`] under which it ends.
            event_min_duration: Seconds (>= 0) a candidate must last to be reported; 0 reports it at once.
        """
        self._event_on = event_on
        self._event_off = event_off
        self._event_min_duration = nanoseconds(event_min_duration)

    def update(self, scores: NDArray[np.float32], stamp: int, allowed: NDArray[np.bool_] | None = None) -> list[Event]:
        """Process one prediction.

        Args:
            scores: float32 [classes], in [0, 1]; the number of classes may change only after `reset`.
            stamp: When it was, in nanoseconds; never before the last one (call `reset` when time runs backwards).
            allowed: bool [classes], the classes that may be on; None allows all.

        Returns:
            What this prediction began and ended: the ends first, each kind by rising class index.
        """
        # Whole vectors are compared here, so that 1040 classes cost microseconds; the loops see only those that are on.
        may_begin = scores >= self._event_on
        stays_on = scores >= self._event_off
        if allowed is not None:
            may_begin &= allowed
            stays_on &= allowed

        over = [self._runs.pop(index) for index in sorted(self._runs) if not stays_on[index]]
        for index in np.flatnonzero(may_begin).tolist():
            if index not in self._runs:
                self._runs[index] = _Run(index, start=stamp, last=stamp)
        for index, run in self._runs.items():
            run.extend(float(scores[index]), stamp)
        return [run.event(EventType.ENDED) for run in over if run.reported] + self._report_begun()

    def reset(self) -> list[Event]:
        """Forget everything: for when the window was emptied or the network changed.

        Returns:
            The end of every reported event, at the last prediction it was on, by rising class index.
        """
        ended = [run.event(EventType.ENDED) for _, run in sorted(self._runs.items()) if run.reported]
        self._runs.clear()
        return ended

    def _report_begun(self) -> list[Event]:
        began = []
        for _, run in sorted(self._runs.items()):
            if not run.reported and run.last - run.start >= self._event_min_duration:
                run.reported = True
                began.append(run.event(EventType.BEGAN))
        return began
