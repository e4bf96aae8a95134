"""Decoding of files, devices and streams with PyAV."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean, median
from typing import Any
from urllib.parse import urlsplit

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.av_support import Address, import_av, reason
from ros2_actionnet.media.base import Report
from ros2_actionnet.media.frame_conversion import FrameConverter
from ros2_actionnet.media.frame_numbering import FrameNumbering
from ros2_actionnet.media.handle import Handle
from ros2_actionnet.media.hardware import HardwareDecoder, find_decoder, is_hardware
from ros2_actionnet.media.opencv_capture import DEFAULT_RATE
from ros2_actionnet.media.recording import Recording

# Hz; a larger value may be the unit of the container's clock, such as 1000 in recordings of a browser.
_HIGHEST_USUAL_RATE = 120.0
_HIGHEST_RATE = 1000.0  # Hz; such a value, and a larger one, is the unit of the clock
_PEEKED = 64  # packets whose times tell the rate

# Containers and raw streams without presentation times; they only store the order of frames.
_WITHOUT_TIMES = frozenset({"avi", "h264", "hevc", "m4v", "mjpeg", "mpjpeg"})

# Of these, AVI stores the place of each frame: empty ones repeat the frame before.
_WITH_PLACES = frozenset({"avi"})


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded frame.

    Attributes:
        index: Position from 0, broken frames included.
        time: s, on the container's clock, or from the rate for a file without times; None if unknown.
        image: The pixels.
    """

    index: int
    time: float | None
    image: RawImage


