"""What a viewer sends: read strictly, so that nothing malformed reaches the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

LONGEST = 64 * 1024
"""Largest message of a viewer, in bytes."""

MOST_STREAMS = 64
"""Largest number of streams on the page."""

Value: TypeAlias = bool | int | float | str | list[float] | list[str]


class MalformedError(ValueError):
    """A message that the page does not send."""


@dataclass(frozen=True)
class Watch:
    """The viewer shows the video of these streams, and of no others."""

    streams: frozenset[int]


@dataclass(frozen=True)
class Drawn:
    """The viewer has drawn a frame of the stream and is ready for another."""

    stream: int


@dataclass(frozen=True)
class SetParameter:
    """The viewer sets a parameter of a node; the answer bears `id`."""

    id: int
    node: str
    name: str
    value: Value


@dataclass(frozen=True)
class Reset:
    """The viewer empties the window of one camera, or of all ("")."""

    id: int
    node: str
    camera: str


Request: TypeAlias = Watch | Drawn | SetParameter | Reset


def parse_request(text: str) -> Request:
    """Return the request that `text` (JSON) states. Raises MalformedError."""
    try:
        content = json.loads(text, parse_constant=_refuse)
        read = _READERS[content["type"]]
        return read(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedError(type(error).__name__) from error


def _watch(content: dict[str, Any]) -> Request:
    streams = content["streams"]
    if not isinstance(streams, list) or len(streams) > MOST_STREAMS:
        raise MalformedError("streams")
    return Watch(frozenset(_whole(stream) for stream in streams))


def _drawn(content: dict[str, Any]) -> Request:
    return Drawn(_whole(content["stream"]))


def _set(content: dict[str, Any]) -> Request:
    value = content["value"]
    elements = value if isinstance(value, list) else [value]
    if not all(isinstance(element, (bool, int, float, str)) for element in elements):
        raise MalformedError("value")
    return SetParameter(_whole(content["id"]), _text(content["node"]), _text(content["name"]), value)


def _reset(content: dict[str, Any]) -> Request:
    return Reset(_whole(content["id"]), _text(content["node"]), _text(content["camera"]))


_READERS: dict[str, Callable[[dict[str, Any]], Request]] = {
    "watch": _watch,
    "drawn": _drawn,
    "set": _set,
    "reset": _reset,
}


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**32:
        raise MalformedError("number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 500:
        raise MalformedError("text")
    return value


def _refuse(constant: str) -> Any:
    raise MalformedError(constant)
