"""Our reading of serialized images against rclpy's, for whatever fields; and messages made from arrays."""

from __future__ import annotations

import struct
import time
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.encodings import ENCODINGS
from ros2_actionnet.images.raw_image import to_rgb
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import compressed_message, header_message, image_message, to_frame_header
from ros2_actionnet.ros.serialized_images import (
    read_compressed,
    read_header,
    read_image,
    read_packet,
    read_video,
)
from support.bags import PACKET, STORE, VIDEO

pytestmark = pytest.mark.ros

HEADERS = st.builds(
    FrameHeader,
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    # NUL ends a string of ROS; surrogates are no text.
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
)
UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Any message at all: what it says of its pixels need not fit them."""
    message = Image(
        header=header_message(draw(HEADERS)),
        height=draw(UINT32),
        width=draw(UINT32),
        encoding=draw(
            st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(st.characters(codec="ascii", min_codepoint=1)))
        ),
        is_bigendian=draw(st.integers(0, 255)),
        step=draw(UINT32),
    )
    message.data = array("B", draw(st.binary(max_size=300)))
    return message


@given(HEADERS, st.binary(max_size=300), st.text(st.characters(codec="ascii", min_codepoint=1), max_size=40))
def test_packets_of_videos_are_read_as_rosbags_wrote_them(head: FrameHeader, data: bytes, format_: str) -> None:
    for type_name, read in ((VIDEO, read_video), (PACKET, read_packet)):
        time_ = STORE.types["builtin_interfaces/msg/Time"](head.sec, head.nanosec)
        octets = np.frombuffer(data, np.uint8)
        if type_name == VIDEO:
            message = STORE.types[VIDEO](time_, head.frame_id, octets, format_)
        else:
            header = STORE.types["std_msgs/msg/Header"](time_, head.frame_id)
            message = STORE.types[PACKET](header, 640, 480, format_, 2**40, 1, False, octets)
        serialized = bytes(STORE.serialize_cdr(message, type_name))
        frame = read(serialized)
        assert read_header(serialized) == head
        assert (bytes(frame.data), frame.format) == (data, format_)


def small_image() -> bytes:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    return bytes(serialize_message(image_message(pixels, "bgr8", FrameHeader(5, 7, "camera"))))


@given(images())
def test_every_field_is_read_as_ros_wrote_it(message: Image) -> None:
    serialized = serialize_message(message)
    image = read_image(serialized)
    assert (image.height, image.width, image.step) == (message.height, message.width, message.step)
    assert (image.encoding, image.is_bigendian) == (message.encoding, message.is_bigendian != 0)
    assert bytes(image.data) == message.data.tobytes()
    assert read_header(serialized) == to_frame_header(message.header)


@given(HEADERS, st.text(st.characters(codec="ascii", min_codepoint=1), max_size=30), st.binary(max_size=300))
def test_compressed_images_are_read_as_ros_wrote_them(header: FrameHeader, format_: str, data: bytes) -> None:
    message = CompressedImage(header=header_message(header), format=format_, data=array("B", data))
    serialized = serialize_message(message)
    frame = read_compressed(serialized)
    assert (bytes(frame.data), frame.format) == (data, format_)
    assert read_header(serialized) == header


@given(images())
def test_a_message_that_is_cut_short_anywhere_is_an_image_error(message: Image) -> None:
    serialized = bytes(serialize_message(message))
    whole = read_image(serialized)
    # What a middleware adds behind to fill a word is not part of the image.
    end = len(serialized) - (-len(whole.data) % 4 if len(serialized) % 4 == 0 else 0)
    for length in {0, 1, 3, 4, *range(5, end, max(1, end // 20))}:
        try:
            image = read_image(serialized[:length])
        except ImageError:
            continue
        assert length >= end
        assert bytes(image.data) == bytes(whole.data)


def test_every_length_under_the_whole_is_refused_with_the_numbers() -> None:
    serialized = small_image()
    assert bytes(read_image(serialized).data) == bytes(range(24))
    for length in range(2, len(serialized)):
        with pytest.raises(ImageError, match=rf"cut short: {max(0, length - 4)} bytes where at least \d+ are needed"):
            read_image(serialized[:length])
    for length in range(2, 20):
        with pytest.raises(ImageError, match="cut short"):
            read_header(serialized[:length])


@pytest.mark.parametrize("start", [b"", b"\x00", b"\x00\x02\x00\x00", b"\x00\x0b\x00\x00", b"\xff\xd8\xff\xe0"])
def test_what_is_not_plain_cdr_is_refused(start: bytes) -> None:
    with pytest.raises(ImageError, match="not plain CDR"):
        read_image(start + small_image()[4:] if len(start) == 4 else start)


def test_lengths_that_lie_are_refused() -> None:
    serialized = bytearray(small_image())
    serialized[12:16] = struct.pack("<I", 2**32 - 1)  # of frame_id
    for read in (read_header, read_image, read_compressed):
        with pytest.raises(ImageError, match="cut short"):
            read(bytes(serialized))


@given(HEADERS, UINT32, UINT32, st.binary(max_size=50))
def test_big_endian_messages_are_read_too(header: FrameHeader, height: int, width: int, data: bytes) -> None:
    frame_id = header.frame_id.encode() + b"\0"
    body = struct.pack(">iII", header.sec, header.nanosec, len(frame_id)) + frame_id
    body += b"\0" * (-len(body) % 4) + struct.pack(">II", height, width)
    body += struct.pack(">I", 6) + b"mono8\0" + b"\1"  # ends at 3 modulo 4
    body += b"\0" * (-len(body) % 4) + struct.pack(">II", width, len(data)) + data
    image = read_image(b"\0\0\0\0" + body)
    assert (image.height, image.width, image.step, image.encoding) == (height, width, width, "mono8")
    assert image.is_bigendian
    assert bytes(image.data) == data
    assert read_header(b"\0\0\0\0" + body) == header


def test_bytes_that_are_no_utf_8_do_not_stop_the_reading() -> None:
    serialized = small_image().replace(b"camera", b"\xff\xfemera")
    assert read_header(serialized).frame_id == "\ufffd\ufffdmera"
    assert bytes(read_image(serialized).data) == bytes(range(24))


def test_the_pixels_are_a_view_of_the_message() -> None:
    serialized = small_image()
    pixels = np.frombuffer(read_image(serialized).data, np.uint8)
    assert np.shares_memory(pixels, np.frombuffer(serialized, np.uint8))
    jpeg = bytes(serialize_message(compressed_message(np.arange(9, dtype=np.uint8), "jpeg", FrameHeader(1, 2))))
    data = np.frombuffer(read_compressed(jpeg).data, np.uint8)
    assert np.shares_memory(data, np.frombuffer(jpeg, np.uint8))


@pytest.mark.parametrize(("shape", "encoding"), [((5, 7, 3), "rgb8"), ((5, 7), "mono8"), ((1, 1, 4), "bgra8")])
def test_pixels_come_back_as_they_went(shape: tuple[int, ...], encoding: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    header = FrameHeader(12, 34, "köln/カメラ")
    message = image_message(pixels, encoding, header)
    assert (message.height, message.width, message.step) == (*shape[:2], pixels.strides[0])
    assert (message.encoding, message.is_bigendian) == (encoding, 0)
    received = deserialize_message(serialize_message(message), Image)
    assert np.array_equal(np.frombuffer(received.data, np.uint8).reshape(shape), pixels)
    assert to_frame_header(received.header) == header
    if encoding == "rgb8":
        assert np.array_equal(to_rgb(read_image(serialize_message(message))), pixels)


def test_encoded_bytes_come_back_as_they_went() -> None:
    data = np.random.default_rng(0).integers(0, 256, 1001, np.uint8)
    message = deserialize_message(
        serialize_message(compressed_message(data, "jpeg", FrameHeader(1, 2, "c"))), CompressedImage
    )
    assert message.format == "jpeg"
    assert bytes(message.data) == data.tobytes()
    assert to_frame_header(message.header) == FrameHeader(1, 2, "c")


def test_the_data_is_an_array_of_its_own() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    message = image_message(pixels, "bgr8", FrameHeader(0, 0))
    assert isinstance(message.data, array)
    assert message.data.typecode == "B"
    pixels[...] = 255
    assert set(message.data) == {0}


def test_a_large_image_is_not_copied_element_by_element() -> None:
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    started = time.perf_counter()
    image_message(pixels, "bgr8", FrameHeader(0, 0))
    assert time.perf_counter() - started < 0.1  # element by element takes 0.2 to 0.3 s; at once, under 0.01 s


@given(HEADERS)
def test_headers_go_there_and_back(header: FrameHeader) -> None:
    if header.nanosec < 1_000_000_000:
        message = header_message(header)
        assert isinstance(message, Header)
        assert to_frame_header(message) == header


def test_a_stamp_is_in_nanoseconds() -> None:
    assert FrameHeader(3, 250_000_001).stamp == 3_250_000_001
    assert FrameHeader.at(3_250_000_001, "camera") == FrameHeader(3, 250_000_001, "camera")
