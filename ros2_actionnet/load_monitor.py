"""Progress and cancellation of long loads, such as downloads and engine builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ros2_actionnet.errors import LoadCancelled

PROGRESS_PERIOD = 5.0
"""s, interval of the progress reports of a slow step."""


class LoadMonitor(Protocol):
    """Receives the progress of a load and can cancel it. Thread-safe."""

    def progress(self, what: str) -> None:
        """Receive a short description of the current step; called every few seconds during a long load."""

    def cancelled(self) -> bool:
        """Return True to cancel the load, which then raises LoadCancelled at its next check."""


class Unmonitored:
    """A LoadMonitor that ignores progress and never cancels."""

    def progress(self, what: str) -> None:
        """Ignore the progress."""

    def cancelled(self) -> bool:
        """Return False."""
        return False


UNMONITORED = Unmonitored()


def end_if_cancelled(monitor: LoadMonitor, name: str) -> None:
    """Raise LoadCancelled if the load of the network called `name` has been cancelled."""
    if monitor.cancelled():
        raise LoadCancelled(f"loading {name} was cancelled")


class LoadWatch:
    """Reports a step of a load that takes long, and ends it by raising LoadCancelled when the monitor cancels it."""

    def __init__(self, monitor: LoadMonitor, name: str, words: Callable[[float], str], first_report: float) -> None:
        """Watch the load of the network `name`; `words` describes the step by its seconds so far.

        The first report comes after `first_report` seconds, the others every 5 s.
        """
        self._monitor, self._name, self._words, self._report_at = monitor, name, words, first_report

    def __call__(self, elapsed: float) -> None:
        """Check the monitor, `elapsed` seconds after the start of the step."""
        end_if_cancelled(self._monitor, self._name)
        if elapsed >= self._report_at:
            self._report_at = elapsed + PROGRESS_PERIOD
            self._monitor.progress(self._words(elapsed))
