"""The server over real sockets, without a browser: who is let in, what is refused, and what stays bounded."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.web.access import Access
from ros2_actionnet.web.hub import Hub
from ros2_actionnet.web.server import PageServer
from support.web import NODE, STREAM, jpeg, served, wait_for

aiohttp = pytest.importorskip("aiohttp")
TOKEN = "correct-horse-battery"


def with_session(action: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    """The result of `action` with a client's session, which keeps cookies of addresses too."""

    async def run() -> Any:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), **options) as session:
            return await action(session)

    return asyncio.run(run())


async def get(session: Any, url: str, **options: Any) -> tuple[int, str, Any]:
    async with session.get(url, **options) as response:
        return response.status, await response.text(), response.headers


def fetch(url: str, **options: Any) -> tuple[int, str, Any]:
    """Status, text and headers of a page."""
    status, text, headers = with_session(partial(get, url=url, **options))
    return status, text, headers


async def receive(socket: Any, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    while True:
        message = await socket.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] == kind:
            return dict(json.loads(message.data))


def test_everything_of_the_page_is_served_under_a_strict_policy() -> None:
    with served() as page:
        for path in ("/", "/static/main.js", "/static/page.css", "/static/icon.svg"):
            status, text, headers = fetch(page.url + path)
            assert status == 200
            assert text
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/static/none.js", "/static/index.html", "/static/..%2fserver.py", "/etc/passwd"):
            status, _, headers = fetch(page.url + path)
            assert status == 404
            assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_foreign_host_is_refused() -> None:
    with served() as page:
        for host, expected in (("evil.example", 403), ("localhost:1", 200)):
            status, *_ = fetch(page.url, headers={"Host": host})
            assert status == expected, host


def test_a_foreign_origin_is_refused_and_so_is_none() -> None:
    async def handshake(session: Any, **headers: str) -> int:
        try:
            socket = await session.ws_connect(f"{page.url}/socket", headers=headers)
        except aiohttp.WSServerHandshakeError as error:
            return int(error.status)
        await socket.close()
        return 101

    with served() as page:
        origins = {"http://evil.example": 403, "null": 403, "http://127.0.0.1:1": 403, page.url: 101}
        for origin, expected in origins.items():
            assert with_session(partial(handshake, Origin=origin)) == expected, origin
        assert with_session(handshake) == 403


