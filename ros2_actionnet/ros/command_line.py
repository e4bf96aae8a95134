"""The arguments of `actionnet_node` that are not ROS's: --help, --version, and what was meant for ROS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from ros2_actionnet import __version__
from ros2_actionnet.settings import SETTINGS
from ros2_actionnet.system.text import printable

_TOPICS = """\
Topics in
  image                    sensor_msgs/Image (image/compressed with image_transport:=compressed, and so on)
Topics out
  ~/classification         vision_msgs/Classification
  ~/annotated              sensor_msgs/Image, and ~/annotated/compressed
  ~/events                 ros2_actionnet/ActionEvent
  ~/vision_info            vision_msgs/VisionInfo
  ~/ready                  std_msgs/Bool, latched: true once the network is loaded and the node active
  /diagnostics             diagnostic_msgs/DiagnosticArray
Services
  ~/reset                  std_srvs/Trigger: clears the window"""

_EXAMPLES = """\
Examples
  ros2 run ros2_actionnet actionnet_node --ros-args -r image:=/camera/image_raw
  ros2 run ros2_actionnet actionnet_node --ros-args -p network:=camera_motion -p threshold:=0.3
  ros2 run ros2_actionnet actionnet_node --ros-args --params-file actionnet.yaml
  ros2 launch ros2_actionnet actionnet.launch.py image_topic:=/camera/image_raw
  ros2 param set /actionnet threshold 0.3"""

_OLD_REMAPPING = re.compile(r"[~/\w]+:=[~/\w]*[A-Za-z_/]\w*")
_ASSIGNMENT = re.compile(r"-{0,2}([A-Za-z_][\w-]*)(?::=|=)(.*)", re.DOTALL)


def help_text() -> str:
    """Return the help text of `actionnet_node`: its topics, parameters and examples."""
    width = max(len(setting.name) for setting in SETTINGS)
    lines = ["usage: actionnet_node [--help] [--version] [--ros-args ...]", "", _TOPICS, "Parameters (-p NAME:=VALUE)"]
    lines += [f"  {setting.name:<{width}}  {setting.description}" for setting in SETTINGS]
    return "\n".join([*lines, _EXAMPLES, ""])


def answer(arguments: Sequence[str]) -> tuple[str, int] | None:
    """Return what to print instead of starting the node, and the exit code; None if the node is to start.

    `arguments` are without the program's name. The exit code is 0 for help, and 2 for what is not understood.
    """
    left = list(_not_for_ros(arguments))
    if not left:
        return None
    if "--help" in left or "-h" in left:
        return help_text(), 0
    if left == ["--version"]:
        return f"actionnet_node {__version__}\n", 0
    return f"actionnet_node: {_refusal(left[0])}\n", 2


def _not_for_ros(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments outside `--ros-args ... --`, less remappings in ROS's older spelling, `NAME:=/TOPIC`."""
    for_ros = False
    for argument in arguments:
        if argument == "--ros-args":
            for_ros = True
        elif argument == "--" and for_ros:
            for_ros = False
        elif not for_ros and not _OLD_REMAPPING.fullmatch(argument):
            yield argument


def _refusal(argument: str) -> str:
    """Return why `argument` is not understood, and what to type."""
    refused = f"the argument '{printable(argument)}' is not understood; "
    names = [setting.name for setting in SETTINGS]
    match = _ASSIGNMENT.fullmatch(argument)
    name = (match[1] if match else argument.lstrip("-")).replace("-", "_")
    near = get_close_matches(name, names, 1)
    if near:
        value = printable(match[2]) if match and match[2] else "VALUE"
        return f"{refused}parameters are set by --ros-args -p {near[0]}:={value}"
    return f"{refused}--help shows what there is"
