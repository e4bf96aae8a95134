"""ROS image messages to the core's values and back, without a copy of the pixels.

Subscriptions are raw: a message arrives as its serialized bytes, and only the fields that are needed are read, in
place. Deserializing would copy a 1080p image twice while holding the interpreter's lock, for frames that mostly are not
even sampled. The layout is CDR as ROS 2 uses it on every middleware: a 4-byte encapsulation header, then the fields in
order, each aligned to its size counted from the end of that header (OMG DDSI-RTPS 2.5, 10; DDS-XTypes 1.3, 7.4.3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.frame_header import FrameHeader

_BYTE_ORDER = {b"\x00\x00": ">", b"\x00\x01": "<"}  # plain CDR, big and little endian


class _CdrReader:
    """Reads the fields of one serialized message in their order. Raises ImageError where it ends too soon."""

    def __init__(self, data: bytes) -> None:
        try:
            self._order = _BYTE_ORDER[bytes(data[:2])]
        except KeyError:
            raise ImageError(
                f"message of {len(data)} bytes begins with {bytes(data[:2])!r}, which is not plain CDR; "
                "use a middleware that sends it, as Fast DDS, Cyclone DDS and Zenoh do"
            ) from None
        self._body = memoryview(data)[4:]
        self._offset = 0

    def integer(self, kind: str) -> int:
        """The next integer; `kind` as in the struct module: B, i, I or Q."""
        size = struct.calcsize(kind)
        start = -(-self._offset // size) * size
        self._check(start + size)
        self._offset = start + size
        value: int = struct.unpack_from(self._order + kind, self._body, start)[0]
        return value

    def string(self) -> str:
        """The next string."""
        return bytes(self._take(self.integer("I"))).rstrip(b"\0").decode("utf-8", "replace")

    def octets(self) -> memoryview:
        """The next sequence of bytes, in place."""
        return self._take(self.integer("I"))

    def header(self) -> FrameHeader:
        """The next std_msgs/Header."""
        return FrameHeader(self.integer("i"), self.integer("I"), self.string())

    def _take(self, count: int) -> memoryview:
        start = self._offset
        self._check(start + count)
        self._offset = start + count
        return self._body[start : start + count]

    def _check(self, end: int) -> None:
        if end > len(self._body):
            raise ImageError(f"message is cut short: {len(self._body)} bytes where at least {end} are needed")


@dataclass(frozen=True)
class CompressedFrame:
    """The bytes of a compressed image or of a video's packet, and its publisher's description of their format."""

    data: memoryview
    format: str


def read_header(message: bytes) -> FrameHeader:
    """The header of a serialized image of any type. Raises ImageError if it is cut short.

    That of foxglove_msgs/CompressedVideo is no std_msgs/Header, but has the same fields in the same order.
    """
    return _CdrReader(message).header()


def read_image(message: bytes) -> RawImage:
    """The image of a serialized sensor_msgs/Image, a view of `message`. Raises ImageError if it is cut short."""
    reader = _CdrReader(message)
    reader.header()
    height, width = reader.integer("I"), reader.integer("I")
    encoding, is_bigendian, step = reader.string(), reader.integer("B"), reader.integer("I")
    return RawImage(reader.octets(), height, width, step, encoding, bool(is_bigendian))


def read_compressed(message: bytes) -> CompressedFrame:
    """The content of a serialized sensor_msgs/CompressedImage, a view of `message`. Raises ImageError if cut short."""
    reader = _CdrReader(message)
    reader.header()
    format_ = reader.string()
    return CompressedFrame(reader.octets(), format_)


def read_video(message: bytes) -> CompressedFrame:
    """The content of a serialized foxglove_msgs/CompressedVideo, a view. Raises ImageError if it is cut short."""
    reader = _CdrReader(message)
    reader.header()
    data = reader.octets()
    return CompressedFrame(data, reader.string())


def read_packet(message: bytes) -> CompressedFrame:
    """The content of a serialized ffmpeg_image_transport_msgs/FFMPEGPacket, a view. Raises ImageError if cut short."""
    reader = _CdrReader(message)
    reader.header()
    for kind in "ii":  # width, height
        reader.integer(kind)
    encoding = reader.string()
    for kind in "QBB":  # pts, flags, is_bigendian
        reader.integer(kind)
    return CompressedFrame(reader.octets(), encoding)
