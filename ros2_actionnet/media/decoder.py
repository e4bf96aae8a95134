"""What PyAV decodes of a file, a device or a stream."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.thumbnails import RawImage
from ros2_actionnet.media.base import Picture, Report
from ros2_actionnet.media.filters import ROTATIONS
from ros2_actionnet.media.handle import Handle
from ros2_actionnet.media.opencv_capture import DEFAULT_RATE

_HIGHEST_RATE = 1000.0  # Hz; what is above is the unit of the container's clock, not a rate

# Containers and raw streams that do not say when a frame is shown, only in which order.
_WITHOUT_TIMES = frozenset({"avi", "h264", "hevc", "m4v", "mjpeg", "mpjpeg"})

# Of the enumeration AVColorSpace: unspecified, BT.470BG, SMPTE 170M. The last two have the matrix of BT.601, which is
# also what FFmpeg and OpenCV take the first for.
_BT601 = frozenset({2, 5, 6})
_FULL_RANGE = 2  # of AVColorRange

_UNCOMPRESSED = frozenset({"rawvideo", "wrapped_avframe"})

_QUIET = 50
"""Good frames after which the broken ones before them are told of: a line for each burst, not for each frame."""

_MOST_LATE = 16  # frames in a row; H.264 holds no more back to put them in order, so more is a clock that was set

_OLDEST_AV = (17, 1)  # older ones get colours of HD wrong, and some were built without H.264


def import_av() -> Any:
    """The module av. Raises MediaError, which says how to install it, where it is missing or too old."""
    try:
        import av
    except ImportError as error:
        raise MediaError(f"videos, cameras and streams need PyAV: pip install av ({error})") from error
    if tuple(int(part) for part in av.__version__.split(".")[:2]) < _OLDEST_AV:
        raise MediaError(f"PyAV {av.__version__} is too old: pip install --upgrade av")
    return av


@dataclass(frozen=True)
class Address:
    """What PyAV is to open, and how.

    Attributes:
        url: for FFmpeg.
        name: for a person.
        remedy: what to do if it cannot be opened.
        format: of the container, where FFmpeg cannot tell.
        options: FFmpeg's, for the container.
        timeout: s to wait for an answer or a frame; None: for ever.
        live: frames come when they come: none is held back to decode several at once.
    """

    url: str
    name: str
    remedy: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    live: bool = False


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame.

    Attributes:
        index: counted from 0, broken ones included.
        time: s, on the container's clock, or where a file has none by its rate; None where it is unknown.
        image: the pixels.
    """

    index: int
    time: float | None
    image: RawImage


