"""The state of a stream in the worker: when it has paused."""

from __future__ import annotations

import pytest

from ros2_actionnet.live.stream import Stream
from ros2_actionnet.settings import Settings


@pytest.mark.parametrize(
    ("interval", "silence", "paused"),
    [(0.1, 0.9, False), (0.1, 1.1, True), (2.0, 4.9, False), (2.0, 5.1, True)],
)
def test_a_stream_has_paused_after_more_than_is_usual_in_it(interval: float, silence: float, paused: bool) -> None:
    stream = Stream(Settings())
    for index in range(4):
        stream.count_submitted(100 + index * interval)
    assert stream.has_paused(100 + 3 * interval + silence, max_gap=1.0) is paused


def test_one_frame_has_no_interval() -> None:
    stream = Stream(Settings())
    assert stream.has_paused(0.0, max_gap=1.0), "no frame has ever come"
    stream.count_submitted(100.0)
    assert not stream.has_paused(101.0, max_gap=1.0)
    assert stream.has_paused(101.1, max_gap=1.0)
