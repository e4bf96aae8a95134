"""Progress and cancellation of long loads, such as downloads and engine builds."""

from __future__ import annotations

from typing import Protocol

from ros2_actionnet.errors import LoadCancelled


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
