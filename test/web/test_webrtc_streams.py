"""WebRTC over loopback, with a client that is no browser: viewers, cameras, and those who mean harm."""

from __future__ import annotations

import asyncio
import base64
import gc
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import MediaError
from ros2_actionnet.web import webrtc_peers
from ros2_actionnet.web.connections import Connections
from ros2_actionnet.web.listening import parse_listen_address
from ros2_actionnet.web.webrtc_peers import MOST_VIEWERS
from ros2_actionnet.web.webrtc_server import WebOptions
from ros2_actionnet.web.webrtc_streams import WebRtcInput, WebRtcOutput
from support.certificates import certificate
from support.webrtc_client import (
    TIMEOUT,
    fed,
    pictures_of,
    post_offer,
    require_libraries,
    sending,
    wait_until,
    watching,
)

require_libraries()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def open_output(access: str = "", codec: str = "", options: WebOptions | None = None) -> WebRtcOutput:
    address = parse_listen_address(f"webrtc://{access}127.0.0.1:{free_port()}/out")
    return WebRtcOutput(address, options or WebOptions(), pytest.fail, codec)


@pytest.fixture(name="output")
def output_fixture() -> Iterator[WebRtcOutput]:
    output = open_output()
    yield output
    output.close()


def plain(*color: int) -> NDArray[np.uint8]:
    return np.full((120, 160, 3), color, np.uint8)


def growing(seconds: float) -> NDArray[np.uint8]:
    """Lightness that tells the time: 40 a second."""
    return plain(*(min(255, round(40 * seconds)),) * 3)


