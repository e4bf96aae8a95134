"""The parameters of another node: read and described by it, set through its services."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_actionnet.ros.node_settings import camera_setting
from ros2_actionnet.ros.parameters import LABELS_PARAMETER
from ros2_actionnet.settings import SETTINGS, Effect
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.requests import Value

MOST_PARAMETERS = 1000
"""Parameters of a node above this number are not shown."""

_RETRY = 5.0  # s, after which a service that has not answered is asked again
_LONGEST_VALUE = 2000  # characters
_KINDS = {
    ParameterType.PARAMETER_BOOL: "bool",
    ParameterType.PARAMETER_INTEGER: "integer",
    ParameterType.PARAMETER_DOUBLE: "double",
    ParameterType.PARAMETER_STRING: "string",
    ParameterType.PARAMETER_DOUBLE_ARRAY: "double_array",
    ParameterType.PARAMETER_STRING_ARRAY: "string_array",
}
_EFFECTS = {setting.name: setting.effect.value for setting in SETTINGS}
_GROUPS = (Effect.NEW_NETWORK, Effect.NEXT_FRAME, Effect.NEW_WINDOW, Effect.CONFIGURE)  # in the page's order
_ORDER = {
    setting.name: number
    for number, setting in enumerate(sorted(SETTINGS, key=lambda setting: _GROUPS.index(setting.effect)))
}


class WebParameters:
    """Keeps what the page shows of a node's parameters; everything happens in the executor's thread.

    Args:
        node: Makes the clients.
        target: Fully qualified name of the node whose parameters these are.
        suggestions: Values to choose from, by the parameter's name.
        changed: Called with the parameters, in the node's order, whenever they are read or change.
    """

    def __init__(
        self,
        node: Node,
        target: str,
        suggestions: Mapping[str, Sequence[str]],
        changed: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self._node, self._suggestions, self._changed = node, suggestions, changed
        self._list = node.create_client(ListParameters, f"{target}/list_parameters")
        self._describe = node.create_client(DescribeParameters, f"{target}/describe_parameters")
        self._get = node.create_client(GetParameters, f"{target}/get_parameters")
        self._set = node.create_client(SetParameters, f"{target}/set_parameters")
        self._shown: dict[str, dict[str, Any]] = {}
        self._is_read, self._asked, self._round = False, -_RETRY, 0

    def destroy(self) -> None:
        """Take the clients back."""
        self._round += 1
        for client in (self._list, self._describe, self._get, self._set):
            self._node.destroy_client(client)

    def look(self) -> None:
        """Read the parameters if that has not succeeded yet; meant to be called about once a second."""
        if not self._is_read and time.monotonic() - self._asked >= _RETRY and self._list.service_is_ready():
            self._read()

    def on_event(self, event: ParameterEvent) -> None:
        """Take note of a change."""
        if {p.name for p in (*event.new_parameters, *event.deleted_parameters)} - {LABELS_PARAMETER}:
            self._is_read, self._asked = False, -_RETRY
            self.look()
        for parameter in event.changed_parameters:
            if parameter.name in self._shown:
                self._shown[parameter.name]["value"] = _value(parameter.value)
        self._report()

    def set(self, name: str, value: Value, answer: Future[str]) -> None:
        """Set a parameter; `answer` receives the reason of a refusal, "" if it was set."""
        if name not in self._shown:
            resolve(answer, f"there is no parameter {printable(name)}")
            return
        try:
            parameter = Parameter(name, value=_typed(value, self._shown[name]["kind"])).to_parameter_msg()
            future = self._set.call_async(SetParameters.Request(parameters=[parameter]))
        except Exception as error:  # such as a whole number of more than 64 bits
            resolve(answer, f"{name} cannot be set to that value: {printable(error)}")
            return

        def answered(response: Any) -> None:
            for result in response.results[:1]:
                resolve(answer, "" if result.successful else result.reason or "refused without a reason")

        on_response(future, answered)

    def _report(self) -> None:
        if self._shown:
            self._changed(list(self._shown.values()))

    def _read(self) -> None:
        """Ask for the names, then for their descriptions, then for their values."""
        self._asked = time.monotonic()
        self._round += 1
        this_round = self._round

        def listed(response: Any) -> None:
            names = [name for name in response.result.names if name != LABELS_PARAMETER][:MOST_PARAMETERS]
            if this_round == self._round:
                future = self._describe.call_async(DescribeParameters.Request(names=names))
                on_response(future, lambda answer: described(names, answer.descriptors))

        def described(names: list[str], descriptors: Sequence[ParameterDescriptor]) -> None:
            if this_round == self._round:
                future = self._get.call_async(GetParameters.Request(names=names))
                on_response(future, lambda answer: received(names, descriptors, answer.values))

        def received(names: list[str], descriptors: Sequence[ParameterDescriptor], values: Sequence[Any]) -> None:
            if this_round != self._round or not len(names) == len(descriptors) == len(values):
                return  # a parameter went meanwhile: they are read again
            shown = [
                self._field(name, descriptor, value)
                for name, descriptor, value in zip(names, descriptors, values, strict=True)
            ]
            shown.sort(key=lambda field: _ORDER.get(field["name"], len(_ORDER)))
            self._shown = {field["name"]: field for field in shown if field["kind"]}
            self._is_read = True
            self._report()

        on_response(self._list.call_async(ListParameters.Request()), listed)

    def _field(self, name: str, descriptor: ParameterDescriptor, value: Any) -> dict[str, Any]:
        """Return a parameter as the page shows it; its kind is "" if the page has no field for it."""
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        limits = printable(descriptor.additional_constraints)
        kind = "" if descriptor.read_only else _KINDS.get(value.type, "")
        return {
            "name": name,
            "kind": kind,
            "value": _value(value) if kind else None,
            "description": printable(descriptor.description, _LONGEST_VALUE),
            "limits": limits,
            "choices": limits.split(" / ") if " / " in limits else [],
            "suggestions": list(self._suggestions.get(name, ())),
            "minimum": ranges[0].from_value if ranges else None,
            "maximum": ranges[0].to_value if ranges else None,
            "group": _group(name),
        }


def on_response(future: Any, action: Callable[[Any], None]) -> None:
    """Call `action` with a service's response, if one comes."""

    def done(finished: Any) -> None:
        response = finished.result() if finished.exception() is None else None
        if response is not None:
            action(response)

    future.add_done_callback(done)


