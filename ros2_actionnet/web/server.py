"""Serves the page and its websocket, in a thread of its own (needs aiohttp, which is imported when it starts)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ros2_actionnet.errors import ActionNetError, MediaError
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import Access, WrongTokens
from ros2_actionnet.web.connections import Connections, quieted_server_logger
from ros2_actionnet.web.hub import Hub, Viewer
from ros2_actionnet.web.recorded import Recorded, recorded_routes
from ros2_actionnet.web.requests import (
    LONGEST,
    Drawn,
    MalformedError,
    Reset,
    SetParameter,
    Value,
    Watch,
    parse_request,
)

if TYPE_CHECKING:
    from aiohttp import web

STALL = 10.0
"""Seconds after which a viewer that takes nothing is dropped."""

MOST_CONNECTIONS = 256
"""Connections at a time: those of all viewers, and of who asks for the token."""

_REQUEST_WITHIN = 10.0  # s from the connection to its first request, and from there to the end of a form
_HEARTBEAT = 15.0  # s between two signs of life that a viewer must give
_ANSWER_WITHIN = 15.0  # s
_MOST_REQUESTS = 8  # of one viewer that wait for an answer
_STATIC = Path(__file__).parent / "static"
_REFUSAL_PLACE = b"<!-- refusal -->"  # in the page that asks for the token
_REFUSAL = b'<p class="refusal" role="alert">That is not the token.</p>'
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # no-referrer would make the Origin of the token's form null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Controls(Protocol):
    """Does what viewers ask for. The results are the reasons of a refusal, "" for what was done."""

    def set_parameter(self, node: str, name: str, value: Value) -> Future[str]:
        """Set a parameter."""
        ...

    def reset(self, node: str, camera: str) -> Future[str]:
        """Empty the window of a camera, or of all ("")."""
        ...


class PageServer:
    """The page over HTTP, with one websocket for each viewer.

    Args:
        hub: What the viewers see.
        controls: Does what they ask for; None makes the page read-only.
        access: Where to listen, and whom to let in.
        stall: Seconds after which a viewer that takes nothing is dropped.
        recording: What the page moves about in, if it is about a recording.
        request_within: Seconds after which a connection without a request is closed.

    Raises MediaError, from `start`, if aiohttp is not installed or the address cannot be listened on.
    """

    def __init__(
        self,
        hub: Hub,
        controls: Controls | None,
        access: Access,
        stall: float = STALL,
        recording: Recorded | None = None,
        request_within: float = _REQUEST_WITHIN,
    ) -> None:
        self._request_within = request_within
        self._connections = Connections(MOST_CONNECTIONS, request_within)
        self._recording, self._wrong_tokens = recording, WrongTokens()
        self._hub, self._controls, self._access, self._stall = hub, controls, access, stall
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: Future[int] = Future()
        self._stopped: asyncio.Event | None = None
        self._sockets: set[web.WebSocketResponse] = set()
        self.port = 0

    def start(self) -> None:
        """Listen; returns once the page can be opened."""
        if find_spec("aiohttp") is None:
            raise MediaError("the page needs aiohttp: pip install aiohttp")
        self._thread.start()
        self.port = self._started.result()

    def stop(self) -> None:
        """Close all connections."""
        if self._thread.is_alive() and self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(5.0)

    @property
    def link(self) -> str:
        """The link that opens the page."""
        return self._access.link(self.port)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if not self._started.done():
                self._started.set_exception(error)

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=15.0,
            logger=quieted_server_logger(),
        )
        await runner.setup()
        try:
            try:
                listener = await self._loop.create_server(
                    lambda: self._connections.protocol(runner.server), self._access.address, self._access.port
                )
            except OSError as error:
                place = f"{self._access.address}:{self._access.port}"
                raise MediaError(
                    f"the page cannot be served on {place}: {printable(error.strerror)}; give another"
                ) from error
            self._started.set_result(listener.sockets[0].getsockname()[1])
            await self._stopped.wait()
            listener.close()
            for socket in tuple(self._sockets):
                await socket.close(code=1001)
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        from aiohttp import web

        files = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES}
        access = self._access

        @web.middleware
        async def check_host(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self._connections.keep(request.transport)
            if not access.allows_host(request.headers.get("Host", "")):
                raise web.HTTPForbidden(text="This page is not served under that name; open it by its address.\n")
            return await handler(request)

        async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(_HEADERS)

        def file(name: str) -> web.Response:
            return web.Response(body=files[name], content_type=_TYPES[Path(name).suffix], charset="utf-8")

        def ask(*, refused: bool = False) -> web.Response:
            page = files["token.html"].replace(_REFUSAL_PLACE, _REFUSAL if refused else b"")
            return web.Response(body=page, status=401, content_type="text/html", charset="utf-8")

        def knows(request: web.Request, token: str) -> bool:
            if access.allows_token(token):
                return True
            wait = self._wrong_tokens.note(request.remote or "") if token else 0
            if wait:
                text = f"Too many wrong tokens; wait {wait} s.\n"
                raise web.HTTPTooManyRequests(text=text, headers={"Retry-After": str(wait)})
            return False

        def admitted(request: web.Request) -> bool:
            return knows(request, request.cookies.get(self._cookie(), ""))

        def admit() -> web.Response:
            response = web.Response(status=303, headers={"Location": "/"})
            if access.token:
                response.set_cookie(self._cookie(), access.token, httponly=True, samesite="Lax", path="/")
            return response

        async def index(request: web.Request) -> web.Response:
            if "token" in request.query:  # out of the address, which histories keep
                return admit() if knows(request, request.query["token"]) else ask(refused=True)
            try:
                return file("index.html") if admitted(request) else ask()
            except web.HTTPTooManyRequests:
                # A tab from before a restart gives its old cookie every second: who opens the page can still log in.
                return ask()

        async def login(request: web.Request) -> web.Response:
            self._check_origin(request)
            try:
                given = (await asyncio.wait_for(request.post(), self._request_within)).get("token", "")
            except asyncio.TimeoutError:
                raise web.HTTPRequestTimeout from None
            matches = isinstance(given, str) and knows(request, given.strip())
            return admit() if matches else ask(refused=True)

        async def static(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            if name not in files or name.endswith(".html"):
                raise web.HTTPNotFound
            return file(name)

        async def socket(request: web.Request) -> web.StreamResponse:
            self._check_origin(request)
            if not admitted(request):
                raise web.HTTPUnauthorized(text="The token is missing.\n")
            return await self._viewer(request)

        application = web.Application(middlewares=[check_host], client_max_size=LONGEST)
        application.on_response_prepare.append(add_headers)
        application.add_routes(
            [
                web.get("/", index),
                web.post("/login", login),
                web.get("/static/{name}", static),
                web.get("/socket", socket),
            ]
        )
        if self._recording is not None:
            application.add_routes(recorded_routes(self._recording, admitted))
        return application

    def _cookie(self) -> str:
        # Cookies do not know ports: two pages on one machine would take each other's.
        return f"actionnet_{self.port}"

    def _check_origin(self, request: web.Request) -> None:
        from aiohttp import web

        if not self._access.allows_origin(request.headers.get("Origin", ""), request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="Only this page itself may ask for this.\n")

    async def _viewer(self, request: web.Request) -> web.StreamResponse:
        """Serve one viewer until it leaves, sends something malformed or takes nothing any more."""
        from aiohttp import web

        woken = asyncio.Event()
        viewer = self._hub.join(lambda: self._wake(woken))
        if viewer is None:
            raise web.HTTPServiceUnavailable(text="Too many viewers.\n")
        sender = None
        try:
            socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=LONGEST, compress=False, timeout=1.0)
            await socket.prepare(request)
            self._sockets.add(socket)
            await socket.send_str(json.dumps({"type": "hello", "readOnly": self._controls is None}))
            sender = asyncio.create_task(self._send(socket, request.transport, viewer, woken))
            await self._receive(socket, viewer)
            self._sockets.discard(socket)
            return socket
        finally:
            self._hub.leave(viewer)
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])

    def _wake(self, woken: asyncio.Event) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(woken.set)

    async def _send(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        viewer: Viewer,
        woken: asyncio.Event,
    ) -> None:
        try:
            while not viewer.is_too_slow:
                await woken.wait()
                woken.clear()
                messages, frames = viewer.take()
                for message in messages:
                    await asyncio.wait_for(socket.send_str(message), self._stall)
                for frame in frames:
                    await asyncio.wait_for(socket.send_bytes(frame), self._stall)
        except (asyncio.TimeoutError, ConnectionError):
            pass
        if transport is not None:
            transport.abort()  # a close would wait until what is in the way has been taken

    async def _receive(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        from aiohttp import WSMsgType

        pending: set[asyncio.Task[None]] = set()
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    raise MalformedError("not text")
                request = parse_request(message.data)
                if isinstance(request, Drawn):
                    viewer.drawn(request.stream)
                elif isinstance(request, Watch):
                    self._hub.watch(viewer, request.streams)
                elif len(pending) >= _MOST_REQUESTS:
                    await self._answer(socket, request.id, "too many requests at a time; try it again")
                else:
                    task = asyncio.create_task(self._act(socket, request))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
        except MalformedError:
            await socket.close(code=1008, message=b"malformed message")
        finally:
            for task in pending:
                task.cancel()

    async def _act(self, socket: web.WebSocketResponse, request: SetParameter | Reset) -> None:
        if self._controls is None:
            reason = "this page is read-only"
        else:
            try:
                if isinstance(request, SetParameter):
                    future = self._controls.set_parameter(request.node, request.name, request.value)
                else:
                    future = self._controls.reset(request.node, request.camera)
                reason = await asyncio.wait_for(asyncio.wrap_future(future), _ANSWER_WITHIN)
            except asyncio.TimeoutError:
                reason = f"the node has not answered within {_ANSWER_WITHIN:g} s"
            except ActionNetError as error:
                reason = str(error)
        await self._answer(socket, request.id, reason)

    async def _answer(self, socket: web.WebSocketResponse, number: int, reason: str) -> None:
        if not socket.closed:
            await socket.send_str(json.dumps({"type": "answer", "id": number, "reason": printable(reason, 2000)}))
