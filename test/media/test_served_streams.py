"""Served streams as sources and sinks of the command: by their URIs, beside a saved file, and from end to end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import InputOptions, OutputOptions, RunDetails
from ros2_actionnet.media.served_streams import ServedSink
from ros2_actionnet.media.streams import StreamSink
from ros2_actionnet.media.uris import check_output, open_sink, open_source
from support.videos import PictureSource, Reports, annotated
from support.webrtc_client import pictures_of, require_libraries, sending

require_libraries()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def plain(*color: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((120, 160, 3), color, np.uint8)


def sink_of(uri: str, source: PictureSource, reports: Reports, **options: str) -> ServedSink:
    details: RunDetails = None  # type: ignore[assignment]  # for bags alone
    return open_sink(uri, OutputOptions(**options), source, details, reports)  # type: ignore[arg-type, return-value]


def test_a_webrtc_output_is_watched_and_saved(tmp_path: Path) -> None:
    port, reports, saved = free_port(), Reports(), tmp_path / "saved.mp4"
    source = PictureSource(size=(160, 120), is_live=True)
    sink = sink_of(f"webrtc://@:{port}/out", source, reports, save=str(saved))
    assert f":{port}/out (reachable from every network of this machine, without a password)" in str(reports)
    ended = threading.Event()

    def write() -> None:
        index = 0
        while not ended.wait(1 / 30):
            sink.write(annotated(plain(200, 100, 50), index, index / 30))
            index += 1

    thread = threading.Thread(target=write)
    thread.start()
    (*_, seen) = asyncio.run(pictures_of(f"http://127.0.0.1:{port}/out", 5))
    ended.set()
    thread.join()
    sink.close()
    assert np.abs(seen.mean((0, 1)) - (200, 100, 50)).max() < 6
    with av.open(str(saved)) as file:
        assert abs(next(file.decode(video=0)).to_ndarray(format="bgr24").mean((0, 1)) - (200, 100, 50)).max() < 6


def test_a_file_is_shown_at_its_rate() -> None:
    sink = sink_of(f"webrtc://127.0.0.1:{free_port()}/out", PictureSource(size=(160, 120), is_live=False), Reports())
    started = time.monotonic()
    for index in range(11):
        sink.write(annotated(plain(0, 0, 0), index, index / 20))
    sink.close()
    assert 0.45 < time.monotonic() - started < 2


def test_an_rtsp_address_without_a_host_is_served_and_one_with_a_host_is_pushed_to() -> None:
    source, port = PictureSource(size=(160, 120), is_live=True), free_port()
    with pytest.raises(MediaError, match="omit --output-codec"):
        sink_of(f"rtsp://@:{port}/out", source, Reports(), codec="mjpeg")
    with pytest.raises(MediaError, match="does not answer"):
        StreamSink(f"rtsp://127.0.0.1:{port}/out", OutputOptions(), source, Reports())


def test_a_browsers_camera_is_a_source_that_comes_back() -> None:
    port, reports = free_port(), Reports()
    link = f"http://127.0.0.1:{port}/in"
    ended, loop = asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def send(color: tuple[int, int, int]) -> None:
        while True:  # the page is not served yet
            try:
                async with sending(link, plain(*color)) as location:
                    await ended.wait()
                    ended.clear()
                    async with __import__("aiohttp").ClientSession() as session, session.delete(location):
                        return
            except (OSError, AssertionError):
                await asyncio.sleep(0.05)

    senders = [asyncio.run_coroutine_threadsafe(send((220, 0, 0)), loop)]
    source = open_source(f"webrtc://127.0.0.1:{port}/in", InputOptions(width=80), reports)
    assert source.is_live
    seen, returned = list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]](), False
    for frame in source.frames():
        seen.append(frame.picture)
        if len(seen) == 10:
            loop.call_soon_threadsafe(ended.set)
            senders.append(asyncio.run_coroutine_threadsafe(send((0, 0, 220)), loop))
        if frame.picture.mean((0, 1))[2] > 180:
            returned = True
            break
    source.close()
    for sender in senders:
        sender.cancel()
    time.sleep(0.2)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    assert returned
    assert seen[0].shape == (60, 80, 3)
    assert np.abs(seen[5].mean((0, 1)) - (220, 0, 0)).max() < 8
    assert "is back" in str(reports)


def test_a_browsers_camera_is_not_saved_as_it_comes() -> None:
    with pytest.raises(MediaError, match="save the output with --output-save"):
        open_source("webrtc://@:8554/in", InputOptions(save="in.mp4"), Reports())


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "aiortc", None)
    with pytest.raises(MediaError, match=r"pip install aiortc aiohttp"):
        sink_of("webrtc://@:8554/out", PictureSource(size=(160, 120), is_live=True), Reports())
    with pytest.raises(MediaError, match="pip install aiortc aiohttp"):
        check_output("webrtc://@:8554/out")


def test_an_output_that_cannot_be_served_is_refused_before_a_network_is_loaded() -> None:
    for uri in ("rtsp://host/out", "out.mp4", "", "webrtc://@:8554/out"):
        check_output(uri)
    for uri in ("rtsp://@/out", "webrtc://@:8554"):
        with pytest.raises(MediaError, match="@:8554/actionnet"):
            check_output(uri)
