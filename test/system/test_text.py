from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.system.text import encodable, printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("walking the dog", "walking the dog"),
        ("Straße 滑雪", "Straße 滑雪"),
        ("a\x1b[2Jb\nc\r\x00", r"a\x1b[2Jb\nc\r\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff.mp4", r"\udcff.mp4"),
        ("x" * 200, "x" * 200),
        ("x" * 10_000_000, "x" * 200 + "... (9999800 more characters)"),
        (ValueError("two\nlines"), r"two\nlines"),
    ],
)
def test_foreign_text_becomes_one_short_printable_line(text: object, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("snow ", "'snow '"),
        ("", "''"),
        ("it's\n\x1b[2J", r'''"it's\n\x1b[2J"'''),
        ("滑雪", "'滑雪'"),
        ("x" * 200, "'" + "x" * 79 + "... (122 more characters)"),
    ],
)
def test_quotes_show_where_a_text_ends(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize("digits", [6000])
def test_a_number_that_python_does_not_convert(digits: int) -> None:
    assert printable(10**digits).startswith("<int that cannot be shown")


@given(st.text(), st.integers(0, 50))
def test_any_text_is_printable_and_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 40
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "encoded"),
    [("滑雪 \U0001f3bf", "滑雪 \U0001f3bf"), ("a\ud800b\udfff", "a\ufffdb\ufffd"), ("\udfff\ud800", "\ufffd\ufffd")],
)
def test_lone_surrogates_are_replaced(text: str, encoded: str) -> None:
    assert encodable(text) == encoded
    assert encodable(text).encode().decode() == encoded
