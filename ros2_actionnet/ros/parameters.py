"""The table of settings as the parameters of a node."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.ros.node_settings import (
    CAMERA_SETTINGS,
    Key,
    NodeSettings,
    camera_setting,
    parameter_name,
    refusal_of_unknown,
)
from ros2_actionnet.settings import SETTINGS, Effect, Setting, Settings
from ros2_actionnet.system.text import printable

LABELS_PARAMETER = "class_labels"
"""The parameter that holds the labels of the running network; the node sets it, and VisionInfo points to it."""

Check = Callable[[NodeSettings, NodeSettings], None]
"""Called with the settings before and after a change; raises ActionNetError to refuse it."""

_TYPES = {
    "bool": Parameter.Type.BOOL,
    "integer": Parameter.Type.INTEGER,
    "double": Parameter.Type.DOUBLE,
    "string": Parameter.Type.STRING,
    "double_array": Parameter.Type.DOUBLE_ARRAY,
    "string_array": Parameter.Type.STRING_ARRAY,
}


class Parameters:
    """Declares the settings on a node, refuses unusable changes and reports accepted ones.

    `changed` is called, in the executor's thread, some time after a set that was accepted; several sets in a row may
    lead to one call. That needs no post-set callback, which rclpy has only since Jazzy, and makes one change of what
    a SetParameters request sets one by one.

    Where `cameras` names several, each setting that one of them may have a value of its own of is also a parameter
    `CAMERA.SETTING`. It has the node's value, and follows it, until it is set to another one.
    """

    def __init__(self, node: Node, check: Check, changed: Callable[[], None]) -> None:
        self._node = node
        self._check = check
        self._own = False
        self._cameras: tuple[str, ...] = ()
        self._cameras_own: dict[Key, Any] = {}  # values that do not follow the node's
        self._changed = node.create_guard_condition(changed)
        for setting in SETTINGS:
            node.declare_parameter(setting.name, _value(setting.default), _descriptor(setting))
        node.declare_parameter(
            LABELS_PARAMETER,
            [""],
            ParameterDescriptor(
                description="The labels of the running network, class by class. Set by the node itself."
            ),
        )
        node.add_on_set_parameters_callback(self._on_set)

    def settings(self) -> NodeSettings:
        """Return the settings that the parameters now hold, and declare those of the cameras.

        Raises SettingsError, naming the parameter, for a value from a parameter file or the command line that cannot
        be used.
        """
        settings = Settings.from_values(self._values())
        self._declare_cameras(settings)
        return NodeSettings.of(settings, self._cameras_own)

    def restore(self, settings: Settings, effects: Iterable[Effect]) -> None:
        """Sets the parameters with one of `effects` back to their values in `settings`, which are running."""
        wanted = tuple(effects)
        self._set([_parameter(s.name, s, getattr(settings, s.name)) for s in SETTINGS if s.effect in wanted])

    def refusal_of_unknown(self, names: Iterable[str]) -> str:
        """Return why one of the parameters cannot be set, because it does not exist; "" if all do."""
        unknown = [name for name in names if not self._node.has_parameter(name)]
        return refusal_of_unknown(unknown[0], Settings.from_values(self._values())) if unknown else ""

    def show_labels(self, labels: Sequence[str]) -> None:
        """Sets the parameter that holds the labels of the running network."""
        self._set([Parameter(LABELS_PARAMETER, Parameter.Type.STRING_ARRAY, list(labels))])

    def _set(self, parameters: list[Parameter]) -> None:
        """Sets parameters to what is so anyway: nothing is to be checked, nor done about it."""
        self._own = True
        try:
            self._node.set_parameters(parameters)
        finally:
            self._own = False

    def _values(self) -> dict[str, Any]:
        # An empty list in a parameter file reaches rclpy as a parameter without a value.
        values = {s.name: self._node.get_parameter(s.name).value for s in SETTINGS}
        return {name: value for name, value in values.items() if value is not None}

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        if self._own:
            return SetParametersResult(successful=True)
        try:
            result = self._decide(parameters)
        except Exception as error:  # an exception here would end the node
            self._node.get_logger().error(traceback.format_exc())
            reason = f"the change cannot be checked ({type(error).__name__}: {printable(error)}); nothing was changed"
            result = SetParametersResult(successful=False, reason=reason)
        if not result.successful:  # rqt, rosbridge and Foxglove do not show the reason
            names = ", ".join(parameter.name for parameter in parameters)
            self._node.get_logger().warning(f"refused to set {printable(names)}: {result.reason}")
        return result

    def _decide(self, parameters: list[Parameter]) -> SetParametersResult:
        # The value that it has is taken, for `ros2 param load` of what `ros2 param dump` wrote.
        if any(
            parameter.name == LABELS_PARAMETER and parameter.value != self._node.get_parameter(LABELS_PARAMETER).value
            for parameter in parameters
        ):
            return SetParametersResult(
                successful=False, reason=f"{LABELS_PARAMETER} is set by the node; set labels to a file"
            )
        names = {setting.name for setting in SETTINGS}
        ours = {parameter.name: parameter.value for parameter in parameters if parameter.name in names}
        cameras = {
            (camera, setting.name): parameter.value
            for parameter in parameters
            for camera, setting in [camera_setting(parameter.name) or ("", None)]
            if camera in self._cameras and setting is not None
        }
        if ours or cameras:
            values = self._values()
            try:
                node = Settings.from_values({**values, **ours})
                own = {key: value for key, value in self._cameras_own.items() if key not in cameras}
                own |= _own_values(node, cameras)
                after = NodeSettings.of(node, own)
                try:
                    before = NodeSettings.of(Settings.from_values(values), self._cameras_own)
                except ActionNetError:  # what is set now came from a file and cannot be used: this mends it
                    before = after
                self._check(before, after)
            except ActionNetError as error:
                return SetParametersResult(successful=False, reason=str(error))
            self._cameras_own = own
            self._changed.trigger()
        return SetParametersResult(successful=True)

    # The parameters of cameras.

    def _declare_cameras(self, settings: Settings) -> None:
        """Declare the parameters of new cameras, drop those of old ones, and let the rest follow the node's.

        Raises SettingsError for a value from a parameter file or the command line that is meant for no camera.
        """
        given: Mapping[str, Parameter] = getattr(self._node, "_parameter_overrides", {})
        for name in given:
            found = camera_setting(name)
            if found is not None and "/" not in name and found[0] not in settings.cameras:
                raise SettingsError(refusal_of_unknown(name, settings))
        for camera in self._cameras:
            if camera not in settings.cameras:
                self._undeclare(camera)
        for camera in settings.cameras:
            if camera not in self._cameras:
                self._declare(camera, settings)
        self._cameras = settings.cameras
        self._set(
            [
                _parameter(name, setting, wanted)
                for camera in self._cameras
                for setting in CAMERA_SETTINGS
                for name, wanted in [(parameter_name(camera, setting), getattr(settings, setting.name))]
                if (camera, setting.name) not in self._cameras_own
                and self._node.get_parameter(name).value != _value(wanted)
            ]
        )

    def _declare(self, camera: str, settings: Settings) -> None:
        self._own = True
        try:
            given = {
                (camera, setting.name): self._node.declare_parameter(
                    parameter_name(camera, setting),
                    _value(getattr(settings, setting.name)),
                    _descriptor(setting, camera),
                ).value
                for setting in CAMERA_SETTINGS
            }
        finally:
            self._own = False
        self._cameras_own |= _own_values(settings, {key: value for key, value in given.items() if value is not None})

    def _undeclare(self, camera: str) -> None:
        for setting in CAMERA_SETTINGS:
            self._node.undeclare_parameter(parameter_name(camera, setting))
            self._cameras_own.pop((camera, setting.name), None)


def _own_values(settings: Settings, values: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return those of the cameras' `values` that are not the node's; the others follow it.

    Raises SettingsError for a value that cannot be used.
    """
    own = {}
    for (camera, name), value in values.items():
        setting = next(setting for setting in CAMERA_SETTINGS if setting.name == name)
        try:
            coerced = setting.coerce(value)
        except SettingsError as error:
            raise SettingsError(f"camera {camera}: {error}") from None
        if coerced != setting.coerce(_value(getattr(settings, name))):
            own[camera, name] = coerced
    return own


