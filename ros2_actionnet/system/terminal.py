"""Output to terminals and pipes of any encoding."""

from __future__ import annotations

import io
import sys


def print_in_any_encoding() -> None:
    """Let standard output and error escape the characters that their encoding lacks, in place of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
