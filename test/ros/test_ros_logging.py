"""What the core logs is in ROS's log, at the right level."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from rclpy.logging import get_logger

from ros2_actionnet.ros.ros_logging import RosLogHandler, log_to_ros

pytestmark = pytest.mark.ros


class RecordingLogger:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.said.append(("info", message))

    def warning(self, message: str) -> None:
        self.said.append(("warning", message))

    def error(self, message: str) -> None:
        self.said.append(("error", message))


@pytest.fixture(name="package")
def package_fixture() -> Iterator[logging.Logger]:
    package = logging.getLogger("ros2_actionnet")
    before = (package.handlers[:], package.level, package.propagate)
    yield package
    package.handlers[:], package.level, package.propagate = before


def test_levels_and_arguments_arrive_and_debug_does_not(package: logging.Logger) -> None:
    logger = RecordingLogger()
    log_to_ros(logger)
    core = logging.getLogger("ros2_actionnet.backends.tensorrt.engines")
    core.debug("no lock in %s", "/tmp")
    core.info("building the engine of %s", "resnet-18")
    core.warning("the cached one is damaged")
    core.critical("out of memory")
    assert logger.said == [
        ("info", "building the engine of resnet-18"),
        ("warning", "the cached one is damaged"),
        ("error", "out of memory"),
    ]


def test_foreign_text_is_one_bounded_line(package: logging.Logger) -> None:
    logger = RecordingLogger()
    log_to_ros(logger)
    logging.getLogger("ros2_actionnet.networks.labels").warning("label %s", "a\x1b[2J\n" + "b" * 10_000_000)
    ((_, message),) = logger.said
    assert message.startswith(r"label a\x1b[2J\nbbb")
    assert len(message) < 5000


def test_a_real_ros_logger_takes_one_level_after_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    handler = RosLogHandler(get_logger("actionnet"))
    for level in (logging.INFO, logging.ERROR, logging.WARNING, logging.INFO):
        handler.handle(logging.makeLogRecord({"msg": f"at {level}", "levelno": level}))
    lines = capfd.readouterr().err
    assert [lines.count(f"at {level}") for level in (logging.INFO, logging.WARNING, logging.ERROR)] == [2, 1, 1]
    assert "[ERROR]" in lines
    assert "[WARN]" in lines
