"""The window that the server keeps is the one that the client has, whatever is lost, repeated or restarted."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.backends.triton.models.ring_model import Rings
from ros2_actionnet.backends.triton.sequences import SequenceRing
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer

N = 4
# What happens to a request: its answer comes, its answer is lost, the request itself is lost, or the server restarts.
FATES = ("answered", "unanswered", "lost", "restarted")
SAMPLES = st.builds(Sample, steps=st.integers(1, 6), restart=st.booleans())


@given(st.lists(st.tuples(SAMPLES, st.sampled_from(FATES), st.booleans()), max_size=60), st.booleans())
def test_the_server_has_the_same_window(steps: list[tuple[Sample, str, bool]], repeat_first: bool) -> None:
    ring = SequenceRing(N, 1, 1)
    buffer = TemporalBuffer(ring, 1, repeat_first)
    server = Rings(N, 60)
    for level, (sample, fate, is_classified) in enumerate(steps):
        buffer.push(np.full((1, 1, 3), level, np.uint8), sample)
        if not buffer.full or not is_classified:
            continue
        window = buffer.take_window()
        if fate == "restarted":
            server = Rings(N, 60)
        if fate == "lost":
            continue
        found = server.push(ring.sequence, ring.number, window.news)
        if found is None:  # the client sends all, as it is told to
            ring.on_server = None
            found = server.push(ring.sequence, ring.number, window.news)
        assert found is not None
        np.testing.assert_array_equal(found, window.frames)
        if fate != "unanswered":
            ring.on_server = ring.number


def test_one_frame_is_sent_for_one_that_is_new() -> None:
    ring = SequenceRing(N, 1, 1)
    buffer = TemporalBuffer(ring, 1, repeat_first=False)
    sent = deque[list[int]]()
    for level in range(9):
        buffer.push(np.full((1, 1, 3), level, np.uint8), Sample())
        if buffer.full and level != 6:
            window = buffer.take_window()
            sent.append(window.news[:, 0, 0, 0].tolist())
            ring.on_server = ring.number
    assert list(sent) == [[0, 1, 2, 3], [4], [5], [6, 7], [8]]


def test_streams_are_kept_apart_and_forgotten_when_unused() -> None:
    now = 0.0
    rings = Rings(2, longest_pause=10, clock=lambda: now)
    frames = np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1)
    for stream in (1, 2):
        assert rings.push(stream, 2, frames + 10 * stream) is not None
    now = 8.0
    found = rings.push(1, 3, frames[:1] + 99)
    assert found is not None
    assert found.ravel().tolist() == [11, 99]
    now = 11.0
    rings.forget_unused()
    assert rings.push(2, 3, frames[:1]) is None
    assert rings.push(1, 4, frames[:1]) is not None


def test_a_frame_that_is_missing_is_noticed() -> None:
    rings = Rings(4, 60)
    rings.push(1, 4, np.zeros((4, 1, 1, 3), np.uint8))
    one = np.ones((1, 1, 1, 3), np.uint8)
    assert rings.push(1, 6, one) is None
    assert rings.push(1, 3, one) is None
    assert rings.push(1, 5, one) is not None
