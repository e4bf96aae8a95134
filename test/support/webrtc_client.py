"""A WebRTC client that is no browser: it watches a page's stream (WHEP) or sends one (WHIP)."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from fractions import Fraction
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.web.webrtc_streams import WebRtcOutput

TIMEOUT = 20.0  # s
RATE = 30  # Hz


def require_libraries() -> None:
    """Skips the tests of a module where aiortc or aiohttp is missing."""
    pytest.importorskip("aiortc")
    pytest.importorskip("aiohttp")


async def post_offer(url: str, body: bytes | str, **headers: str) -> tuple[int, str, str]:
    """Status, text and Location of the answer to an offer."""
    import aiohttp

    headers = {"Content-Type": "application/sdp"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers, ssl=False) as answer:
        return answer.status, await answer.text(), urljoin(url, answer.headers.get("Location", ""))


@asynccontextmanager
async def watching(link: str) -> AsyncIterator[tuple[Any, str]]:
    """Connects to the stream of a page; yields its track and the URL that ends it."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tracks = asyncio.Queue[Any]()
    connection.on("track", tracks.put_nowait)
    connection.addTransceiver("video", "recvonly")
    try:
        await connection.setLocalDescription(await connection.createOffer())
        status, answer, location = await post_offer(f"{link}/whep", connection.localDescription.sdp)
        assert status == 201, answer
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        yield await asyncio.wait_for(tracks.get(), TIMEOUT), location
    finally:
        await connection.close()


async def pictures_of(link: str, count: int) -> list[NDArray[np.uint8]]:
    """The first pictures that a viewer sees: uint8 [H, W, 3], BGR."""
    async with watching(link) as (track, _):
        frames = [await asyncio.wait_for(track.recv(), TIMEOUT) for _ in range(count)]
    return [frame.to_ndarray(format="bgr24") for frame in frames]


@asynccontextmanager
async def sending(link: str, picture: NDArray[np.uint8]) -> AsyncIterator[Any]:
    """Sends a camera that shows `picture` for ever."""
    import av
    from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    class Track(MediaStreamTrack):  # type: ignore[misc]  # aiortc is Any
        kind = "video"
        count = itertools.count()

        async def recv(self) -> Any:
            await asyncio.sleep(1 / RATE)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = next(self.count), Fraction(1, RATE)
            return frame

    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTrack(Track())
    try:
        await connection.setLocalDescription(await connection.createOffer())
        status, answer, location = await post_offer(f"{link}/whip", connection.localDescription.sdp)
        assert status == 201, answer
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        yield location
    finally:
        await connection.close()


@contextmanager
def fed(output: WebRtcOutput, draw: Callable[[float], NDArray[np.uint8]], rate: float = RATE) -> Iterator[None]:
    """Publishes `draw(s since the start)`, uint8 [H, W, 3], at a rate, until the context ends."""
    ended = threading.Event()

    def run() -> None:
        started = time.monotonic()
        while not ended.wait(1 / rate):
            output.publish(draw(time.monotonic() - started))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Waits for a condition; fails if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
