"""RTSP served over loopback, opened by FFmpeg (PyAV) and by GStreamer's own client."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.web.listening import parse_listen_address
from ros2_actionnet.web.rtsp_output import RtspOutput
from support.webrtc_client import wait_until

_HAS_SERVER = (
    subprocess.run(
        ["/usr/bin/python3", "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
        capture_output=True,
        check=False,
    ).returncode
    == 0
    if Path("/usr/bin/python3").exists()
    else False
)
needs_server = pytest.mark.skipif(not _HAS_SERVER, reason="`apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi`")
OPTIONS = {"rtsp_transport": "tcp"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def served(access: str = "") -> Iterator[RtspOutput]:
    """A stream of pictures whose left half is blue, and whose right half gets lighter every frame."""
    output = RtspOutput(parse_listen_address(f"rtsp://{access}127.0.0.1:{free_port()}/out"), pytest.fail, rate=30)
    ended = threading.Event()

    def feed() -> None:
        count = 0
        while not ended.wait(1 / 30):
            picture = np.zeros((120, 160, 3), np.uint8)
            picture[:, :80, 0], picture[:, 80:] = 220, 3 * count % 240
            output.publish(picture)
            count += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield output
    finally:
        ended.set()
        thread.join()
        output.close()


@needs_server
def test_players_see_the_pictures_from_their_first_frame_on() -> None:
    with served() as output:
        for _ in range(2):  # the second one joins after the first has left
            with av.open(output.link, options=OPTIONS, timeout=20) as player:
                frames = [
                    frame.to_ndarray(format="bgr24")
                    for frame, _ in zip(player.decode(video=0), range(20), strict=False)
                ]
            assert {frame.shape for frame in frames} == {(120, 160, 3)}
            assert all(np.abs(frame[:, 8:72].mean((0, 1)) - (220, 0, 0)).max() < 8 for frame in frames)
            lightness = [float(frame[:, 88:152].mean()) for frame in frames]
            steps = np.diff(lightness) % 240  # 3 a picture
            assert np.median(steps) == pytest.approx(3, abs=1)
            assert steps.max() < 90, "at most the second until a key frame is left out"
            wait_until(lambda: not output.is_watched)


@needs_server
def test_gstreamers_own_client_plays_it(tmp_path: Path) -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("`apt-get install gstreamer1.0-tools`")
    raw = tmp_path / "stream.h264"
    with served() as output:
        pipeline = (
            f"rtspsrc location={output.link} protocols=tcp latency=0 ! rtph264depay ! "
            f"identity eos-after=60 ! video/x-h264,stream-format=byte-stream ! filesink location={raw}"
        )
        done = subprocess.run(
            ["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    with av.open(str(raw), format="h264") as recorded:
        colors = [frame.to_ndarray(format="bgr24")[:, 8:72].mean((0, 1)) for frame in recorded.decode(video=0)]
    assert len(colors) >= 15
    assert np.abs(np.array(colors) - (220, 0, 0)).max() < 8


@needs_server
def test_a_password_is_asked_for() -> None:
    with served("ann:sesame@") as output:
        with pytest.raises(av.error.FFmpegError, match="401"):
            av.open(output.link, options=OPTIONS, timeout=20)
        with av.open(output.link.replace("//", "//ann:sesame@"), options=OPTIONS, timeout=20) as player:
            assert next(player.decode(video=0)).width == 160


@needs_server
def test_clients_that_stall_or_talk_nonsense_harm_nobody() -> None:
    with served() as output:
        port = int(output.link.rpartition(":")[2].partition("/")[0])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for connection in silent[:10]:
            with suppress(OSError):  # it may have been cut off
                connection.sendall(b"\x00\xff GARBAGE" * 1000)
        with av.open(output.link, options=OPTIONS, timeout=20) as player:
            assert len(list(itertools.islice(player.decode(video=0), 30))) == 30
        for connection in silent:
            connection.close()


def plays(output: RtspOutput, count: int = 10) -> bool:
    with av.open(output.link, options=OPTIONS, timeout=20) as player:
        return len(list(itertools.islice(player.decode(video=0), count))) == count


@needs_server
@pytest.mark.slow
def test_connections_without_a_session_are_bounded_and_end() -> None:
    with served() as output:
        assert plays(output)
        process = psutil.Process(output._process.pid)
        port = int(output.link.rpartition(":")[2].partition("/")[0])
        silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(300)]
        assert process.num_fds() < 150
        for connection in silent:
            with suppress(ConnectionError):
                assert connection.recv(1) == b""
            connection.close()
        assert plays(output)
        wait_until(lambda: process.num_fds() < 20)


@needs_server
@pytest.mark.slow
def test_a_player_is_not_cut_off_by_the_time_for_a_session() -> None:
    with served() as output:
        assert plays(output, 13 * 30)  # 13 s; connections without a session end after 10


@needs_server
def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MediaError, match=f"port {port} cannot be listened at: .*give another port"):
            RtspOutput(parse_listen_address(f"rtsp://127.0.0.1:{port}/out"), pytest.fail)


@needs_server
def test_a_server_that_dies_is_reported_once_and_ends_nothing() -> None:
    lines = list[str]()
    output = RtspOutput(parse_listen_address(f"rtsp://127.0.0.1:{free_port()}/out"), lines.append)
    output._process.kill()
    wait_until(lambda: bool(lines))
    output.publish(np.zeros((64, 64, 3), np.uint8))
    output.close()
    assert lines == [f"'{output.link}' is no longer served: GStreamer's RTSP server has ended"]


def test_without_gstreamers_server_the_message_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho \"error No module named 'gi'\"\n")
    python.chmod(0o755)
    with pytest.raises(MediaError, match=r"No module named 'gi'.*apt install python3-gi gir1.2-gst-rtsp-server-1.0"):
        RtspOutput(parse_listen_address("rtsp://127.0.0.1:8554/out"), pytest.fail, python=python)


def test_another_codec_than_h264_is_refused() -> None:
    with pytest.raises(MediaError, match="omit --output-codec"):
        RtspOutput(parse_listen_address("rtsp://127.0.0.1:8554/out"), pytest.fail, "mjpeg")


@needs_server
def test_closing_leaves_no_process() -> None:
    with served() as output:
        process = output._process
    started = time.monotonic()
    assert process.poll() is not None
    output.close()  # twice is fine
    assert time.monotonic() - started < 1
