"""Decodes video that comes as one message per frame: each depends on the ones before it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.encodings import Buffer
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.system.text import printable

Tag = TypeVar("Tag")

# Parts of the words that drivers and encoders use in `format` and `encoding` ("h264; baseline", "libx264", "H.265",
# "hevc_nvenc", "avc1.42E01E"), and FFmpeg's decoders, of which the first one present is taken.
_CODECS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "H.264": (("264", "avc"), ("h264",)),
    "H.265": (("265", "hevc", "hvc1", "hev1"), ("hevc",)),
    "AV1": (("av1", "av01", "aom"), ("libdav1d", "libaom-av1", "av1")),
    "VP9": (("vp9", "vp09"), ("vp9",)),
    "VP8": (("vp8", "vp08", "libvpx"), ("vp8",)),
}
_STILL = (b"\xff\xd8\xff", b"\x89PNG")  # these bytes say that it is none, whatever the format
_SLICES: dict[str, tuple[int, int, range]] = {"H.264": (0, 0x1F, range(1, 6)), "H.265": (1, 0x3F, range(32))}
"""Where the kind of a NAL unit stands in its first byte (shift, mask), and the kinds that hold part of a picture."""

_REMEMBERED = 64  # packets whose frames may still come; a decoder that puts frames in order holds at most 16 back
_PATIENCE = 300  # packets without a picture, about 10 s, after which the absence of a key frame is reported


def video_codec(data: Buffer, format_: str) -> str:
    """Return the codec of a compressed image that is a packet of a video; "" if it is an image of its own.

    Args:
        data: The packet's bytes.
        format_: The publisher's word: `format` of CompressedImage and CompressedVideo, `encoding` of FFMPEGPacket.
    """
    if bytes(data[:4]).startswith(_STILL):
        return ""
    words = format_[:80].lower()
    return next((codec for codec, (parts, _) in _CODECS.items() if any(part in words for part in parts)), "")


class VideoImage(RawImage):
    """A decoded frame, whose pixels are converted when they are first read: most frames of a stream are not sampled."""

    def __init__(self, frame: Any, convert: Callable[[Any], RawImage]) -> None:
        # Past the lock of a frozen dataclass.
        self.__dict__.update(height=frame.height, width=frame.width, encoding="bgr8", is_bigendian=False)
        self.__dict__.update(_frame=frame, _convert=convert)

    @cached_property
    def _converted(self) -> RawImage:
        converted: RawImage = self.__dict__["_convert"](self.__dict__["_frame"])
        return converted

    @property
    def data(self) -> Buffer:
        """The pixels, BGR. Raises ImageError if FFmpeg cannot convert them."""
        return self._converted.data

    @property
    def step(self) -> int:
        """Bytes from one row to the next."""
        return self._converted.step


class _Converter:
    """Converts frames to BGR; scaling tables are kept from one to the next, which saves most of the time."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._lock = threading.Lock()  # frames are read in several threads

    def __call__(self, frame: Any) -> RawImage:
        try:
            with self._lock:
                plane = self._reformatter.reformat(frame, None, None, "bgr24").planes[0]
        except Exception as error:  # of any kind, for a format of pixels or colors that FFmpeg cannot convert
            raise ImageError(f"a video frame in {frame.format.name} cannot be converted: {printable(error)}") from error
        shape, strides = (frame.height, frame.width, 3), (plane.line_size, 3, 1)
        return RawImage.from_array(np.ndarray(shape, np.uint8, memoryview(plane), 0, strides), "bgr8")


