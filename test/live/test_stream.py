"""When another lane may take the place of the one that runs: what a pause is."""

from __future__ import annotations

import threading

import pytest

from ros2_actionnet.live.stream import Stream
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings
from support.fakes import RecordingListener, grey_image


class Owner:
    """A worker that only tells the time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def next_turn(self) -> int:
        return 0

    def wake(self) -> None:
        pass

    def on_stream_configured(self, stream: Stream) -> None:
        pass

    def on_stream_closed(self, stream: Stream) -> None:
        pass


def submit(stream: Stream, index: int) -> None:
    header = FrameHeader(index, 0)
    stream.submit(grey_image(index), Sample(), header, index, header.stamp)


@pytest.mark.parametrize(
    ("interval", "silence", "paused"),
    [(0.1, 0.9, False), (0.1, 1.1, True), (2.0, 4.9, False), (2.0, 5.1, True)],
)
def test_a_stream_has_paused_after_more_than_is_usual_in_it(interval: float, silence: float, paused: bool) -> None:
    owner = Owner()
    stream = Stream(Settings(max_gap=1.0), RecordingListener(), owner)
    for index in range(4):
        owner.time = 100 + index * interval
        submit(stream, index)
    owner.time += silence
    assert stream.has_paused() is paused


def test_one_frame_has_no_interval() -> None:
    owner = Owner()
    stream = Stream(Settings(max_gap=1.0), RecordingListener(), owner)
    assert stream.has_paused(), "no frame has ever come"
    owner.time = 100.0
    submit(stream, 0)
    owner.time = 101.0
    assert not stream.has_paused()
    owner.time = 101.1
    assert stream.has_paused()
