"""The arguments of the node's executable that are not ROS's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ros2_actionnet import __version__
from ros2_actionnet.ros.command_line import answer
from ros2_actionnet.settings import SETTINGS

pytestmark = pytest.mark.ros


def test_ros_arguments_start_the_node() -> None:
    assert answer([]) is None
    assert answer(["--ros-args", "-r", "image:=/cam/image", "-p", "threshold:=0.3", "--log-level", "WARN"]) is None
    assert answer(["--ros-args", "-p", "threshold:=0.3", "--"]) is None
    assert answer(["image:=/camera/image_raw"]) is None, "ROS takes the older spelling, too"


def test_help_has_every_parameter_topic_and_an_example() -> None:
    for arguments in (["--help"], ["-h"], ["--ros-args", "-p", "threshold:=0.3", "--", "--help"]):
        found = answer(arguments)
        assert found is not None
        text, code = found
        assert code == 0
        assert {setting.name for setting in SETTINGS} <= set(text.split())
        assert "~/classification" in text
        assert "--ros-args -r image:=/camera/image_raw" in text


def test_version() -> None:
    assert answer(["--version"]) == (f"actionnet_node {__version__}\n", 0)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--threshold=0.5", "parameters are set by --ros-args -p threshold:=0.5"),
        ("threshold:=0.5", "parameters are set by --ros-args -p threshold:=0.5"),
        ("--treshold", "parameters are set by --ros-args -p threshold:=VALUE"),
        ("--skip-frames=3", "parameters are set by --ros-args -p skip_frames:=3"),
        ("clip.mp4", "--help shows what there is"),
        ("\x1b[2J", r"the argument '\x1b[2J' is not understood"),
    ],
)
def test_what_is_meant_for_ros_is_refused_with_the_right_spelling(argument: str, words: str) -> None:
    found = answer([argument])
    assert found is not None
    text, code = found
    assert code == 2
    assert words in text


def test_a_topic_that_cannot_be_is_refused_without_a_traceback() -> None:
    command = [sys.executable, "-m", "ros2_actionnet.ros.main", "--ros-args", "-r", "image:=/camera/image-raw"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "image-raw" in done.stderr
    assert "letters, digits, _ and / alone" in done.stderr
    assert "Traceback" not in done.stderr
