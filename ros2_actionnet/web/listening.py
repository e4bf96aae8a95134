"""Addresses to listen at, written as jetson-inference does: `webrtc://@:8554/NAME`."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ros2_actionnet.errors import MediaError
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.text import printable

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RESERVED = ("static", ".", "..")


@dataclass(frozen=True)
class ListenAddress:
    """An address to listen at.

    Attributes:
        host: Address or name of one network interface; "" for all of them.
        port: TCP port.
        name: Name of the stream, which is its path.
        user, password: Required from a client if there is a password.
    """

    host: str
    port: int
    name: str
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def shown_host(self) -> str:
        """Host for a link: an address of this machine if it listens on all interfaces."""
        host = self.host or _own_address()
        return f"[{host}]" if ":" in host else host

    @property
    def reach(self) -> str:
        """Who can open it, in words."""
        who = f"with user '{printable(self.user)}' and the password" if self.password else "without a password"
        if self.host:
            return f"reachable at {self.host} alone, {who}"
        return f"reachable from every network of this machine, {who}"


def listens(uri: str) -> bool:
    """Return True if `uri` is an address to listen at (`rtsp://@:8554/NAME`) rather than one to connect to."""
    authority = re.split("[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    return re.search(r"@(:\d*)?$", authority) is not None


def parse_listen_address(uri: str) -> ListenAddress:
    """Parse `scheme://[USER:PASSWORD]@[HOST]:PORT/NAME`. Raises MediaError if it has no valid port or name."""
    shown = printable(without_password(uri))
    scheme = uri.partition("://")[0].lower()
    parts = urlsplit(uri)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not port:
        raise MediaError(f"'{shown}' has no port from 1 to 65535; write for example {scheme}://@:8554/actionnet")
    name = parts.path.strip("/")
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise MediaError(
            f"'{shown}' needs a name of letters, digits, '_', '-' and '.' (not {', '.join(_RESERVED)}) for the stream; "
            f"write for example {scheme}://@:{port}/actionnet"
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user and not password:
        raise MediaError(f"'{shown}' has a user without a password; write {scheme}://USER:PASSWORD@:{port}/{name}")
    return ListenAddress(parts.hostname or "", port, name, user, password)


def _own_address() -> str:
    """Return the address of the network interface that leads out, or else the name of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; an address reserved for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
