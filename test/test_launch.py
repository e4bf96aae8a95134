"""The launch file against the table of settings.

It runs with the real `launch` and `launch_ros` where they can be imported. They are on no package index, so elsewhere
a stand-in takes their place, which knows no more of them than the launch file uses: the test then says what the launch
file asks for, not what launch makes of it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.settings import SETTINGS, Settings

LAUNCH_FILE = Path(__file__).parents[1] / "launch" / "actionnet.launch.py"


class FakeArgument:
    def __init__(self, name: str, *, default_value: str, description: str) -> None:
        self.name, self.default_value, self.description = name, default_value, description

    def execute(self, context: Any) -> None:
        context.launch_configurations.setdefault(self.name, self.default_value)


class FakeFunction:
    def __init__(self, *, function: Callable[[Any], Any]) -> None:
        self.execute = function


class FakeGroup:
    """A group with scoped=True and forwarding=True: what it sets is gone after it."""

    def __init__(self, actions: list[Any], *, scoped: bool, forwarding: bool) -> None:
        assert (scoped, forwarding) == (True, True)
        self.actions = actions

    def execute(self, context: Any) -> list[Any]:
        before = dict(context.launch_configurations)

        def pop(context: Any) -> None:
            context.launch_configurations.clear()
            context.launch_configurations.update(before)

        return [*self.actions, FakeFunction(function=pop)]

    def describe_sub_entities(self) -> list[Any]:
        return self.actions


class FakeNode:
    def __init__(self, **options: Any) -> None:
        pass


def stand_in() -> dict[str, ModuleType]:
    """Modules in place of launch and launch_ros."""
    contents: dict[str, dict[str, Any]] = {
        "launch": {
            "Action": object,
            "LaunchContext": lambda: SimpleNamespace(launch_configurations={}),
            "LaunchDescription": lambda entities: SimpleNamespace(entities=entities),
        },
        "launch.actions": {
            "DeclareLaunchArgument": FakeArgument,
            "GroupAction": FakeGroup,
            "OpaqueFunction": FakeFunction,
            "SetEnvironmentVariable": lambda name, value: None,
        },
        "launch.logging": {"get_logger": logging.getLogger},
        "launch_ros": {},
        "launch_ros.actions": {"Node": FakeNode},
    }
    modules = {name: ModuleType(name) for name in contents}
    for name, module in modules.items():
        vars(module).update(contents[name])
    return modules


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The launch file as a module, whose nodes remember what they were made with as `options`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        importlib.import_module("launch_ros.actions")
    except ImportError:
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("actionnet_launch", LAUNCH_FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Remembering(module.Node):  # type: ignore[misc, name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.options = options

    monkeypatch.setattr(module, "Node", Remembering)
    return module


@pytest.fixture(name="warnings")
def warnings_fixture(launch_file: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings that the launch file logs."""
    found: list[str] = []
    monkeypatch.setattr(launch_file, "get_logger", lambda name: SimpleNamespace(warning=found.append))
    return found


def visit(launch_file: Any, entity: Any, context: Any) -> list[Any]:
    """Execute an entity and all that it leads to, as launch does, but no node; return the nodes."""
    if isinstance(entity, launch_file.Node):
        return [entity]
    found = entity.execute(context) if entity is not None else None
    return [node for sub in found or () for node in visit(launch_file, sub, context)]


def include(launch_file: Any, context: Any, **arguments: str) -> list[Any]:
    """Do what launch's IncludeLaunchDescription does with `arguments`; return the nodes."""
    context.launch_configurations.update(arguments)
    entities = launch_file.generate_launch_description().entities
    return [node for entity in entities for node in visit(launch_file, entity, context)]


def start_all(launch_file: Any, **arguments: str) -> list[Any]:
    """Return the nodes that `ros2 launch` starts with `arguments`."""
    return include(launch_file, launch_file.LaunchContext(), **arguments)