def resolve(answer: Future[str], reason: str) -> None:
    """Set the result of `answer`, unless nobody waits for it any more."""
    with suppress(InvalidStateError):
        answer.set_result(reason)


def _group(name: str) -> str:
    """Return the heading under which a parameter is shown: what a change of it does, or its camera."""
    camera = camera_setting(name)
    if camera is not None:
        return f"Of camera {camera[0]} alone"
    return _EFFECTS.get(name, "other").capitalize()


def _value(message: Any) -> Any:
    """Return the value of a ParameterValue; the list that stands for an empty one is empty, long texts are cut."""
    value = Parameter.from_parameter_msg(ParameterMessage(name="value", value=message)).value
    if isinstance(value, str):
        return printable(value, _LONGEST_VALUE)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    elements = [printable(element) if isinstance(element, str) else element for element in value][:MOST_PARAMETERS]
    return [] if elements == [""] else elements


def _typed(value: Value, kind: str) -> Any:
    """Return a value from the page in the type that ROS has for it; what does not fit is left to the node to refuse."""
    if isinstance(value, list):
        if all(isinstance(element, (int, float)) and not isinstance(element, bool) for element in value) and value:
            return [float(element) for element in value] if kind == "double_array" else [str(x) for x in value]
        return [str(element) for element in value] or [""]  # an empty list has no type
    if kind == "double" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