def get(link: str, path: str = "", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    place = link.partition("//")[2].partition("/")[0]
    connection = http.client.HTTPConnection(place, timeout=TIMEOUT)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


# Viewers.


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_viewer_sees_the_pictures(codec: str) -> None:
    output = open_output(codec=codec)
    with fed(output, lambda _: plain(200, 100, 50)):
        pictures = asyncio.run(pictures_of(output.link, 10))
    output.close()
    assert {picture.shape for picture in pictures} == {(120, 160, 3)}
    assert all(np.abs(picture.mean((0, 1)) - (200, 100, 50)).max() < 6 for picture in pictures)


def test_eight_viewers_see_the_same_pictures_encoded_once(
    output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = list[int]()
    encode = output._encoder.encode

    def count(picture: NDArray[np.uint8], seconds: float) -> Any:
        encoded.append(1)
        return encode(picture, seconds)

    monkeypatch.setattr(output._encoder, "encode", count)

    async def watch() -> list[list[NDArray[np.uint8]]]:
        return await asyncio.gather(*(pictures_of(output.link, 30) for _ in range(8)))

    drawn = list[float]()

    def draw(seconds: float) -> NDArray[np.uint8]:
        drawn.append(seconds)
        return growing(seconds)

    with fed(output, draw, rate=20):
        seen = asyncio.run(watch())
    lightness = [[float(picture.mean()) for picture in pictures] for pictures in seen]
    assert all(last > first + 20 for first, *_, last in lightness)
    assert 30 <= len(encoded) <= len(drawn), "each picture is encoded once at most"


def test_a_viewer_that_joins_late_begins_with_a_whole_picture(output: WebRtcOutput) -> None:
    async def watch() -> NDArray[np.uint8]:
        async with watching(output.link) as (track, _):
            await track.recv()
            (late, *_) = await pictures_of(output.link, 1)
            return late

    with fed(output, lambda _: plain(0, 0, 220)):
        late = asyncio.run(watch())
    assert np.abs(late.mean((0, 1)) - (0, 0, 220)).max() < 6


def test_one_that_leaves_is_gone_at_once(output: WebRtcOutput) -> None:
    async def watch() -> int:
        import aiohttp

        async with watching(output.link) as (track, location), aiohttp.ClientSession() as session:
            await track.recv()
            assert output.viewers == 1
            async with session.delete(location) as answer:
                assert answer.status == 200
            count = output.viewers
            async with session.delete(location) as answer:
                assert answer.status == 404
            return count

    with fed(output, growing):
        assert asyncio.run(watch()) == 0


def test_one_that_never_takes_a_picture_is_dropped_and_the_others_go_on(
    output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_peers, "_STALLED", 0.5)

    async def watch() -> list[float]:
        async with watching(output.link) as (stalled, _):
            await stalled.recv()
            (queue,) = output._viewers._queues.values()
            (connection,) = output._viewers._connections.values()
            (sender,) = connection.getSenders()
            send = sender.transport._send_rtp

            async def stall(_: bytes) -> None:
                sender.transport._send_rtp = send  # for reports and the farewell
                await asyncio.sleep(3600)

            sender.transport._send_rtp = stall
            async with watching(output.link) as (track, _):
                for _ in range(45):
                    frame = await asyncio.wait_for(track.recv(), TIMEOUT)
                assert queue not in output._viewers._queues.values()
                assert output.viewers == 1
                return [float(frame.to_ndarray(format="bgr24").mean())]

    with fed(output, growing):
        assert asyncio.run(watch())


def test_one_that_is_no_longer_heard_of_is_dropped(output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peers, "_SILENT", 4.0)

    async def watch() -> None:
        async with watching(output.link) as (gone, _):
            await gone.recv()
            ((silent, connection),) = output._viewers._connections.items()
            connection.getSenders()[0]._handle_rtcp_packet = lambda _: asyncio.sleep(0)  # its reports are lost
            async with watching(output.link) as (track, _):
                while silent in output._viewers._connections:
                    await asyncio.wait_for(track.recv(), TIMEOUT)
                assert output.viewers == 1

    with fed(output, growing):
        asyncio.run(asyncio.wait_for(watch(), TIMEOUT))


def test_a_queue_keeps_few_pictures_and_begins_again_with_a_key_frame() -> None:
    from ros2_actionnet.web.live_encoder import EncodedPicture

    async def fill() -> None:
        queue = webrtc_peers._ViewerQueue()
        assert queue.put(EncodedPicture(b"0", False, 0)), "it begins with a key frame"
        assert not queue.put(EncodedPicture(b"K", True, 1))
        needs_key = [queue.put(EncodedPicture(b"P", False, 2 + index)) for index in range(20)]
        assert needs_key == [False] * 7 + [True] * 13
        assert not queue.put(EncodedPicture(b"L", True, 30))
        assert bytes(await queue.take()) == b"L"
        assert not queue._pictures

    asyncio.run(fill())


def test_places_are_limited(output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output._viewers, "_most", 1)

    async def watch() -> tuple[int, str, str]:
        async with watching(output.link) as (track, _):
            await track.recv()
            return await post_offer(f"{output.link}/whep", "v=0")

    with fed(output, growing):
        status, text, _ = asyncio.run(watch())
    assert (status, text) == (503, "all 1 places are taken; try again later\n")
    assert MOST_VIEWERS == 16


def test_one_that_offers_and_never_connects_is_forgotten(output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peers, "_CONNECT_TIMEOUT", 0.3)

    async def offer() -> int:
        from aiortc import RTCConfiguration, RTCPeerConnection

        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver("video", "recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        status, _, _ = await post_offer(f"{output.link}/whep", connection.localDescription.sdp)
        await connection.close()
        return status

    assert asyncio.run(offer()) == 201
    wait_until(lambda: len(output._viewers) == 0)


def test_feedback_of_viewers_reaches_the_encoder(output: WebRtcOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which shows that what is used of aiortc beyond its public interface is still there."""
    from aiortc.rtp import RtcpPsfbPacket, pack_remb_fci

    limits, keys = list[int | None](), list[bool]()
    monkeypatch.setattr(output._viewers, "_limit_bitrate", limits.append)

    async def watch() -> None:
        async with watching(output.link) as (track, _):
            await track.recv()
            monkeypatch.setattr(output._encoder, "request_key_frame", lambda: keys.append(True))
            (connection,) = output._viewers._connections.values()
            (sender,) = connection.getSenders()
            ssrc = sender._ssrc
            for fmt, fci in ((1, b""), (15, pack_remb_fci(700_000, [ssrc])), (15, b"nonsense")):
                packet = RtcpPsfbPacket(fmt=fmt, ssrc=0, media_ssrc=ssrc, fci=fci)
                work = sender.transport._handle_rtcp_data(bytes(packet))
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, output._server.loop))

    with fed(output, growing):
        asyncio.run(watch())
    assert any(limit is not None and 650_000 < limit < 750_000 for limit in limits)
    assert limits[-1] is None, "the limit of one that has left is lifted"


# Cameras.


def test_a_camera_is_received_then_another_one() -> None:
    camera = WebRtcInput(parse_listen_address(f"webrtc://@:{free_port()}/in"), WebOptions())
    link = camera.link.replace(camera.link.partition("//")[2].partition(":")[0], "127.0.0.1")

    async def send(color: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
        loop = asyncio.get_running_loop()
        async with sending(link, plain(*color)) as location:
            assert await loop.run_in_executor(None, camera.wait, TIMEOUT)
            frames = camera.frames()
            seen = [await loop.run_in_executor(None, next, frames) for _ in range(10)]
            assert (await post_offer(f"{link}/whip", "v=0"))[0] == 503, "one at a time"
            async with __import__("aiohttp").ClientSession() as session, session.delete(location):
                pass
            rest = await loop.run_in_executor(None, lambda: sum(1 for _ in frames))
        assert rest < 10
        return [frame.to_ndarray(format="bgr24") for frame in seen]

    for color in ((220, 0, 0), (0, 0, 220)):
        pictures = asyncio.run(send(color))
        assert np.abs(pictures[-1].mean((0, 1)) - color).max() < 8
    assert not camera.wait(0.1)
    camera.close()
    assert not camera.wait(1)


def test_an_input_and_an_output_share_a_port() -> None:
    port = free_port()
    camera = WebRtcInput(parse_listen_address(f"webrtc://127.0.0.1:{port}/in"), WebOptions())
    output = WebRtcOutput(parse_listen_address(f"webrtc://127.0.0.1:{port}/out"), WebOptions(), pytest.fail)
    _, index, _ = get(output.link, "/")
    assert 'href="/in"' in index
    assert 'href="/out"' in index
    with pytest.raises(MediaError, match="serves 'out' already; give another name"):
        WebRtcOutput(parse_listen_address(f"webrtc://127.0.0.1:{port}/out"), WebOptions(), pytest.fail)
    camera.close()
    assert get(output.link, "/")[2]["Location"] == "/out"
    output.close()
    with socket.create_server(("127.0.0.1", port)):
        pass


# Who may open it.


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "192.168.1.5:{port}", "{own}"]
)
def test_names_of_this_machine_are_answered(output: WebRtcOutput, host: str) -> None:
    port = output.link.rpartition(":")[2].partition("/")[0]
    status, page, headers = get(output.link, "/out", Host=host.format(port=port, own=socket.gethostname()))
    assert status == 200
    assert 'data-name="out"' in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8554", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_foreign_host_is_refused(output: WebRtcOutput, host: str) -> None:
    """Since its address may be changed to this machine's after its page was loaded (DNS rebinding)."""
    assert get(output.link, "/out", Host=host)[0] == 421


def test_requests_of_other_sites_are_refused(output: WebRtcOutput) -> None:
    async def offer(origin: str, kind: str = "application/sdp") -> int:
        return (await post_offer(f"{output.link}/whep", "v=0", Origin=origin, Content_Type=kind))[0]

    own = output.link.rpartition("/")[0]
    assert asyncio.run(offer("https://evil.example")) == 403
    assert asyncio.run(offer("null")) == 403
    assert asyncio.run(offer(own, "text/plain")) == 415
    assert asyncio.run(offer(own)) == 400


def test_a_password_is_asked_for_in_constant_time() -> None:
    output = open_output("ann:sesame@")
    right, wrong = (base64.b64encode(text).decode() for text in (b"ann:sesame", b"ann:sesam"))
    for path in ("/", "/out", "/static/webrtc.js"):
        status, _, headers = get(output.link, path)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="actionnet"')
        assert get(output.link, path, Authorization=f"Basic {wrong}")[0] == 401
        assert get(output.link, path, Authorization="Basic !")[0] == 401
        assert get(output.link, path, Authorization=f"Basic {right}")[0] in (200, 302)
    assert asyncio.run(post_offer(f"{output.link}/whep", "v=0"))[0] == 401
    output.close()


@pytest.mark.parametrize("path", ["/other", "/static/webrtc_view.html", "/static/../listening.py", "/out/whip"])
def test_what_is_not_served_is_not_found(output: WebRtcOutput, path: str) -> None:
    assert get(output.link, path)[0] in (404, 405)


def test_https_with_a_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    output = open_output(options=WebOptions(str(cert), str(key)))
    assert output.link.startswith("https://")
    with fed(output, lambda _: plain(0, 220, 0)):
        pictures = asyncio.run(pictures_of(output.link, 3))
    output.close()
    assert np.abs(pictures[-1].mean((0, 1)) - (0, 220, 0)).max() < 8


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="--ssl-cert FILE and --ssl-key FILE"):
        open_output(options=WebOptions(ssl_cert="cert.pem"))
    (tmp_path / "cert.pem").write_text("nothing")
    path = str(tmp_path / "cert.pem")
    with pytest.raises(MediaError, match=r"cert.pem' .*give both as PEM files"):
        open_output(options=WebOptions(path, path))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = parse_listen_address(f"webrtc://127.0.0.1:{port}/out")
        with pytest.raises(MediaError, match=f"port {port} of '127.0.0.1' cannot be listened at: .*give another port"):
            WebRtcOutput(address, WebOptions(), pytest.fail)


def test_the_page_knows_the_stun_server() -> None:
    output = open_output(options=WebOptions(stun_server='stun.example.org:3478"><script>'))
    page = get(output.link, "/out")[1]
    assert "<script>" not in page.partition("data-ice-servers")[2]
    output.close()
    assert WebOptions(stun_server="stun.example.org:3478").ice_servers == ("stun:stun.example.org:3478",)
    assert json.dumps(WebOptions().ice_servers) == json.dumps(WebOptions(stun_server="disabled").ice_servers) == "[]"


# Floods.

MALFORMED = [
    b"",
    b"v=0",
    b"\xff\xfe",
    b"m=" * 30_000,
    b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n" + b"a=candidate:1\r\n" * 500,
    b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
    b"v=0\r\nm=video -1 \x00\r\n",
    b"x" * 100_000,
]


def test_malformed_offers_are_refused(output: WebRtcOutput) -> None:
    statuses = [asyncio.run(post_offer(f"{output.link}/whep", body))[0] for body in MALFORMED]
    assert set(statuses) <= {400, 406, 413}, statuses
    assert len(output._viewers) == 0


async def offer_of(camera: bool) -> str:
    """What a browser would offer."""
    from aiortc import RTCConfiguration, RTCPeerConnection

    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        connection.addTransceiver("video", "sendonly" if camera else "recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        return str(connection.localDescription.sdp)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 1000, "candidates"),
        ("a=rtpmap:97 VP8/90000\r\n" * 2500, "codecs"),  # took aiortc half a minute
        ("a=x\r\n" * 10_000, "lines"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n", "data channels"),
    ],
    ids=["candidates", "codecs", "lines", "data channel"],
)
def test_offers_that_would_cost_too_much_are_refused_before_they_do(more: str, reason: str) -> None:
    webrtc_input = WebRtcInput(parse_listen_address(f"webrtc://127.0.0.1:{free_port()}/in"), WebOptions())
    try:
        offer = asyncio.run(offer_of(camera=True))
        status, text, _ = asyncio.run(post_offer(f"{webrtc_input.link}/whip", offer + more))
        assert (status, reason in text) == (400, True), text
        status, _, place = asyncio.run(post_offer(f"{webrtc_input.link}/whip", offer))
        assert (status, place.startswith(f"{webrtc_input.link}/whip/")) == (201, True)
    finally:
        webrtc_input.close()


def test_a_browser_without_the_codec_is_told_what_to_type(output: WebRtcOutput) -> None:
    offer = asyncio.run(offer_of(camera=False))
    without = "\r\n".join(line for line in offer.split("\r\n") if "H264" not in line)
    status, text, _ = asyncio.run(post_offer(f"{output.link}/whep", without))
    assert (status, "--output-codec=vp8" in text) == (406, True)
    assert len(output._viewers) == 0


def test_what_is_sent_as_another_type_or_to_no_session_is_refused(output: WebRtcOutput) -> None:
    import aiohttp

    async def ask() -> list[int]:
        offer = await offer_of(camera=False)
        link = f"{output.link}/whep"
        statuses = [(await post_offer(link, offer, Content_Type=kind))[0] for kind in ("text/plain", "x", "")]
        status, _, place = await post_offer(link, offer)
        assert (status, len(output._viewers)) == (201, 1)
        async with aiohttp.ClientSession() as session:
            foreign = place.replace("/whep/", "/whip/")
            for url in (f"{link}/nobody", f"{link}/", f"{link}/..%2f..", f"{link}/" + "x" * 5000, foreign):
                async with session.delete(url) as answer:
                    statuses.append(answer.status)
            assert len(output._viewers) == 1
            for _ in range(2):
                async with session.delete(place) as answer:
                    statuses.append(answer.status)
        return statuses

    assert asyncio.run(ask()) == [415, 415, 415, 404, 404, 404, 404, 404, 200, 404]
    assert len(output._viewers) == 0


def memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_is_flat_over_a_flood_of_malformed_offers_and_a_hundred_viewers(output: WebRtcOutput) -> None:
    async def visit() -> None:
        async with watching(output.link) as (track, _):
            await asyncio.wait_for(track.recv(), TIMEOUT)

    async def flood(count: int) -> None:
        for _ in range(count):
            offers = [post_offer(f"{output.link}/whep", body) for body in MALFORMED]
            for answer in await asyncio.gather(*offers, return_exceptions=True):
                # A long one is refused before all of it has been sent.
                assert isinstance(answer, (tuple, OSError)), answer

    with fed(output, growing):
        for _ in range(15):
            asyncio.run(visit())
        asyncio.run(flood(20))
        before = memory()
        for _ in range(100):
            asyncio.run(visit())
        asyncio.run(flood(50))
        wait_until(lambda: len(output._viewers) == 0, 60)
        growth = memory() - before
    assert growth < 24 << 20, f"{growth >> 20} MiB more"
    assert not output._viewers._tasks


def test_connections_without_a_request_are_bounded_and_end(output: WebRtcOutput) -> None:
    output._server._connections = Connections(5, 0.5)
    port = int(output.link.rpartition(":")[2].partition("/")[0])
    idle = [socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) for _ in range(20)]
    with pytest.raises((http.client.HTTPException, OSError)):
        get(output.link, "/out")
    assert [connection.recv(1) for connection in idle] == [b""] * 20
    assert get(output.link, "/out")[0] == 200
    for connection in idle:
        connection.close()
