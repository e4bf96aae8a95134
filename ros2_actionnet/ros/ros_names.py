"""The names that ROS allows for topics and namespaces, checked without ROS."""

from __future__ import annotations

import re

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.system.text import printable

_TOPIC = re.compile(r"(~/|/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_NAMESPACE = re.compile(r"/?|/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


def check_topic(argument: str, name: str) -> None:
    """Raise SettingsError, with a name that is allowed, if ROS would refuse the topic `name` of `argument`."""
    if not _TOPIC.fullmatch(name):
        raise SettingsError(_refusal(argument, name, "topic"))


def check_namespace(argument: str, name: str) -> None:
    """Raise SettingsError, with a name that is allowed, if ROS would refuse the namespace `name` of `argument`."""
    if not _NAMESPACE.fullmatch(name):
        raise SettingsError(_refusal(argument, name, "namespace"))


def _refusal(argument: str, name: str, kind: str) -> str:
    allowed = "names have letters, digits and _, begin with a letter, and are joined by /"
    return (
        f"{argument} '{printable(name)}' is no name of a {kind}; {allowed}, such as {_mended(name) or '/camera/image'}"
    )


def _mended(name: str) -> str:
    """Return `name` with what is not allowed replaced; empty if nothing is left."""
    tokens = [
        re.sub(r"\W", "_", token, flags=re.ASCII) for token in printable(name, 100).strip("~/").split("/") if token
    ]
    named = [f"_{token}" if token[0].isdigit() else token for token in tokens]
    return ("/" if name.startswith("/") else "") + "/".join(named) if any(t.strip("_") for t in named) else ""
