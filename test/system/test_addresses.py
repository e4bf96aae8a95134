"""Passwords in addresses are not shown, however the address is written."""

from __future__ import annotations

import pytest

from ros2_actionnet.system.addresses import without_password, without_passwords


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://robot:secret@host:554/a", "rtsp://***@host:554/a"),
        ("rtsp://admin:s3cret@word@host/s", "rtsp://***@host/s"),
        ("rtsp://robot:se/cret@host:554/a", "rtsp://***@host:554/a"),
        ("rtsp://robot:12/34@host/", "rtsp://***@host/"),
        ("rtsp://robot:554/34@host", "rtsp://***@host"),
        ("rtsp://host:554/a@b", "rtsp://***@b"),  # cannot be told from the one before
        ("rtsp://robot:se?c#ret@host/a", "rtsp://***@host/a"),
        ("rtsp://robot:se cret@host/a", "rtsp://***@host/a"),
        ("rtsp://robot:se:cret@host/a", "rtsp://***@host/a"),
        ("rtsp://robot:sec%40ret@host/a", "rtsp://***@host/a"),
        ("rtsp://:secret@host/a?x=1", "rtsp://***@host/a?x=1"),
        ("rtsp://robot:secret@[fe80::1%25eth0]:554/a", "rtsp://***@[fe80::1%25eth0]:554/a"),
        ("https://secret@host/a", "https://***@host/a"),  # a token in the place of the name
        ("RTSP:/robot:secret@host/a", "RTSP:/***@host/a"),  # what pathlib makes of it
        ("rtsp:robot:secret@host/a", "rtsp:***@host/a"),
        ("robot:secret@host/a", "robot:***@host/a"),
        ("http://host/mjpg?user=robot&password=secret&x=1", "http://host/mjpg?user=robot&password=***&x=1"),
        ("rtsp://host/user=robot&PWD=secret&x=1", "rtsp://host/user=robot&PWD=***&x=1"),
        ("https://host/a.mp4?api_key=secret", "https://host/a.mp4?api_key=***"),
    ],
)
def test_nothing_of_a_password_is_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown
    assert without_passwords(f"cannot open '{address}': Timeout", address) == f"cannot open '{shown}': Timeout"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "rtsp://192.168.1.5:554/a@b",
        "rtsp://host/a@b",
        "rtsp://[::1]:554/a@b",
        "http://host/picture@2x.png?mail=a@b",
        "rtp://@:5000",
        "file:///home/me/a@b.mp4",
        "/home/me/a:b@c.mp4",
        "folder/a@b.mp4",
        "a@b.mp4",
        "2024-05-01T12:30:00.mp4",
        "/dev/video0",
    ],
)
def test_what_has_no_password_is_left_alone(address: str) -> None:
    assert without_password(address) == address
    assert without_passwords(f"no file {address}") == f"no file {address}"


def test_addresses_in_a_message_are_masked_without_knowing_them() -> None:
    text = "Invalid URL 'http://me:secret@host:x/a': see <https://key@other/b>, or http://third/c"
    assert without_passwords(text) == "Invalid URL 'http://***@host:x/a': see <https://***@other/b>, or http://third/c"


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:#s3cret@host/s",
        "rtsp://admin:?s3cret@host/s",
        "http://host/cgi?loginuse=a&loginpas=s3cret",
        "http://host/x?pw=s3cret",
        "http://host/x?Password%3Ds3cret",
        "http://host/x?credential=s3cret",
        "http://host/x?jwt=s3cret&bearer=s3cret",
        "rtsp://host/x?auth=abc&session=s3cret",
    ],
)
def test_no_secret_of_further_forms_is_shown(address: str) -> None:
    assert "s3cret" not in without_password(address)
    assert "host" in without_password(address)
    assert "s3cret" not in without_passwords(f"error opening '{address}': refused")
