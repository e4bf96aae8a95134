"""Connections to a small server of aiohttp: their number and time are bounded, with TLS and without."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.web.connections import Connections
from support.certificates import certificate

pytest.importorskip("aiohttp")
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def served(connections: Connections, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server whose page ends the limit of its connection."""
    from aiohttp import web

    async def page(request: web.Request) -> web.Response:
        connections.keep(request.transport)
        return web.Response(text="page")

    application = web.Application()
    application.add_routes([web.get("/", page)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(
        lambda: connections.protocol(runner.server),
        "127.0.0.1",
        0,
        ssl=context,
        ssl_handshake_timeout=None if context is None else 0.5,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await runner.cleanup()


async def ends(reader: asyncio.StreamReader) -> bool:
    """True once the server has closed the connection without a word."""
    with suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(1), 20) == b""
    return True


async def answers(port: int, **options: Any) -> bool:
    """Whether a request on a new connection is answered."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        writer.write(REQUEST)
        return (await asyncio.wait_for(reader.read(12), 20)).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        if writer is not None:
            writer.close()


async def until(condition: Any) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 20)


def test_one_without_a_request_ends_and_one_with_a_request_lasts() -> None:
    async def run() -> None:
        connections = Connections(10, 0.5)
        async with served(connections) as port:
            kept, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            assert (await kept.readuntil(b"page")).startswith(b"HTTP/1.1 200")
            others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            others[1][1].write(REQUEST[:-2])  # never whole
            assert [await ends(reader) for reader, _ in others] == [True, True]
            writer.write(REQUEST)
            assert (await kept.readuntil(b"page")).startswith(b"HTTP/1.1 200")
            await until(lambda: len(connections) == 1)

    asyncio.run(run())


def test_no_more_than_the_most_are_open() -> None:
    async def run() -> None:
        connections = Connections(3, 60)
        async with served(connections) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            await until(lambda: len(connections) == 3)
            assert not any(await asyncio.gather(*(answers(port) for _ in range(20))))
            assert len(connections) == 3
            for _, writer in opened:
                writer.close()
            await until(lambda: len(connections) == 0)
            assert await answers(port)

    asyncio.run(run())


def test_those_that_have_ended_are_forgotten() -> None:
    async def run() -> None:
        connections = Connections(300, 60)
        async with served(connections) as port:
            for _ in range(3):
                assert all(await asyncio.gather(*(answers(port) for _ in range(100))))
            await until(lambda: len(connections) == 0)
            gc.collect()
            left = [one for one in gc.get_objects() if type(one).__name__ == "_Connection"]
            assert len(left) <= 1, "a timer keeps them"

    asyncio.run(run())


def test_tls_handshakes_that_never_come_are_counted_and_end(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    trusting = ssl.create_default_context(cafile=str(pem))
    trusting.check_hostname = False

    async def run() -> None:
        connections = Connections(5, 60)
        async with served(connections, context) as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            await until(lambda: len(connections) == 5)
            assert not await answers(port, ssl=trusting)
            assert all([await ends(reader) for reader, _ in silent])
            gc.collect()
            await until(lambda: len(connections) == 0)
            assert await answers(port, ssl=trusting)

    asyncio.run(run())
