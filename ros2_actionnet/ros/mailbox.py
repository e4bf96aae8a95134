"""Runs callables from other threads in the executor's thread."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable

from rclpy.node import Node


class Mailbox:
    """Runs what is posted, from any thread, in the executor's thread of `node`, in the order of posting."""

    def __init__(self, node: Node) -> None:
        self._logger = node.get_logger()
        self._tasks: deque[Callable[[], None]] = deque()
        self._arrived = node.create_guard_condition(self._run)

    def post(self, task: Callable[[], None]) -> None:
        """Schedule `task`; callable from any thread."""
        self._tasks.append(task)
        self._arrived.trigger()

    def _run(self) -> None:
        while self._tasks:
            try:
                self._tasks.popleft()()
            except Exception:
                self._logger.error(f"unexpected error:\n{traceback.format_exc()}")
