"""Encoding of a live stream: what a decoder sees of it, and what viewers may ask for."""

from __future__ import annotations

import threading
import time
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import MediaError
from ros2_actionnet.web.live_encoder import CLOCK, EncodedPicture, LiveEncoder, LiveStream
from support.clips import library_clip
from support.videos import psnr

Picture = NDArray[np.uint8]


def decoded(pictures: list[EncodedPicture], codec: str) -> list[Picture]:
    decoder: Any = av.CodecContext.create(codec, "r")
    packets = [av.Packet(picture.data) for picture in pictures] + [None]
    return [frame.to_ndarray(format="bgr24") for packet in packets for frame in decoder.decode(packet)]


def plain(value: int, height: int = 64, width: int = 64) -> Picture:
    return np.full((height, width, 3), value, np.uint8)


def encode_all(encoder: LiveEncoder, pictures: list[Picture], rate: float = 25) -> list[EncodedPicture]:
    encoded = [encoder.encode(picture, index / rate) for index, picture in enumerate(pictures)]
    assert all(len(one) == 1 for one in encoded), "each picture comes out at once"
    return [one for (one,) in encoded]


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_every_picture_is_decoded_as_it_was(codec: str) -> None:
    clip = library_clip("carphone_pristine.mp4", 30)
    seen = decoded(encode_all(LiveEncoder(codec, 25), clip), codec)
    assert len(seen) == len(clip)
    assert min(psnr(picture, other) for picture, other in zip(clip, seen, strict=True)) > 30


def test_times_are_those_of_the_pictures_and_increase() -> None:
    encoder = LiveEncoder("h264", 25)
    times = [encoder.encode(plain(0), seconds)[0].time for seconds in (1.0, 1.5, 1.5, 1.2, 2.0)]
    assert times == [CLOCK, CLOCK * 3 // 2, CLOCK * 3 // 2 + 1, CLOCK * 3 // 2 + 2, CLOCK * 2]


def test_a_key_frame_comes_first_every_two_seconds_and_on_request() -> None:
    encoder, keys = LiveEncoder("h264", 10), list[float]()
    for tick in range(60):
        seconds = tick / 10
        if seconds == 3.0:
            encoder.request_key_frame()
        if encoder.encode(plain(tick), seconds)[0].is_key:
            keys.append(seconds)
    assert keys == [0.0, 2.0, 3.0, 5.0]


def test_a_flood_of_requests_gives_two_key_frames_a_second() -> None:
    encoder, keys = LiveEncoder("h264", 50), 0
    for tick in range(100):
        encoder.request_key_frame()
        keys += encoder.encode(plain(tick), tick / 50)[0].is_key
    assert keys == 4


def test_decoding_can_begin_at_any_key_frame() -> None:
    encoded = encode_all(LiveEncoder("h264", 25), [plain(4 * index) for index in range(60)])
    last = max(index for index, picture in enumerate(encoded) if picture.is_key)
    assert last > 0
    (first, *_) = decoded(encoded[last:], "h264")
    assert abs(int(first.mean()) - 4 * last) < 4, "no older picture"


def test_the_bitrate_follows_the_slowest_link_and_comes_back() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    pictures = [np.roll(noise, 5 * index, 1) for index in range(25)]
    encoder, rates = LiveEncoder("h264", 25, 2_000_000), list[float]()
    for second, limit in enumerate([None, None, 300_000, 300_000, 300_000, None, None, None, None, None, None]):
        encoder.limit_bitrate(limit)
        sizes = [len(encoder.encode(picture, second + index / 25)[0].data) for index, picture in enumerate(pictures)]
        rates.append(8 * sum(sizes))
    assert 1_000_000 < rates[1] < 2_600_000
    assert rates[4] < 500_000
    assert rates[10] > 1_000_000


def test_sizes_that_are_odd_or_change_are_encoded() -> None:
    encoder = LiveEncoder("h264", 25)
    encoded = encode_all(encoder, [plain(9, 65, 67), plain(9, 65, 67), plain(9, 130, 40)])
    assert [picture.is_key for picture in encoded] == [True, False, True]
    assert [picture.shape for picture in decoded(encoded, "h264")] == [(64, 66, 3), (64, 66, 3), (130, 40, 3)]


def test_other_codecs_are_refused_with_those_there_are() -> None:
    with pytest.raises(MediaError, match="'mjpeg'; use one of h264, vp8"):
        LiveEncoder("mjpeg", 25)


def test_the_newest_picture_goes_first_and_publishing_never_waits() -> None:
    blocked, delivered = threading.Event(), list[EncodedPicture]()

    def deliver(picture: EncodedPicture) -> None:
        delivered.append(picture)
        blocked.wait(10)

    stream = LiveStream(LiveEncoder("h264", 25), deliver, lambda: True, pytest.fail)
    stream.publish(plain(0))
    while not delivered:
        time.sleep(0.001)
    started = time.monotonic()
    for value in range(1, 101):
        stream.publish(plain(2 * value))
    assert time.monotonic() - started < 1
    blocked.set()
    while len(delivered) < 2:
        time.sleep(0.001)
    stream.close()
    assert [round(float(picture.mean()), -1) for picture in decoded(delivered, "h264")] == [0, 200]


def test_without_viewers_nothing_is_encoded() -> None:
    delivered = list[EncodedPicture]()
    stream = LiveStream(LiveEncoder("h264", 25), delivered.append, lambda: False, pytest.fail)
    stream.publish(plain(0))
    stream.close()
    assert not delivered


def test_an_error_ends_the_stream_with_one_line() -> None:
    lines = list[str]()

    def deliver(_: EncodedPicture) -> None:
        raise BrokenPipeError("gone")

    stream = LiveStream(LiveEncoder("h264", 25), deliver, lambda: True, lines.append)
    for _ in range(20):
        stream.publish(plain(0))
        time.sleep(0.01)
    stream.close()
    assert lines == ["the live stream has ended: gone"]