class Decoder:
    """Decodes the default video stream, else the first that is no cover art; its first frame is decoded on opening.

    Pictures are upright, deinterlaced, and of square pixels in standard range, see `FrameConverter`.

    Frames that cannot be decoded completely are skipped; `report` receives a line for each burst of them.

    Attributes:
        name: Display name.
        rate: Hz.
        size: Width and height in pixels.
        length: Number of frames according to the container, estimated if it only stores a duration; None: unknown.
        count: Number of frames so far, broken ones included.
        is_live: True if it has no end.

    Raises MediaError if it cannot be opened, has no video, or has no frame that can be decoded.
    """

    def __init__(
        self,
        address: Address,
        report: Report,
        size: tuple[int, int] = (0, 0),
        save: str = "",
        hardware: str = "",
    ) -> None:
        """Open the input and decode its first frame.

        Args:
            address: The input to open.
            report: Receives a line for each burst of skipped frames.
            size: Width and height (pixels) of the upright picture to scale to; 0 for one: keep the aspect ratio; 0 for
                both: do not scale.
            save: Path of a file in which the stream is stored as received.
            hardware: The hardware to decode with, see `media.hardware`; "": the CPU.
        """
        self._av = import_av()
        self.name, self._report = address.name, report
        self._recording: Recording | None = None
        self._timeout, self._read = address.timeout, 0
        self._place = 0.0  # s, of the newest frame of a file that only stores their places
        self._container = self._open(address)
        self._handle = Handle(self._free)
        self.is_live = address.live and not (address.may_end and self._container.duration)
        self._numbering = FrameNumbering(self.name, self.is_live, report)
        try:
            self._stream = self._find_stream(self.is_live)
            self._context = self._stream.codec_context
            if is_hardware(hardware):
                self._use_hardware(find_decoder(hardware, self._context, self.name, report), address)
            # A stream must not be accessed once its container is closed.
            formats = set(self._container.format.name.split(","))
            self._keeps_times, self._keeps_places = not _WITHOUT_TIMES & formats, bool(_WITH_PLACES & formats)
            self._packets: Iterator[Any] = self._container.demux(self._stream)
            self.rate = self._find_rate()
            self.length = self._find_length()
            self._converter_size = size
            self._converter = FrameConverter(self._stream.sample_aspect_ratio, size)
            if save:
                self._recording = Recording(save, self._stream, self.name)
            self._decoded = self._decode()
            self._is_begun = False
            first = self._find_first(address)
            self._first: Decoded | None = first
            self.size = first.image.width, first.image.height
            self._is_begun = True
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """Number of frames so far, broken ones included."""
        return self._numbering.next

    def frames(self) -> Iterator[Decoded]:
        """Return an iterator over the frames, for one use. Raises MediaError if a live source is lost."""
        return itertools.chain([] if self._first is None else [self._first], self._decoded)

    def seek(self, seconds: float) -> bool:
        """Let a new `frames` begin at the last key frame that is not after a time on the container's clock.

        Indices mean nothing after that. Returns False if the container cannot do it: frames then come as before.
        """
        if not (self._keeps_times or self._keeps_places):
            return False
        with self._handle as is_open:
            if not is_open:
                return False
            try:
                self._container.seek(int(seconds / self._stream.time_base), stream=self._stream)
            except self._av.error.FFmpegError:
                return False
            self._context.flush_buffers()
            self._packets = self._container.demux(self._stream)
        self._numbering = FrameNumbering(self.name, self.is_live, self._report)
        self._converter = FrameConverter(self._stream.sample_aspect_ratio, self._converter_size)
        self._decoded, self._first = self._decode(), None
        return True

    def close(self) -> None:
        """Close the input, at once or, if another thread is waiting for a frame, as soon as that one arrives."""
        self._handle.close()

    def _free(self) -> None:
        self._container.close()
        if self._recording is not None:
            self._recording.close()

    def _open(self, address: Address, accel: Any = None) -> Any:
        av, started, how = self._av, time.monotonic(), dict(address.options)
        try:
            return av.open(address.url, "r", address.format, options=how, timeout=address.timeout, hwaccel=accel)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # After a timeout, FFmpeg reports an interruption or a misleading consequence of it.
            if address.timeout is not None and time.monotonic() - started >= address.timeout:
                why = f"did not answer within {address.timeout:g} s"
            elif isinstance(error, av.error.ProtocolNotFoundError):
                scheme = urlsplit(address.url).scheme
                why = f"cannot be opened: this PyAV's FFmpeg was built without {scheme}"
            else:
                why = f"cannot be opened: {reason(error)}"
            raise MediaError(f"'{self.name}' {why}; {address.remedy}") from error

    def _find_stream(self, live: bool) -> Any:
        kinds = self._av.stream.Disposition
        pictures = kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image
        streams = [stream for stream in self._container.streams.video if not stream.disposition & pictures]
        streams.sort(key=lambda stream: not stream.disposition & kinds.default)  # the file's own choice comes first
        if not streams:
            covers = " but cover art" if self._container.streams.video else ""
            raise MediaError(f"'{self.name}' contains no video{covers}; give another input")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError(f"'{self.name}' is in a format that PyAV's FFmpeg cannot decode; convert it to H.264")
        # Frame threading delays the output by one frame per thread.
        stream.thread_type = "SLICE" if live else "AUTO"
        if live:
            stream.codec_context.options = {"flags": "low_delay"}
        return stream

    def _use_hardware(self, found: HardwareDecoder, address: Address) -> None:
        if found.accel is not None:
            self._container.close()
            self._container = self._open(address, found.accel)
            self._stream = self._find_stream(self.is_live)
        self._context = found.context or self._stream.codec_context

    def _find_first(self, address: Address) -> Decoded:
        try:
            first = next(self._decoded, None)
        except MediaError as error:
            raise MediaError(f"'{self.name}' delivers no frames: {error}; {address.remedy}") from error
        if first is None:
            raise MediaError(f"'{self.name}' has no frame that can be decoded; {address.remedy}")
        return first

    def _find_rate(self) -> float:
        rates = [float(rate or 0) for rate in (self._stream.average_rate, self._stream.guessed_rate)]
        if 0 < rates[0] <= _HIGHEST_USUAL_RATE:
            return rates[0]
        peeked = self._peek_rate() if self._keeps_times and not self.is_live else None
        return peeked or next((rate for rate in rates if 0 < rate < _HIGHEST_RATE), DEFAULT_RATE)

    def _peek_rate(self) -> float | None:
        """Return the rate of the first packets, which stay to be decoded, by their times; None if they have none."""
        packets: list[Any] = []
        try:
            packets.extend(itertools.islice(self._packets, _PEEKED))
            rest = self._packets
        except self._av.error.FFmpegError as error:
            rest = _raising(error)
        self._packets = itertools.chain(packets, rest)
        times = sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None)
        steps = [later - earlier for earlier, later in itertools.pairwise(times) if later > earlier]
        if not steps:
            return None
        longest = 2 * median(steps)  # pauses are left out
        return float(1 / mean(step for step in steps if step <= longest))

    def _find_length(self) -> int | None:
        stream, seconds = self._stream, 0.0
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            seconds = float(self._container.duration / self._av.time_base)
        # The frame count of a recording that was killed only covers its beginning.
        return max(int(stream.frames), round(seconds * self.rate)) or None

    def _decode(self) -> Iterator[Decoded]:
        waiting: deque[tuple[int, float | None]] = deque()  # indices and times of the frames that are being converted
        coded = self._context.sample_aspect_ratio
        for frame in self._frames():
            index = self._numbering.number(frame.pts if self._keeps_times else None, frame.is_corrupt)
            if index is not None:
                waiting.append((index, self._time(frame, index)))
                if self._context.sample_aspect_ratio != coded:  # television changes; threads are ahead
                    coded = self._context.sample_aspect_ratio
                    self._converter.set_aspect(coded)
                for image in self._converter.convert(frame):
                    yield Decoded(*waiting.popleft(), image)
        for image in self._converter.finish():
            yield Decoded(*waiting.popleft(), image)
        self._numbering.finish()

    def _frames(self) -> Iterator[Any]:
        while (frames := self._step()) is not None:
            yield from frames

    def _time(self, frame: Any, index: int) -> float | None:
        if self._keeps_places:
            # The last of B-frames, which no packet pushed out, has no place.
            self._place = (
                self._place + 1 / self.rate if frame.dts is None else float(frame.dts * self._stream.time_base)
            )
            return self._place
        if not self._keeps_times:
            return None if self.is_live else index / self.rate
        # What is left in the decoder after an error of reading has no unit of its own.
        return None if frame.pts is None else float(frame.pts * (frame.time_base or self._stream.time_base))

    def _step(self) -> list[Any] | None:
        """Decode the next packet and return its frames, possibly none; None at the end."""
        with self._handle as is_open:
            if not is_open:
                return None
            try:
                packet = next(self._packets, None)
            except self._av.error.FFmpegError as error:
                if self.is_live:
                    raise MediaError(self._why_lost(error)) from error
                self._report(f"'{self.name}' cannot be read to the end: {reason(error)}")
                self._packets = iter(())
                return self._drain()
            if packet is None:
                self._check_end()
                return None
            if packet.size:
                self._read = packet.dts + 1 if self._keeps_places and packet.dts is not None else self._read + 1
            return self._decode_packet(packet)

    def _why_lost(self, error: Exception) -> str:
        if isinstance(error, self._av.error.ExitError):  # FFmpeg's error for an interruption
            return f"no data for {self._timeout:g} s"
        return reason(error)

    def _decode_packet(self, packet: Any) -> list[Any]:
        self._numbering.sent(packet.pts if self._keeps_times and packet.size and not packet.is_discard else None)
        try:
            return list(self._context.decode(packet))
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
            self._report(f"{error}; the rest of the input is not saved")
            with suppress(MediaError):  # already reported
                self._recording.close()
            self._recording = None

    def _drain(self) -> list[Any]:
        """Return the frames that are left in the decoder."""
        try:
            return list(self._context.decode(None))
        except self._av.error.FFmpegError:
            return []

    def _check_end(self) -> None:
        if self.is_live:
            return
        if self._stream.frames and self._read < self._stream.frames:
            self._report(f"'{self.name}' is truncated: it ends after {self._read} of {self._stream.frames} frames")


def _raising(error: Exception) -> Iterator[Any]:
    """Return an iterator that raises `error`."""
    raise error
    yield
