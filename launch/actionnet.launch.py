"""Starts the node that recognizes actions and, with `video`, a player in place of a camera.

    ros2 launch ros2_actionnet actionnet.launch.py network:=camera_motion image_topic:=/camera/image_raw
    ros2 launch ros2_actionnet actionnet.launch.py video:=clip.mp4 loop:=true
    ros2 launch ros2_actionnet actionnet.launch.py --show-args

Every setting is an argument. One that is given wins over `params_file`, one that is not is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction, SetEnvironmentVariable
from launch.logging import get_logger
from launch_ros.actions import Node

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.fastdds import PROFILE_VARIABLES, image_profile
from ros2_actionnet.ros.params_file import check_params_file
from ros2_actionnet.ros.ros_names import check_namespace, check_topic
from ros2_actionnet.settings import SETTINGS, Effect, Scope, Setting, Value
from ros2_actionnet.system.resources import PACKAGE, shared_folder
from ros2_actionnet.system.text import printable


def _argument(name: str, default: Value, description: str, *choices: str) -> Setting:
    """An argument of the launch file's own, described and checked like a setting."""
    minimum = 0.0 if isinstance(default, float) else None
    return Setting(name, default, description, Effect.CONFIGURE, minimum, None, choices, Scope.NODE, per_camera=False)


PARAMETERS = (
    *SETTINGS,
    _argument("use_sim_time", False, "Take the time from /clock, as with a simulator or a bag played with --clock."),
)
"""What the node is given as parameters."""

_TRANSPORTS = next(setting.choices for setting in SETTINGS if setting.name == "image_transport")[1:]  # but raw

ARGUMENTS = (
    _argument(
        "image_topic",
        "/camera/image_raw",
        "Topic of the images; a relative one counts from the namespace. With another image_transport than "
        "raw they are expected on <image_topic>/<image_transport>.",
    ),
    _argument(
        "image_topics",
        (),
        "With cameras: the topic of each of them, in the same order; else <camera>/image.",
    ),
    _argument("detections_topic", "detections", "With detections: the detector's topic."),
    _argument("detections_topics", (), "With cameras and detections: the detector's topic for each of them, in order."),
    _argument("params_file", str(shared_folder("config") / "actionnet.yaml"), "ROS parameter file with the settings."),
    _argument("namespace", "", "Namespace of the nodes, such as robot1."),
    _argument("video", "", "Video file, or the number or path of a camera device, to play on image_topic."),
    _argument("loop", False, "Begin the video again at its end."),
    _argument("rate", 0.0, "Frames of the video a second; 0: its own rate."),
    _argument(
        "fastdds_images",
        False,
        "Have Fast DDS make room for large images in the processes started from here on, such as a camera's.",
    ),
    _argument(
        "web",
        "",
        "Serve a page with the video, scores, events and parameters: true, or an ADDRESS:PORT to listen on "
        "(true: 127.0.0.1:8080).",
    ),
    _argument("log_level", "info", "What the node logs.", "debug", "info", "warn", "error", "fatal"),
    _argument("respawn", False, "Start the node again, two seconds later, whenever its process ends."),
)
"""What the launch file itself is told."""


def generate_launch_description() -> LaunchDescription:
    """All arguments, and the nodes that they lead to."""
    own = [DeclareLaunchArgument(a.name, default_value=_text(a.default), description=_describe(a)) for a in ARGUMENTS]
    parameters = [
        DeclareLaunchArgument(
            p.name,
            default_value="",
            description=f"{_describe(p)} If empty: as in params_file, else {json.dumps(p.default)}.",
        )
        for p in PARAMETERS
    ]
    # The group keeps the defaults of this file from a file that includes it. What such a file passes, only it can undo.
    group = GroupAction([*own, *parameters, OpaqueFunction(function=_nodes)], scoped=True, forwarding=True)
    return LaunchDescription([OpaqueFunction(function=_environment), group])


def _environment(context: LaunchContext) -> list[Action]:
    """Return what stays set after this file is included: for the camera, in a launch file of the user's own."""
    (asked,) = (a for a in ARGUMENTS if a.name == "fastdds_images")
    if not _read(asked, context.launch_configurations.get(asked.name, _text(asked.default))):
        return []
    return [SetEnvironmentVariable(name, str(image_profile())) for name in PROFILE_VARIABLES]


def _nodes(context: LaunchContext) -> list[Action]:
    """The nodes, once the arguments are known."""
    texts = context.launch_configurations
    own: dict[str, Any] = {a.name: _read(a, texts[a.name]) for a in ARGUMENTS}
    given = {p.name: _read(p, texts[p.name]) for p in PARAMETERS if texts[p.name]}
    check_topic("image_topic", own["image_topic"])
    check_namespace("namespace", own["namespace"])
    for warning in _misspelled(texts):
        get_logger("actionnet.launch.py").warning(warning)
    actions: list[Action] = [_actionnet(own, given)]
    if own["web"].lower() not in ("", "false"):
        actions.append(_web_view(own))
    if own["video"]:
        actions.append(_video_publisher(own, given))
    return actions