class Decoder:
    """The frames of the first video stream, turned as its metadata says; open, and the first frame decoded.

    Frames that do not decode, or only in part, are left out; `report` is told of each burst of them.

    Attributes:
        name: for a person.
        rate: Hz.
        length: frames, as the container says; where it only says how long they take, about so many; None: unknown.
        count: frames so far, broken ones included.

    Raises MediaError if it cannot be opened, has no video, or no frame that can be decoded.
    """

    def __init__(self, address: Address, report: Report, size: tuple[int, int] = (0, 0), save: str = "") -> None:
        """Opens it.

        Args:
            address: What to open.
            report: Is told what is left out.
            size: Width and height (pixels) that frames are scaled to; 0: as the other one asks, both 0: as they are.
            save: Path of a file that keeps the stream as it comes.
        """
        self._av = import_av()
        self.name, self._report, self._size = address.name, report, size
        self._numbering = _Numbering(address, report)
        self._converter = self._av.video.reformatter.VideoReformatter()
        self._recording: Recording | None = None
        self._is_live, self._timeout, self._read = address.live, address.timeout, 0
        self._container = self._open(address)
        self._handle = Handle(self._free)
        try:
            self._stream = self._find_stream(address.live)
            # A stream must not be asked any more once its container is closed.
            self.rate = self._find_rate()
            self.length = self._find_length()
            self._keeps_times = not _WITHOUT_TIMES & set(self._container.format.name.split(","))
            self._packets = self._container.demux(self._stream)
            if save:
                self._recording = Recording(save, self._stream, self.name)
            self._decoded = self._decode()
            self._is_begun = False
            self._first = self._find_first(address)
            self._is_begun = True
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._first.image.width, self._first.image.height

    @property
    def count(self) -> int:
        """Frames so far, broken ones included."""
        return self._numbering.next

    def frames(self) -> Iterator[Decoded]:
        """The frames, once. Raises MediaError if a live source is lost."""
        return itertools.chain([self._first], self._decoded)

    def close(self) -> None:
        """Frees it, at once or, if another thread is waiting for a frame, as soon as that has one."""
        self._handle.close()

    def _free(self) -> None:
        self._container.close()
        if self._recording is not None:
            self._recording.close()

    def _open(self, address: Address) -> Any:
        av, started = self._av, time.monotonic()
        try:
            return av.open(address.url, "r", address.format, options=dict(address.options), timeout=address.timeout)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # FFmpeg says that it was interrupted, or what it made of the silence.
            if address.timeout is not None and time.monotonic() - started >= address.timeout:
                why = f"does not answer within {address.timeout:g} s"
            else:
                why = f"cannot be opened: {reason(error)}"
            raise MediaError(f"'{self.name}' {why}; {address.remedy}") from error

    def _find_stream(self, live: bool) -> Any:
        streams = self._container.streams.video
        if not streams:
            raise MediaError(f"'{self.name}' has no video in it; give another input")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError(f"'{self.name}' is in a format that PyAV's FFmpeg does not decode; convert it to H.264")
        # Threads that decode a frame each hold as many frames back as there are of them.
        stream.thread_type = "SLICE" if live else "AUTO"
        if live:
            stream.codec_context.options = {"flags": "low_delay"}
        return stream

    def _find_first(self, address: Address) -> Decoded:
        try:
            first = next(self._decoded, None)
        except MediaError as error:
            raise MediaError(f"'{self.name}' gives no frame: {error}; {address.remedy}") from error
        if first is None:
            raise MediaError(f"'{self.name}' has no frame that can be decoded; {address.remedy}")
        return first

    def _find_rate(self) -> float:
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if rate is not None and 0 < rate <= _HIGHEST_RATE:
                return float(rate)
        return DEFAULT_RATE

    def _find_length(self) -> int | None:
        stream, seconds = self._stream, 0.0
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            seconds = float(self._container.duration / self._av.time_base)
        # A recording that was killed only counts the frames of its beginning.
        return max(int(stream.frames), round(seconds * self.rate)) or None

    def _decode(self) -> Iterator[Decoded]:
        for frame in self._frames():
            index = self._numbering.number(frame.pts if self._keeps_times else None, frame.is_corrupt)
            if index is not None:
                yield Decoded(index, self._time(frame, index), self._image(frame))
        self._numbering.finish()

    def _frames(self) -> Iterator[Any]:
        while (frames := self._step()) is not None:
            yield from frames

    def _time(self, frame: Any, index: int) -> float | None:
        if not self._keeps_times:
            return None if self._is_live else index / self.rate
        return None if frame.pts is None else float(frame.pts * frame.time_base)

    def _step(self) -> list[Any] | None:
        """The frames, maybe none, that come out of the decoder for the next packet; None: there is no more."""
        with self._handle as is_open:
            if not is_open:
                return None
            try:
                packet = next(self._packets, None)
            except self._av.error.FFmpegError as error:
                if self._is_live:
                    raise MediaError(self._why_lost(error)) from error
                self._report(f"'{self.name}' cannot be read to its end: {reason(error)}")
                self._packets = iter(())
                return self._drain()
            if packet is None:
                self._check_end()
                return None
            self._read += packet.size > 0
            return self._decode_packet(packet)

    def _why_lost(self, error: Exception) -> str:
        if isinstance(error, self._av.error.ExitError):  # how FFmpeg says that it was interrupted
            return f"nothing came for {self._timeout:g} s"
        return reason(error)

    def _decode_packet(self, packet: Any) -> list[Any]:
        self._numbering.sent(packet.pts if self._keeps_times and packet.size and not packet.is_discard else None)
        try:
            return list(packet.decode())
        except self._av.error.FFmpegError:
            self._numbering.failed()
            return []
        finally:
            if packet.size:
                self._keep(packet)

    def _keep(self, packet: Any) -> None:
        if self._recording is None:
            return
        try:
            self._recording.write(packet)
        except MediaError as error:
            if not self._is_begun:
                raise
            self._report(f"{error}; what comes from here on is not kept")
            with suppress(MediaError):  # it has been told of
                self._recording.close()
            self._recording = None

    def _drain(self) -> list[Any]:
        """What the decoder still holds."""
        try:
            return list(self._stream.codec_context.decode(None))
        except self._av.error.FFmpegError:
            return []

    def _check_end(self) -> None:
        if self._stream.frames and self._read < self._stream.frames and not self._is_live:
            self._report(
                f"'{self.name}' ends after {self._read} of the {self._stream.frames} frames that it should have: it "
                "was cut short"
            )

    def _image(self, frame: Any) -> RawImage:
        """The pixels: as the decoder has them where that is enough, which a network needs no more of; else BGR."""
        width, height = scaled(frame.width, frame.height, self._size)
        rotation = frame.rotation % 360
        is_plain = frame.format.name == "yuv420p" and frame.width % 2 == frame.height % 2 == 0
        is_usual = frame.colorspace in _BT601 and frame.color_range != _FULL_RANGE
        if is_plain and is_usual and not rotation and (width, height) == (frame.width, frame.height):
            return _nv12(frame)
        converted = self._converter.reformat(frame, width, height, "bgr24")
        plane = converted.planes[0]
        pixels: Picture = np.ndarray((height, width, 3), np.uint8, plane, 0, (plane.line_size, 3, 1))
        return RawImage.from_array(ROTATIONS[rotation](pixels) if rotation in ROTATIONS else pixels, "bgr8")


