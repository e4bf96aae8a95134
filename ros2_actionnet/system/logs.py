"""Log messages that terminals and ROS's log can take, whatever foreign text is in them."""

from __future__ import annotations

import logging

from ros2_actionnet.system.text import printable

LIMIT = 4000
"""Longest message, in characters."""


class PrintableFormatter(logging.Formatter):
    """Formats a record as one bounded line without terminal control sequences; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of `record`."""
        return printable(super().formatMessage(record), LIMIT)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """Return the lines of a traceback."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(printable(line, LIMIT) for line in lines)


def log_to_terminal(prefix: str = "") -> None:
    """Write warnings to standard error, each after `prefix`, unless logging is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(f"{prefix}%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
