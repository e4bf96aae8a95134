"""Files over HTTP from a server that does everything that servers and connections do."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ros2_actionnet.errors import LoadCancelled, NetworkError
from ros2_actionnet.networks import download as module
from ros2_actionnet.networks.download import ATTEMPTS, Progress, download
from support.archives import Server, send, serving
from support.monitors import Recorder

CONTENT = os.urandom(300_000)


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no proxy of the surroundings."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="server")
def server_fixture() -> Iterator[Server]:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture(name="file")
def file_fixture(tmp_path: Path) -> Path:
    return tmp_path / "file"


def get(url: str, file: Path, monitor: Recorder | None = None) -> None:
    download(url, file, Progress("net", monitor or Recorder()))


def refused(url: str, file: Path) -> str:
    with pytest.raises(NetworkError) as caught:
        get(url, file)
    return str(caught.value)


def test_a_file_arrives_whole(server: Server, file: Path) -> None:
    monitor = Recorder()
    get(f"{server.url}/a/b.gz", file, monitor)
    assert file.read_bytes() == CONTENT
    assert server.requests == [("/a/b.gz", "")]
    assert monitor.said[0].startswith("downloading net, 0")


def test_a_download_goes_on_where_the_connection_was_cut(server: Server, file: Path) -> None:
    monitor = Recorder()
    server.cut(100_000)
    server.cut(50_000)
    get(server.url, file, monitor)
    assert file.read_bytes() == CONTENT
    asked = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for _, asked in server.requests]
    # All but the last few thousand bytes before a cut.
    assert asked[0] == 0
    assert 90_000 < asked[1] <= 100_000
    assert 130_000 < asked[2] <= 150_000
    assert "127.0.0.1: the connection was cut; trying again (1 of 3)" in monitor.said


def test_a_cut_is_noticed_with_a_urllib3_that_does_not(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib3.response import HTTPResponse

    indifferent = property(lambda response: False, lambda response, value: None)
    monkeypatch.setattr(HTTPResponse, "enforce_content_length", indifferent, raising=False)
    server.cut(100_000)
    get(server.url, file)
    assert file.read_bytes() == CONTENT
    assert server.requests[1:] == [("/", "bytes=100000-")]


def test_a_connection_that_is_cut_again_and_again_may_take_its_time_as_long_as_something_comes(
    server: Server, file: Path
) -> None:
    for _ in range(3 * ATTEMPTS):
        server.cut(20_000)
    get(server.url, file)
    assert file.read_bytes() == CONTENT


def test_a_server_that_does_not_know_ranges_begins_anew(server: Server, file: Path) -> None:
    server.takes_ranges = False
    server.cut(100_000)
    get(server.url, file)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(server: Server, file: Path) -> None:
    server.takes_ranges = False
    for _ in range(20):
        server.cut(1000)
    assert f"the connection was cut (tried {ATTEMPTS} times)" in refused(server.url, file)
    assert len(server.requests) == ATTEMPTS


def test_a_part_that_was_left_is_gone_on_with(server: Server, file: Path) -> None:
    file.write_bytes(CONTENT[:200_000])
    get(server.url, file)
    assert file.read_bytes() == CONTENT
    assert server.requests == [("/", "bytes=200000-")]


def test_a_part_that_is_whole_already(server: Server, file: Path) -> None:
    file.write_bytes(CONTENT)
    get(server.url, file)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, file: Path) -> None:
    file.write_bytes(CONTENT + b"more")
    get(server.url, file)
    assert file.read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_not_taken(server: Server, file: Path) -> None:
    file.write_bytes(CONTENT[:1000])
    server.say(206, CONTENT[5:], {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"})
    get(server.url, file)
    assert file.read_bytes() == CONTENT


def test_a_gz_that_the_server_calls_compressed_stays_as_it_is(server: Server, file: Path) -> None:
    server.content = gzip.compress(b"content" * 1000)
    server.answers.append(lambda handler: server.serve(handler, headers={"Content-Encoding": "gzip"}))
    get(server.url, file)
    assert file.read_bytes() == server.content


def test_a_file_whose_length_is_not_said(server: Server, file: Path) -> None:
    def unsaid(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.answers.append(unsaid)
    get(server.url, file)
    assert file.read_bytes() == CONTENT


def test_redirects_are_followed_with_the_range(server: Server, file: Path) -> None:
    file.write_bytes(CONTENT[:1000])
    server.say(302, headers={"Location": "/elsewhere"})
    get(f"{server.url}/shared", file)
    assert file.read_bytes() == CONTENT
    assert server.requests == [("/shared", "bytes=1000-"), ("/elsewhere", "bytes=1000-")]


def test_redirects_in_a_circle(server: Server, file: Path) -> None:
    for _ in range(100):
        server.say(302, headers={"Location": "/"})
    assert "Exceeded 30 redirects" in refused(server.url, file)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_not_there_is_not_asked_for_twice(status: int, server: Server, file: Path) -> None:
    server.say(status)
    assert f"{server.url}: the server answers {status} " in refused(server.url, file)
    assert len(server.requests) == 1
    assert file.read_bytes() == b""


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(status: int, server: Server, file: Path) -> None:
    server.say(status, b"busy")
    server.say(status, b"busy")
    get(server.url, file)
    assert file.read_bytes() == CONTENT


def test_a_server_in_lasting_trouble_is_given_up(server: Server, file: Path) -> None:
    for _ in range(ATTEMPTS):
        server.say(503)
    assert f"the server answers 503 Service Unavailable (tried {ATTEMPTS} times)" in refused(server.url, file)


def test_no_connection(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert f"http://127.0.0.1:{port}/x: no connection (Connection refused)" in refused(
        f"http://127.0.0.1:{port}/x", file
    )


def test_a_host_that_does_not_exist(file: Path) -> None:
    # RFC 2606 keeps this domain from ever existing.
    assert "http://nowhere.invalid/x: no connection (" in refused("http://nowhere.invalid/x", file)


def test_a_server_that_falls_silent(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", (5.0, 0.2))
    over = threading.Event()

    def stall(handler: Any) -> None:
        server.serve(handler, cut_after=70_000)
        handler.wfile.flush()
        over.wait(20)

    server.answers.append(stall)
    monitor = Recorder()
    get(server.url, file, monitor)
    over.set()
    assert file.read_bytes() == CONTENT
    assert "127.0.0.1: nothing came for 0 s; trying again (1 of 3)" in monitor.said


@pytest.mark.parametrize("sent", [0, 70_000])
def test_a_download_is_cancelled_at_once_while_nothing_comes(sent: int, server: Server, file: Path) -> None:
    over, answering = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        if sent:
            server.serve(handler, cut_after=sent)
            handler.wfile.flush()
        answering.set()
        over.wait(20)
        handler.wfile.write(CONTENT[sent:])

    server.answers.append(stall)
    monitor = Recorder(until=lambda: answering.is_set() and (not sent or file.stat().st_size >= 65536))
    began = time.monotonic()
    with pytest.raises(LoadCancelled):
        get(server.url, file, monitor)
    assert time.monotonic() - began < 5
    # What comes after all is not written: somebody else may be at the file by now.
    size = file.stat().st_size
    over.set()
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(10)
            assert not thread.is_alive()
    assert file.stat().st_size == size


def test_a_pause_between_two_attempts_is_cancelled_at_once(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 60.0)
    server.say(500)
    monitor = Recorder()
    monitor.until = lambda: any("trying again" in what for what in monitor.said)
    with pytest.raises(LoadCancelled):
        get(server.url, file, monitor)


def test_progress_is_told_with_how_much_of_how_much(server: Server, file: Path) -> None:
    server.content = b"x" * 34_000_000
    seen = threading.Event()

    def halfway(handler: Any) -> None:
        send(handler, 200, server.content, server.content[:17_000_000])
        handler.wfile.flush()
        seen.wait(20)
        handler.wfile.write(server.content[17_000_000:])

    server.answers.append(halfway)
    monitor = Recorder()

    def watch() -> bool:
        if ("net", 17_000_000, 34_000_000) in monitor.received:
            seen.set()
        return False

    monitor.until = watch
    get(server.url, file, monitor)
    assert monitor.received[-1] == ("net", 34_000_000, 34_000_000)
    assert file.stat().st_size == 34_000_000


def test_the_bytes_received_are_reported(server: Server, file: Path) -> None:
    server.cut(100_000)
    monitor = Recorder()
    download(server.url, file, Progress("resnet-18", monitor))
    assert monitor.received[-1] == ("resnet-18", len(CONTENT), len(CONTENT))
    done = [state[1] for state in monitor.received]
    assert done == sorted(done)
    assert any("trying again (1 of 3)" in what for what in monitor.said)


def test_a_proxy_of_the_environment_is_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        get("http://networks.invalid/archive.gz", file)
        assert proxy.requests == [("http://networks.invalid/archive.gz", "")]
    assert file.read_bytes() == CONTENT
    file.unlink()
    assert (
        "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY) cannot be used (Connection refused)"
        in refused("http://networks.invalid/archive.gz", file)
    )


def test_a_file_that_is_no_network_by_its_size(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIZE", 100_000)
    assert "more than 0.1 MB, which is no network" in refused(server.url, file)
    assert file.read_bytes() == b"", "it was known before anything came"

    def unsaid(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.answers.append(unsaid)
    assert "more than 0.1 MB, which is no network" in refused(server.url, file)
    assert file.stat().st_size < 200_000


def test_a_disk_that_has_no_room_for_it(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200_000))
    message = refused(server.url, file)
    assert f"{file.parent} has no room for 0.3 MB: 0.2 MB are free" in message
    assert "ACTIONNET_NETWORKS" in message


def test_a_disk_that_is_full_is_the_systems_own_error(server: Server) -> None:
    with pytest.raises(OSError, match="No space left"):
        get(server.url, Path("/dev/full"))


def test_without_requests(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "requests", None)
    assert "apt install python3-requests" in refused(server.url, file)


def test_a_url_that_is_none(file: Path) -> None:
    assert "no connection (Invalid URL" in refused("http:///x", file)


def test_a_password_is_not_shown(file: Path) -> None:
    message = refused("http://me:secret@127.0.0.1:1/x", file)
    assert "http://***@127.0.0.1:1/x: no connection" in message
    assert "secret" not in message
    assert "secret" not in refused("http://me:secret@127.0.0.1:port/x", file)
