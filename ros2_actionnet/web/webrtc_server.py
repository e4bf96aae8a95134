"""The server of WebRTC streams: their pages, and the exchange of offers and answers (WHEP and WHIP) over HTTP."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, ClassVar, TypeVar

from ros2_actionnet.errors import MediaError
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.connections import HANDSHAKE_WITHIN, Connections, quieted_server_logger
from ros2_actionnet.web.listening import ListenAddress
from ros2_actionnet.web.webrtc_library import check_libraries
from ros2_actionnet.web.webrtc_peers import OfferRefused, Peers

_MOST_CONNECTIONS = 64  # of HTTP
_CONNECTION_TIME = 30.0  # s; the video itself does not go over HTTP
_MOST_OFFER = 64 << 10  # bytes
_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PAGES = {"whep": "webrtc_view.html", "whip": "webrtc_share.html"}
_STATIC = {"webrtc.js": "text/javascript", "webrtc.css": "text/css"}

Made = TypeVar("Made")


@dataclass(frozen=True)
class WebOptions:
    """Options of the server.

    Attributes:
        ssl_cert, ssl_key: Paths of PEM files; both for https, neither for http.
        stun_server: HOST:PORT of a STUN server, for viewers behind another NAT; "": none.
    """

    ssl_cert: str = ""
    ssl_key: str = ""
    stun_server: str = ""

    @property
    def ice_servers(self) -> tuple[str, ...]:
        """URLs of the servers that help to connect."""
        if self.stun_server in ("", "disabled"):  # as jetson-inference spells it
            return ()
        return (f"stun:{self.stun_server.removeprefix('stun:')}",)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the certificate for https. Raises MediaError if it cannot be used."""
        if not self.ssl_cert and not self.ssl_key:
            return None
        if not self.ssl_cert or not self.ssl_key:
            raise MediaError("https needs both --ssl-cert FILE and --ssl-key FILE")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.ssl_cert, self.ssl_key)
        except OSError as error:  # ssl.SSLError too
            raise MediaError(
                f"the certificate '{printable(self.ssl_cert)}' with the key '{printable(self.ssl_key)}' cannot be used"
                f": {error.strerror or error}; give both as PEM files"
            ) from error
        return context


@dataclass(frozen=True)
class _Served:
    """A stream of the server: `kind` is whep for one that is watched, whip for a camera that is received."""

    kind: str
    address: ListenAddress
    peers: Peers


