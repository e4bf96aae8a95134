"""The images in the messages of a bag's topic: raw, compressed, or packets of a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.compressed import decode
from ros2_actionnet.images.encodings import Buffer
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.video_decoder import VideoDecoder, video_codec
from ros2_actionnet.media.bag_reader import Bag
from ros2_actionnet.recognition.frame_header import FrameHeader

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

_RAW = "sensor_msgs/msg/Image"

# Types that ROS does not ship, for bags that lack their definitions, as Humble's do.
_DEFINITIONS = {
    "foxglove_msgs/msg/CompressedVideo": (
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    ),
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": (
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
        "bool is_bigendian\nuint8[] data\n"
    ),
}
_COMPRESSED: dict[str, Callable[[Any], tuple[Buffer, str]]] = {
    "sensor_msgs/msg/CompressedImage": lambda content: (content.data, content.format),
    "foxglove_msgs/msg/CompressedVideo": lambda content: (content.data, content.format),
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": lambda content: (content.data, content.encoding),
}
"""Return the bytes of a message and the publisher's word for their format, by type."""

IMAGE_TYPES = (_RAW, *_COMPRESSED)


def image_connections(bag: Bag) -> list[Connection]:
    """Return the connections of a bag that carry images."""
    return [connection for connection in bag.connections if connection.msgtype in IMAGE_TYPES]


def learn_types(bag: Bag, connections: list[Connection]) -> None:
    """Make a bag understand the types of `connections`, which carry images."""
    for connection in connections:
        if connection.msgtype in _DEFINITIONS:
            bag.learn(connection, _DEFINITIONS[connection.msgtype])


@dataclass(frozen=True, eq=False)
class ImageMessage:
    """A message of the topic.

    Attributes:
        number: Its place among the messages of the topic, from 0.
        received: Its time of reception, in ns since 1970.
        header: Its header.
        content: The deserialized message, of type `type_name`.
    """

    number: int
    received: int
    header: FrameHeader
    type_name: str
    content: Any


class BagImages:
    """Reads the images of one topic, in the order of its messages."""

    def __init__(self, bag: Bag, reject: Callable[[int, ImageError], None]) -> None:
        """Begin. `reject` is told the number of a message with a part of a video that cannot be decoded, and why."""
        self._bag = bag
        self._video = VideoDecoder[ImageMessage](lambda message, error: reject(message.number, error))

    def open(self, message: bytes, type_name: str, number: int, received: int) -> ImageMessage:
        """Deserialize a message. Raises ImageError if it is damaged."""
        from rosbags.serde import SerdeError

        try:
            content = self._bag.deserialize(message, type_name)
        except SerdeError as error:
            raise ImageError(str(error).rstrip(".")) from error
        return ImageMessage(number, received, _header(content), type_name, content)

    def decode(self, message: ImageMessage) -> list[tuple[ImageMessage, RawImage]]:
        """Return the images that are complete with a message: its own, in a video now and then none or several.

        Raises ImageError if it is damaged, or is no image.
        """
        if message.type_name == _RAW:
            return [(message, _raw(message.content))]
        data, format_ = _COMPRESSED[message.type_name](message.content)
        codec = video_codec(data, format_)
        if codec:
            return self._video.decode(data, codec, message)
        return [(message, decode(data, format_, lambda height, width: 1.0))]

    def finish(self) -> list[tuple[ImageMessage, RawImage]]:
        """Return the images that a video's decoder has held back."""
        return self._video.finish()


def _header(content: Any) -> FrameHeader:
    header = getattr(content, "header", content)  # CompressedVideo has the fields of a header without being one
    stamp = header.stamp if hasattr(header, "stamp") else header.timestamp
    return FrameHeader(stamp.sec, stamp.nanosec, header.frame_id)


def _raw(content: Any) -> RawImage:
    return RawImage(
        content.data, content.height, content.width, content.step, content.encoding, bool(content.is_bigendian)
    )
