"""Video as packets, one per message, encoded and decoded by PyAV without our code."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

_OPTIONS = {
    "libx264": {"tune": "zerolatency", "x264-params": "keyint=10:scenecut=0:sliced-threads=0"},
    "libx265": {"tune": "zerolatency", "x265-params": "keyint=10:scenecut=0:bframes=0:log-level=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libsvtav1": {"preset": "10", "svtav1-params": "pred-struct=1"},
}
B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:scenecut=0:keyint=10"}


class Packet(NamedTuple):
    """A packet in the order of sending, and the number of its frame in the order of showing."""

    data: bytes
    shown: int


def film_frame(number: int, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """Picture `number` of a test film, BGR: a bar that moves over a gradient."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 5 * number % 256
    pixels[..., 1] = np.linspace(0, 255, width).astype(np.uint8)
    pixels[:, 4 * number % width :][:, :20] = 255
    return pixels


def grey_frame(level: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A picture of one grey level."""
    return np.full((height, width, 3), level, np.uint8)


def encode(
    pictures: list[NDArray[np.uint8]], encoder: str = "libx264", options: dict[str, str] | None = None
) -> list[Packet]:
    """The packets of `pictures`; without `options` none is held back, and every tenth is a key frame."""
    context = av.VideoCodecContext.create(encoder, "w")
    height, width, _ = pictures[0].shape
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate, context.gop_size = Fraction(1, 30), Fraction(30), 10
    context.options = _OPTIONS[encoder] if options is None else options
    packets: list[Packet] = []
    for number, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, "bgr24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, context.time_base
        packets += [Packet(bytes(packet), packet.pts or 0) for packet in context.encode(frame)]
    return packets + [Packet(bytes(packet), packet.pts or 0) for packet in context.encode(None)]


def decoded(packets: list[Packet], decoder: str = "h264") -> dict[int, NDArray[np.uint8]]:
    """The pictures of whole packets by number, BGR, as PyAV decodes them."""
    context = av.VideoCodecContext.create(decoder, "r")
    pictures = {}
    for data, shown in [*packets, Packet(b"", -1)]:
        packet = av.Packet(data) if data else None
        if packet is not None:
            packet.pts = shown
        for frame in context.decode(packet):
            assert frame.pts is not None
            pictures[frame.pts] = frame.to_ndarray(format="bgr24").astype(np.uint8)
    return pictures
