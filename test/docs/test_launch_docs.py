"""The launch files of docs/launch.md: read from the page, and run by the real launch where it is installed."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "launch.md"
LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "actionnet.launch.py"
FRONT = {"namespace": "front", "image_topic": "/front/image_raw", "threshold": "0.3"}
REAR = {"namespace": "rear", "image_topic": "/rear/image_raw"}


def example(language: str) -> str:
    """Return the first example in `language` on the page."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_xml_and_yaml_include_the_file_twice_in_groups_that_do_not_leak() -> None:
    groups = ElementTree.fromstring(example("xml")).findall("group")
    assert [(group.get("scoped"), group.get("forwarding")) for group in groups] == [("true", "false")] * 2
    given = [{str(arg.get("name")): arg.get("value") for arg in group.iter("arg")} for group in groups]
    assert given == [FRONT, REAR]
    entries = [entry["group"] for entry in yaml.safe_load(example("yaml"))["launch"]]
    assert [(entry["scoped"], entry["forwarding"]) for entry in entries] == [(True, False)] * 2
    includes = [entry["children"][0]["include"] for entry in entries]
    assert [{arg["name"]: arg["value"] for arg in include["arg"]} for include in includes] == [FRONT, REAR]


def test_python_is_python() -> None:
    for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        ast.parse(text)


@pytest.mark.parametrize(("language", "suffix"), [("python", "py"), ("xml", "xml"), ("yaml", "yaml")])
def test_the_real_launch_gives_each_camera_its_own_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, suffix: str
) -> None:
    launch = pytest.importorskip("launch")
    nodes = pytest.importorskip("launch_ros.actions.node")
    pytest.importorskip("launch_xml")
    pytest.importorskip("launch_yaml")
    sources = importlib.import_module("launch.launch_description_sources")
    started: list[dict[str, Any]] = []
    names = (*FRONT, "top_k")
    monkeypatch.setattr(
        nodes.Node,
        "execute",
        lambda node, context: started.append({name: context.launch_configurations[name] for name in names}),
    )
    file = tmp_path / f"two.launch.{suffix}"
    text = example(language).replace("$(find-pkg-share ros2_actionnet)/launch/actionnet.launch.py", str(LAUNCH_FILE))
    file.write_text(re.sub(r"^FILE = .*$", f"FILE = {str(LAUNCH_FILE)!r}", text, flags=re.MULTILINE))
    left: list[dict[str, str]] = []
    service = launch.LaunchService(argv=[])
    include = launch.actions.IncludeLaunchDescription(sources.AnyLaunchDescriptionSource(str(file)))
    after = launch.actions.OpaqueFunction(function=lambda context: left.append(dict(context.launch_configurations)))
    service.include_launch_description(launch.LaunchDescription([include, after]))
    assert service.run() == 0
    assert started == [{**FRONT, "top_k": ""}, {**REAR, "threshold": "", "top_k": ""}]
    assert left == [{}]
