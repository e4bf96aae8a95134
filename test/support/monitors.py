"""A LoadMonitor that records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Recorder:
    """A monitor that notes what it is told, and cancels when `until` says so."""

    said: list[str] = field(default_factory=list)
    until: Callable[[], bool] = lambda: False

    def progress(self, what: str) -> None:
        self.said.append(what)

    def cancelled(self) -> bool:
        return self.until()
