"""What one thread reads and any thread may close."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Handle:
    """Holds on to something while it is read, so that nobody frees it under the reader.

    with handle as is_open:
        if is_open:
            ...  # read
    """

    def __init__(self, free: Callable[[], None]) -> None:
        """Takes what frees it, which must be able to run twice."""
        self._free, self._lock, self._closed = free, threading.Lock(), False

    def __enter__(self) -> bool:
        self._lock.acquire()
        return not self._closed

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._closed:
            self.close()

    def close(self) -> None:
        """Frees it at once or, if it is being read, as soon as that is over, in the thread that reads."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._free()
            finally:
                self._lock.release()
