"""The types of messages that carry images, and the transports of image_transport that publish them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ros2_actionnet.errors import ImageError, SettingsError
from ros2_actionnet.images.compressed import MaxDownscale, decode
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.video_decoder import VideoDecoder, video_codec
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.serialized_images import (
    CompressedFrame,
    read_compressed,
    read_image,
    read_packet,
    read_video,
)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
_VIDEO = "foxglove_msgs/msg/CompressedVideo"
_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"

TRANSPORTS = {
    "raw": ("image", IMAGE),
    "compressed": ("image/compressed", COMPRESSED),
    "ffmpeg": ("image/ffmpeg", _PACKET),
    "foxglove": ("image/foxglove", _VIDEO),
}
"""The topic and its usual type, by `image_transport`."""

_READ: dict[str, Callable[[bytes], CompressedFrame]] = {
    COMPRESSED: read_compressed,
    _VIDEO: read_video,
    _PACKET: read_packet,
}
IMAGE_TYPES = (IMAGE, *_READ)


def message_class(type_name: str) -> Any:
    """Return the class of a type of `IMAGE_TYPES`. Raises SettingsError, naming the package, if it is not installed."""
    package, _, name = type_name.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        debian = f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-{package.replace('_', '-')}"
        raise SettingsError(
            f"{type_name} needs the package {package}, which is not installed: sudo apt install {debian}, then start "
            "the node again"
        ) from error


@dataclass(frozen=True)
class Arrival:
    """A message as it arrived.

    Attributes:
        header: Its header.
        index: Its place among all messages, from 0.
        time: ns since 1970, on a clock that never steps.
    """

    header: FrameHeader
    index: int
    time: int


@dataclass(frozen=True)
class ArrivedImage:
    """An image, and the message that it came in.

    Attributes:
        arrival: The message.
        read: Returns the pixels, which may be as much smaller as it is told. Raises ImageError.
    """

    arrival: Arrival
    read: Callable[[MaxDownscale], RawImage]


class ImageReader:
    """Finds the images in the serialized messages of one topic: one in each, in a video now and then none or several.

    The packets of a video are decoded at once, images of their own when they are read.
    """

    def __init__(self, reject: Callable[[Arrival, ImageError], None]) -> None:
        """Create a reader. `reject` is told of the parts of a video that cannot be decoded."""
        self._video = VideoDecoder[Arrival](reject)

    def images(self, message: bytes, type_name: str, arrival: Arrival) -> list[ArrivedImage]:
        """Return the images that are complete with this message of a type of `IMAGE_TYPES`.

        Raises ImageError if it is cut short, or if no decoder is installed.
        """
        if type_name == IMAGE:
            return [ArrivedImage(arrival, lambda max_downscale: read_image(message))]
        frame = _READ[type_name](message)
        codec = video_codec(frame.data, frame.format)
        if not codec:
            return [
                ArrivedImage(arrival, lambda max_downscale: decode(frame.data, frame.format, max_downscale)),
            ]
        return [_arrived(*decoded) for decoded in self._video.decode(frame.data, codec, arrival)]

    def reset(self) -> None:
        """Begin anew: the messages that come next do not follow those that came last."""
        self._video.reset()


def _arrived(arrival: Arrival, image: RawImage) -> ArrivedImage:
    return ArrivedImage(arrival, lambda max_downscale: image)
