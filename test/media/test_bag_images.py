"""Packets of a video out of bags, against PyAV's decoding of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.media.bag_source import BagSource
from ros2_actionnet.media.base import BagMessage, InputOptions, MediaFrame
from ros2_actionnet.recognition.frame_header import FrameHeader
from support.bags import COMPRESSED, PACKET, START, VIDEO, video_topic, write_bag, write_humble_bag
from support.packets import B_FRAMES, Packet, decoded, encode, film_frame

COUNT = 20


def fail(message: str) -> None:
    raise AssertionError(message)


def open_bag(path: Path, **options: Any) -> BagSource:
    """The bag, of which nothing may be left out."""
    return BagSource(path, InputOptions(**options), fail)


def read(path: Path, **options: Any) -> list[MediaFrame]:
    source = open_bag(path, **options)
    frames = list(source.frames())
    source.close()
    return frames


def assert_equal(frames: list[MediaFrame], pictures: list[NDArray[np.uint8]]) -> None:
    assert len(frames) == len(pictures)
    for frame, picture in zip(frames, pictures, strict=True):
        np.testing.assert_array_equal(frame.picture, picture)


@pytest.mark.parametrize(
    ("type_name", "format_", "encoder", "decoder"),
    [
        (COMPRESSED, "h264", "libx264", "h264"),
        (COMPRESSED, "hevc", "libx265", "hevc"),
        (VIDEO, "h264", "libx264", "h264"),
        (VIDEO, "h265", "libx265", "hevc"),
        (VIDEO, "vp9", "libvpx-vp9", "vp9"),
        (PACKET, "libx264", "libx264", "h264"),
        (PACKET, "hevc;yuv420p;bgr8;bgr8", "libx265", "hevc"),
    ],
)
def test_every_kind_of_message_gives_its_pictures(
    tmp_path: Path, type_name: str, format_: str, encoder: str, decoder: str
) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)], encoder)
    bag = write_bag(tmp_path / "bag", [video_topic(packets, type_name, format_)])
    source = open_bag(bag)
    assert source.size == (160, 120)
    assert source.rate == pytest.approx(25.0)
    frames = list(source.frames())
    expected = decoded(packets, decoder)
    assert_equal(frames, [expected[number] for number in range(COUNT)])
    assert [frame.stamp for frame in frames] == [START + number * 40_000_000 for number in range(COUNT)]
    assert frames[3].message == BagMessage(FrameHeader(1_700_000_000, 120_000_000, "camera"), 3)
    source.close()


@pytest.mark.parametrize("type_name", [VIDEO, PACKET])
def test_a_bag_of_humble_which_lacks_the_definitions(tmp_path: Path, type_name: str) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)])
    frames = read(write_humble_bag(tmp_path / "bag", [video_topic(packets, type_name)]))
    assert_equal(frames, list(decoded(packets).values()))


def test_reordered_frames_have_their_own_stamps_and_messages(tmp_path: Path) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)], options=B_FRAMES)
    source = open_bag(write_bag(tmp_path / "bag", [video_topic(packets)]))
    assert source.rate == pytest.approx(25.0)
    frames = list(source.frames())
    assert [frame.stamp for frame in frames] == [START + number * 40_000_000 for number in range(COUNT)]
    numbers = [frame.message.number for frame in frames if frame.message is not None]
    assert [packets[number].shown for number in numbers] == list(range(COUNT))
    assert_equal(frames, [decoded(packets)[number] for number in range(COUNT)])


def test_it_begins_at_the_first_key_frame_and_says_so(tmp_path: Path) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)])
    reports: list[str] = []
    bag = write_bag(tmp_path / "bag", [video_topic(packets[4:])])
    frames = list(BagSource(bag, InputOptions(), reports.append).frames())
    assert_equal(frames, [decoded(packets)[number] for number in range(10, COUNT)])
    assert reports == ["6 messages of /camera/video before the video's first key frame are skipped"]


def test_a_damaged_packet_is_reported_and_skipped(tmp_path: Path) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)])
    damaged = [*packets[:12], Packet(b"garbage" * 9, 12), *packets[13:]]
    reports: list[str] = []
    bag = write_bag(tmp_path / "bag", [video_topic(damaged)])
    frames = list(BagSource(bag, InputOptions(), reports.append).frames())
    assert [frame.index for frame in frames] == [*range(12), *range(13, COUNT)]
    assert len(reports) == 1
    assert "message 12 of /camera/video is skipped: a packet of H.264 of 63 bytes is damaged" in reports[0]


def test_it_is_played_again_from_its_beginning(tmp_path: Path) -> None:
    packets = encode([film_frame(number) for number in range(COUNT)])
    frames = read(write_bag(tmp_path / "bag", [video_topic(packets)]), loop=1)
    assert_equal(frames, 2 * list(decoded(packets).values()))
    assert [frame.index for frame in frames] == list(range(2 * COUNT))
