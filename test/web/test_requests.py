"""What a viewer may send."""

from __future__ import annotations

import json
from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ros2_actionnet.web.requests import Drawn, MalformedError, Reset, SetParameter, Value, Watch, parse_request


def test_each_kind_is_read() -> None:
    assert parse_request('{"type": "watch", "streams": [1, 2, 1]}') == Watch(frozenset({1, 2}))
    assert parse_request('{"type": "drawn", "stream": 3}') == Drawn(3)
    assert parse_request('{"type": "reset", "id": 4, "node": "/a", "camera": "front"}') == Reset(4, "/a", "front")
    values: list[Value] = [True, 1, 0.5, "text", [0.0, 1.0], ["a"], []]
    for value in values:
        text = json.dumps({"type": "set", "id": 5, "node": "/a", "name": "b", "value": value})
        assert parse_request(text) == SetParameter(5, "/a", "b", value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"type": "shutdown"}',
        '{"type": ["watch"]}',
        '{"type": "watch", "streams": 1}',
        '{"type": "watch", "streams": [-1]}',
        '{"type": "watch", "streams": [true]}',
        json.dumps({"type": "watch", "streams": list(range(65))}),
        '{"type": "drawn", "stream": 4294967296}',
        '{"type": "set", "id": 1, "node": "/a", "name": "b"}',
        '{"type": "set", "id": 1, "node": "/a", "name": "b", "value": null}',
        '{"type": "set", "id": 1, "node": "/a", "name": "b", "value": {"c": 1}}',
        '{"type": "set", "id": 1, "node": "/a", "name": "b", "value": NaN}',
        '{"type": "set", "id": 1, "node": 2, "name": "b", "value": 1}',
        json.dumps({"type": "set", "id": 1, "node": "a" * 501, "name": "b", "value": 1}),
        "[" * 30_000,
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_request(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "id", "node", "name", "value", "camera", "stream", "streams"]), json_values
    ),
    st.sampled_from(["watch", "drawn", "set", "reset"]),
)
def test_nothing_raises_anything_else(content: dict[str, object], kind: str) -> None:
    with suppress(MalformedError):
        parse_request(json.dumps({**content, "type": kind}))
