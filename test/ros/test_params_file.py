"""What is said of a parameter file before the node starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.params_file import check_params_file


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("/**", ["/actionnet", "/a/actionnet", "/a/b/actionnet", "/camera"]),
        ("/*", ["/actionnet", "/camera"]),
        ("/*/actionnet", ["/a/actionnet"]),
        ("/**/actionnet", ["/actionnet", "/a/actionnet", "/a/b/actionnet"]),
        ("actionnet", ["/actionnet"]),
        ("/a/actionnet", ["/a/actionnet"]),
        ("/**/*", ["/actionnet", "/a/actionnet", "/a/b/actionnet", "/camera"]),
    ],
)
def test_a_section_is_for_the_nodes_that_rcl_takes_it_for(tmp_path: Path, name: str, nodes: list[str]) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(f"{name}: {{ros__parameters: {{threshold: 0.3}}}}")
    for node in ("/actionnet", "/a/actionnet", "/a/b/actionnet", "/camera"):
        warnings = check_params_file(file, node)
        assert (warnings == []) is (node in nodes)


def test_namespaces_may_be_nested(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("a: {actionnet: {ros__parameters: {threshold: 0.3}}}")
    assert check_params_file(file, "/a/actionnet") == []
    (warning,) = check_params_file(file, "/actionnet")
    assert "has parameters for /a/actionnet, but none for /actionnet" in warning


def test_a_misspelled_parameter_is_named_with_the_near_one(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("/**: {ros__parameters: {treshold: 0.3, top_k: 3, use_sim_time: true, my_own: 1}}")
    (warning,) = check_params_file(file, "/actionnet")
    assert warning.endswith("there is no parameter treshold; did you mean threshold?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("threshold: 0.3", "it has no ros__parameters; write it as /**: {ros__parameters:"),
        ("", "it has no ros__parameters"),
        ("- 1", "it has no ros__parameters"),
        ("{", "cannot be read"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("[" * 1000, "nested deeper"),
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="is no ROS parameter file") as raised:
        check_params_file(file, "/actionnet")
    assert message in str(raised.value)


def test_a_folder_and_what_is_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        check_params_file(tmp_path, "/actionnet")
    with pytest.raises(SettingsError, match="does not exist"):
        check_params_file(tmp_path / "none.yaml", "/actionnet")
