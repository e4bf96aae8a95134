"""Streams over loopback: RTSP pushed to a server and pulled from it, RTP, UDP, and HTTP."""

from __future__ import annotations

import http.server
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.cli.flags import RTSP_TRANSPORTS
from ros2_actionnet.errors import MediaError
from ros2_actionnet.media import live_source as live
from ros2_actionnet.media import streams
from ros2_actionnet.media.base import InputOptions, MediaFrame, OutputOptions, Picture
from ros2_actionnet.media.streams import StreamSink, open_stream
from ros2_actionnet.media.uris import open_source
from ros2_actionnet.media.video_files import VideoSource
from support.clips import library_clip
from support.fakes import TIMEOUT
from support.rtsp_server import RtspServer
from support.videos import PictureSource, Reports, annotated, grey, levels, library_path, psnr, write_video

COUNT = 30


@pytest.fixture(name="clip", scope="module")
def clip_fixture() -> list[Picture]:
    return library_clip("carphone_pristine.mp4", COUNT)


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once; a busy machine has time to answer."""
    monkeypatch.setattr(live, "back_off", lambda: itertools.repeat(0.05))
    monkeypatch.setattr(streams, "back_off", lambda: itertools.repeat(0.0))
    monkeypatch.setattr(streams, "_FIRST_WAITS", (0.2, 0.4))
    monkeypatch.setattr(streams, "_TIMEOUT", 10.0)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def push(url: str, clip: list[Picture], codec: str = "", report: Reports | None = None) -> None:
    """Sends a clip as fast as it can be encoded."""
    source = PictureSource(size=(176, 144), is_live=True)
    sink = StreamSink(url, OutputOptions(codec), source, Reports() if report is None else report)
    for index, picture in enumerate(clip):
        sink.write(annotated(picture, index, index / 25))
    sink.close()


def check(frames: list[MediaFrame], clip: list[Picture]) -> None:
    """Whether the frames are those of the clip, in their order, 25 a second."""
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert min(psnr(frame.picture, picture) for frame, picture in zip(frames, clip, strict=False)) > 33
    # The first interval is what RTCP makes of it.
    assert np.diff([frame.time for frame in frames])[1:] == pytest.approx([0.04] * (len(frames) - 2), abs=0.002)


class TestRtsp:
    def test_what_is_pushed_is_pulled(self, clip: list[Picture], tmp_path: Path) -> None:
        reports = Reports()
        with RtspServer() as server:
            push(server.url, clip)
            kept = tmp_path / "kept.mkv"
            source = open_stream(server.url, InputOptions(save=str(kept)), reports)
            assert (source.name, source.rate, source.size, source.is_live) == (server.url, 25.0, (176, 144), True)
            frames = list(itertools.islice(source.frames(), COUNT))
            source.close()
        check(frames, clip)
        assert reports.lines == []
        again = VideoSource(str(kept), InputOptions(), reports).frames()
        assert min(psnr(frame.picture, picture) for frame, picture in zip(again, clip, strict=False)) > 33

    def test_a_stream_that_ends_is_pulled_again(self, clip: list[Picture], tmp_path: Path) -> None:
        reports = Reports()
        with RtspServer() as server:
            push(server.url, clip)
            source = open_stream(server.url, InputOptions(save=str(tmp_path / "kept.mkv")), reports)
            frames = list(itertools.islice(source.frames(), 2 * COUNT))
            source.close()
        check(frames[:COUNT], clip)
        again = [frame.picture for frame in frames[COUNT:]]
        assert min(psnr(one, two) for one, two in zip(again, clip, strict=True)) > 33
        assert [frame.index for frame in frames] == list(range(2 * COUNT))
        assert (np.diff([frame.time for frame in frames]) > 0).all()
        assert reports.lines == [
            f"'{server.url}' is lost: it ended; it is reopened as soon as it is back",
            f"'{server.url}' is back after 0 s",
        ]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kept-2.mkv", "kept.mkv"]

    def test_a_server_that_goes_away_is_pulled_from_when_it_is_back(self, clip: list[Picture]) -> None:
        with RtspServer() as server:
            push(server.url, clip)
            came_back = threading.Event()

            def restart(line: str) -> None:
                if "is lost" in line and not came_back.is_set():
                    came_back.set()
                    server.start()
                    push(server.url, clip)

            source = open_stream(server.url, InputOptions(), restart)
            frames = source.frames()
            next(frames)
            server.stop()
            seen = list(itertools.islice(frames, 3 * COUNT // 2))
            source.close()
        assert came_back.is_set()
        assert len(seen) == 3 * COUNT // 2

    def test_a_push_that_breaks_off_goes_on_when_the_server_is_back(self, clip: list[Picture]) -> None:
        reports = Reports()
        with RtspServer() as server:
            source = PictureSource(size=(176, 144), is_live=True)
            sink = StreamSink(server.url, OutputOptions(), source, reports)
            numbers = itertools.count()

            def send(until: Callable[[], bool]) -> None:
                for index in itertools.islice(numbers, 5000):
                    sink.write(annotated(clip[index % COUNT], index, index / 25))
                    if until():
                        return
                raise AssertionError(reports.lines)

            send(lambda: True)
            server.stop()
            send(lambda: len(reports.lines) > 0)
            sent = len(reports.lines)
            send(lambda: next(numbers) > 200)
            assert len(reports.lines) == sent  # told of once
            server.start()
            send(lambda: len(reports.lines) > sent)
            for index, picture in enumerate(clip):
                sink.write(annotated(picture, index, 1000 + index / 25))
            sink.close()
            pulled = open_stream(server.url, InputOptions(), Reports())
            frames = list(itertools.islice(pulled.frames(), COUNT))
            pulled.close()
        assert f"'{server.url}' cannot be written: " in reports.lines[0]
        assert reports.lines[0].endswith("; it is retried until it succeeds")
        assert reports.lines[-1] == f"'{server.url}' is back"
        assert max(psnr(frames[-1].picture, picture) for picture in clip) > 33

    def test_a_server_that_is_not_there_is_named_without_the_password(self) -> None:
        with RtspServer() as server:
            url = f"rtsp://robot:secret@127.0.0.1:{server.port}/stream"
        for attempt in (
            lambda: open_stream(url, InputOptions(), print),
            lambda: StreamSink(url, OutputOptions(), PictureSource(), Reports()),
        ):
            with pytest.raises(MediaError, match=r"'rtsp://\*\*\*@127.*Connection refused; check whether the") as e:
                attempt()
            assert "secret" not in str(e.value)

    def test_a_first_failure_is_tried_again(self, clip: list[Picture]) -> None:
        with RtspServer() as server:
            reports = Reports()

            def send(line: str) -> None:
                reports(line)
                if len(reports.lines) == 1:
                    push(server.url, clip)

            source = open_stream(server.url, InputOptions(), send)
            check(list(itertools.islice(source.frames(), COUNT - 2)), clip)
            source.close()
        assert reports.lines[0].startswith(f"'{server.url}' cannot be opened: ")
        assert reports.lines[0].endswith("; it is tried again")

    def test_the_transport_and_the_time_out_are_the_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []

        def decoder(address: Any, *_: Any) -> None:
            seen.append(address)
            raise MediaError("it is not there") from ValueError()

        monkeypatch.setattr(streams, "Decoder", decoder)
        for transport, option in (
            ("", {"rtsp_flags": "prefer_tcp"}),
            ("auto", {"rtsp_flags": "prefer_tcp"}),
            ("udp", {"rtsp_transport": "udp"}),
            ("tcp", {"rtsp_transport": "tcp"}),
        ):
            with pytest.raises(MediaError, match="it is not there"):
                open_stream("rtsp://camera/live", InputOptions(transport=transport, timeout=7.5), print)
            assert option.items() <= seen[-1].options.items()
            assert len(seen[-1].options) == 2
            assert seen[-1].timeout == 7.5
        assert len(seen) == 4  # an error that lasts is not tried again
        assert set(streams.TRANSPORTS) == set(RTSP_TRANSPORTS)

    def test_a_stream_that_nobody_sends_is_named(self) -> None:
        with RtspServer() as server, pytest.raises(MediaError, match=r"stream' cannot be opened: .*404"):
            open_stream(server.url, InputOptions(), print)

    def test_a_server_that_does_not_answer_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "_TIMEOUT", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/stream"
            with pytest.raises(MediaError, match=r"does not answer: timed out; check whether"):
                StreamSink(url, OutputOptions(), PictureSource(), Reports())
            with pytest.raises(MediaError, match=r"did not answer within 0\.3 s; check whether"):
                open_stream(url, InputOptions(), print)


class TestOtherProtocols:
    def test_rtmp_is_spoken(self) -> None:
        """FFmpeg's side of the handshake arrives; a server that plays is more than a test can hold."""
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                received.append(connection.recv(1537, socket.MSG_WAITALL))

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=serve)
            thread.start()
            url = f"rtmp://127.0.0.1:{listening.getsockname()[1]}/live/camera"
            with pytest.raises(MediaError, match="live/camera"):
                open_source(url, InputOptions(timeout=0.5), print)
            thread.join(TIMEOUT)
        assert (len(received[0]), received[0][0]) == (1537, 3)  # C0 and C1 of version 3

    def test_a_protocol_that_ffmpeg_lacks_is_named(self) -> None:
        try:
            av.open("srt://127.0.0.1:9", timeout=0.1)
        except av.error.ProtocolNotFoundError:
            with pytest.raises(MediaError, match="cannot be opened: this PyAV's FFmpeg was built without srt; check"):
                open_source("srt://127.0.0.1:9", InputOptions(), print)
        except av.error.FFmpegError:
            with pytest.raises(MediaError, match="srt://"):
                open_source("srt://127.0.0.1:9", InputOptions(timeout=0.1), print)


