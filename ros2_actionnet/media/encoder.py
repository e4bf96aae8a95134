"""Encoding of pictures into files and streams with PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.av_support import import_av, reason
from ros2_actionnet.media.base import Picture, Report
from ros2_actionnet.media.hardware import find_encoder as find_hardware_encoder
from ros2_actionnet.media.hardware import is_hardware

# s; the intervals of 24, 25, 30, 50 and 60 Hz, and of 30/1.001 and 60/1.001, are multiples of it. MPEG-4 accepts none
# shorter than 1/65535.
_TICK = Fraction(1, 60_000)
_LONGEST = 9 * 3600 * 60_000  # ticks that a picture is shown at most; an MP4 holds no more than 2**31
_BITS_PER_PIXEL = 0.15  # of hardware, whose scales of quality all differ; x264's at the quality below takes less
_KEYFRAMES = 2  # s between keyframes of a file, 1 s in a stream: start points of playback, and the loss in a crash


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg.

    Attributes:
        name: FFmpeg's name.
        options: Options for speed, and for output in the order of input: every container then gets correct times, and
            a stream has no delay.
        quality: Options if no bitrate is requested.
        live: Additional options for a stream.
        pixels: Pixel format of its input.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    quality: Mapping[str, str] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"


_FIXED_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}  # FFmpeg's -q:v 3, in its internal unit
_LIBVPX = {"deadline": "realtime", "lag-in-frames": "0", "auto-alt-ref": "0"}
# RFC 2435 allows only the standard tables, and no restart markers, which several threads would insert.
_RTP_JPEG = {"huffman": "default", "force_duplicated_matrix": "1", "threads": "1"}

ENCODERS: dict[str, Encoder] = {
    # At equal quality, superfast takes 60% of veryfast's time and a third more bits: other threads need the time.
    "h264": Encoder("libx264", {"preset": "superfast", "bf": "0"}, {"crf": "22"}, {"tune": "zerolatency"}),
    "h265": Encoder(
        "libx265",
        {"preset": "ultrafast", "x265-params": "log-level=error:bframes=0"},
        {"crf": "21"},
        {"tune": "zerolatency"},
    ),
    # Below 0 the speed is fixed; above, VP8 slows down until encoding takes as long as the frames last. Its threads
    # wait for each other by spinning.
    "vp8": Encoder("libvpx", _LIBVPX | {"cpu-used": "-8", "threads": "1"}, {"crf": "8", "b": "8M"}),
    "vp9": Encoder("libvpx-vp9", _LIBVPX | {"cpu-used": "8", "row-mt": "1"}, {"crf": "24", "b": "0"}),
    "mpeg4": Encoder("mpeg4", {}, _FIXED_QUALITY),
    "mjpeg": Encoder("mjpeg", {}, _FIXED_QUALITY, _RTP_JPEG, "yuvj420p"),
    "av1": Encoder("libsvtav1", {"preset": "10", "svtav1-params": "pred-struct=1"}, {"crf": "24"}),
}
"""FFmpeg's encoders by codec name; a build of FFmpeg may lack some."""

_SYNONYMS = {"hevc": "h265", "avc": "h264", "jpeg": "mjpeg"}
_FFMPEG_NAMES = {"h265": "hevc"}


@dataclass(frozen=True)
class Container:
    """A kind of video file.

    Attributes:
        format: FFmpeg's name.
        codec: Default codec.
        has_fragments: True if it is written in fragments until closed, without which it would be unreadable until then.
        has_times: True if it stores the times of frames; otherwise it stores a rate.
        codecs: Allowed codecs, if FFmpeg would accept any.
    """

    format: str
    codec: str = "h264"
    has_fragments: bool = False
    has_times: bool = True
    codecs: tuple[str, ...] = ()

    def options(self) -> dict[str, str]:
        """Return FFmpeg's options that keep what was written so far playable if the process is killed."""
        # Fragments, which become an ordinary file on closing. Older readers find all of them only if an empty index
        # comes first.
        fragments = {"movflags": "hybrid_fragmented+empty_moov+default_base_moof"} if self.has_fragments else {}
        return {"flush_packets": "1"} | fragments


MPEG_TS = Container("mpegts", codecs=("h264", "h265", "mpeg4"))

CONTAINERS: dict[str, Container] = {
    ".mp4": Container("mp4", has_fragments=True),
    ".m4v": Container("mp4", has_fragments=True),
    ".mov": Container("mov", has_fragments=True),
    ".mkv": Container("matroska"),
    ".webm": Container("webm", codec="vp9"),
    ".avi": Container("avi", has_times=False),
    ".flv": Container("flv"),
    ".ts": MPEG_TS,
}
"""The supported output containers, by suffix."""


def find_container(path: str) -> Container:
    """Return the container for the suffix of `path`. Raises MediaError if there is none."""
    suffix = Path(path).suffix.lower()
    if suffix not in CONTAINERS:
        raise MediaError(f"'{path}' is not a video format that can be written; use one of {', '.join(CONTAINERS)}")
    return CONTAINERS[suffix]


def find_encoder(codec: str) -> Encoder:
    """Return the encoder of a codec. Raises MediaError if the codec is unknown or this PyAV cannot write it."""
    av = import_av()
    name = _SYNONYMS.get(codec.lower(), codec.lower())
    present = [name for name, encoder in ENCODERS.items() if _has_encoder(av, encoder.name)]
    if name not in ENCODERS:
        raise MediaError(f"there is no codec '{codec}'; use one of {', '.join(present)}")
    if name not in present:
        raise MediaError(
            f"this PyAV's FFmpeg has no encoder for {name} ({ENCODERS[name].name}); it has {', '.join(present)}"
        )
    return ENCODERS[name]


