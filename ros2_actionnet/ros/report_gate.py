"""Lets reports of other threads act on something until it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ReportGate:
    """Runs reports, one at a time, until it is closed: an inference or a load may outlast what it was made for."""

    def __init__(self) -> None:
        self._acting = threading.Lock()
        self._closed = False

    def run(self, act: Callable[[], None]) -> None:
        """Run `act`, unless the gate is closed."""
        with self._acting:
            if not self._closed:
                act()

    def close(self) -> None:
        """Let nothing through any more; waits for a report that is being acted on."""
        with self._acting:
            self._closed = True