def declared(launch_file: Any) -> dict[str, Any]:
    """Return the arguments by name, as --show-args finds them."""
    entities = launch_file.generate_launch_description().entities
    groups = [entity for entity in entities if isinstance(entity, launch_file.GroupAction)]
    inside = [sub for group in groups for sub in group.describe_sub_entities()]
    return {e.name: e for e in inside if isinstance(e, launch_file.DeclareLaunchArgument)}


def start(launch_file: Any, **arguments: str) -> list[dict[str, Any]]:
    """The options of the nodes that `ros2 launch` starts with `arguments`."""
    return [node.options for node in start_all(launch_file, **arguments)]


def given(launch_file: Any, **arguments: str) -> dict[str, Any]:
    """The parameters that the node gets after those of params_file."""
    (actionnet,) = start(launch_file, **arguments)
    _, *overrides = actionnet["parameters"]
    return {
        name: value
        for file in overrides
        for name, value in json.loads(Path(file).read_text())["/**/*"]["ros__parameters"].items()
    }


def test_every_setting_has_an_argument_that_is_described(launch_file: Any) -> None:
    arguments = declared(launch_file)
    assert {s.name for s in SETTINGS} < arguments.keys()
    for setting in SETTINGS:
        description = arguments[setting.name].description
        assert setting.description in description
        assert setting.limits in description
        assert json.dumps(setting.default) in description


def test_no_name_is_declared_twice(launch_file: Any) -> None:
    names = [a.name for a in (*launch_file.PARAMETERS, *launch_file.ARGUMENTS)]
    assert len(names) == len(set(names))


def test_without_arguments_only_the_packages_file_is_in_force(launch_file: Any) -> None:
    (node,) = start(launch_file)
    (params_file,) = node["parameters"]
    assert Path(params_file).parts[-2:] == ("config", "actionnet.yaml")
    assert (node["executable"], node["name"], node["namespace"]) == ("actionnet_node", "actionnet", "")


