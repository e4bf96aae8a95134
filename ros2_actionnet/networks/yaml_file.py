"""Reads YAML files that may come from strangers: size, depth and aliases are bounded before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.system.text import printable

MAX_SIZE = 256 * 1024  # bytes
MAX_DEPTH = 20
MAX_NUMBER = 400  # characters; Python's conversion takes quadratic time

# PyYAML's own parser takes 10 ms for the catalogue, libyaml's 1 ms; not every build of PyYAML has libyaml.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, None if it is empty.

    Raises:
        NetworkError: the file cannot be read, is not YAML, is larger than 256 KiB, nested deeper than 20 levels, or
            uses aliases, with which a few lines can expand to gigabytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise NetworkError(f"{printable(path)} is larger than {MAX_SIZE // 1024} KiB; that is no description")
        return parse_yaml(content, str(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise NetworkError(f"{printable(path)} cannot be read: {printable(reason)}") from error


def parse_yaml(content: bytes | str, name: str = "this file") -> Any:
    """Return what YAML text holds; `name` is that of its file.

    Raises NetworkError for what is dangerous to build, as `read_yaml` does, and ValueError or YAMLError for what is
    not YAML.
    """
    try:
        return _Builder(_checked_events(name, content)).get_single_data()
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:  # from PyYAML, for `!!int ""` and such
        raise ValueError(f"a value does not fit its tag ({type(error).__name__}: {printable(error)})") from error


class _Builder(Composer, SafeConstructor, Resolver):
    """PyYAML's safe loader, from the parser's events on."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._events = events
        self._next: yaml.Event | None = next(events)

    def peek_event(self) -> yaml.Event | None:
        return self._next

    def get_event(self) -> yaml.Event | None:
        event, self._next = self._next, next(self._events, None)
        return event

    def check_event(self, *kinds: type[yaml.Event]) -> bool:
        return isinstance(self._next, kinds or yaml.Event)


def _checked_events(name: str, content: bytes | str) -> Iterator[yaml.Event]:
    """Yield the parser's events one by one, without recursion. Raises NetworkError for what is dangerous to build."""
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = f"{printable(name)}, line {event.start_mark.line + 1 if event.start_mark else 1}"
        if depth > MAX_DEPTH:
            raise NetworkError(f"{line}: nested deeper than {MAX_DEPTH} levels; write it flat")
        if isinstance(event, yaml.AliasEvent):
            raise NetworkError(f"{line}: aliases (*{printable(event.anchor, 40)}) are not read; repeat the value")
        if isinstance(event, yaml.ScalarEvent) and not event.style and _is_long_number(event.value):
            raise NetworkError(f"{line}: a number has {len(event.value)} characters; put text in quotes")
        yield event


def _is_long_number(text: str) -> bool:
    return len(text) > MAX_NUMBER and text.lstrip("+-.")[:1].isdigit()
