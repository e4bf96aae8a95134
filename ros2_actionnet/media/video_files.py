"""Video files, in and out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, MediaFrame, OutputOptions, Report
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.encoder import VideoWriter, find_container
from ros2_actionnet.recognition.frame_header import nanoseconds

_REMEDY = "see whether another player plays it: a recording that was cut short may lack what tells how to read it"
_TIMEOUT = 20.0  # s, for a server that a file comes from


class VideoSource:
    """The frames of a video file, at their presentation times.

    Broken frames are reported and left out. Where the file has no times (AVI), frames come at its rate.

    Raises MediaError if it cannot be opened or has no frame that can be decoded.
    """

    is_live = False

    def __init__(self, url: str, options: InputOptions, report: Report) -> None:
        """Opens a file by its path, or by its address on a web server."""
        self._address = Address(url, url, _REMEDY, timeout=_TIMEOUT if "://" in url else None)
        self._report, self._loop, self._size = report, options.loop, (options.width, options.height)
        self._closed = False
        self._decoder = self._open(options.save)
        self.name, self.rate, self.size = url, self._decoder.rate, self._decoder.size

    @property
    def length(self) -> int | None:
        """How many frames there will be, as the file says; in some formats it only says about how many."""
        length = self._decoder.length
        return None if length is None or self._loop < 0 else length * (self._loop + 1)

    def frames(self) -> Iterator[MediaFrame]:
        """The frames, as often as they are to be played."""
        index, period = 0, 1 / self.rate
        newest = -period
        for turn in itertools.count() if self._loop < 0 else range(self._loop + 1):
            if turn:
                self._decoder = self._open()
                if self._closed:  # meanwhile, by another thread
                    self._decoder.close()
            offset: float | None = None  # of the file's clock from ours
            for decoded in self._decoder.frames():
                time = due = newest + period
                if decoded.time is not None:
                    offset = due - decoded.time if offset is None else offset
                    time = offset + decoded.time
                # Times run backwards where a file is damaged or was joined from several.
                newest = time if time > newest else due
                yield MediaFrame(index + decoded.index, newest, nanoseconds(newest), decoded.image)
            index += self._decoder.count
            if self._closed:
                return
            self._decoder.close()

    def close(self) -> None:
        """Closes the file."""
        self._closed = True
        self._decoder.close()

    def _open(self, save: str = "") -> Decoder:
        return Decoder(self._address, self._report, self._size, save)


class VideoSink:
    """Writes annotated pictures into a video file without sound, at the times of the frames.

    A process that is killed leaves a file that can be played, but for its last two seconds.

    Raises MediaError if the file cannot be written, its suffix is unknown, or it does not take the codec.
    """

    wants_pictures = True

    def __init__(self, path: str, options: OutputOptions, source: FrameSource) -> None:
        container = find_container(path)
        self._path, self._was_there = Path(path), Path(path).exists()
        self._writer = VideoWriter(
            path, path, container, options.codec, options.bitrate, source.rate, source.size, options=container.options()
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("ab").close()
        except OSError as error:
            raise MediaError(f"'{path}' cannot be written: {error.strerror}") from error
        self._first: float | None = None

    def write(self, result: ClassifiedFrame) -> None:
        """Writes a picture. Raises MediaError if it cannot."""
        time = result.frame.time
        self._first = time if self._first is None else self._first
        if result.annotated is not None:
            self._writer.write(result.annotated, time - self._first)

    def close(self) -> None:
        """Finishes the file; without a picture there is none. Raises MediaError if it cannot."""
        self._writer.close()
        if not self._writer.written and not self._was_there:
            self._path.unlink(missing_ok=True)