def clip_of_levels(count: int) -> list[Picture]:
    return [grey(index) for index in range(count)]


@contextmanager
def sending(url: str, clip: list[Picture], codec: str = "") -> Iterator[None]:
    """Sends a clip again and again, at its rate, as somebody does who does not know whether anyone listens."""
    over = threading.Event()

    def send() -> None:
        sink = StreamSink(url, OutputOptions(codec), PictureSource(size=(176, 144), is_live=True), Reports())
        for index in itertools.count():
            if over.wait(0.01):
                break
            sink.write(annotated(clip[index % len(clip)], index, index / 25))
        sink.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join(TIMEOUT)


class TestDatagrams:
    @pytest.mark.parametrize(
        ("scheme", "codec"), [("udp", ""), ("rtp", ""), ("rtp", "h265"), ("rtp", "vp8"), ("rtp", "mjpeg")]
    )
    def test_what_is_sent_is_read(self, scheme: str, codec: str, clip: list[Picture]) -> None:
        url = f"{scheme}://127.0.0.1:{free_port()}"
        with sending(url, clip, codec):
            source = open_stream(url, InputOptions(codec=codec), Reports())
            frames = list(itertools.islice(source.frames(), COUNT + 10))
            source.close()
        best = [int(np.argmax([psnr(frame.picture, picture) for picture in clip])) for frame in frames]
        assert np.diff(best).tolist().count(1) + np.diff(best).tolist().count(1 - COUNT) >= COUNT
        assert max(psnr(frames[-1].picture, picture) for picture in clip) > 33

    def test_silence_is_told_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "_TIMEOUT", 0.3)
        url = f"udp://127.0.0.1:{free_port()}"
        with pytest.raises(MediaError, match=rf"'{url}' did not answer within 0\.3 s"):
            open_stream(url, InputOptions(), print)

    def test_rtp_needs_a_port_and_a_codec_that_it_knows(self) -> None:
        with pytest.raises(MediaError, match=r"'rtp://@' has no port; write for example rtp://@:5000"):
            open_stream("rtp://@", InputOptions(), print)
        with pytest.raises(MediaError, match=r"RTP cannot carry divx; use one of h264, h265"):
            open_stream("rtp://@:5000", InputOptions(codec="divx"), print)