def test_without_the_token_nothing_is_shown_and_the_link_has_it() -> None:
    async def visit(session: Any) -> None:
        status, text, _ = await get(session, page.url)
        assert status == 401
        assert "Token" in text
        assert "main.js" not in text
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert refused.value.status == 401
        status, text, _ = await get(session, f"{page.url}/?token=wrong")
        assert (status, "That is not the token" in text) == (401, True)

        async with session.get(page.link, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/")
            cookie = response.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
        status, text, _ = await get(session, page.url)
        assert (status, "main.js" in text) == (200, True)
        socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert (await receive(socket, "hello"))["readOnly"] is False

    with served(TOKEN) as page:
        assert page.link == f"{page.url}/?token={TOKEN}"
        with_session(visit)


def test_a_token_is_taken_from_the_form_of_this_page_alone() -> None:
    async def post(session: Any, token: str, **headers: str) -> int:
        data = {"token": token}
        async with session.post(f"{page.url}/login", data=data, headers=headers, allow_redirects=False) as response:
            return int(response.status)

    with served(TOKEN) as page:
        for token, headers, expected in (
            (TOKEN, page.origin, 303),
            (f" {TOKEN}\n", page.origin, 303),
            ("wrong", page.origin, 401),
            (TOKEN, {"Origin": "http://evil.example"}, 403),
            (TOKEN, {}, 403),
        ):
            assert with_session(partial(post, token=token, **headers)) == expected


def test_guesses_of_the_token_are_limited_but_not_who_knows_it() -> None:
    async def guess(session: Any) -> None:
        statuses = [(await get(session, f"{page.url}/?token=wrong{number}"))[0] for number in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        _, _, headers = await get(session, f"{page.url}/?token=wrong")
        assert 0 < int(headers["Retry-After"]) <= 60
        assert (await get(session, page.url))[0] == 401, "the form is still shown"
        assert (await get(session, page.link))[0] == 200
        assert (await get(session, page.url))[0] == 200

    with served(TOKEN) as page:
        with_session(guess)


def test_the_form_is_shown_beside_a_tab_from_before_a_restart() -> None:
    async def visit(session: Any) -> None:
        old = {"Cookie": f"actionnet_{page.server.port}=token-before-the-restart"}
        refused = []
        for _ in range(12):  # the tab's connection, again and again
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(f"{page.url}/socket", headers=page.origin | old)
            refused.append(error.value.status)
        assert refused == [401] * 10 + [429] * 2
        status, text, _ = await get(session, page.url, headers=old)
        assert (status, 'name="token"' in text) == (401, True)
        assert (await get(session, f"{page.url}/?token=wrong"))[0] == 429, "guesses stay limited"
        async with session.post(f"{page.url}/login", data={"token": TOKEN}, headers=page.origin) as response:
            assert (response.status, "main.js" in await response.text()) == (200, True)
        socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert (await receive(socket, "hello"))["readOnly"] is False

    with served(TOKEN) as page:
        with_session(visit)


def test_a_viewer_sees_sets_and_resets() -> None:
    async def view(session: Any) -> None:
        socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert (await receive(socket, "nodes"))["nodes"][0]["name"] == NODE
        await receive(socket, "parameters")
        await socket.send_json({"type": "set", "id": 7, "node": NODE, "name": "threshold", "value": 0.25})
        assert (await receive(socket, "answer")) == {"type": "answer", "id": 7, "reason": ""}
        assert page.controls.values["threshold"] == 0.25
        await socket.send_json({"type": "set", "id": 8, "node": NODE, "name": "threshold", "value": 2})
        answer = await receive(socket, "answer")
        assert (answer["id"], answer["reason"]) == (8, "threshold 2 is out of range; give a value 0 to 1")
        await socket.send_json({"type": "reset", "id": 9, "node": NODE, "camera": ""})
        assert (await receive(socket, "answer"))["id"] == 9
        assert page.controls.resets == [(NODE, "")]

    with served() as page:
        with_session(view)


def test_a_read_only_page_changes_nothing() -> None:
    async def view(session: Any) -> None:
        socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert (await receive(socket, "hello"))["readOnly"] is True
        await socket.send_json({"type": "set", "id": 1, "node": NODE, "name": "threshold", "value": 0.25})
        assert (await receive(socket, "answer"))["reason"] == "this page is read-only"
        await socket.send_json({"type": "reset", "id": 2, "node": NODE, "camera": ""})
        assert (await receive(socket, "answer"))["reason"] == "this page is read-only"

    with served(read_only=True) as page:
        with_session(view)
        assert page.controls.values == {"threshold": 0.01}
        assert page.controls.resets == []


@pytest.mark.parametrize("text", ["nonsense", "{}", '{"type": "watch", "streams": ["x"]}', b"binary", "x" * 70_000])
def test_a_malformed_message_ends_the_connection(text: str | bytes) -> None:
    async def send(session: Any) -> int:
        socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        for _ in range(50):  # a flood of them
            try:
                await (socket.send_bytes(text) if isinstance(text, bytes) else socket.send_str(text))
            except ConnectionError:
                break
        async for _ in socket:
            pass
        return int(socket.close_code or 0)

    with served() as page:
        assert with_session(send) in (1008, 1009, 1006)
        wait_for(lambda: page.hub.viewers == 0, "end of the viewer")
        fetch(page.url)


def test_viewers_are_bounded() -> None:
    async def view(session: Any) -> None:
        sockets = [await session.ws_connect(f"{page.url}/socket", headers=page.origin) for _ in range(2)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{page.url}/socket", headers=page.origin)
        assert refused.value.status == 503
        await sockets[0].close()
        wait_for(lambda: page.hub.viewers == 1, "end of the viewer")
        await session.ws_connect(f"{page.url}/socket", headers=page.origin)

    with served(most_viewers=2) as page:
        with_session(view)


async def _draw(socket: Any, count: int) -> int:
    """Receives `count` frames and says so of each."""
    drawn = 0
    while drawn < count:
        message = await socket.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.BINARY:
            drawn += 1
            await socket.send_json({"type": "drawn", "stream": STREAM})
    return drawn


def test_eight_viewers_are_served_beside_one_that_never_reads() -> None:
    picture = jpeg((10, 200, 30), (640, 360)) + bytes(100_000)

    async def view(session: Any) -> None:
        stalled, *sockets = [
            await session.ws_connect(f"{page.url}/socket", headers=page.origin, max_msg_size=0) for _ in range(9)
        ]
        for viewer in (stalled, *sockets):
            await viewer.send_json({"type": "watch", "streams": [STREAM]})

        async def publish() -> None:
            for number in range(10_000):
                page.hub.frame(STREAM, float(number), picture)
                page.hub.scores(STREAM, float(number), [("walk", 0.5)])
                await asyncio.sleep(0.01)

        publishing = asyncio.create_task(publish())
        assert await asyncio.gather(*(_draw(socket, 20) for socket in sockets)) == [20] * 8
        publishing.cancel()

    with served() as page:
        with_session(view)


def test_a_hundred_viewers_come_and_go_and_memory_stays_flat() -> None:
    async def rounds(session: Any, count: int) -> None:
        for number in range(count):
            socket = await session.ws_connect(f"{page.url}/socket", headers=page.origin)
            await socket.send_json({"type": "watch", "streams": [STREAM]})
            page.hub.frame(STREAM, float(number), bytes(50_000))
            await receive(socket, "parameters")
            if number % 3 == 0:
                await socket.send_str("malformed")
            await socket.close()

    with served() as page:
        with_session(lambda session: rounds(session, 20))
        tracemalloc.start()
        try:
            before = _traced()
            with_session(lambda session: rounds(session, 100))
            wait_for(lambda: page.hub.viewers == 0, "end of the viewers")
            assert _traced() - before < 1_000_000
        finally:
            tracemalloc.stop()


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_a_viewer_that_never_reads_is_dropped_and_costs_no_memory() -> None:
    with served(stall=0.5) as page, socket.create_connection(("127.0.0.1", page.server.port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        handshake = (
            "GET /socket HTTP/1.1",
            f"Host: 127.0.0.1:{page.server.port}",
            f"Origin: {page.url}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        stalled.sendall("\r\n".join([*handshake, "", ""]).encode())
        wait_for(lambda: page.hub.viewers == 1, "viewer")
        tracemalloc.start()
        try:
            before, highest = _traced(), 0
            label = "x" * 10_000
            deadline = time.monotonic() + 20
            while page.hub.viewers and time.monotonic() < deadline:
                page.hub.scores(STREAM + 1, 1.0, [(label, 0.5)])
                highest = max(highest, tracemalloc.get_traced_memory()[0])
                time.sleep(0.0005)
            assert page.hub.viewers == 0, "it is still served"
            assert highest - before < 12_000_000, "more than the messages that may wait"
            page.hub.forget_stream(STREAM + 1)
            assert _traced() - before < 1_000_000
        finally:
            tracemalloc.stop()


def test_a_connection_that_states_no_request_or_no_whole_form_is_closed() -> None:
    form = (
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n\r\ntoken="
    )
    server = PageServer(Hub(), None, Access(port=0, token=TOKEN), request_within=0.3)
    server.start()
    try:
        for request, expected in (("GET / HTTP/1.1\r\nX-Slow: ", b""), (form, b"HTTP/1.1 408 ")):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
                slow.sendall(request.encode())
                with suppress(ConnectionResetError):
                    assert slow.recv(13) == expected
    finally:
        server.stop()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 100_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["long header", "long path", "many headers", "tls", "negative length"],
)
def test_what_is_no_request_is_refused_and_the_page_goes_on(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with served() as page:
        with (
            socket.create_connection(("127.0.0.1", page.server.port), timeout=20) as client,
            suppress(ConnectionError),  # it may be refused before it has been sent
        ):
            client.sendall(request_)
            assert client.recv(100)[:10] in (b"HTTP/1.0 4", b"HTTP/1.1 4")
        assert fetch(page.url)[0] == 200
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == []


def test_no_task_is_left_when_it_ends_with_viewers(caplog: pytest.LogCaptureFixture) -> None:
    async def view(session: Any) -> None:
        viewers = [await session.ws_connect(f"{page.url}/socket", headers=page.origin) for _ in range(8)]
        await viewers[0].receive()
        await asyncio.to_thread(page.server.stop)
        for viewer in viewers:  # told (1001), or cut off where that comes first
            async for _ in viewer:
                pass
        assert {viewer.close_code for viewer in viewers} <= {1001, 1006}

    with served() as page:
        with_session(view)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if "pending" in record.getMessage()] == []


def test_a_port_that_is_taken_is_said_with_what_to_type() -> None:
    with served() as page, pytest.raises(MediaError, match=r"cannot be served on 127\.0\.0\.1.*give another"):
        PageServer(Hub(), None, Access(port=page.server.port)).start()


def test_without_aiohttp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ros2_actionnet.web.server.find_spec", lambda name: None)
    with pytest.raises(MediaError, match="pip install aiohttp"):
        PageServer(Hub(), None, Access(port=0)).start()
