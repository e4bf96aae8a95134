"""Handles of resources that one thread reads and any thread may close."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Handle:
    """Protects a resource from being freed while it is being read.

    with handle as is_open:
        if is_open:
            ...  # read
    """

    def __init__(self, free: Callable[[], None]) -> None:
        """Guard the resource that `free` frees; `free` must be safe to call twice."""
        self._free, self._lock, self._closed = free, threading.Lock(), False

    def __enter__(self) -> bool:
        self._lock.acquire()
        return not self._closed

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._closed:
            self.close()

    def close(self) -> None:
        """Free the resource, at once or, if it is being read, after the read in the reading thread."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._free()
            finally:
                self._lock.release()
