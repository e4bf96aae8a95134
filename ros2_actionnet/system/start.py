"""Starts a program whose modules take a while to import."""

from __future__ import annotations

import signal
from importlib import import_module


def run(module: str) -> int:
    """Return the result of main() of `module`; Ctrl-C while that is imported ends the process without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(module).main
    signal.signal(signal.SIGINT, before)
    return int(main())
