"""Values of people, files and ROS become the types of ROS's parameters, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.system.values import CONVERTERS, IN_WORDS, shown


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("bool", True, True),
        ("bool", np.bool_(False), False),
        ("bool", 1, None),
        ("bool", "true", None),
        ("integer", np.int32(7), 7),
        ("integer", True, None),
        ("integer", 2.0, None),
        ("double", 2, 2.0),
        ("double", np.float32(0.5), 0.5),
        ("double", 10**400, None),
        ("double", False, None),
        ("string", Path("a/b"), "a/b"),
        ("string", 0, "0"),
        ("string", 2**63, None),
        ("string", True, None),
        ("string", b"front", None),
        ("double_array", [1, 2.5], (1.0, 2.5)),
        ("double_array", np.array([0.5, 1.0]), (0.5, 1.0)),
        ("double_array", [1, "2"], None),
        ("double_array", 1.0, None),
        ("string_array", ["run", 3], ("run", "3")),
        ("string_array", (), ()),
        ("string_array", "run", None),
        ("string_array", {"run": 1}, None),
    ],
)
def test_a_value_becomes_its_type_or_nothing(kind: str, value: Any, expected: Any) -> None:
    converted = CONVERTERS[kind](value)
    assert converted == expected
    assert type(converted) is type(expected)


def test_every_type_has_its_words() -> None:
    assert CONVERTERS.keys() == IN_WORDS.keys()


def test_a_value_that_python_cannot_write_is_named_by_its_type() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown(10**5000) == "a int that cannot be shown"