class Recording:
    """Keeps a stream in a file as it comes, from its first whole picture on.

    Raises MediaError, here and while it is written, if the file cannot be written or does not take such a stream.
    """

    def __init__(self, path: str, stream: Any, name: str) -> None:
        from ros2_actionnet.media.encoder import find_container

        av = import_av()
        if stream.codec_context.name in _UNCOMPRESSED:
            raise MediaError(
                f"'{name}' sends pictures that are not compressed, which cannot be kept in '{path}'; ask for others "
                "with --input-codec=mjpeg or h264, or keep the output with --output-save"
            )
        self._errors = av.error.FFmpegError, OSError, ValueError
        self._path, self._closed = path, False
        # In ticks of the stream.
        self._period = round(1 / (stream.average_rate or stream.guessed_rate or DEFAULT_RATE) / stream.time_base)
        self._newest: int | None = None
        self._offset: int | None = None
        container = find_container(path)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(path, "w", container.format, options=container.options())
            self._stream = self._container.add_stream_from_template(stream)
        except self._errors as error:
            raise MediaError(f"the input cannot be kept in '{path}': {reason(error)}; try a file .mkv") from error

    def write(self, packet: Any) -> None:
        """Takes a packet, which is of no use to anybody else after that."""
        if self._newest is None and not packet.is_keyframe:
            return
        due = 0 if self._newest is None else self._newest + self._period
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None:  # as the first of an RTSP stream may be
            packet.pts = packet.dts = self._newest = due
        else:
            self._offset = due - time if self._offset is None else self._offset
            self._newest = time + self._offset
            packet.pts = None if packet.pts is None else packet.pts + self._offset
            packet.dts = None if packet.dts is None else packet.dts + self._offset
        packet.stream = self._stream
        try:
            self._container.mux(packet)
        except self._errors as error:
            raise MediaError(f"the input cannot be kept in '{self._path}': {reason(error)}") from error

    def close(self) -> None:
        """Finishes the file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._container.close()
        except self._errors as error:
            raise MediaError(f"'{self._path}' cannot be finished: {reason(error)}") from error


class _Numbering:
    """Numbers frames: knows which of the packets that went into the decoder never came out of it as a frame."""

    def __init__(self, address: Address, report: Report) -> None:
        self._name, self._live, self._report = address.name, address.live, report
        self._pending: list[int] = []  # a heap of the packets' times
        self._has_times = False
        self._damaged = False  # else a packet without a frame is as it should be: some hold none to show
        self._broken = 0  # since `_report` was last told
        self._first = self._last = 0
        self._newest: int | None = None  # time of the newest frame
        self._late = 0  # frames since it that were before it
        self.next = 0

    def sent(self, time: int | None) -> None:
        if time is not None:
            self._has_times = True
            heappush(self._pending, time)

    def failed(self) -> None:
        if self._live and self.next == 0:
            return  # who joins a stream does not get the picture that the first ones build on
        self._damaged = True
        if not self._has_times:
            self._lose(1)

    def number(self, time: int | None, is_corrupt: bool) -> int | None:
        """The index of a frame that came out; None if it is broken, too."""
        lost = self._forget(time) if time is not None else 0
        if self._damaged:
            if self._is_late(time):
                return None  # it has been taken for lost
            self._lose(lost)
        self._newest, self._late = time, 0
        if is_corrupt:
            self._damaged = True
            self._lose(1)
            return None
        index = self.next
        self.next += 1
        if self._damaged and index > self._last + _QUIET:
            self._tell()
        return index

    def finish(self) -> None:
        """Says that nothing more comes."""
        if self._damaged:
            self._lose(len(self._pending))
            self._tell()

    def _is_late(self, time: int | None) -> bool:
        if time is None or self._newest is None or time > self._newest or self._late == _MOST_LATE:
            return False
        self._late += 1
        return True

    def _forget(self, time: int) -> int:
        """Takes the packets up to a frame's time out; how many of them are before it."""
        before = 0
        while self._pending and self._pending[0] < time:
            heappop(self._pending)
            before += 1
        if self._pending and self._pending[0] == time:
            heappop(self._pending)
        return before

    def _lose(self, count: int) -> None:
        if count == 0:
            return
        if self._broken == 0:
            self._first = self.next
        self._broken += count
        self.next += count
        self._last = self.next - 1

    def _tell(self) -> None:
        self._damaged = False
        if self._broken == 1:
            self._report(f"'{self._name}': frame {self._first} is broken and left out")
        elif self._broken:
            self._report(
                f"'{self._name}': {self._broken} frames from {self._first} to {self._last} are broken and left out"
            )
        self._broken = 0


def scaled(width: int, height: int, wanted: tuple[int, int]) -> tuple[int, int]:
    """Width and height as they are wanted: 0 keeps the shape, or where both are 0 the size."""
    wanted_width, wanted_height = wanted
    if not wanted_width and not wanted_height:
        return width, height
    return (
        wanted_width or max(1, round(width * wanted_height / height)),
        wanted_height or max(1, round(height * wanted_width / width)),
    )


def reason(error: Exception) -> str:
    """What FFmpeg says, without its number and the path."""
    return str(getattr(error, "strerror", None) or error)


def _nv12(frame: Any) -> RawImage:
    """The pixels of a frame yuv420p with even sides, its two planes of colour woven into one.

    From 1080p this takes less than half of the time that BGR takes: 0.4 ms.
    """
    width, height = frame.width, frame.height
    pixels = np.empty((height * 3 // 2, width), np.uint8)
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    pixels[:height] = luma
    cv2.merge(chroma, pixels[height:].reshape(height // 2, width // 2, 2))
    return RawImage.from_array(pixels, "nv12")
