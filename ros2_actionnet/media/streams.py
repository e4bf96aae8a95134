"""Network streams, in and out."""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.av_support import Address, reason
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, OutputOptions, Report
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.encoder import MPEG_TS, Container, VideoWriter
from ros2_actionnet.media.live_source import LiveSource, Pace, back_off, numbered

_TIMEOUT = 4.0  # s without a frame after which a stream is lost

_REMEDY = "see whether the address is right and what is at its other end is running"

# What is understood of a stream is looked for in so many of its microseconds; FFmpeg would take up to five seconds.
_PROBING = {"analyzeduration": "2000000"}

# TCP first, over which nothing is lost; cameras that only have UDP are asked for that then.
_RTSP = {"rtsp_flags": "prefer_tcp"}

INPUTS: dict[str, dict[str, str]] = {
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "http": {},
    "https": {},
    "udp": {},
    "rtp": {"protocol_whitelist": "data,rtp,udp"},
}
"""The schemes of streams that can be read, with FFmpeg's options for each."""

# The names of RFC 3551 and the RFCs of each payload; MJPEG's number is fixed.
_RTP_PAYLOADS = {"h264": "H264", "h265": "H265", "vp8": "VP8", "vp9": "VP9", "mpeg4": "MP4V-ES", "mjpeg": "JPEG"}
_SENT_OVER_RTP = ("h264", "h265", "vp8", "mpeg4", "mjpeg")  # FFmpeg's VP9 is an experiment


def open_stream(url: str, options: InputOptions, report: Report) -> LiveSource:
    """A stream that is connected again when it was lost.

    `rtp://` has nothing in it that says what is sent: that is `options.codec`, or else H.264.

    Raises MediaError if there is no such stream now.
    """
    name = without_password(url)
    scheme = urlsplit(url).scheme.lower()
    address = Address(
        url if scheme != "rtp" else _session_description(url, options.codec or "h264"),
        name,
        _REMEDY,
        format="sdp" if scheme == "rtp" else None,
        options=_PROBING | INPUTS[scheme],
        timeout=_TIMEOUT,
        live=True,
    )

    def connect(number: int) -> Decoder:
        return Decoder(address, report, (options.width, options.height), numbered(options.save, number))

    return LiveSource(name, connect, report)


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)


def _session_description(url: str, codec: str) -> str:
    """The SDP (RFC 8866) that whoever sends to `url` would give, as a data URL."""
    name = _RTP_PAYLOADS.get(codec.lower())
    if name is None:
        raise MediaError(f"a stream over RTP is not sent in {codec}; use one of {', '.join(_RTP_PAYLOADS)}")
    host, port = _host_and_port(url)
    number = 26 if name == "JPEG" else 96
    lines = (
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=-",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=video {port} RTP/AVP {number}",
        f"a=rtpmap:{number} {name}/90000",
    )
    content = "\r\n".join(lines) + "\r\n"
    return "data:application/sdp;base64," + base64.b64encode(content.encode()).decode()


def _host_and_port(url: str) -> tuple[str, int]:
    """Host and port of a URL; "@" and no host are any. Raises MediaError if there is no port."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None:
        raise MediaError(f"'{url}' names no port; write for instance rtp://@:5000")
    return parts.hostname or "0.0.0.0", port


@dataclass(frozen=True)
class Output:
    """How a stream of a scheme is sent: what in, and FFmpeg's options."""

    container: Container
    options: dict[str, str] = field(default_factory=dict)


OUTPUTS: dict[str, Output] = {
    "rtsp": Output(Container("rtsp", codecs=_SENT_OVER_RTP), {"rtsp_transport": "tcp"}),
    "rtmp": Output(Container("flv", codecs=("h264",))),
    "udp": Output(MPEG_TS),
    "rtp": Output(Container("rtp", codecs=_SENT_OVER_RTP)),
}
"""The schemes of streams that can be sent."""


_SERVER_PORTS = {"rtsp": 554, "rtmp": 1935}


def _check_server(url: str) -> None:
    """Raises MediaError if no server answers there.

    PyAV holds the interpreter's lock while it connects to send: it must not wait for somebody who does not answer.
    """
    parts = urlsplit(url)
    try:
        address = parts.hostname or "", parts.port or _SERVER_PORTS[parts.scheme.lower()]
        with socket.create_connection(address, _TIMEOUT) as connection:
            if parts.scheme.lower() == "rtsp":
                connection.sendall(f"OPTIONS rtsp://{address[0]}:{address[1]}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
                if not connection.recv(1):
                    raise MediaError(f"'{without_password(url)}' is no RTSP server; {_REMEDY}")
    except (OSError, ValueError) as error:
        raise MediaError(f"'{without_password(url)}' does not answer: {reason(error)}; {_REMEDY}") from error


class StreamSink:
    """Sends annotated pictures to a server or an address; a file's at the rate at which they are to be seen.

    If the connection is lost, pictures are left out until it is back.

    Raises MediaError if there is no connection, or the stream does not take the codec.
    """

    wants_pictures = True

    def __init__(self, url: str, options: OutputOptions, source: FrameSource, report: Report) -> None:
        self._url, self._name, self._options, self._report = url, without_password(url), options, report
        self._rate, self._size, self._pace = source.rate, source.size, Pace(source.is_live)
        self._writer: VideoWriter | None = self._open()
        self._waits: Iterator[float] = back_off()
        self._try_at = 0.0

    def write(self, result: ClassifiedFrame) -> None:
        """Sends a picture."""
        if result.annotated is None:
            return
        time.sleep(self._pace.wait(result.frame.time))
        if self._writer is None:
            self._try_again()
        if self._writer is None:
            return
        try:
            self._writer.write(result.annotated, result.frame.time)
        except MediaError as error:
            self._report(f"{error}; it is tried again until it can be")
            self._end()
            self._waits = back_off()
            self._try_at = time.monotonic() + next(self._waits)

    def close(self) -> None:
        """Ends the stream."""
        self._end()

    def _open(self) -> VideoWriter:
        scheme = urlsplit(self._url).scheme.lower()
        output = OUTPUTS[scheme]
        if scheme in _SERVER_PORTS:
            _check_server(self._url)
        return VideoWriter(
            self._url,
            self._name,
            output.container,
            self._options.codec,
            self._options.bitrate,
            self._rate,
            self._size,
            options=output.options,
            live=True,
        )

    def _try_again(self) -> None:
        if time.monotonic() < self._try_at:
            return
        try:
            self._writer = self._open()
        except MediaError:
            self._try_at = time.monotonic() + next(self._waits)
        else:
            self._report(f"'{self._name}' is back")

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except MediaError as error:
                self._report(str(error))
