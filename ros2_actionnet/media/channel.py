"""Queue between two threads of a run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """A queue between two threads of at most `capacity` items; either side may end it.

    A full queue is refilled only once half of it has been taken: a thread that produced an item whenever one was
    taken would compete with the slower thread, which limits the run.
    """

    def __init__(self, capacity: int, newest_wins: bool = False, on_change: Callable[[], None] = lambda: None) -> None:
        """Begin empty; `on_change` is called, in any thread, after `put`, `take`, `finish` and `abandon`."""
        self._on_change = on_change
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._lock = threading.RLock()
        self._has_items, self._has_room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._items: deque[Item] = deque()
        self._finished = self._abandoned = False
        self.dropped = 0

    def put(self, item: Item) -> bool:
        """Add an item; if full, block, or with `newest_wins` drop the oldest. Return False once abandoned."""
        with self._lock:
            if len(self._items) == self._capacity:
                if self._newest_wins:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._has_room.wait_for(lambda: len(self._items) <= self._capacity // 2 or self._abandoned)
            if self._abandoned:
                return False
            self._items.append(item)
            self._has_items.notify()
        self._on_change()
        return True

    def take(self) -> list[Item]:
        """Wait for and return the next item, or with `newest_wins` all queued items; empty at the end."""
        with self._lock:
            self._has_items.wait_for(lambda: self._items or self._finished or self._abandoned)
            taken = [self._items.popleft() for _ in range(len(self._items) if self._newest_wins else 1) if self._items]
            if len(self._items) <= self._capacity // 2:
                self._has_room.notify()
        self._on_change()
        return taken

    def take_waiting(self) -> list[Item]:
        """Return all queued items at once, without waiting for one."""
        with self._lock:
            taken = list(self._items)
            self._items.clear()
            self._has_room.notify()
            return taken

    @property
    def waiting(self) -> int:
        """Number of queued items."""
        return len(self._items)

    @property
    def has_ended(self) -> bool:
        """True if nothing is queued and nothing will be."""
        with self._lock:
            return not self._items and (self._finished or self._abandoned)

    def finish(self) -> None:
        """Signal that no more items will be added."""
        with self._lock:
            self._finished = True
            self._has_items.notify()
        self._on_change()

    def abandon(self) -> None:
        """End the queue at once for both sides; queued items are lost."""
        with self._lock:
            self._abandoned = True
            self._items.clear()
            self._has_items.notify()
            self._has_room.notify()
        self._on_change()

    def __iter__(self) -> Iterator[list[Item]]:
        """Yield the results of `take` until the end."""
        while taken := self.take():
            yield taken
