"""Who follows a load that may take minutes: a download, the building of an engine."""

from __future__ import annotations

from typing import Protocol

from ros2_actionnet.errors import LoadCancelled


class LoadMonitor(Protocol):
    """Hears how a load goes on, and may end it. Both may be called from any thread."""

    def progress(self, what: str) -> None:
        """Takes a few words on what is being done; called every few seconds while a load takes long."""

    def cancelled(self) -> bool:
        """Whether nobody wants the network any more; a load then ends with LoadCancelled as soon as it can."""


class Unmonitored:
    """A LoadMonitor for whoever waits for the load to end."""

    def progress(self, what: str) -> None:
        """Says nothing."""

    def cancelled(self) -> bool:
        """Never."""
        return False


UNMONITORED = Unmonitored()


def end_if_cancelled(monitor: LoadMonitor, name: str) -> None:
    """Raises LoadCancelled if the network called `name` is not wanted any more."""
    if monitor.cancelled():
        raise LoadCancelled(f"loading {name} was cancelled")
