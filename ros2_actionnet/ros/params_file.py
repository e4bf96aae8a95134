"""Checks a ROS parameter file before the node starts, as rcl's messages name neither the file nor a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.networks.yaml_file import read_yaml
from ros2_actionnet.settings import SETTINGS
from ros2_actionnet.system.text import printable

_SECTION = "ros__parameters"
_EXAMPLE = "/**: {ros__parameters: {threshold: 0.3}}"
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "qos_overrides")


def check_params_file(path: Path, node: str) -> list[str]:
    """Return warnings on the parameter file `path`, which a node of the full name `node`, such as /actionnet, is given.

    Raises SettingsError for a file that rcl could not read: one that does not exist, a folder, no YAML, or YAML without
    `ros__parameters`.
    """
    shown = f"params_file '{printable(path)}'"
    if path.is_dir():
        raise SettingsError(f"{shown} is a folder; give the path of a ROS parameter file in it")
    if not path.is_file():
        raise SettingsError(f"{shown} does not exist; give the path of a ROS parameter file")
    try:
        content = read_yaml(path)
    except ActionNetError as error:
        raise SettingsError(f"{shown} is no ROS parameter file: {error}") from error
    sections = dict(_sections(content))
    if not sections:
        raise SettingsError(f"{shown} is no ROS parameter file: it has no {_SECTION}; write it as {_EXAMPLE}")
    ours = [parameters for pattern, parameters in sections.items() if _matches(pattern, node)]
    if not ours:
        names = printable(", ".join(sections))
        return [f"{shown} has parameters for {names}, but none for {node}; name its section {node} or /**"]
    return [f"{shown}: {warning}" for parameters in ours for warning in _unknown(parameters)]


def _sections(content: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the name of each node in a parameter file, as a pattern from the root on, with its parameters."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == _SECTION:
            yield prefix or "/", value if isinstance(value, Mapping) else {}
        else:
            yield from _sections(value, f"{prefix}/{str(key).strip('/')}")


def _matches(pattern: str, node: str) -> bool:
    """Return True if `pattern` stands for `node`: * is one name in its path, ** any number of them."""
    return _tokens_match(pattern.strip("/").split("/"), node.strip("/").split("/"))


def _tokens_match(pattern: list[str], names: list[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_tokens_match(pattern[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _tokens_match(pattern[1:], names[1:])


def _unknown(parameters: Mapping[Any, Any]) -> Iterator[str]:
    """Yield a warning for each parameter that is nearly one of ours: rclpy leaves it without a word."""
    known = [setting.name for setting in SETTINGS]
    for name in map(str, parameters):
        if "." in name:  # of one camera: the node knows its cameras, and refuses others
            continue
        near = get_close_matches(name, known, 1, 0.75)
        if near and name not in known and name not in _OF_EVERY_NODE:
            yield f"there is no parameter {printable(name)}; did you mean {near[0]}?"
