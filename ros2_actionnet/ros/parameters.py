"""The table of settings as the parameters of a node."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.settings import SETTINGS, Effect, Setting, Settings
from ros2_actionnet.system.text import printable

LABELS_PARAMETER = "class_labels"
"""The parameter that holds the labels of the running network; the node sets it, and VisionInfo points to it."""

Check = Callable[[Settings, Settings], None]
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
    """

    def __init__(self, node: Node, check: Check, changed: Callable[[], None]) -> None:
        self._node = node
        self._check = check
        self._own = False
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

    def settings(self) -> Settings:
        """Return the settings that the parameters now hold.

        Raises SettingsError, naming the parameter, for a value from a parameter file or the command line that cannot
        be used.
        """
        return Settings.from_values(self._values())

    def restore(self, settings: Settings, effects: Iterable[Effect]) -> None:
        """Sets the parameters with one of `effects` back to their values in `settings`, which are running."""
        wanted = tuple(effects)
        self._set([_parameter(s, getattr(settings, s.name)) for s in SETTINGS if s.effect in wanted])

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
        if any(parameter.name == LABELS_PARAMETER for parameter in parameters):
            return SetParametersResult(
                successful=False, reason=f"{LABELS_PARAMETER} is set by the node; set labels to a file"
            )
        names = {setting.name for setting in SETTINGS}
        ours = {parameter.name: parameter.value for parameter in parameters if parameter.name in names}
        if ours:
            values = self._values()
            try:
                after = Settings.from_values({**values, **ours})
                try:
                    before = Settings.from_values(values)
                except ActionNetError:  # what is set now came from a file and cannot be used: this mends it
                    before = after
                self._check(before, after)
            except ActionNetError as error:
                return SetParametersResult(successful=False, reason=str(error))
            self._changed.trigger()
        return SetParametersResult(successful=True)


def _parameter(setting: Setting, value: Any) -> Parameter:
    return Parameter(setting.name, _TYPES[setting.kind], _value(value))


def _value(value: Any) -> Any:
    # An empty list reaches rclpy without a type, and rqt_reconfigure fails on it: [''] stands for it.
    return (list(value) or [""]) if isinstance(value, tuple) else value


def _descriptor(setting: Setting) -> ParameterDescriptor:
    """Return the setting as a descriptor of rcl_interfaces, as `ros2 param describe` and rqt show it."""
    descriptor = ParameterDescriptor(
        name=setting.name,
        type=_TYPES[setting.kind].value,
        description=setting.description if setting.live else f"{setting.description} Not live: {setting.effect.value}.",
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
