"""The peers of a WebRTC stream: browsers that watch it (WHEP), or one that sends its camera (WHIP)."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.live_encoder import CLOCK, EncodedPicture
from ros2_actionnet.web.webrtc_library import on_feedback, track_of

MOST_VIEWERS = 16
_MOST_CANDIDATES = 32  # in an offer; this machine sends a packet to each of them
_MOST_MEDIA = 4  # in an offer
_MOST_CODECS = 200  # in an offer; browsers name about 50. aiortc's time grows with the square of their number
_MOST_LINES = 1000  # of an offer
_CONNECT_TIMEOUT = 15.0  # s from the offer to the connection
_CLOSE_TIMEOUT = 5.0  # s
_SILENT = 10.0  # s without a report (RTCP), of which one is due every second or two
_STALLED = 5.0  # s without taking a picture
_WAITING = 8  # pictures that wait for a viewer; then it continues at the next key frame


class OfferRefused(ActionNetError):  # noqa: N818 - the peer's fault
    """An offer that cannot be answered.

    Attributes:
        status: HTTP's status code.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Peers:
    """Connections to browsers, at most `most` of them; used in the event loop's thread.

    A peer that does not connect, or whose connection is lost, is removed.
    """

    def __init__(self, most: int, ice_servers: tuple[str, ...]) -> None:
        self._most, self._ice_servers = most, ice_servers
        self._connections: dict[str, Any] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks = set[asyncio.Task[None]]()

    def __len__(self) -> int:
        return len(self._connections)

    async def answer(self, offer: str) -> tuple[str, str]:
        """Answer a peer's SDP offer; return its identifier and the SDP answer. Raises OfferRefused."""
        from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

        if len(self) >= self._most:
            raise OfferRefused(503, f"all {self._most} places are taken; try again later")
        if offer.count("a=candidate:") > _MOST_CANDIDATES or offer.count("m=") > _MOST_MEDIA:
            raise OfferRefused(400, "the offer has too many candidates or media")
        if offer.count("a=rtpmap:") > _MOST_CODECS or offer.count("\n") > _MOST_LINES:
            raise OfferRefused(400, "the offer has too many codecs or lines")
        if "m=application" in offer:  # aiortc would keep whatever comes over a data channel
            raise OfferRefused(400, "there are no data channels here")
        self._check(offer)
        # An empty list, since aiortc's default is a server on the internet.
        servers = [RTCIceServer(url) for url in self._ice_servers]
        connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        identifier = secrets.token_urlsafe(16)
        self._connections[identifier] = connection
        self._timers[identifier] = asyncio.get_running_loop().call_later(_CONNECT_TIMEOUT, self._drop, identifier)
        connection.on("connectionstatechange", lambda: self._state_changed(identifier))
        try:
            self._prepare(identifier, connection)
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await connection.setLocalDescription(await connection.createAnswer())
        except BaseException as error:
            await self.remove(identifier)
            if isinstance(error, Exception):  # aiortc's parser raises whatever a malformed offer leads to
                raise OfferRefused(400, f"the offer cannot be answered: {printable(error) or 'malformed'}") from error
            raise
        return identifier, connection.localDescription.sdp

    async def remove(self, identifier: str) -> bool:
        """Disconnect a peer; return False if there is none of that identifier."""
        connection = self._connections.pop(identifier, None)
        timer = self._timers.pop(identifier, None)
        if timer is not None:
            timer.cancel()
        if connection is None:
            return False
        self._removed(identifier)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(connection.close(), _CLOSE_TIMEOUT)
        return True

    async def close(self) -> None:
        """Disconnect all peers."""
        await asyncio.gather(*(self.remove(identifier) for identifier in list(self._connections)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _check(self, offer: str) -> None:
        """Raise OfferRefused for an offer that cannot lead to a connection."""

    def _prepare(self, identifier: str, connection: Any) -> None:
        """Add tracks and handlers to a new connection."""
        raise NotImplementedError

    def _connected(self, identifier: str) -> None:
        pass

    def _removed(self, identifier: str) -> None:
        pass

    def _state_changed(self, identifier: str) -> None:
        connection = self._connections.get(identifier)
        if connection is None:
            return
        if connection.connectionState == "connected":
            self._timers[identifier].cancel()
            self._connected(identifier)
        elif connection.connectionState in ("failed", "closed"):
            self._drop(identifier)

    def _drop(self, identifier: str) -> None:
        self._start(self._remove(identifier))

    async def _remove(self, identifier: str) -> None:
        await self.remove(identifier)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Viewers(Peers):
    """The browsers that watch a stream, which is encoded once for all of them."""

    def __init__(
        self,
        codec: str,
        ice_servers: tuple[str, ...],
        request_key_frame: Callable[[], None],
        limit_bitrate: Callable[[int | None], None],
    ) -> None:
        """Takes the codec and what a viewer may ask of the encoder; a limit of None is no limit."""
        super().__init__(MOST_VIEWERS, ice_servers)
        self._codec, self._mime_type = codec, f"video/{codec.upper()}"
        self._request_key_frame, self._limit_bitrate = request_key_frame, limit_bitrate
        self._queues: dict[str, _ViewerQueue] = {}
        self._limits: dict[str, int] = {}
        self.watching = 0  # connected viewers; read by other threads

    def deliver(self, picture: EncodedPicture) -> None:
        """Send a picture to all viewers."""
        for identifier, queue in list(self._queues.items()):
            if queue.is_stalled:
                self._drop(identifier)
            elif queue.put(picture):
                self._request_key_frame()

    def _check(self, offer: str) -> None:
        if "m=video" in offer and f" {self._codec.upper()}/90000" not in offer.upper():
            other = "vp8" if self._codec == "h264" else "h264"
            raise OfferRefused(
                406, f"this browser does not play {self._codec}; start actionnet with --output-codec={other}"
            )

    def _prepare(self, identifier: str, connection: Any) -> None:
        from aiortc import RTCRtpSender

        queue = _ViewerQueue()
        sender = connection.addTrack(track_of(queue.take))
        (transceiver,) = connection.getTransceivers()
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == self._mime_type])
        on_feedback(
            sender, queue.report_came, self._request_key_frame, lambda bitrate: self._limit(identifier, bitrate)
        )
        connection.queue = queue

    def _connected(self, identifier: str) -> None:
        self._queues[identifier] = queue = self._connections[identifier].queue
        queue.report_came()
        self.watching = len(self._queues)
        self._request_key_frame()

    def _removed(self, identifier: str) -> None:
        self._queues.pop(identifier, None)
        self.watching = len(self._queues)
        if self._limits.pop(identifier, None) is not None:
            self._limit_bitrate(min(self._limits.values(), default=None))

    def _limit(self, identifier: str, bitrate: int) -> None:
        if identifier in self._queues:
            self._limits[identifier] = bitrate
            self._limit_bitrate(min(self._limits.values()))


