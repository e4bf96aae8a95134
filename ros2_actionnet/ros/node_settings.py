"""The settings of the node and of each of its cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.settings import SETTINGS, Effect, Setting, Settings
from ros2_actionnet.system.text import printable

CAMERA_SETTINGS: tuple[Setting, ...] = tuple(setting for setting in SETTINGS if setting.per_camera)
"""The settings that one camera may have a value of its own of."""

_BY_NAME = MappingProxyType({setting.name: setting for setting in CAMERA_SETTINGS})

Key = tuple[str, str]
"""A camera's name and a setting's."""


@dataclass(frozen=True)
class NodeSettings:
    """The settings of the node, and those of each camera by its name; the only camera is called ""."""

    node: Settings
    cameras: Mapping[str, Settings]

    @classmethod
    def of(cls, node: Settings, own: Mapping[Key, Any] = MappingProxyType({})) -> NodeSettings:
        """Return the settings of the node, and of cameras that have values of their `own` and follow it in the rest.

        Raises SettingsError, naming the camera, for values that do not fit each other.
        """
        if not node.cameras:
            return cls(node, {"": node})
        return cls(node, {camera: _of_camera(node, camera, own) for camera in node.cameras})

    def changed(self, other: NodeSettings) -> set[Effect]:
        """Return the effects of changing these settings to `other`."""
        effects = self.node.changed(other.node)
        for camera in self.cameras.keys() & other.cameras.keys():
            effects |= self.cameras[camera].changed(other.cameras[camera])
        return effects


def _of_camera(node: Settings, camera: str, own: Mapping[Key, Any]) -> Settings:
    values = {setting.name: getattr(node, setting.name) for setting in SETTINGS}
    values |= {name: value for (its_camera, name), value in own.items() if its_camera == camera}
    try:
        return Settings.from_values(values)
    except SettingsError as error:
        raise SettingsError(f"camera {camera}: {error}") from None


def parameter_name(camera: str, setting: Setting) -> str:
    """Return the name of the parameter of one camera's setting."""
    return f"{camera}.{setting.name}"


def camera_setting(parameter: str) -> tuple[str, Setting] | None:
    """Return the camera and the setting that a parameter's name stands for; None if it is of no camera."""
    camera, dot, name = parameter.rpartition(".")
    return (camera, _BY_NAME[name]) if dot and name in _BY_NAME and "." not in camera else None


def refusal_of_unknown(parameter: str, settings: Settings) -> str:
    """Return why there is no such parameter, with what there is."""
    shown = printable(parameter)
    camera, dot, name = parameter.rpartition(".")
    cameras = ", ".join(settings.cameras)
    if not dot or "/" in parameter or "." in camera:
        names = [setting.name for setting in SETTINGS]
        hint = _near(parameter, names) or "see ros2 param list"
        return f"there is no parameter {shown}; {hint}"
    if camera not in settings.cameras:
        there_are = f"the cameras are {cameras}" if cameras else "no cameras are set (parameter cameras)"
        return f"there is no camera {printable(camera)} for {shown}; {there_are}"
    return f"one camera has no {printable(name)} of its own; {_near(name, list(_BY_NAME)) or ', '.join(_BY_NAME)}"


def _near(name: str, names: list[str]) -> str:
    near = get_close_matches(name[:100], names, 1)
    return f"did you mean {near[0]}?" if near else ""
