"""Addresses to listen at."""

from __future__ import annotations

import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.web.listening import ListenAddress, listens, parse_listen_address


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("webrtc://@:8554/out", ListenAddress("", 8554, "out")),
        ("webrtc://:8554/out/", ListenAddress("", 8554, "out")),
        ("WEBRTC://127.0.0.1:1/a.b-c_d", ListenAddress("127.0.0.1", 1, "a.b-c_d")),
        ("webrtc://[::1]:8554/out", ListenAddress("::1", 8554, "out")),
        ("rtsp://ann:p%40ss@:8554/out", ListenAddress("", 8554, "out", "ann", "p@ss")),
    ],
)
def test_an_address_is_parsed(uri: str, expected: ListenAddress) -> None:
    assert parse_listen_address(uri) == expected


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("webrtc://@/out", "webrtc://@:8554/actionnet"),
        ("webrtc://@:0/out", "webrtc://@:8554/actionnet"),
        ("webrtc://@:65536/out", "webrtc://@:8554/actionnet"),
        ("webrtc://@:http/out", "webrtc://@:8554/actionnet"),
        ("webrtc://@:8554", "webrtc://@:8554/actionnet"),
        ("webrtc://@:8554/static", "webrtc://@:8554/actionnet"),
        ("webrtc://@:8554/a/b", "webrtc://@:8554/actionnet"),
        ("rtsp://@:8554/<b>", "rtsp://@:8554/actionnet"),
        ("rtsp://ann@:8554/out", "rtsp://USER:PASSWORD@:8554/out"),
    ],
)
def test_an_address_without_port_or_name_is_refused_with_one_that_has_them(uri: str, remedy: str) -> None:
    with pytest.raises(MediaError) as caught:
        parse_listen_address(uri)
    assert remedy in str(caught.value)


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(MediaError) as caught:
        parse_listen_address("webrtc://ann:secret@:8554/<")
    assert "secret" not in str(caught.value) + repr(parse_listen_address("webrtc://ann:secret@:8554/out"))


@pytest.mark.parametrize("uri", ["rtsp://@:8554/out", "rtsp://@/out", "rtsp://ann:word@:8554/out"])
def test_an_at_sign_before_the_port_means_to_listen(uri: str) -> None:
    assert listens(uri)


@pytest.mark.parametrize("uri", ["rtsp://host/out", "rtsp://ann:word@host:8554/out", "rtsp://host/a@:8554"])
def test_a_host_means_to_connect(uri: str) -> None:
    assert not listens(uri)


def test_reach_says_who_can_open_it() -> None:
    assert ListenAddress("", 1, "out").reach == "reachable from every network of this machine, without a password"
    assert "127.0.0.1 alone" in ListenAddress("127.0.0.1", 1, "out").reach
    assert "'ann' and the password" in ListenAddress("", 1, "out", "ann", "secret").reach
