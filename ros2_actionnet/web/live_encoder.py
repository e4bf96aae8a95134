"""Encoding of a live stream: once for all viewers, the newest picture first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import MediaError

Picture = NDArray[np.uint8]
"""A picture: uint8 [H, W, 3], BGR."""

CLOCK = 90_000
"""Hz, the clock of video in RTP."""

DEFAULT_BITRATE = 4_000_000
"""Bits per second, upper limit; jetson-inference's default."""

# Constrained baseline is what every browser decodes. `LiveEncoder` alone decides on key frames.
_LIBX264 = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1", "sc_threshold": "0"}
_LIBVPX = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0", "auto-alt-ref": "0"}
_LEAST_BITRATE = 150_000  # bits per second; a link that carries less gets a stream that stutters
_KEY_INTERVAL = 2.0  # s between key frames that nobody requested
_LEAST_KEY_INTERVAL = 0.5  # s; a key frame is large, and requests of many viewers come together
# A change within these factors is not worth a new encoder, which starts with a key frame.
_INCREASE, _DECREASE = 1.3, 0.85
_INCREASE_WAIT = 4.0  # s without any change before the bitrate is increased


@dataclass(frozen=True)
class EncodedPicture:
    """An encoded picture.

    Attributes:
        data: H.264 in Annex B format, or a frame of VP8.
        is_key: True if decoding can start here.
        time: In ticks of `CLOCK`.
    """

    data: bytes = field(repr=False)
    is_key: bool
    time: int


@dataclass(frozen=True)
class _Codec:
    """An encoder of FFmpeg with its options for low latency; `rate_options` limits the bitrate."""

    encoder: str
    options: Mapping[str, str]
    rate_options: Callable[[int], dict[str, str]]


CODECS: dict[str, _Codec] = {
    "h264": _Codec(
        "libx264",
        _LIBX264 | {"crf": "22"},
        lambda bitrate: {"maxrate": str(bitrate), "bufsize": str(bitrate // 2)},
    ),
    "vp8": _Codec(
        "libvpx",
        _LIBVPX | {"crf": "8"},
        lambda bitrate: {"b": str(bitrate)},
    ),
}
"""The encoders by codec name."""


class LiveEncoder:
    """Encodes pictures without delay, as soon as each comes.

    Key frames may be requested and the bitrate limited from any thread; the rest is for one thread.

    Raises MediaError if this PyAV cannot encode the codec.
    """

    def __init__(self, codec: str, rate: float, bitrate: int = 0) -> None:
        """Takes a name of `CODECS`, Hz, and bits per second (0: `DEFAULT_BITRATE`)."""
        import av

        if codec not in CODECS:
            raise MediaError(f"a live stream cannot be sent as '{codec}'; use one of {', '.join(CODECS)}")
        self._av, self._codec = av, CODECS[codec]
        try:
            av.codec.Codec(self._codec.encoder, "w")
        except (av.error.FFmpegError, ValueError) as error:
            others = ", ".join(name for name in CODECS if name != codec)
            raise MediaError(f"this PyAV's FFmpeg has no {self._codec.encoder}; try --output-codec={others}") from error
        self._rate = Fraction(rate or 30).limit_denominator(1001)
        self._converter = av.video.reformatter.VideoReformatter()
        self._context: Any = None
        self._size = (0, 0)
        self._most = self._bitrate = self._limit = bitrate or DEFAULT_BITRATE
        self._changed, self._key, self._newest = 0, 0, -1
        self._key_requested = True

    def request_key_frame(self) -> None:
        """Make the next picture a key frame, at most two per second."""
        self._key_requested = True

    def limit_bitrate(self, bitrate: int | None) -> None:
        """Follow the slowest link, in bits per second; None: no limit but the one of the constructor."""
        self._limit = self._most if bitrate is None else bitrate

    def encode(self, picture: Picture, seconds: float) -> list[EncodedPicture]:
        """Encode a picture of time `seconds`. Raises MediaError on failure."""
        now = max(round(seconds * CLOCK), self._newest + 1)
        self._newest = now
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        if self._context is None or (width, height) != self._size or self._adapts(now):
            self._context, self._size = self._open((width, height)), (width, height)
            self._key_requested = True
            self._key = now - CLOCK
        even = np.ascontiguousarray(picture[:height, :width])
        frame = self._converter.reformat(self._av.VideoFrame.from_numpy_buffer(even, "bgr24"), format="yuv420p")
        frame.pts, frame.time_base = now, Fraction(1, CLOCK)
        age = (now - self._key) / CLOCK
        if (self._key_requested and age >= _LEAST_KEY_INTERVAL) or age >= _KEY_INTERVAL:
            frame.pict_type = self._av.video.frame.PictureType.I
            self._key_requested, self._key = False, now
        try:
            packets = self._context.encode(frame)
        except (self._av.error.FFmpegError, ValueError) as error:
            raise MediaError(f"a picture of {width}x{height} cannot be encoded: {error}") from error
        return [EncodedPicture(bytes(packet), packet.is_keyframe, packet.pts) for packet in packets]

    def _adapts(self, now: int) -> bool:
        """Adopt the limit of the bitrate; return True if that needs a new encoder."""
        wanted = min(self._most, max(_LEAST_BITRATE, self._limit))
        since = (now - self._changed) / CLOCK
        less = wanted < self._bitrate * _DECREASE and since >= _LEAST_KEY_INTERVAL
        more = since >= _INCREASE_WAIT and (
            wanted > self._bitrate * _INCREASE or (wanted == self._most and wanted > self._bitrate)
        )
        if not (less or more):
            return False
        self._bitrate, self._changed = wanted, now
        return True

    def _open(self, size: tuple[int, int]) -> Any:
        context = self._av.CodecContext.create(self._codec.encoder, "w")
        context.width, context.height = size
        context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, CLOCK), self._rate
        context.gop_size = 10_000  # `encode` requests each key frame
        context.colorspace, context.color_range = 6, 1  # SMPTE 170M, which is BT.601; limited range
        context.options = dict(self._codec.options) | self._codec.rate_options(self._bitrate)
        try:
            context.open()
        except (self._av.error.FFmpegError, ValueError) as error:
            raise MediaError(f"{self._codec.encoder} cannot encode pictures of {size[0]}x{size[1]}: {error}") from error
        return context


class LiveStream:
    """Encodes the newest picture in a thread of its own while somebody watches, and delivers it.

    `publish` never waits: a picture that comes while another one is encoded replaces the one that waits.
    """

    def __init__(
        self,
        encoder: LiveEncoder,
        deliver: Callable[[EncodedPicture], None],
        is_watched: Callable[[], bool],
        report: Callable[[str], None],
    ) -> None:
        """Start the thread, which calls `deliver`; `report` receives the line of an error that ends the stream."""
        self._encoder, self._deliver, self._is_watched, self._report = encoder, deliver, is_watched, report
        self._changed = threading.Condition()
        self._waiting: Picture | None = None
        self._closed = False
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="live encoder", daemon=True)
        self._thread.start()

    def publish(self, picture: Picture) -> None:
        """Show a picture, which must not change any more."""
        if not self._is_watched():
            return
        with self._changed:
            self._waiting = picture
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                picture, self._waiting = self._waiting, None
                if self._closed or picture is None:
                    return
            try:
                for encoded in self._encoder.encode(picture, time.monotonic() - self._started):
                    self._deliver(encoded)
            except (MediaError, OSError) as error:
                if not self._closed:
                    self._report(f"the live stream has ended: {error}")
                return