class VideoDecoder(Generic[Tag]):
    """Decodes the packets of one stream, in the order in which they were sent.

    A frame comes out with the tag of its own packet: an encoder that reorders frames (B-frames) has it come out later.
    Decoding begins at a key frame, and goes on after a lost or damaged packet. Another codec begins a new stream;
    another size needs no notice.
    """

    def __init__(self, reject: Callable[[Tag, ImageError], None]) -> None:
        """Create a decoder. `reject` is told of each packet that cannot be decoded and each frame that is damaged."""
        self._reject = reject
        self._codec, self._context = "", None
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what comes next may be another one, or a later part of it."""
        self._codec, self._context = "", None
        self._count = self._waiting = 0
        self._begun, self._first = False, 0
        self._tags: dict[int, Tag] = {}  # by the packet's number

    def decode(self, data: Buffer, codec: str, tag: Tag) -> list[tuple[Tag, RawImage]]:
        """Decode a packet, and return the frames that are complete with it: mostly one.

        Args:
            data: The packet, with parameter sets in it (Annex B for H.264 and H.265).
            codec: A name that `video_codec` returned.
            tag: Returned with the packet's frame.

        Raises:
            ImageError: PyAV is missing, or has no decoder for the codec.
        """
        if not len(data):  # which FFmpeg would take for the end
            self._reject(tag, ImageError(f"a packet of {codec} is empty; {_CONNECTION}"))
            return []
        rest: list[tuple[Tag, RawImage]] = []
        if codec != self._codec:
            context = _open(codec)
            rest = self.finish()
            self._context, self._codec, self._convert = context, codec, _Converter()
        number, self._count = self._count, self._count + 1
        self._tags[number] = tag
        self._lost(number - _REMEMBERED)
        return rest + self._send(data, number)

    def finish(self) -> list[tuple[Tag, RawImage]]:
        """End the stream; return the frames that the decoder has held back. One without a key frame is rejected."""
        frames: list[tuple[Tag, RawImage]] = [] if self._context is None else self._send(None, self._count)
        if self._tags and not self._begun:
            self._reject_all(max(self._tags))
        for number in list(self._tags):
            self._lost(number)
        self.reset()
        return frames

    def _send(self, data: Buffer | None, number: int) -> list[tuple[Tag, RawImage]]:
        import av

        context: Any = self._context
        frames: list[Any]
        try:
            packet = None if data is None else av.Packet(bytes(data))
            if packet is not None:
                packet.pts = number
            frames = context.decode(packet)
        except (av.error.FFmpegError, NotImplementedError) as error:
            if data is not None:
                self._failed(data, number, error)
            return []
        if not frames and data is not None:
            self._failed(data, number, None)
        return [item for frame in frames for item in self._taken(frame)]

    def _taken(self, frame: Any) -> list[tuple[Tag, RawImage]]:
        tag = self._tags.pop(frame.pts, None)
        if tag is None:  # a second field or layer of one that is out already
            return []
        if not self._begun:
            self._begun, self._first = True, frame.pts
        if frame.is_corrupt:
            self._reject(tag, ImageError(f"a frame of {self._codec} is damaged; {_CONNECTION}"))
            return []
        return [(tag, VideoImage(frame, self._convert))]

    def _failed(self, data: Buffer, number: int, error: Exception | None) -> None:
        """Take note of a packet without a frame: of no concern until the first key frame, unless none comes."""
        kinds = _kinds_of_units(data, self._codec)
        if kinds == [] and error is not None and not self._begun:
            what = f"a packet of {self._codec} of {len(bytes(data))} bytes has no start code"
            self._reject(self._tags.pop(number), ImageError(f"{what}; {_ANNEX_B}"))
        elif not self._begun:
            self._waiting += 1
            if self._waiting % _PATIENCE == 0:
                self._reject_all(number)
        elif kinds and not any(kind in _SLICES[self._codec][2] for kind in kinds):
            self._tags.pop(number, None)  # parameter sets and remarks, without a picture
        elif error is not None:
            what = f"a packet of {self._codec} of {len(bytes(data))} bytes is damaged"
            self._reject(self._tags.pop(number), ImageError(f"{what}; {_CONNECTION}"))

    def _lost(self, number: int) -> None:
        """Forget a packet, and reject it if its frame must have come out by now: one that it depends on is missing."""
        tag = self._tags.pop(number, None)
        if tag is not None and self._begun and number > self._first and self._codec in _SLICES:
            self._reject(
                tag,
                ImageError(f"a packet of {self._codec} gives no picture, as one before it is missing; {_CONNECTION}"),
            )

    def _reject_all(self, number: int) -> None:
        """Report that none of the packets up to `number` could be decoded."""
        what = f"no key frame of {self._codec} that can be decoded among {self._waiting} packets"
        remedy = "have the encoder repeat key frames, with the parameter sets before each"
        self._reject(self._tags[number], ImageError(f"{what}; {remedy}"))


_ANNEX_B = "have the camera send Annex B, with start codes, not the lengths of MP4"
_CONNECTION = "check the camera's driver and the connection"


def _open(codec: str) -> Any:
    """Return FFmpeg's decoder. Raises ImageError if there is none."""
    try:
        import av
    except ImportError as error:
        raise ImageError(f"{codec} on an image topic needs PyAV: pip install av ({printable(error)})") from error
    for name in _CODECS[codec][1]:
        try:
            context = av.CodecContext.create(name, "r")
        except (av.error.FFmpegError, ValueError):  # not in this build of FFmpeg
            continue
        # A second thread would hold frames back, and hide damage: H.264 tells of it in the first slice alone.
        context.thread_count = 1
        return context
    raise ImageError(f"PyAV's FFmpeg has no decoder for {codec}; have the camera send H.264, JPEG or raw images")


def _kinds_of_units(data: Buffer, codec: str) -> list[int] | None:
    """Return the kinds of the NAL units in a packet; None for a codec without such.

    The decoder calls it an error if they are parameter sets or remarks alone.
    """
    if codec not in _SLICES:
        return None
    shift, mask, _ = _SLICES[codec]
    return [unit[0] >> shift & mask for unit in re.findall(rb"\x00\x00\x01(.)", bytes(data), re.DOTALL)]