class WebRtcServer:
    """A server of streams at one port, in a thread of its own; streams of the same port share it.

    Raises MediaError if it cannot listen.
    """

    _running: ClassVar[dict[tuple[str, int], WebRtcServer]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, address: ListenAddress, options: WebOptions) -> None:
        check_libraries()
        self._address, self._options = address, options
        self._streams: dict[str, _Served] = {}
        self._connections = Connections(_MOST_CONNECTIONS, _CONNECTION_TIME)
        context = options.ssl_context()
        self.scheme = "http" if context is None else "https"
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="web server", daemon=True)
        self._thread.start()
        try:
            self.run(self._listen(context))
        except BaseException as error:
            self._stop()
            if not isinstance(error, OSError):
                raise
            reason = error.strerror or str(error)
            raise MediaError(
                f"port {address.port} of '{address.host or 'this machine'}' cannot be listened at: "
                f"{printable(reason)}; give another port"
            ) from error

    @classmethod
    def serve(
        cls, kind: str, address: ListenAddress, options: WebOptions, make_peers: Callable[[], Peers]
    ) -> WebRtcServer:
        """Add a stream to the server of its port, which is started if there is none. Raises MediaError."""
        with cls._lock:
            place = address.host, address.port
            server = cls._running.get(place) or cls(address, options)
            cls._running[place] = server
            if address.name in server._streams:
                raise MediaError(f"port {address.port} serves '{address.name}' already; give another name")
            server._streams[address.name] = _Served(kind, address, make_peers())
            return server

    def withdraw(self, name: str) -> None:
        """Remove a stream; the server ends with its last one."""
        with self._lock:
            stream = self._streams.pop(name, None)
            if stream is None:
                return
            self.run(stream.peers.close())
            if not self._streams:
                del self._running[self._address.host, self._address.port]
                self.run(self._runner.cleanup())
                self._stop()

    def link(self, address: ListenAddress) -> str:
        """Return the URL of a stream's page."""
        return f"{self.scheme}://{address.shown_host}:{address.port}/{address.name}"

    def run(self, work: Coroutine[Any, Any, Made]) -> Made:
        """Run `work` in the server's thread and return its result; for other threads."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def _stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        from aiohttp import web

        @web.middleware
        async def guard(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
            return await self._guard(request, handler)

        application = web.Application(client_max_size=_MOST_OFFER, middlewares=[guard])
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/static/{file}", self._static),
                web.get("/{name}", self._page),
                web.post("/{name}/{kind}", self._offer),
                web.delete("/{name}/{kind}/{identifier}", self._leave),
            ]
        )
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0, logger=quieted_server_logger()
        )
        await self._runner.setup()
        await self.loop.create_server(
            lambda: self._connections.protocol(self._runner.server),
            self._address.host or None,
            self._address.port,
            ssl=context,
            ssl_handshake_timeout=None if context is None else HANDSHAKE_WITHIN,
        )

    async def _guard(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Refuse requests that other sites make through a visitor's browser, and those without the password."""
        from aiohttp import web

        response: Any
        origin = request.headers.get("Origin")
        if not self._is_ours(request.host):
            response = web.Response(status=421, text="this machine is not known by that name; use its IP address\n")
        elif origin is not None and origin != f"{self.scheme}://{request.host}":
            response = web.Response(status=403, text="requests of other sites are refused\n")
        elif not self._is_authorized(request):
            response = web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="actionnet"'})
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n")
        response.headers.update(_HEADERS)
        return response

    def _is_ours(self, host: str) -> bool:
        """Return True if a Host header names this machine: a page of another name could be anybody's."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower().rstrip(".")
        own = socket.gethostname().lower()
        if name in ("localhost", own, f"{own}.local", self._address.host.lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_authorized(self, request: Any) -> bool:
        """Return True if the request has the password of its stream; the list of streams needs that of any."""
        stream = self._streams.get(request.match_info.get("name", ""))
        protected = [stream] if stream is not None else list(self._streams.values())
        wanted = [f"{one.address.user}:{one.address.password}" for one in protected if one.address.password]
        if len(wanted) < len(protected):
            return True
        try:
            given = base64.b64decode(request.headers.get("Authorization", "").removeprefix("Basic "), validate=True)
        except ValueError:
            return False
        return any(secrets.compare_digest(given, one.encode()) for one in wanted)

    async def _index(self, request: Any) -> Any:
        from aiohttp import web

        if len(self._streams) == 1:
            (name,) = self._streams
            return web.Response(status=302, headers={"Location": f"/{name}"})
        links = "".join(f'<li><a href="/{name}">{name}</a></li>' for name in self._streams)  # see listening._NAME
        return _html("webrtc_index.html", links=links)

    async def _static(self, request: Any) -> Any:
        from aiohttp import web

        name = request.match_info["file"]
        if name not in _STATIC:
            raise web.HTTPNotFound
        return web.Response(text=(_FOLDER / name).read_text(encoding="utf-8"), content_type=_STATIC[name])

    async def _page(self, request: Any) -> Any:
        stream = self._find(request)
        return _html(
            _PAGES[stream.kind],
            name=stream.address.name,
            ice_servers=json.dumps(self._options.ice_servers).replace('"', "&quot;").replace("<", "&lt;"),
        )

    async def _offer(self, request: Any) -> Any:
        from aiohttp import web

        stream = self._find(request)
        if request.match_info["kind"] != stream.kind:
            raise web.HTTPNotFound
        if request.content_type != "application/sdp":
            raise web.HTTPUnsupportedMediaType(reason="an offer is sent as application/sdp")
        try:
            offer = (await request.read()).decode()
            identifier, answer = await stream.peers.answer(offer)
        except UnicodeDecodeError as error:
            raise web.HTTPBadRequest(reason="the offer is not UTF-8") from error
        except OfferRefused as error:
            return web.Response(status=error.status, text=f"{error}\n")
        place = {"Location": f"{request.path}/{identifier}"}
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=place)

    async def _leave(self, request: Any) -> Any:
        from aiohttp import web

        stream = self._find(request)
        if request.match_info["kind"] != stream.kind:
            raise web.HTTPNotFound
        if not await stream.peers.remove(request.match_info["identifier"]):
            raise web.HTTPNotFound
        return web.Response(status=200)

    def _find(self, request: Any) -> _Served:
        from aiohttp import web

        stream = self._streams.get(request.match_info["name"])
        if stream is None:
            raise web.HTTPNotFound(reason="there is no stream of that name")
        return stream


def _html(file: str, **values: str) -> Any:
    from aiohttp import web

    template = Template((_FOLDER / file).read_text(encoding="utf-8"))
    return web.Response(text=template.substitute(values), content_type="text/html")
