"""The files for Foxglove and rqt, and the example of rosbridge: their form, and that their topics are the node's.

Neither program is run: Foxglove's layout is held to the form of its exported layouts, rqt's to what its perspective
manager reads.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LAYOUT = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
PERSPECTIVE = json.loads((ROOT / "config" / "actionnet.perspective").read_text())
EXAMPLE = (ROOT / "docs" / "rosbridge.html").read_text()
TEXTS = {
    "foxglove_layout.json": json.dumps(LAYOUT),
    "actionnet.perspective": json.dumps(PERSPECTIVE),
    "rosbridge.html": EXAMPLE,
}


def published() -> set[str]:
    """The topics and services of the default node, from where they are made."""
    sources = "".join((ROOT / "ros2_actionnet" / "ros" / f"{name}.py").read_text() for name in ("publishers", "camera"))
    names = re.findall(r'f"\{prefix\}([\w/]+)"', sources)
    assert len(names) >= 4
    return {f"/actionnet/{name}" for name in names} | {"/actionnet/reset", "/actionnet/set_parameters"}


@pytest.mark.parametrize("file", TEXTS)
def test_every_topic_is_one_of_the_nodes(file: str) -> None:
    named = set(re.findall(r"(?<![\w.])/actionnet/[a-z_]+(?:/compressed)?", TEXTS[file]))
    assert named
    assert named <= published()


def panels(layout: Any) -> list[str]:
    """The panels of a layout's tree: a panel's id, or two parts side by side or one above the other."""
    if isinstance(layout, str):
        return [layout]
    assert layout.keys() == {"direction", "splitPercentage", "first", "second"}
    assert layout["direction"] in ("row", "column")
    assert 0 < layout["splitPercentage"] < 100
    return panels(layout["first"]) + panels(layout["second"])


def test_the_layout_has_the_form_of_foxgloves() -> None:
    assert LAYOUT.keys() == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    shown = panels(LAYOUT["layout"])
    assert sorted(shown) == sorted(LAYOUT["configById"]), "every panel has a place, and every place a panel"
    known = {"Image", "Plot", "StateTransitions", "RawMessages", "DiagnosticSummary", "Parameters", "CallService"}
    assert {panel.partition("!")[0] for panel in shown} == known
    for panel in ("Plot!scores", "StateTransitions!best"):
        for path in LAYOUT["configById"][panel]["paths"]:
            assert path["timestampMethod"] == "headerStamp", "results bear the stamps of their images"


@pytest.mark.ros
def test_the_paths_of_the_layout_are_fields_of_the_messages() -> None:
    from vision_msgs.msg import Classification

    from ros2_actionnet.msg import ActionEvent

    kinds = {"/actionnet/classification": Classification, "/actionnet/events": ActionEvent}
    config = LAYOUT["configById"]
    paths = [p["value"] for panel in ("Plot!scores", "StateTransitions!best") for p in config[panel]["paths"]]
    for path in paths:
        topic, _, rest = path.partition(".")
        field = rest.split(".")[0].partition("[")[0]
        assert field in kinds[topic].get_fields_and_field_types()


def test_the_perspective_has_the_form_that_rqt_reads() -> None:
    def check(group: Any) -> None:
        assert group.keys() == {"keys", "groups"}
        for value in group["keys"].values():
            assert value.keys() == {"type", "repr"}
            assert value["type"] == "repr"
            ast.literal_eval(value["repr"])
        for inner in group["groups"].values():
            check(inner)

    check(PERSPECTIVE)
    manager = PERSPECTIVE["groups"]["pluginmanager"]
    running = ast.literal_eval(manager["keys"]["running-plugins"]["repr"])
    names = {f"plugin__{name.replace('/', '__')}__{number}" for name, numbers in running.items() for number in numbers}
    assert set(manager["groups"]) <= names, "settings of a plugin that does not run"