def test_every_default_can_be_given(launch_file: Any) -> None:
    texts = {
        s.name: s.default if isinstance(s.default, str) else json.dumps(s.default) for s in SETTINGS if s.default != ()
    }
    assert Settings.from_values(given(launch_file, **texts)) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threshold", "0", 0.0),
        ("threshold", "1e-3", 0.001),
        ("skip_frames", "3", 3),
        ("autostart", "False", False),
        ("autostart", "no", False),
        ("device", "0", "0"),
        ("network", "on", "on"),
        ("model", "~/a b: c.onnx", "~/a b: c.onnx"),
        ("roi", "[0, 0.25, 1, 0.5]", [0.0, 0.25, 1.0, 0.5]),
        ("class_filter", "[running, '7']", ["running", "7"]),
        ("class_filter", "[]", [""]),
        ("class_filter", "['']", [""]),
        ("use_sim_time", "true", True),
    ],
)
def test_texts_become_values_of_the_settings_type(launch_file: Any, name: str, text: str, value: Any) -> None:
    result = given(launch_file, **{name: text})
    assert result == {name: value}
    assert type(result[name]) is type(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": "abc"}, "threshold takes a number, not 'abc'"),
        ({"threshold": "nan"}, "threshold nan is out of range; give a value 0 to 1"),
        ({"top_k": "1.5"}, "top_k takes a whole number, not 1.5"),
        ({"backend": "cuda"}, "backend 'cuda' is unknown"),
        ({"roi": "[0, 0"}, "roi:=[0, 0 is not YAML"),
        ({"class_filter": "running"}, "class_filter takes a list of strings, not 'running'"),
        ({"loop": "often"}, "loop takes true or false, not 'often'"),
        ({"rate": "-1"}, "rate -1 is out of range"),
        ({"log_level": "loud"}, "log_level 'loud' is unknown"),
        ({"params_file": "/no/such.yaml"}, "params_file '/no/such.yaml' does not exist"),
        ({"params_file": "/"}, "params_file '/' is a folder; give the path of a ROS parameter file in it"),
        ({"image_topic": "/camera/image-raw"}, "such as /camera/image_raw"),
        ({"namespace": "robot 1"}, "namespace 'robot 1' is no name of a namespace"),
    ],
)
def test_what_cannot_be_used_fails_the_launch(launch_file: Any, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        start(launch_file, **arguments)
    assert message in str(raised.value)


def test_arguments_of_the_launch_file_reach_the_node(launch_file: Any, tmp_path: Path) -> None:
    own = tmp_path / "my.yaml"
    own.write_text("/**: {ros__parameters: {threshold: 0.3}}")
    (node,) = start(
        launch_file,
        params_file=str(own),
        namespace="robot",
        image_topic="front/image",
        log_level="debug",
        respawn="true",
    )
    assert node["parameters"] == [str(own)]
    assert node["namespace"] == "robot"
    assert node["remappings"] == [
        ("image", "front/image"),
        ("image/compressed", "front/image/compressed"),
        ("image/ffmpeg", "front/image/ffmpeg"),
        ("image/foxglove", "front/image/foxglove"),
        ("detections", "detections"),
    ]
    assert node["ros_arguments"] == ["--log-level", "debug"]
    assert node["respawn"] is True


def test_several_cameras_have_a_topic_each(launch_file: Any) -> None:
    (node,) = start(launch_file, cameras="[front, rear]", image_topics="[/front/image_raw, cam2]")
    assert [pair for pair in node["remappings"] if pair[0].endswith("image")] == [
        ("front/image", "/front/image_raw"),
        ("rear/image", "cam2"),
    ]
    assert ("rear/image/compressed", "cam2/compressed") in node["remappings"]
    (node,) = start(launch_file, cameras="[front, rear]")
    assert node["remappings"] == []
    (node,) = start(launch_file, cameras="[front, rear]", detections_topics="[/front/tracks, /rear/tracks]")
    assert node["remappings"] == [("front/detections", "/front/tracks"), ("rear/detections", "/rear/tracks")]
    (node,) = start(launch_file, detections="true", detections_topic="/yolo/tracking")
    assert ("detections", "/yolo/tracking") in node["remappings"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_topics": "[/a, /b]"}, "image_topics has 2 topics and cameras 0 names"),
        ({"cameras": "[a, b]", "image_topics": "[/a]"}, "image_topics has 1 topics and cameras 2 names"),
        ({"cameras": "[a]", "image_topics": "[/a-b]"}, "image_topics '/a-b' is no name of a topic"),
        ({"cameras": "[a, b]", "video": "clip.mp4"}, "video plays for one camera"),
    ],
)
def test_topics_that_do_not_fit_the_cameras_fail_the_launch(
    launch_file: Any, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        start(launch_file, **arguments)


def test_a_video_is_published_on_the_topic_that_the_node_reads(launch_file: Any) -> None:
    node, player = start(
        launch_file, video="clip.mp4", namespace="robot", image_topic="image", loop="true", rate="12.5"
    )
    assert ("image", "image") in node["remappings"]
    assert (player["executable"], player["namespace"]) == ("video_publisher", "robot")
    text = " ".join(player["arguments"])
    assert text == "clip.mp4 --topic image --rate 12.5 --wait-for 1 --transport raw --loop"


def test_the_page_is_served_if_asked_for(launch_file: Any) -> None:
    _, page = start(launch_file, web="true", namespace="robot")
    assert (page["executable"], page["namespace"], page["arguments"]) == ("web_view", "robot", [])
    _, page = start(launch_file, web="0.0.0.0:8081")
    assert page["arguments"] == ["--listen", "0.0.0.0:8081"]
    assert len(start(launch_file, web="false")) == 1


def test_a_video_plays_once_at_its_own_rate_unless_told_otherwise(launch_file: Any) -> None:
    _, player = start(launch_file, video="0")
    text = " ".join(player["arguments"])
    assert text == "0 --topic /camera/image_raw --rate 0.0 --wait-for 1 --transport raw"


def test_a_video_is_compressed_where_the_node_takes_compressed_images(launch_file: Any) -> None:
    _, player = start(launch_file, video="clip.mp4", image_transport="compressed")
    assert player["arguments"][-2:] == ["--transport", "compressed"]


def test_the_profile_of_fast_dds_is_set_for_what_is_started_later_only_if_asked_for(launch_file: Any) -> None:
    set_to: dict[str, Any] = {}
    launch_file.SetEnvironmentVariable = set_to.__setitem__
    start_all(launch_file)
    assert set_to == {}
    start_all(launch_file, fastdds_images="true")
    assert list(set_to) == ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"]
    assert all(Path(path).is_file() for path in set_to.values())


@pytest.mark.parametrize("text", ["WARN", "Warn", "warn"])
def test_the_log_level_is_taken_in_any_case(launch_file: Any, text: str) -> None:
    (node,) = start(launch_file, log_level=text)
    assert node["ros_arguments"] == ["--log-level", "warn"]


def test_a_misspelled_argument_is_a_warning_with_the_near_one(launch_file: Any, warnings: list[str]) -> None:
    start(launch_file, imge_topic="/cam", treshold="0.3", colour="red")
    assert warnings == [
        "there is no argument 'imge_topic'; did you mean image_topic:=/cam?",
        "there is no argument 'treshold'; did you mean threshold:=0.3?",
    ]
    warnings.clear()
    start(launch_file, image_topicz="/a /b", image_topic="/a")  # the first is of the file that includes this one
    assert warnings == []


def test_a_parameter_file_for_another_node_is_a_warning(launch_file: Any, warnings: list[str], tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("/robot/actionnet: {ros__parameters: {threshold: 0.3}}")
    start(launch_file, params_file=str(file), namespace="robot")
    assert warnings == []
    start(launch_file, params_file=str(file))
    (warning,) = warnings
    assert warning.endswith(
        "has parameters for /robot/actionnet, but none for /actionnet; name its section /actionnet or /**"
    )


def test_no_default_of_this_file_is_left_in_one_that_includes_it(launch_file: Any) -> None:
    context = launch_file.LaunchContext()
    context.launch_configurations["robot_name"] = "anna"
    include(launch_file, context, threshold="0.5")
    assert dict(context.launch_configurations) == {"robot_name": "anna", "threshold": "0.5"}


def test_a_video_keeps_to_simulated_time_as_the_node_does(launch_file: Any) -> None:
    _, player = start(launch_file, video="clip.mp4", use_sim_time="true")
    assert player["parameters"] == [{"use_sim_time": True}]
    _, player = start(launch_file, video="clip.mp4")
    assert player["parameters"] == []


@pytest.mark.ros
@pytest.mark.parametrize(
    "names", [["/**"], ["/actionnet"], ["actionnet"], ["/**/actionnet"], ["/actionnet", "/**"], ["/**", "/actionnet"]]
)
def test_arguments_win_over_the_file_whatever_names_it_uses(launch_file: Any, tmp_path: Path, names: list[str]) -> None:
    """As rcl has it: the real one reads the files, in the order in which launch passes them."""
    rclpy = pytest.importorskip("rclpy")
    own = tmp_path / "my.yaml"
    own.write_text(json.dumps({name: {"ros__parameters": {"threshold": 1, "device": 0, "top_k": 2}} for name in names}))
    (node,) = start(launch_file, params_file=str(own), threshold="0.5", device="1e3")
    arguments = [word for file in node["parameters"] for word in ("--params-file", file)]
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *arguments], context=context)
    try:
        ros_node = rclpy.create_node("actionnet", context=context, automatically_declare_parameters_from_overrides=True)
        parameters = {name: ros_node.get_parameter(name).value for name in ("threshold", "device", "top_k")}
        ros_node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert parameters == {"threshold": 0.5, "device": "1e3", "top_k": 2}
