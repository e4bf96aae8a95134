"""An orderly end at SIGINT and SIGTERM, whatever the process is doing."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable


def on_termination(end: Callable[[], None]) -> None:
    """Calls `end` from a thread of its own at the first SIGINT or SIGTERM; the second ends the process at once.

    To be called in the main thread. rclpy's own handlers would invalidate the context under whatever uses it at that
    moment, which then raises; and a handler in Python runs only when the main thread gets back from the middleware. The
    C part of Python's handlers writes to a descriptor at once, in whichever thread the signal arrives.
    """
    ours, handlers = socket.socketpair()
    handlers.setblocking(False)
    signal.set_wakeup_fd(handlers.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        ours.recv(1)
        end()
        ours.recv(1)
        os._exit(1)

    threading.Thread(target=wait, name="termination", daemon=True).start()
