"""Packets in, pictures out: the same as PyAV's from the whole film, whatever happens to the packets on the way."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.images.video_decoder import VideoDecoder, VideoImage, video_codec
from support.packets import B_FRAMES, Packet, decoded, encode, film_frame

START_CODE = b"\0\0\0\1"


class Stream:
    """A decoder, the pictures that came out of it by the number of their message, and what it rejected."""

    def __init__(self) -> None:
        self.pictures: list[tuple[int, NDArray[np.uint8]]] = []
        self.rejected: list[tuple[int, str]] = []
        self.decoder = VideoDecoder[int](lambda tag, error: self.rejected.append((tag, str(error))))

    def send(self, packets: list[Packet], codec: str = "H.264") -> None:
        for packet in packets:
            frames = self.decoder.decode(packet.data, codec, packet.shown)
            self.pictures += [(number, to_bgr(image)) for number, image in frames]

    def finish(self) -> None:
        self.pictures += [(number, to_bgr(image)) for number, image in self.decoder.finish()]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.pictures]


@pytest.fixture(name="stream")
def stream_fixture() -> Stream:
    return Stream()


@pytest.fixture(name="film", scope="module")
def film_fixture() -> list[Packet]:
    """30 pictures in H.264; 0, 10 and 20 are key frames."""
    return encode([film_frame(number) for number in range(30)])


@pytest.mark.parametrize(
    ("format_", "codec"),
    [
        ("h264", "H.264"),
        ("H264", "H.264"),
        ("h264; baseline", "H.264"),
        ("video/H.264", "H.264"),
        ("libx264", "H.264"),
        ("h264_nvmpi", "H.264"),
        ("h264_vaapi/nv12;bgr8", "H.264"),
        ("avc1.42E01E", "H.264"),
        ("h265", "H.265"),
        ("hevc", "H.265"),
        ("hevc_nvenc", "H.265"),
        ("hevc;yuv420p;bgr8;bgr8", "H.265"),
        ("libx265", "H.265"),
        ("av1", "AV1"),
        ("libsvtav1", "AV1"),
        ("libaom-av1", "AV1"),
        ("vp9", "VP9"),
        ("libvpx-vp9", "VP9"),
        ("vp8", "VP8"),
        ("libvpx", "VP8"),
        ("jpeg", ""),
        ("bgr8; jpeg compressed bgr8", ""),
        ("16UC1; compressedDepth png", ""),
        ("mjpeg", ""),
        ("", ""),
    ],
)
def test_the_codec_is_read_from_the_publishers_word(format_: str, codec: str) -> None:
    assert video_codec(START_CODE, format_) == codec


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\x89PNG"])
def test_the_bytes_of_an_image_of_its_own_go_before_the_word(start: bytes) -> None:
    assert video_codec(start, "h264") == ""


@pytest.mark.parametrize(
    ("encoder", "codec", "decoder"),
    [
        ("libx264", "H.264", "h264"),
        ("libx265", "H.265", "hevc"),
        ("libvpx-vp9", "VP9", "vp9"),
        ("libvpx", "VP8", "vp8"),
        ("libsvtav1", "AV1", "libdav1d"),
    ],
)
def test_each_packet_gives_its_own_picture_at_once(stream: Stream, encoder: str, codec: str, decoder: str) -> None:
    packets = encode([film_frame(number) for number in range(12)], encoder)
    expected = decoded(packets, decoder)
    for index, packet in enumerate(packets):
        stream.send([packet], codec)
        assert len(stream.pictures) == index + 1, "no picture is held back"
    assert stream.numbers == list(range(12))
    for number, pixels in stream.pictures:
        np.testing.assert_array_equal(pixels, expected[number])
        assert np.abs(pixels.astype(int) - film_frame(number)).mean() < 25, "and it is the film's"
    assert stream.rejected == []


def test_reordered_frames_come_in_the_order_of_showing_with_the_tags_of_their_own_packets(stream: Stream) -> None:
    packets = encode([film_frame(number) for number in range(20)], options=B_FRAMES)
    assert [packet.shown for packet in packets] != sorted(packet.shown for packet in packets)
    stream.send(packets)
    stream.finish()
    assert stream.numbers == list(range(20))
    expected = decoded(packets)
    for number, pixels in stream.pictures:
        np.testing.assert_array_equal(pixels, expected[number])


def test_it_begins_at_a_key_frame_and_says_nothing_of_what_came_before(stream: Stream, film: list[Packet]) -> None:
    stream.send(film[5:])
    assert stream.numbers == list(range(10, 30))
    np.testing.assert_array_equal(stream.pictures[0][1], decoded(film)[10])
    assert stream.rejected == []


def test_a_stream_without_any_key_frame_is_reported_with_what_to_do(stream: Stream, film: list[Packet]) -> None:
    stream.send([film[5]] * 299)
    assert stream.rejected == []
    stream.send([film[5]])
    ((_, message),) = stream.rejected
    assert "no key frame of H.264" in message
    assert "300 packets" in message
    assert "have the encoder repeat key frames" in message


def test_packets_with_lengths_in_place_of_start_codes_are_rejected_at_once(stream: Stream, film: list[Packet]) -> None:
    data = film[0].data.replace(START_CODE, (1).to_bytes(4, "big")).replace(b"\0\0\1", b"\0\0\2")
    stream.send([Packet(data, 0)])
    ((number, message),) = stream.rejected
    assert number == 0
    assert "has no start code; have the camera send Annex B" in message


@pytest.mark.parametrize("codec", ["H.264", "H.265"])
def test_after_a_lost_packet_the_pictures_are_right_from_the_next_key_frame(stream: Stream, codec: str) -> None:
    encoder, decoder = {"H.264": ("libx264", "h264"), "H.265": ("libx265", "hevc")}[codec]
    packets = encode([film_frame(number) for number in range(30)], encoder)
    stream.send(packets[:3] + packets[4:], codec)
    expected = decoded(packets, decoder)
    after = [(number, pixels) for number, pixels in stream.pictures if number >= 10]
    assert [number for number, _ in after] == list(range(10, 30))
    for number, pixels in after:
        np.testing.assert_array_equal(pixels, expected[number])


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "garbage", "empty"])
def test_a_damaged_packet_is_rejected_and_the_stream_goes_on(stream: Stream, film: list[Packet], damage: str) -> None:
    whole = film[3].data
    data = {
        "truncated": whole[: len(whole) // 2],
        "overwritten": whole[: len(whole) // 2] + bytes(range(40)) + whole[len(whole) // 2 + 40 :],
        "garbage": b"garbage " * 20,
        "empty": b"",
    }[damage]
    stream.send([*film[:3], Packet(data, 3), *film[4:]])
    assert 3 not in stream.numbers
    assert stream.numbers[-20:] == list(range(10, 30))
    assert [tag for tag, _ in stream.rejected] == [3]
    assert ("empty" if damage == "empty" else "damaged") in stream.rejected[0][1]
    for number, pixels in stream.pictures[-20:]:
        np.testing.assert_array_equal(pixels, decoded(film)[number])


def test_parameter_sets_in_a_message_of_their_own_are_no_damage(stream: Stream, film: list[Packet]) -> None:
    key = film[10].data
    (slice_at,) = [unit.start() for unit in re.finditer(b"\0\0\1\x65", key)]
    stream.send([*film[:10], Packet(key[:slice_at], 100), Packet(b"\0" + key[slice_at:], 10), *film[11:]])
    assert stream.rejected == []
    assert stream.numbers == list(range(30))


def test_another_size_and_another_codec_are_followed(stream: Stream) -> None:
    small = encode([film_frame(number) for number in range(3)])
    large = encode([film_frame(number, 320, 240) for number in range(3)])
    other = encode([film_frame(number) for number in range(3)], "libvpx-vp9")
    stream.send(small)
    stream.send(large)
    stream.send(other, "VP9")
    assert [pixels.shape[:2] for _, pixels in stream.pictures] == 3 * [(120, 160)] + 3 * [(240, 320)] + 3 * [(120, 160)]
    np.testing.assert_array_equal(stream.pictures[4][1], decoded(large)[1])
    np.testing.assert_array_equal(stream.pictures[8][1], decoded(other, "vp9")[2])


def test_a_camera_that_starts_again_is_followed(stream: Stream, film: list[Packet]) -> None:
    stream.send(film[:5])
    stream.send(film[:5])
    assert stream.numbers == [0, 1, 2, 3, 4] * 2
    assert stream.rejected == []


def test_a_stream_that_is_shorter_than_what_is_held_back_is_whole(stream: Stream) -> None:
    stream.send(encode([film_frame(number) for number in range(2)], options=B_FRAMES))
    stream.finish()
    assert stream.numbers == [0, 1]
    assert stream.rejected == []


@pytest.mark.parametrize("last", [b"garbage " * 5, b""])
def test_a_stream_that_ends_before_a_key_frame_is_rejected_once(
    stream: Stream, film: list[Packet], last: bytes
) -> None:
    stream.send([film[5], film[6], Packet(last, 7)])
    stream.finish()
    assert stream.numbers == []
    assert [number for number, _ in stream.rejected] == [7, 6]
    assert "no key frame of H.264 that can be decoded among 2 packets" in stream.rejected[1][1]


def test_what_is_held_back_comes_out_when_the_codec_changes(stream: Stream) -> None:
    stream.send(encode([film_frame(number) for number in range(10)], options=B_FRAMES))
    assert len(stream.pictures) < 10
    stream.send(encode([film_frame(0)], "libvpx-vp9"), "VP9")
    assert stream.numbers == [*range(10), 0]


def test_a_reset_waits_for_the_next_key_frame(stream: Stream, film: list[Packet]) -> None:
    stream.send(film[:3])
    stream.decoder.reset()
    stream.send(film[7:12])
    assert stream.numbers == [0, 1, 2, 10, 11]


def test_pixels_are_converted_once_and_only_when_they_are_read(film: list[Packet]) -> None:
    converted: list[Any] = []
    ((_, image),) = VideoDecoder[int](lambda tag, error: None).decode(film[0].data, "H.264", 0)
    assert isinstance(image, VideoImage)
    convert = image.__dict__["_convert"]

    def count(frame: Any) -> RawImage:
        converted.append(frame)
        result: RawImage = convert(frame)
        return result

    image.__dict__["_convert"] = count
    assert (image.width, image.height, image.encoding) == (160, 120, "bgr8")
    assert converted == []
    to_bgr(image)
    to_bgr(image)
    assert len(converted) == 1


def test_a_machine_without_pyav_says_so(stream: Stream, film: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImageError, match="pip install av"):
        stream.send(film[:1])


def test_packets_without_a_picture_after_a_lost_key_frame_are_counted(stream: Stream, film: list[Packet]) -> None:
    stream.send([packet for packet in film if packet.shown != 10])
    stream.finish()
    lost = [number for number, _ in stream.rejected]
    assert sorted(stream.numbers + lost) == [number for number in range(30) if number != 10]
    assert lost
    assert all("gives no picture, as one before it is missing" in message for _, message in stream.rejected)
