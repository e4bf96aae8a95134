"""Orderly shutdown at SIGINT, SIGTERM and SIGHUP, whatever the process is doing."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

TERMINATED = 130
"""Exit code after Ctrl-C, as in shells."""


def on_termination(end: Callable[[], None], *, at_once: float = 0.5) -> Callable[[], None]:
    """Call `end` from a separate thread at the first signal; the second ends the process at once, with the code 130.

    What comes within `at_once` seconds of the first is the first again: timeout(1) signals both its child and the group
    that this is in, and so does a launch that is not on a terminal.

    The signals are SIGINT, SIGTERM and SIGHUP (the terminal was closed), the last unless it is ignored (nohup).

    This function must be called in the main thread, and so must its result, which undoes it. rclpy's own handlers would
    invalidate the context while other code uses it, which then raises; and a handler in Python runs only when the main
    thread returns from the middleware. The C part of Python's handlers writes to a descriptor at once, in whichever
    thread the signal arrives.
    """
    ours, handlers = socket.socketpair()
    handlers.setblocking(False)
    descriptor = handlers.detach()
    descriptor_before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    handlers_before = {number: signal.signal(number, _nothing) for number in numbers}

    def wait() -> None:
        with ours:
            if not ours.recv(1):
                return
            first = time.monotonic()
            # Apart, so that the time of the next signal is that of its arrival, and a second one ends a hanging `end`.
            threading.Thread(target=end, name="end", daemon=True).start()
            while ours.recv(1):
                if time.monotonic() - first >= at_once:
                    os._exit(TERMINATED)

    def undo() -> None:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor_before)
        os.close(descriptor)

    threading.Thread(target=wait, name="termination", daemon=True).start()
    return undo


def _nothing(number: int, frame: object) -> None:
    """Do nothing, in place of Python's default action."""