class _ViewerQueue:
    """Encoded pictures on their way to one viewer.

    Attributes:
        is_stalled: True if the viewer has taken no picture for `_STALLED` s, although some wait, or sent no report
            for `_SILENT` s.
    """

    def __init__(self) -> None:
        self._pictures = deque[EncodedPicture]()
        self._added = asyncio.Event()
        self._needs_key = True
        self._reported = time.monotonic()
        self._waits_since: float | None = None  # monotonic time at which the first one not taken came

    @property
    def is_stalled(self) -> bool:
        now = time.monotonic()
        waits = self._waits_since is not None and now - self._waits_since > _STALLED
        return waits or now - self._reported > _SILENT

    def report_came(self) -> None:
        """Note that the viewer is there."""
        self._reported = time.monotonic()

    def put(self, picture: EncodedPicture) -> bool:
        """Add a picture; return True if the viewer needs a key frame, since those that waited were dropped."""
        if picture.is_key or len(self._pictures) >= _WAITING:
            self._pictures.clear()
            self._needs_key = not picture.is_key
        if self._needs_key:
            return True
        self._pictures.append(picture)
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        self._added.set()
        return False

    async def take(self) -> Any:
        """Return the next picture as a packet of PyAV."""
        import av

        while not self._pictures:
            self._added.clear()
            await self._added.wait()
        picture = self._pictures.popleft()
        self._waits_since = time.monotonic() if self._pictures else None
        packet = av.Packet(picture.data)
        packet.pts, packet.time_base = picture.time, Fraction(1, CLOCK)
        return packet


class Camera(Peers):
    """The browser that sends its camera, one at a time; its frames are for one other thread."""

    def __init__(self, ice_servers: tuple[str, ...]) -> None:
        super().__init__(1, ice_servers)
        self._changed = threading.Condition()
        self._newest: deque[Any] = deque(maxlen=2)
        self._sender = ""  # identifier of the peer whose frames come; "" if there is none
        self._closed = False
        self._receiving: dict[str, list[asyncio.Task[None]]] = {}

    def wait(self, seconds: float) -> bool:
        """Return True once frames come, or False after a while."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._newest) or self._closed, seconds) and not self._closed

    def frames(self) -> Iterator[Any]:
        """Yield the frames of the peer that sends now, as PyAV's; the oldest are dropped for a slow reader."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._newest) or not self._sender or self._closed)
                if self._closed or not self._newest:
                    return
                frame = self._newest.popleft()
            yield frame

    def interrupt(self) -> None:
        """End `frames` for good; callable from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _prepare(self, identifier: str, connection: Any) -> None:
        has_video = False

        def start(track: Any) -> None:
            nonlocal has_video
            work = self._receive(identifier, track, is_used=track.kind == "video" and not has_video)
            self._receiving.setdefault(identifier, []).append(self._start(work))
            has_video |= track.kind == "video"

        connection.on("track", start)

    def _removed(self, identifier: str) -> None:
        for task in self._receiving.pop(identifier, ()):
            task.cancel()  # the track of a peer that never connected has no end
        with self._changed:
            if self._sender == identifier:
                self._sender = ""
                self._newest.clear()
            self._changed.notify_all()

    async def _receive(self, identifier: str, track: Any, is_used: bool) -> None:
        """Read a track to its end: what is not read would pile up in aiortc."""
        from aiortc.mediastreams import MediaStreamError

        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if not is_used or identifier not in self._connections:
                    continue
                with self._changed:
                    self._sender = identifier
                    self._newest.append(frame)
                    self._changed.notify_all()
        if is_used:
            self._drop(identifier)