class _Handler(http.server.BaseHTTPRequestHandler):
    """A camera's /live and a file."""

    clip: ClassVar[list[Picture]] = []
    folder: ClassVar[Path] = Path()

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        if self.path.startswith(("/vod/", "/video")):
            self._send_file((self.folder / name).read_bytes())
            return
        if self.path.startswith("/bikes.mp4"):
            self._send_file(library_path("bikes.mp4").read_bytes())
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with suppress(ConnectionError):
            self._send_pictures()

    def _send_pictures(self) -> None:
        for picture in self.clip:
            content = cv2.imencode(".jpg", picture)[1].tobytes()
            header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(header.encode() + content + b"\r\n")

    def _send_file(self, content: bytes) -> None:
        begin = int((self.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        with suppress(ConnectionError):  # who has read the end goes on with the beginning
            self.wfile.write(content[begin:])

    def log_message(self, *_: Any) -> None:
        """Is silent."""


class TestHttp:
    @pytest.fixture(name="server")
    def server_fixture(self, clip: list[Picture]) -> Iterator[str]:
        _Handler.clip = clip
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()
            thread.join(TIMEOUT)

    def test_a_cameras_jpegs_have_the_time_at_which_they_come(self, server: str, clip: list[Picture]) -> None:
        reports = Reports()
        source = open_source(f"{server}/live", InputOptions(), reports)
        frames = list(itertools.islice(source.frames(), COUNT + 5))
        source.close()
        assert source.is_live
        assert min(psnr(f.picture, p) for f, p in zip(frames[: COUNT - 1], clip, strict=False)) > 33
        assert frames[COUNT - 1].time < 1.0  # all came at once
        assert f"'{server}/live' is lost: " in reports.lines[0]

    @pytest.mark.parametrize("path", ["vod/index.m3u8", "video?id=7"])
    def test_a_recording_without_the_name_of_one_ends(self, path: str, server: str, tmp_path: Path) -> None:
        _Handler.folder = tmp_path
        write_video(tmp_path / "video", clip_of_levels(50), format="mp4")
        hls = {"hls_time": "1", "hls_list_size": "0"}
        write_video(tmp_path / "index.m3u8", clip_of_levels(50), container_options=hls, format="hls")
        reports = Reports()
        source = open_source(f"{server}/{path}", InputOptions(loop=1), reports)
        assert isinstance(source, VideoSource)
        assert levels(source) == [index % 28 for index in range(50)] * 2
        assert reports.lines == []

    def test_a_playlist_that_grows_is_live_until_it_is_complete(self, server: str, tmp_path: Path) -> None:
        _Handler.folder = tmp_path
        hls = {"hls_time": "1", "hls_list_size": "0"}
        write_video(tmp_path / "index.m3u8", clip_of_levels(50), container_options=hls, format="hls")
        playlist = (tmp_path / "index.m3u8").read_text()
        (tmp_path / "index.m3u8").write_text(playlist.replace("#EXT-X-ENDLIST\n", ""))
        source = open_source(f"{server}/vod/index.m3u8", InputOptions(), Reports())
        assert source.is_live
        (tmp_path / "index.m3u8").write_text(playlist)
        assert len(levels(source)) == 50

    def test_a_file_ends(self, server: str) -> None:
        source = open_source(f"{server}/bikes.mp4?this=that", InputOptions(), Reports())
        assert isinstance(source, VideoSource)
        assert len(list(source.frames())) == 250


def test_a_file_is_sent_at_its_rate(clip: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sink = StreamSink(f"udp://127.0.0.1:{free_port()}", OutputOptions(), PictureSource(size=(176, 144)), Reports())
    monkeypatch.setattr(time, "sleep", slept.append)
    for index in range(3):
        sink.write(annotated(clip[index], index, index * 0.9))
    sink.close()
    assert slept == pytest.approx([0.0, 0.9, 1.0], abs=0.2)


def test_a_codec_that_a_stream_does_not_take_is_refused() -> None:
    with pytest.raises(MediaError, match=r":9' does not support the codec mjpeg; use one of h264, h265"):
        StreamSink("udp://127.0.0.1:9", OutputOptions("mjpeg"), PictureSource(), Reports())
