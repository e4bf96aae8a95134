"""Keeps packets of an input in a file as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.av_support import file_url, import_av, reason
from ros2_actionnet.media.encoder import find_container
from ros2_actionnet.media.opencv_capture import DEFAULT_RATE

_UNCOMPRESSED = frozenset({"rawvideo", "wrapped_avframe"})


class Recording:
    """Keeps a stream in a file as it comes, from its first whole picture on.

    Raises MediaError, here and while it is written, if the file cannot be written or does not take such a stream.
    """

    def __init__(self, path: str, stream: Any, name: str) -> None:
        av = import_av()
        if stream.codec_context.name in _UNCOMPRESSED:
            raise MediaError(
                f"'{name}' sends uncompressed video, which cannot be saved to '{path}'; request it "
                "with --input-codec=mjpeg or h264, or save the output with --output-save"
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
            self._container = av.open(file_url(path), "w", container.format, options=container.options())
            self._stream = self._container.add_stream_from_template(stream)
        except self._errors as error:
            raise MediaError(f"the input cannot be saved to '{path}': {reason(error)}; try an .mkv file") from error

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
            raise MediaError(f"the input cannot be saved to '{self._path}': {reason(error)}") from error

    def close(self) -> None:
        """Finishes the file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._container.close()
        except self._errors as error:
            raise MediaError(f"'{self._path}' cannot be completed: {reason(error)}") from error
