"""Progress and cancellation of long loads, such as downloads and engine builds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ros2_actionnet.errors import LoadCancelled

PROGRESS_PERIOD = 5.0
"""s, interval of the progress reports of a slow step."""

DOWNLOAD_PERIOD = 3.0
"""s, interval of the lines that report a download."""


class LoadMonitor(Protocol):
    """Receives the progress of a load and can cancel it. Thread-safe."""

    def progress(self, what: str) -> None:
        """Receive a short description of the current step; called every few seconds during a long load."""

    def downloaded(self, name: str, done: int, total: int) -> None:
        """Receive the state of the download of `name`, in bytes, several times a second; `total` is 0 if unknown."""

    def cancelled(self) -> bool:
        """Return True to cancel the load, which then raises LoadCancelled at its next check."""


class Unmonitored:
    """A LoadMonitor that ignores progress and never cancels."""

    def progress(self, what: str) -> None:
        """Ignore the progress."""

    def downloaded(self, name: str, done: int, total: int) -> None:
        """Ignore the progress."""

    def cancelled(self) -> bool:
        """Return False."""
        return False


UNMONITORED = Unmonitored()


def end_if_cancelled(monitor: LoadMonitor, name: str) -> None:
    """Raise LoadCancelled if the load of the network called `name` has been cancelled."""
    if monitor.cancelled():
        raise LoadCancelled(f"loading {name} was cancelled")


def megabytes(size: int) -> str:
    """Format a number of bytes in MB."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


class DownloadInWords:
    """Turns the state of a download into a line of text every few seconds, for monitors that show text."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._next = 0.0  # s, monotonic clock

    def __call__(self, name: str, done: int, total: int) -> None:
        """Receive the bytes received so far, of how many (0: unknown)."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + DOWNLOAD_PERIOD
            of_all = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else megabytes(done)
            self._say(f"downloading {name}, {of_all}")


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
