"""The clock that outputs run by, which goes on where the clock of the input jumps."""

from __future__ import annotations

from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.recognition.sampling import CONVINCING, TOLERATED_INTERVALS

_LONGEST_PAUSE = 10 * NANOSECONDS
_LONGEST_LATENESS = 1 * NANOSECONDS
_TICK = NANOSECONDS // 1000


class OutputClock:
    """Turns the stamps of an input's frames into their times in an output: from 0 on, and always increasing.

    A pause of up to 10 s, or of a few frame intervals where these are longer, stays as it is. A longer step forward, or
    one back by more than 1 s, is a jump of the input's clock (set at boot, recordings joined into one): the output goes
    on by one frame interval. A frame that is late by less is shown for 1 ms, and those after it at their times; the
    fourth in a row shows that the clock has been set, and the output goes on as if it had not been.
    """

    def __init__(self, rate: float) -> None:
        """Begin at 0; `rate` (Hz) is the input's."""
        self._period = round(NANOSECONDS / rate)
        self._offset: int | None = None  # from the input's clock to the output's, ns
        self._newest = -self._period  # time of the newest frame, ns
        self._late = 0  # frames in a row until then

    def time(self, stamp: int, after_a_loss: bool = False) -> float:
        """Return the time (s) of the next frame, stamped `stamp` (ns).

        After the loss of a live input, a step forward is the time that it was away, however long.
        """
        due = self._newest + self._period
        step = 0 if self._offset is None else self._offset + stamp - self._newest
        is_pause = after_a_loss or step <= max(_LONGEST_PAUSE, TOLERATED_INTERVALS * self._period)
        self._late = self._late + 1 if step < 0 else 0
        if self._late == CONVINCING:
            due += (CONVINCING - 1) * (self._period - _TICK)  # what those before were shown for less
            self._offset, self._late = due - stamp, 0
        elif self._offset is None or not is_pause or step < -_LONGEST_LATENESS:
            self._offset, self._late = due - stamp, 0
        self._newest = max(self._offset + stamp, self._newest + _TICK)
        return self._newest / NANOSECONDS

    def rejoin(self) -> None:
        """Show the next frame one interval after the newest, whatever its stamp: it begins another recording."""
        self._offset = None
