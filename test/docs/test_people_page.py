"""The launch lines and the launch file of docs/people.md: read from the page, and run by the real launch."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "people.md").read_text()
LAUNCH_FILE = ROOT / "launch" / "actionnet.launch.py"


def shell_lines() -> list[dict[str, str]]:
    """Return the arguments of each line that starts our launch file."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
    ours = [line for line in text.splitlines() if "ros2 launch ros2_actionnet actionnet.launch.py" in line]
    return [dict(word.split(":=") for word in line.split()[4:]) for line in ours]


def python_file() -> str:
    """Return the launch file of the page, which includes ours from this checkout."""
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    text, count = re.subn(r"PathJoinSubstitution\(\[FindPackageShare.*?\]\)", repr(str(LAUNCH_FILE)), found[1])
    assert count == 1
    return text


def started(monkeypatch: pytest.MonkeyPatch, file: Path, arguments: dict[str, str]) -> list[tuple[str, set[Any]]]:
    """Return the executable of each node that a launch file starts, and what is remapped."""
    launch = pytest.importorskip("launch", reason="launch is on no package index")
    nodes = pytest.importorskip("launch_ros.actions.node")
    sources = importlib.import_module("launch.launch_description_sources")
    found: list[tuple[str, set[Any]]] = []

    def execute(node: Any, context: Any) -> None:
        node._perform_substitutions(context)
        found.append((str(node.node_executable), set(node.expanded_remapping_rules or ())))

    monkeypatch.setattr(nodes.Node, "execute", execute)
    service = launch.LaunchService(argv=[])
    include = launch.actions.IncludeLaunchDescription(
        sources.AnyLaunchDescriptionSource(str(file)), launch_arguments=list(arguments.items())
    )
    service.include_launch_description(launch.LaunchDescription([include]))
    assert service.run() == 0
    return found


@pytest.mark.parametrize("arguments", shell_lines(), ids=lambda arguments: arguments["detections_topic"])
def test_each_line_gives_the_node_its_detections(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str]) -> None:
    assert arguments["detections"] == "true"
    ((_, remapped),) = started(monkeypatch, LAUNCH_FILE, arguments)
    assert {("image", "/camera/image_raw"), ("detections", arguments["detections_topic"])} <= remapped


def test_the_launch_file_starts_the_detector_and_the_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "people.launch.py"
    file.write_text(python_file())
    detector, (_, remapped) = started(monkeypatch, file, {})
    assert detector == ("detector", {("image", "/camera/image_raw")})
    assert {("image", "/camera/image_raw"), ("detections", "/detector/tracks")} <= remapped
