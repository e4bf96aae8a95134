"""Measures the time that a stage takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType


@dataclass
class Stopwatch:
    """Adds up the time that one thread spends in its `with` blocks (s), and counts them."""

    seconds: float = 0.0
    count: int = 0
    _started: float = field(default=0.0, repr=False)

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += perf_counter() - self._started
        self.count += 1