def _misspelled(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each argument that is nearly one of ours, which launch leaves without a word.

    A launch file that includes this one has arguments of its own: one that is near to ours is theirs if ours is given.
    """
    defaults = {**{p.name: "" for p in PARAMETERS}, **{a.name: _text(a.default) for a in ARGUMENTS}}
    for name in texts:
        near = get_close_matches(name, defaults, 1, 0.8)
        if near and name not in defaults and texts[near[0]] == defaults[near[0]]:
            yield f"there is no argument '{printable(name)}'; did you mean {near[0]}:={printable(texts[name])}?"


def _actionnet(own: dict[str, Any], given: dict[str, Value]) -> Node:
    params_file = Path(own["params_file"]).expanduser()
    namespace = own["namespace"].strip("/")
    for warning in check_params_file(params_file, f"/{namespace}/actionnet" if namespace else "/actionnet"):
        get_logger("actionnet.launch.py").warning(warning)
    return Node(
        package=PACKAGE,
        executable="actionnet_node",
        name="actionnet",
        namespace=own["namespace"],
        parameters=[str(params_file), *([_file_of(given)] if given else [])],
        remappings=_remappings(own, given),
        ros_arguments=["--log-level", own["log_level"]],
        output="screen",
        respawn=own["respawn"],
        respawn_delay=2.0,
    )


def _remappings(own: dict[str, Any], given: dict[str, Value]) -> list[tuple[str, str]]:
    """Return what leads the topics of the images to the cameras'. Raises SettingsError for one too many or too few."""
    names = given.get("cameras", ())
    cameras = [str(name) for name in names if name] if isinstance(names, tuple) else []
    images = _of_cameras("image_topics", own, cameras)
    detections = _of_cameras("detections_topics", own, cameras)
    if not cameras:
        check_topic("detections_topic", own["detections_topic"])
        return [*_of_one_camera("image", own["image_topic"]), ("detections", own["detections_topic"])]
    if own["video"]:
        raise SettingsError("video plays for one camera; leave cameras out, or start a video_publisher for each")
    remappings = [pair for camera, topic in images for pair in _of_one_camera(f"{camera}/image", topic)]
    return remappings + [(f"{camera}/detections", topic) for camera, topic in detections]


def _of_cameras(argument: str, own: dict[str, Any], cameras: list[str]) -> list[tuple[str, str]]:
    """Return the cameras with the topics that `argument` has for them; none if it has none."""
    topics = [topic for topic in own[argument] if topic]
    if topics and len(topics) != len(cameras):
        raise SettingsError(
            f"{argument} has {len(topics)} topics and cameras {len(cameras)} names; give one topic for each camera, "
            "such as cameras:='[front, rear]' image_topics:='[/front/image_raw, /rear/image_raw]'"
        )
    for topic in topics:
        check_topic(argument, topic)
    return list(zip(cameras, topics, strict=bool(topics)))


def _of_one_camera(image: str, topic: str) -> list[tuple[str, str]]:
    transports = [(f"{image}/{transport}", f"{topic}/{transport}") for transport in _TRANSPORTS if transport != "raw"]
    return [(image, topic), *transports]


def _video_publisher(own: dict[str, Any], given: dict[str, Value]) -> Node:
    transport = str(given.get("image_transport", "raw"))
    # Without waiting for the node, which takes a second to start, the video's beginning would be lost.
    options = ["--topic", own["image_topic"], "--rate", str(own["rate"]), "--wait-for", "1", "--transport", transport]
    return Node(
        package=PACKAGE,
        executable="video_publisher",
        namespace=own["namespace"],
        arguments=[own["video"], *options, *(["--loop"] if own["loop"] else [])],
        parameters=[{"use_sim_time": bool(given["use_sim_time"])}] if "use_sim_time" in given else [],
        output="screen",
    )


def _web_view(own: dict[str, Any]) -> Node:
    listen = [] if own["web"].lower() == "true" else ["--listen", own["web"]]
    return Node(package=PACKAGE, executable="web_view", namespace=own["namespace"], arguments=listen, output="screen")


def _read(argument: Setting, text: str) -> Value:
    """The value that `text` says, as the type of `argument`: YAML, but texts are taken as they are.

    Raises SettingsError, naming the value and what is allowed.
    """
    if argument.kind == "string":
        return argument.coerce(text.lower() if argument.name == "log_level" else text)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{argument.name}:={text[:200]} is not YAML; quote what is special in it") from error
    if argument.kind == "double" and isinstance(value, str):
        with suppress(ValueError):
            value = float(value)  # YAML 1.1 takes 1e-3, without a point, for text
    # A node does not take an empty list; [''] stands for it.
    return argument.coerce([""] if value == [] else value)


def _file_of(given: dict[str, Value]) -> str:
    """A parameter file that wins over any file before it, whatever names that uses; launch_ros leaves such files too.

    launch_ros would write one under the node's name. If the other file uses that name as well, rcl mixes the two: 0.5
    does not replace 1 there. It would also write the text 1e3 so that rcl reads a number. In JSON, texts stay texts.
    """
    with NamedTemporaryFile("w", prefix="launch_params_", suffix=".yaml", delete=False) as file:
        json.dump({"/**/*": {"ros__parameters": given}}, file)
    return file.name


def _text(default: Value) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def _describe(argument: Setting) -> str:
    return argument.description + (f" Allowed: {argument.limits}." if argument.limits else "")
