"""Input and output of network streams."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.av_support import Address, import_av, reason
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, OutputOptions, Report
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.encoder import MPEG_TS, Container, VideoWriter
from ros2_actionnet.media.live_source import LiveSource, Pace, back_off, numbered
from ros2_actionnet.media.video_files import VideoSource
from ros2_actionnet.system.addresses import without_password

_TIMEOUT = 4.0  # s without a frame until a stream counts as lost

_FIRST_WAITS = 0.5, 1.0  # s before each further attempt at the first connection

_REMEDY = "check whether the address is right and what is at its other end is running"

# Microseconds of a stream that FFmpeg analyzes on opening; its default is up to five seconds.
_PROBING = {"analyzeduration": "2000000"}

TRANSPORTS: dict[str, dict[str, str]] = {
    "auto": {"rtsp_flags": "prefer_tcp"},
    **{name: {"rtsp_transport": name} for name in ("tcp", "udp", "udp_multicast", "http", "https")},
}
"""The transports of RTSP, with FFmpeg's options; `auto` is TCP, which is lossless, or else UDP."""

INPUTS: dict[str, dict[str, str]] = {
    "rtsp": {},
    "rtsps": {},
    "rtmp": {},
    "rtmps": {},
    "srt": {},
    "http": {},
    "https": {},
    "udp": {},
    "rtp": {"protocol_whitelist": "data,rtp,udp"},
}
"""The supported input schemes, with FFmpeg's options for each."""

# Names from RFC 3551 and the RFC of each payload; the number of MJPEG is fixed.
_RTP_PAYLOADS = {"h264": "H264", "h265": "H265", "vp8": "VP8", "vp9": "VP9", "mpeg4": "MP4V-ES", "mjpeg": "JPEG"}
_SENT_OVER_RTP = ("h264", "h265", "vp8", "mpeg4", "mjpeg")  # FFmpeg's VP9 over RTP is experimental


def open_stream(url: str, options: InputOptions, report: Report) -> FrameSource:
    """Open a stream that is reconnected after a loss, or a recording on a web server, which ends.

    An `rtp://` stream does not identify its codec, which is `options.codec` or else H.264. A stream over HTTP that
    states its duration, such as a completed HLS playlist, is a recording.

    Raises MediaError if the stream is not available after three attempts.
    """
    name = without_password(url)
    scheme = urlsplit(url).scheme.lower()
    if scheme == "udp":
        _host_and_port(url)  # checks it
    transport = TRANSPORTS[options.transport or "auto"] if scheme in ("rtsp", "rtsps") else {}
    address = Address(
        url if scheme != "rtp" else _session_description(url, options.codec or "h264"),
        name,
        _REMEDY,
        format="sdp" if scheme == "rtp" else None,
        options=_PROBING | INPUTS[scheme] | transport,
        timeout=options.timeout or _TIMEOUT,
        live=True,
        may_end=scheme in ("http", "https"),
    )

    def connect(number: int) -> Decoder:
        size, save = (options.width, options.height), numbered(options.save, number)
        return Decoder(address, report, size, save, options.decoder)

    first = _connect_first(connect, report)
    if first.is_live:
        return LiveSource(name, connect, report, first=first)
    return VideoSource(url, options, report, first)


def _connect_first(connect: Callable[[int], Decoder], report: Report) -> Decoder:
    """Return the first connection; servers that fetch a stream on demand may refuse the first attempt."""
    for wait in _FIRST_WAITS:
        try:
            return connect(0)
        except MediaError as error:
            if _is_final(error):
                raise
            report(f"{error}; it is tried again")
            time.sleep(wait)
    return connect(0)


def _is_final(error: MediaError) -> bool:
    """Return True if another attempt would be futile, or would lock the user out of a camera."""
    errors = import_av().error
    final = errors.HTTPUnauthorizedError, errors.HTTPForbiddenError, errors.ProtocolNotFoundError, ValueError
    return isinstance(error.__cause__, final)


def _session_description(url: str, codec: str) -> str:
    """Return an SDP (RFC 8866) that describes the sender to `url`, as a data URL."""
    name = _RTP_PAYLOADS.get(codec.lower())
    if name is None:
        raise MediaError(f"RTP cannot carry {codec}; use one of {', '.join(_RTP_PAYLOADS)}")
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
    """Return the host and port of a URL; "@" or no host is any host. Raises MediaError if there is no port."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None:
        raise MediaError(f"'{without_password(url)}' has no port; write for example {parts.scheme}://@:5000")
    return parts.hostname or "0.0.0.0", port


@dataclass(frozen=True)
class Output:
    """Container and FFmpeg's options of an output scheme."""

    container: Container
    options: dict[str, str] = field(default_factory=dict)


OUTPUTS: dict[str, Output] = {
    "rtsp": Output(Container("rtsp", codecs=_SENT_OVER_RTP), {"rtsp_transport": "tcp"}),
    "rtmp": Output(Container("flv", codecs=("h264",))),
    "udp": Output(MPEG_TS),
    "rtp": Output(Container("rtp", codecs=_SENT_OVER_RTP)),
}
"""The supported output schemes."""


_RTMP_GREETING = b"\x03" + bytes(1536)  # version 3 and a random block, which may be of zeros
_SERVER_PORTS = {"rtsp": 554, "rtmp": 1935}


def _check_server(url: str) -> None:
    """Raise MediaError if no server answers at `url`.

    PyAV holds the interpreter lock while it connects for output, so it must not wait for an unresponsive server.
    """
    parts = urlsplit(url)
    try:
        address = parts.hostname or "", parts.port or _SERVER_PORTS[parts.scheme.lower()]
        with socket.create_connection(address, _TIMEOUT) as connection:
            scheme = parts.scheme.lower()
            greeting = f"OPTIONS rtsp://{address[0]}:{address[1]}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode()
            connection.sendall(greeting if scheme == "rtsp" else _RTMP_GREETING)
            if not connection.recv(1):
                raise MediaError(f"'{without_password(url)}' is not an {scheme.upper()} server; {_REMEDY}")
    except (OSError, ValueError) as error:
        raise MediaError(f"'{without_password(url)}' does not answer: {reason(error)}; {_REMEDY}") from error


class StreamSink:
    """Sends annotated pictures to a server or an address, those of a file in real time.

    While the connection is lost, pictures are dropped.

    Raises MediaError if there is no connection, or if the stream does not support the codec.
    """

    wants_pictures = True

    def __init__(self, url: str, options: OutputOptions, source: FrameSource, report: Report) -> None:
        self._url, self._name, self._options, self._report = url, without_password(url), options, report
        self._rate, self._size, self._pace = source.rate, source.size, Pace(source.is_live)
        self._writer: VideoWriter | None = self._open()
        self._waits: Iterator[float] = back_off()
        self._try_at = 0.0

    def write(self, result: ClassifiedFrame) -> None:
        """Send a picture."""
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
            self._report(f"{error}; it is retried until it succeeds")
            self._end()
            self._waits = back_off()
            self._try_at = time.monotonic() + next(self._waits)

    def close(self) -> None:
        """End the stream."""
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
            hardware=self._options.encoder,
            report=self._report,
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
