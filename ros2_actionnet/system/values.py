"""Values that a person, a file or ROS gives, converted to the types of ROS's parameters.

A converter returns None for what is not of its type: an integer is taken where a double or text is meant, a list for a
tuple, a path for text, and NumPy's numbers for Python's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ros2_actionnet.system.text import printable


def _plain(value: Any) -> Any:
    """Return a path as text and a NumPy number as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value


def _to_bool(value: Any) -> bool | None:
    value = _plain(value)
    return value if isinstance(value, bool) else None


def _to_int(value: Any) -> int | None:
    value = _plain(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _to_float(value: Any) -> float | None:
    value = _plain(value)
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _to_str(value: Any) -> str | None:
    value = _plain(value)
    # Names made of digits, such as the device 0 or the label 2, are integers in YAML and in ROS's command line.
    is_integer = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return str(value) if is_integer or isinstance(value, str) else None


def _to_floats(value: Any) -> tuple[float, ...] | None:
    elements = tuple(_to_float(x) for x in value) if _is_list(value) else (None,)
    return None if None in elements else elements  # type: ignore[return-value]


def _to_strs(value: Any) -> tuple[str, ...] | None:
    elements = tuple(_to_str(x) for x in value) if _is_list(value) else (None,)
    return None if None in elements else elements  # type: ignore[return-value]


def shown(value: Any) -> str:
    """Return the value as it is written in Python, within the bounds of a message."""
    try:
        return printable(repr(value))
    except Exception:  # such as an integer of more digits than Python converts
        return f"a {type(value).__name__} that cannot be shown"


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "integer": _to_int,
    "double": _to_float,
    "string": _to_str,
    "double_array": _to_floats,
    "string_array": _to_strs,
}
"""The converter of each type, by the names that ROS gives to the types."""

IN_WORDS = {
    "bool": "true or false",
    "integer": "a whole number",
    "double": "a number",
    "string": "text",
    "double_array": "a list of numbers",
    "string_array": "a list of strings",
}
"""Each type as a message names it."""
