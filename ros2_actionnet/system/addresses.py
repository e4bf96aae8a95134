"""Display of addresses that may contain a password."""

from __future__ import annotations

import re

_MASK = "***"
# No user name and password, of which `user:12` may be the beginning: `rtsp://user:12/34@host/`.
_HOST_AND_PORT = re.compile(r"(\[[^\]@]*\]|(?:\d{1,3}\.){3}\d{1,3})(:\d*)?|[^@:]*")
_ADDRESS_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]*:/+[^\s'\"<>]+")
# `?token=x`, and the `/user=admin&password=x` of many cameras.
_SECRET_PARAMETER = re.compile(
    r"(?i)(?<![\w-])([\w-]*(?:pass?|pwd|psw|pw|token|secret|key|auth|sig|cred|jwt|bearer|session)[\w-]*(?:=|%3d))[^&#\s'\"]+"
)


def without_password(address: str) -> str:
    """Return a URL with user name, password and secret parameters masked, for display: `rtsp://***@host/stream`.

    Any text is accepted, also one that is no valid URL. The user information ends at the last "@", since nobody encodes
    the special characters of a password; an "@" in the path is left alone if a host without a port, or a numerical one,
    comes before it.
    """
    match = re.match(r"([A-Za-z][\w+.-]*:)?/*", address)
    assert match is not None, "everything in the pattern is optional"
    rest = address[match.end() :]
    information, _, place = rest.rpartition("@")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if information and match[1] and not _HOST_AND_PORT.fullmatch(authority):
        address = f"{match[0]}{_MASK}@{place}"
    return _SECRET_PARAMETER.sub(rf"\1{_MASK}", address)


def without_passwords(text: str, address: str = "") -> str:
    """Return a message of a library with the passwords masked in `address` and all other addresses that it repeats."""
    if address:
        text = text.replace(address, without_password(address))
    return _SECRET_PARAMETER.sub(rf"\1{_MASK}", _ADDRESS_IN_TEXT.sub(lambda found: without_password(found[0]), text))