def _has_encoder(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


class VideoWriter:
    """Encodes pictures into a container; a bad codec or an unreachable server raises an error on construction.

    All pictures are scaled to the size of the first one. H.264 and others require even sides: an odd side grows by a
    pixel. Colors are in BT.601, and tagged as such.

    Attributes:
        written: Number of pictures so far.

    Raises MediaError if it cannot be opened, on construction or, if the size is not known yet, at the first picture.
    """

    def __init__(
        self,
        url: str,
        name: str,
        container: Container,
        codec: str,
        bitrate: int,
        rate: float,
        size: tuple[int, int] = (0, 0),
        *,
        options: Mapping[str, str] | None = None,
        live: bool = False,
        hardware: str = "",
        report: Report = lambda line: None,
    ) -> None:
        """Open the output.

        Args:
            url: Destination, for FFmpeg.
            name: Display name of the destination.
            container: Container to write.
            codec: A name of `ENCODERS`; "": the default of the container.
            bitrate: Bits per second; 0: as needed for good quality.
            rate: Hz.
            size: Width and height of the pictures in pixels; (0, 0): those of the first one.
            options: FFmpeg's options for the container.
            live: True to connect at once and send each picture without delay.
            hardware: The hardware to encode with, see `media.hardware`; "": the CPU.
            report: Receives a line if it is the CPU all the same.
        """
        self._av = import_av()
        self._name, self._kind, self._live = name, container, live
        self._codec = codec or container.codec
        self._encoder, self._bitrate = find_encoder(self._codec), bitrate
        self._hardware, self._report = hardware, report
        self._rate = Fraction(rate).limit_denominator(1001)
        self._tick = _TICK if container.has_times else 1 / self._rate
        self._converter = self._av.video.reformatter.VideoReformatter()
        self._stream: Any = None
        self._newest = -1  # in ticks
        self._size, self.written = (0, 0), 0
        self._closed = self._failed = False
        with self._errors():
            self._container = self._av.open(url, "w", container.format, options=dict(options or {}))
        self._check_codec()
        if all(size):
            self._begin(size)

    def write(self, picture: Picture, time: float) -> None:
        """Write a picture, shown `time` s after the first one. Raises MediaError on failure."""
        height, width = picture.shape[:2]
        if self._stream is None:
            self._begin((width, height))
        if (width, height) != self._size:
            picture = cast(Picture, cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA))
        odd = (picture.shape[0] % 2, picture.shape[1] % 2)
        if any(odd):
            picture = cast(Picture, cv2.copyMakeBorder(picture, 0, odd[0], 0, odd[1], cv2.BORDER_REPLICATE))
        # from_ndarray would copy the picture line by line.
        original = self._av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(picture), "bgr24")
        frame = self._converter.reformat(original, format=self._encoder.pixels)
        step = round(time / self._tick) - self._newest
        self._newest += min(max(step, 1), _LONGEST)
        frame.pts, frame.time_base = self._newest, self._tick
        with self._errors():
            self._mux(self._stream.encode(frame))
        self.written += 1

    def close(self) -> None:
        """Finish the output; may be called twice. Raises MediaError on failure."""
        if self._closed:
            return
        self._closed = True
        with self._errors():
            try:
                # FFmpeg crashes on another packet after a header that could not be written.
                if self._stream is not None and not self._failed:
                    self._mux(self._stream.encode(None))
            finally:
                self._container.close()

    def _begin(self, size: tuple[int, int]) -> None:
        """Create the encoder and, for a stream, connect and write the header."""
        self._size = size
        if is_hardware(self._hardware):
            self._use_hardware()
        encoder = self._encoder
        options = dict(encoder.options) | dict(encoder.live if self._live else {})
        options |= {} if self._bitrate else dict(encoder.quality)
        with self._errors():
            stream = self._container.add_stream(encoder.name, rate=self._rate, options=options)
            context = stream.codec_context
            self._prepare(context, encoder.pixels)
            if self._live:
                self._container.start_encoding()  # connects
            else:
                # The header is written with the first packet: FFmpeg crashes on closing a fragmented file without any.
                context.open()
        self._stream = stream

    def _prepare(self, context: Any, pixels: str) -> None:
        """Set the properties of the pictures and of the encoded stream."""
        context.width, context.height = (side + side % 2 for side in self._size)
        context.pix_fmt = pixels
        context.time_base, context.framerate = self._tick, self._rate
        context.gop_size = max(1, round(self._rate * (1 if self._live else _KEYFRAMES)))
        if not pixels.startswith("bgr"):
            context.colorspace = 6  # SMPTE 170M, which is BT.601
            context.color_range = 2 if pixels == "yuvj420p" else 1
        if self._bitrate:
            context.bit_rate = self._bitrate

    def _use_hardware(self) -> None:
        found = find_hardware_encoder(self._hardware, self._encoder.name, self._prepare, self._name, self._report)
        if found is None:
            return
        self._encoder = Encoder(found.name, {"bf": "0"}, pixels=found.pixels)
        width, height = self._size
        self._bitrate = self._bitrate or round(_BITS_PER_PIXEL * width * height * self._rate)

    def _check_codec(self) -> None:
        supported = self._container.supported_codecs
        taken = self._kind.codecs or [name for name in ENCODERS if _FFMPEG_NAMES.get(name, name) in supported]
        name = self._codec.lower()
        if _SYNONYMS.get(name, name) not in taken:
            raise MediaError(f"'{self._name}' does not support the codec {self._codec}; use one of {', '.join(taken)}")

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            self._failed = True
            raise MediaError(f"'{self._name}' cannot be written: {reason(error)}") from error
