"""Forwards the core's messages from Python's `logging` to ROS's log."""

from __future__ import annotations

import logging
from typing import Any

from ros2_actionnet.system.logs import PrintableFormatter


class RosLogHandler(logging.Handler):
    """Hands log records to an rclpy logger, at the level that ROS calls the same."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(PrintableFormatter())
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record, from any thread."""
        try:
            message = self.format(record)
            # A line for each: rclpy ties a level to the line that it is called from.
            if record.levelno >= logging.ERROR:
                self._logger.error(message)
            elif record.levelno >= logging.WARNING:
                self._logger.warning(message)
            else:
                self._logger.info(message)
        except Exception:
            self.handleError(record)


def log_to_ros(logger: Any) -> None:
    """From now on, what the package's modules log, from INFO up, is in ROS's log, under the name of `logger`."""
    package = logging.getLogger("ros2_actionnet")
    package.addHandler(RosLogHandler(logger))
    package.setLevel(logging.INFO)
    package.propagate = False
