"""What libraries and strangers put into log messages controls no terminal and fills no log."""

from __future__ import annotations

import logging
import sys

from ros2_actionnet.system.logs import LIMIT, PrintableFormatter


def record(message: str, *arguments: object, with_traceback: bool = False) -> logging.LogRecord:
    exception = sys.exc_info() if with_traceback else None
    return logging.LogRecord("ros2_actionnet.x", logging.WARNING, __file__, 1, message, arguments, exception)


def test_a_message_is_one_bounded_line() -> None:
    formatter = PrintableFormatter("program: %(message)s")
    assert formatter.format(record("read %s", "a\x1b[2J\nb")) == r"program: read a\x1b[2J\nb"
    long = formatter.format(record("x" * 10_000_000))
    assert len(long) < LIMIT + 50
    assert long.endswith("more characters)")


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("bad \x1b[31m value")
    except ValueError:
        lines = PrintableFormatter().format(record("failed", with_traceback=True)).splitlines()
    assert lines[:2] == ["failed", "Traceback (most recent call last):"]
    assert lines[-1] == r"ValueError: bad \x1b[31m value"
