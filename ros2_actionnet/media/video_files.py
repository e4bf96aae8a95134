"""Reading and writing of video files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.av_support import Address, file_url
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, MediaFrame, OutputOptions, Report
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.encoder import VideoWriter, find_container
from ros2_actionnet.media.output_clock import OutputClock
from ros2_actionnet.recognition.frame_header import NANOSECONDS, nanoseconds
from ros2_actionnet.system.addresses import without_password

_REMEDY = "check whether another player can play it: a truncated recording may lack its index"
_LONGEST_STEP_BACK = 1.0  # s; a longer one is a jump, which restarts the window
_TIMEOUT = 20.0  # s, for files on a web server


class VideoSource:
    """A source of the frames of a video file, at their presentation times.

    Broken frames are reported and skipped. If the file has no times (AVI), frames are timed by its rate. Stamps are
    presentation times counted from the first frame, jumps included; repetitions follow on each other.

    Raises MediaError if the file cannot be opened or has no frame that can be decoded.
    """

    is_live = False

    def __init__(self, url: str, options: InputOptions, report: Report, opened: Decoder | None = None) -> None:
        """Open a file by its path, or by its address on a web server; `opened` if it is open already."""
        if "://" in url:
            self._address = Address(url, without_password(url), _REMEDY, timeout=options.timeout or _TIMEOUT)
        else:
            self._address = Address(file_url(url), url, _REMEDY)
        self._hardware = options.decoder
        self._report, self._loop, self._size = report, options.loop, (options.width, options.height)
        self._closed = False
        self._decoder = self._open(options.save) if opened is None else opened
        self.name, self.rate, self.size = self._address.name, self._decoder.rate, self._decoder.size

    @property
    def length(self) -> int | None:
        """Number of frames, repetitions included, according to the file; estimated in some formats, None if unknown."""
        length = self._decoder.length
        return None if length is None or self._loop < 0 else length * (self._loop + 1)

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the frames, repetitions included."""
        index, period, times = 0, 1 / self.rate, OutputClock(self.rate)
        newest = -period  # stamp, s
        for turn in itertools.count() if self._loop < 0 else range(self._loop + 1):
            if turn:
                self._decoder = self._open()
                if self._closed:  # by another thread in the meantime
                    self._decoder.close()
            offset: float | None = None  # from the file's clock to ours
            for decoded in self._decoder.frames():
                due = newest + period
                if decoded.time is None:
                    newest = due
                else:
                    # A small step back is a seam of short files joined into one: a decoder puts frames in their order.
                    if offset is None or -_LONGEST_STEP_BACK <= offset + decoded.time - newest <= 0:
                        offset = due - decoded.time
                    newest = offset + decoded.time
                stamp = nanoseconds(newest)
                position = -1 if decoded.time is None else nanoseconds(decoded.time)
                yield MediaFrame(
                    index + decoded.index, times.time(stamp), stamp, decoded.image, position=max(position, -1)
                )
            index += self._decoder.count
            if self._closed:
                return
            self._decoder.close()

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield the images from the key frame before a position on: ns on the file's own clock."""
        if not self._decoder.seek(position / NANOSECONDS):
            self._decoder.close()
            self._decoder = self._open()
        if self._closed:
            self._decoder.close()
        for decoded in self._decoder.frames():
            if decoded.time is not None:
                yield max(nanoseconds(decoded.time), -1), decoded.image

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._decoder.close()

    def _open(self, save: str = "") -> Decoder:
        return Decoder(self._address, self._report, self._size, save, self._hardware)


class VideoSink:
    """Writes annotated pictures into a video file without sound, at the times of the frames.

    If the process is killed, the file remains playable except for its last two seconds.

    Raises MediaError if the file cannot be written, its suffix is unknown, or it does not support the codec.
    """

    wants_pictures = True

    def __init__(
        self, path: str, options: OutputOptions, source: FrameSource, report: Report = lambda line: None
    ) -> None:
        container = find_container(path)
        self._path, self._was_there = Path(path), Path(path).exists()
        self._writer = VideoWriter(
            file_url(path),
            path,
            container,
            options.codec,
            options.bitrate,
            source.rate,
            source.size,
            options=container.options(),
            hardware=options.encoder,
            report=report,
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("ab").close()
        except OSError as error:
            raise MediaError(f"'{path}' cannot be written: {error.strerror}") from error
        self._first: float | None = None

    def write(self, result: ClassifiedFrame) -> None:
        """Write a picture. Raises MediaError on failure."""
        time = result.frame.time
        self._first = time if self._first is None else self._first
        if result.annotated is not None:
            self._writer.write(result.annotated, time - self._first)

    def close(self) -> None:
        """Finish the file, or remove a new one without pictures. Raises MediaError on failure."""
        self._writer.close()
        if not self._writer.written and not self._was_there:
            self._path.unlink(missing_ok=True)
