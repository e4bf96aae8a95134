"""Who is let in: addresses, tokens, Host and Origin."""

from __future__ import annotations

import socket

import pytest

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.web.access import MOST_WRONG, Access, WrongTokens


@pytest.mark.parametrize(
    ("listen", "address", "port", "needs_token"),
    [
        ("127.0.0.1", "127.0.0.1", 8080, False),
        ("localhost:0", "localhost", 0, False),
        ("[::1]:9000", "::1", 9000, False),
        ("0.0.0.0", "0.0.0.0", 8080, True),
        ("[::]:81", "::", 81, True),
        ("robot.local:8081", "robot.local", 8081, True),
        ("192.168.1.5:8080", "192.168.1.5", 8080, True),
    ],
)
def test_other_machines_need_a_token(listen: str, address: str, port: int, needs_token: bool) -> None:
    access = Access.of(listen)
    assert (access.address, access.port, bool(access.token)) == (address, port, needs_token)
    if needs_token:
        assert len(access.token) >= 32
        assert access.token != Access.of(listen).token
        assert access.link(port).endswith(f":{port}/?token={access.token}")


@pytest.mark.parametrize("listen", ["", ":8080", "host:99999", "a b", "http://host", "::1", "host:", "[::1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match=r"is no address; give one such as 127\.0\.0\.1:8080"):
        Access.of(listen)


@pytest.mark.parametrize("token", ["short", "with space in it", "umlaut-äöü-äöü", "a/b?c=d&e"])
def test_a_token_that_can_be_guessed_or_does_not_fit_into_a_link_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="token is too easily guessed"):
        Access.of("0.0.0.0", token)


@pytest.mark.parametrize(
    ("listen", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "localhost:9999", True),  # through a tunnel
        ("127.0.0.1", "[::1]:8080", True),
        ("127.0.0.1", "evil.example:8080", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "192.168.1.5:8080", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("0.0.0.0", "192.168.1.5:8080", True),
        ("0.0.0.0", f"{socket.gethostname()}:8080", True),
        ("0.0.0.0", f"{socket.gethostname()}.local", True),
        ("0.0.0.0", "evil.example:8080", False),
        ("robot.lan:80", "Robot.lan", True),
    ],
)
def test_the_host_must_be_this_machine(listen: str, host: str, allowed: bool) -> None:
    assert Access.of(listen).allows_host(host) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("http://[", False),
    ],
)
def test_the_origin_must_be_the_page_itself(origin: str, allowed: bool) -> None:
    assert Access().allows_origin(origin, "127.0.0.1:8080") is allowed
    assert not Access().allows_origin("http://", "")


def test_only_the_token_is_the_token() -> None:
    access = Access(token="correct-horse")
    assert access.allows_token("correct-horse")
    for wrong in ("", "correct-hors", "correct-horsee", "Correct-horse", "\ud800", "ä"):
        assert not access.allows_token(wrong)
    assert Access().allows_token("")


def test_who_guesses_tokens_is_told_to_wait() -> None:
    now = 100.0
    wrong = WrongTokens(lambda: now)
    assert [wrong.note("10.0.0.1") for _ in range(MOST_WRONG)] == [0] * MOST_WRONG
    now += 20
    assert wrong.note("10.0.0.1") == 40
    assert wrong.note("10.0.0.2") == 0
    now += 39.5
    assert wrong.note("10.0.0.1") == 1
    now += 1
    assert wrong.note("10.0.0.1") == 0


def test_what_is_remembered_of_guesses_is_bounded() -> None:
    wrong = WrongTokens(lambda: 0.0)
    for number in range(5000):
        wrong.note(str(number))
    assert len(wrong._given) == 1024
