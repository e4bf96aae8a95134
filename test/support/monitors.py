"""A LoadMonitor that records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ros2_actionnet.load_monitor import DownloadInWords


@dataclass
class Recorder:
    """A monitor that notes what it is told, and cancels when `until` says so."""

    said: list[str] = field(default_factory=list)
    received: list[tuple[str, int, int]] = field(default_factory=list)
    until: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._in_words = DownloadInWords(self.said.append)

    def progress(self, what: str) -> None:
        self.said.append(what)

    def downloaded(self, name: str, done: int, total: int) -> None:
        self.received.append((name, done, total))
        self._in_words(name, done, total)

    def cancelled(self) -> bool:
        return self.until()
