"""aiortc and aiohttp: their import, and the two places where aiortc's public interface does not reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ros2_actionnet.errors import MediaError

INSTALL = "pip install aiortc aiohttp (Python 3.11 or newer)"


def check_libraries() -> None:
    """Raise MediaError with what to install if WebRTC's libraries are missing."""
    try:
        import aiohttp  # noqa: F401
        import aiortc  # noqa: F401
    except ImportError as error:
        raise MediaError(f"WebRTC needs libraries that are not installed ({error}): {INSTALL}") from error


def track_of(receive: Callable[[], Awaitable[Any]]) -> Any:
    """Return a video track of what `receive` returns: encoded packets, which aiortc sends as they are."""
    from aiortc import MediaStreamTrack

    class Track(MediaStreamTrack):
        kind = "video"

        async def recv(self) -> Any:
            return await receive()

    return Track()


def on_feedback(
    sender: Any,
    report_came: Callable[[], None],
    request_key_frame: Callable[[], None],
    limit_bitrate: Callable[[int], None],
) -> None:
    """Call back on each report of a viewer, and on lost pictures (PLI, FIR) and the bitrate of its link (REMB) in it.

    aiortc answers these reports with its own encoder, which a track of encoded packets does not use.
    """
    from aiortc.rtp import RtcpPsfbPacket, unpack_remb_fci

    picture_loss, full_intra_request, application = 1, 4, 15  # RFC 4585, RFC 5104
    handle = sender._handle_rtcp_packet

    async def handle_and_report(packet: Any) -> None:
        report_came()
        if isinstance(packet, RtcpPsfbPacket):
            if packet.fmt in (picture_loss, full_intra_request):
                request_key_frame()
            elif packet.fmt == application:
                try:
                    bitrate, _ = unpack_remb_fci(packet.fci)
                except ValueError:
                    return
                limit_bitrate(bitrate)
        await handle(packet)

    sender._handle_rtcp_packet = handle_and_report
