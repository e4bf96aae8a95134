"""Output to terminals and pipes of any encoding, and to pipes that are closed."""

from __future__ import annotations

import io
import os
import sys

PIPE_CLOSED = 141
"""Exit code when the reader of standard output has ended (`| head -1`), as in shells."""


def open_standard_streams() -> None:
    """Discard what is written to standard streams that were closed at the start (`>&-`); closed input is empty.

    Otherwise the next files that are opened would take their place, and be written to by libraries that print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # It takes the lowest free number, which is this one. Child processes need it, too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def print_in_any_encoding() -> None:
    """Let standard output and error escape the characters that their encoding lacks, in place of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_closed_pipe() -> int:
    """Return the exit code after a BrokenPipeError of standard output, which the interpreter flushes when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
