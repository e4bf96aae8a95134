"""Bounds the connections of an HTTP server, the time that one may take to state a request, and what is logged of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakSet

HANDSHAKE_WITHIN = 10.0
"""Seconds that a TLS handshake may take."""


class Connections:
    """The connections of a server of aiohttp, which itself bounds neither their number nor their time.

    Args:
        most: Connections at a time, those in their TLS handshake among them. One more is closed at once.
        within: Seconds after which a connection is closed, unless `keep` has been called for it.
    """

    def __init__(self, most: int, within: float) -> None:
        self._most, self._within = most, within
        self._open = WeakSet[_Connection]()  # one whose TLS handshake fails is never told so: it is just forgotten

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self, server: Any) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection to `server`, an aiohttp.web.Server."""
        if len(self._open) >= self._most:
            return _Refusal()
        connection = _Connection(server(), self._within, self._open)
        self._open.add(connection)
        return connection

    @staticmethod
    def keep(transport: asyncio.Transport | None) -> None:
        """Let a connection last, as it has stated a request."""
        if transport is not None and isinstance(connection := transport.get_protocol(), _Connection):
            connection.keep()


def quieted_server_logger() -> logging.Logger:
    """Quiet the logger of all servers of aiohttp in this process, and return it.

    From then on it writes no traceback for a malformed request: anybody could fill the log with them.
    """
    from aiohttp import log

    logger: logging.Logger = log.server_logger
    logger.addFilter(_is_worth_a_line)
    return logger


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    from aiohttp.http_exceptions import HttpProcessingError

    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _Connection(asyncio.Protocol):
    """Passes everything on to aiohttp's handler."""

    def __init__(self, handler: Any, within: float, opened: WeakSet[_Connection]) -> None:
        self._handler, self._within, self._opened = handler, within, opened
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._timer = asyncio.get_running_loop().call_later(self._within, transport.abort)
        self._handler.connection_made(transport)

    def keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.keep()  # else the timer would keep all of this in memory
        self._opened.discard(self)
        self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()  # type: ignore[no-any-return]

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


class _Refusal(asyncio.Protocol):
    """Closes a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
