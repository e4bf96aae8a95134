"""The queue between the caller's thread and the worker's: what waits, what goes when too much does."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.hosted_network import HostedNetwork
from ros2_actionnet.live.lane import Lane, SampledFrame
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings
from support.fakes import FakeSession, grey_image, make_network

N = 4
BAD = RawImage(b"\0" * 10, 4, 4, 12, "rgb8")


def make_lane(size: int = 4, settings: Settings | None = None) -> tuple[Lane, FakeSession]:
    """A lane whose network is loaded and open."""
    settings = settings or Settings()
    network = make_network(frames=N, size=size)
    host, session = HostedNetwork(settings, network), FakeSession(network)
    lane = Lane(host, settings)
    host.session = session
    lane.open(settings, is_first=True)
    return lane, session


def offer(lane: Lane, value: int, sample: Sample | None = None) -> None:
    """Frame number `value`, of that grey level."""
    frame = SampledFrame(FrameHeader(value, 0), sample or Sample(), value, float(value), value)
    lane.offer(grey_image(value), frame)


def window(lane: Lane, session: FakeSession) -> list[int]:
    """The grey levels of the frames in the window."""
    assert lane.classifier is not None
    lane.classifier.classify()
    return session.windows[-1]


def test_frames_reach_the_window_in_their_order() -> None:
    lane, session = make_lane()
    for value in range(3):
        offer(lane, value)
    assert lane.drain() is False
    offer(lane, 3)
    lane.drain()
    assert window(lane, session) == [0, 1, 2, 3]
    assert lane.overrun == 0


def test_the_newest_frame_taken_into_the_window_is_known() -> None:
    lane, _ = make_lane()
    assert lane.newest is None
    offer(lane, 7)
    offer(lane, 8)
    assert lane.newest is None
    lane.drain()
    assert lane.newest is not None
    assert (lane.newest.index, lane.newest.header.sec, lane.newest.handed_over) == (8, 8, 8.0)


def test_a_box_stands_in_place_of_the_region() -> None:
    lane, session = make_lane(settings=Settings(roi=(0.0, 0.0, 0.5, 0.5)))
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8], picture[8:, 8:] = 100, 200
    image = RawImage.from_array(picture, "rgb8")
    for number, box in enumerate([None, Box(12, 12, 8, 8), None, Box(4, 12, 8, 8)]):
        lane.offer(image, SampledFrame(FrameHeader(number, 0), Sample(), number, 0.0, number), box)
    lane.drain()
    assert window(lane, session) == [100, 200, 100, 0]


def test_at_most_a_window_waits_and_the_oldest_go() -> None:
    lane, session = make_lane()
    offer(lane, 0)
    lane.drain()
    for value in range(11):
        offer(lane, value)
    lane.drain()
    assert window(lane, session) == [7, 8, 9, 10]
    assert lane.overrun == 7


def test_a_lane_whose_network_is_loading_keeps_the_newest_window_and_counts_none_as_overrun() -> None:
    network = make_network(frames=N)
    host = HostedNetwork(Settings(), network)
    lane = Lane(host, Settings())
    for value in range(11):
        offer(lane, value)
    assert lane.overrun == 0
    session = FakeSession(network)
    host.session = session
    lane.open(Settings(), is_first=True)
    lane.drain()
    assert window(lane, session) == [7, 8, 9, 10]


def test_a_lost_frame_leaves_its_restart_to_the_next() -> None:
    lane, session = make_lane()
    for value in range(4):
        offer(lane, value)
    lane.drain()
    offer(lane, 10, Sample(restart=True, reason="gap"))
    for value in range(11, 15):
        offer(lane, value)
    assert lane.drain() is True
    assert lane.overrun == 1
    assert window(lane, session) == [11, 12, 13, 14]


def test_a_restart_on_the_way_empties_what_was_there_before() -> None:
    lane, session = make_lane()
    for value in range(3):
        offer(lane, value)
    offer(lane, 3, Sample(restart=True))
    assert lane.drain() is True
    assert lane.classifier is not None
    assert (lane.classifier.fill, lane.classifier.due) == (1, 0)
    for value in range(4, 7):
        offer(lane, value)
    assert lane.drain() is False
    assert window(lane, session) == [3, 4, 5, 6]


def test_clear_forgets_all_frames_before_it_and_none_after_it() -> None:
    lane, session = make_lane()
    for value in range(4):
        offer(lane, value)
    lane.drain()
    offer(lane, 4)
    lane.clear()
    offer(lane, 5)
    assert lane.drain() is True
    assert lane.classifier is not None
    assert lane.classifier.fill == 1
    for value in range(6, 9):
        offer(lane, value)
    assert lane.drain() is False
    assert window(lane, session) == [5, 6, 7, 8]
    assert lane.overrun == 0


def test_an_image_that_cannot_be_understood_is_refused_and_leaves_the_queue_alone() -> None:
    lane, session = make_lane()
    for value in range(3):
        offer(lane, value)
    with pytest.raises(ImageError, match="10 bytes received and 48 needed"):
        lane.offer(BAD, SampledFrame(FrameHeader(3, 0), Sample(), 3, 3.0, 3))
    offer(lane, 4)
    lane.drain()
    assert window(lane, session) == [0, 1, 2, 4]


def test_the_image_may_be_reused_at_once() -> None:
    lane, session = make_lane()
    pixels = np.zeros((4, 4, 3), np.uint8)
    for value in range(4):
        pixels[...] = value
        lane.offer(
            RawImage.from_array(pixels, "rgb8"),
            SampledFrame(FrameHeader(value, 0), Sample(), value, float(value), value),
        )
    pixels[...] = 99
    lane.drain()
    assert window(lane, session) == [0, 1, 2, 3]


def test_the_region_of_interest_is_the_lanes_own() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    image = RawImage.from_array(pixels, "rgb8")
    for roi, expected in (((0.0, 0.0, 0.5, 1.0), 0), ((0.5, 0.0, 0.5, 1.0), 200)):
        lane, session = make_lane(settings=Settings(roi=roi))
        for index in range(N):
            lane.offer(image, SampledFrame(FrameHeader(0, 0), Sample(), index, 0.0, 0))
        lane.drain()
        assert window(lane, session) == [expected] * N


def test_a_running_lane_allocates_no_thumbnail() -> None:
    size = 64
    lane, _ = make_lane(size)
    image = grey_image(1, size)

    def turn() -> None:
        for index in range(2 * N):
            lane.offer(image, SampledFrame(FrameHeader(0, 0), Sample(), index, 0.0, 0))
            with pytest.raises(ImageError):
                lane.offer(BAD, SampledFrame(FrameHeader(0, 0), Sample(), index, 0.0, 0))
        lane.drain()

    turn()
    tracemalloc.start()
    try:
        for _ in range(3):
            turn()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size * size * 3