def _parameter(name: str, setting: Setting, value: Any) -> Parameter:
    return Parameter(name, _TYPES[setting.kind], _value(value))


def _value(value: Any) -> Any:
    # An empty list reaches rclpy without a type, and rqt_reconfigure fails on it: [''] stands for it.
    return (list(value) or [""]) if isinstance(value, tuple) else value


def _descriptor(setting: Setting, camera: str = "") -> ParameterDescriptor:
    """Return the setting, or that of one camera, as `ros2 param describe` and rqt show it."""
    description = setting.description if setting.live else f"{setting.description} Not live: {setting.effect.value}."
    if camera:
        description += f" Of camera {camera} alone; until it is set to another value it follows {setting.name}."
    descriptor = ParameterDescriptor(
        name=parameter_name(camera, setting) if camera else setting.name,
        type=_TYPES[setting.kind].value,
        description=description,
        additional_constraints=setting.limits,
        # Typing is ours: it takes an integer where a double is meant, and its refusals say what is allowed.
        dynamic_typing=True,
    )
    # Half a range is said in words only: tools make sliders of ranges, and a slider to infinity is none.
    if setting.minimum is not None and setting.maximum is not None:
        if setting.kind == "double":
            descriptor.floating_point_range = [FloatingPointRange(from_value=setting.minimum, to_value=setting.maximum)]
        elif setting.kind == "integer":
            limits = IntegerRange(from_value=int(setting.minimum), to_value=int(setting.maximum), step=1)
            descriptor.integer_range = [limits]
    return descriptor
