"""Who may open the page: the address it listens on, its token, and the Host and Origin of a request."""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import secrets
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.system.text import printable

DEFAULT_PORT = 8080
SHORTEST_TOKEN = 8
"""Fewest characters of a token that is given; one that is made has 32."""

MOST_WRONG = 10
WRONG_WITHIN = 60.0
"""An address that has given MOST_WRONG wrong tokens in so many seconds is told to wait."""

_MOST_ADDRESSES = 1024  # that are remembered
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/@\s]+))(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Access:
    """The rules by which a request is let in.

    Attributes:
        address: Name or IP address to listen on.
        port: TCP port; 0 lets the system choose one.
        token: Secret that a viewer must know, "" if none is needed.
        names: Names of this machine under which the page may be opened, lower case.
    """

    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str = ""
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listen: str, token: str = "") -> Access:
        """Return the access to `listen`, ADDRESS or ADDRESS:PORT; a token is made where one is needed and none given.

        Raises SettingsError for an address that is none, and for a token that could be guessed.
        """
        match = _ADDRESS.fullmatch(listen)
        if match is None or int(match[3] or 0) > 65535:
            raise SettingsError(f"'{printable(listen)}' is no address; give one such as 127.0.0.1:{DEFAULT_PORT}")
        address, port = match[1] or match[2], int(match[3] or DEFAULT_PORT)
        if token and not (len(token) >= SHORTEST_TOKEN and re.fullmatch(r"[\w.~-]+", token, re.ASCII)):
            raise SettingsError(
                f"the token is too easily guessed or does not fit into a link; give at least {SHORTEST_TOKEN} letters, "
                "digits, or any of . _ ~ -, or none to have one made"
            )
        if not token and not is_loopback(address):
            token = secrets.token_urlsafe(24)
        name = socket.gethostname().lower()
        return cls(address, port, token, frozenset({name, f"{name}.local", address.lower()}))

    def link(self, port: int) -> str:
        """Return the link that opens the page, with the token; `port` is the one that is listened on."""
        host = _reachable(self.address)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port}/" + (f"?token={self.token}" if self.token else "")

    def allows_host(self, header: str) -> bool:
        """Return True if the Host header names this machine.

        Against DNS rebinding, by which a foreign page's name comes to point here: such a page has a name, never an
        address. On a loopback address only its own names are allowed. The port is free, as tunnels change it.
        """
        match = _ADDRESS.fullmatch(header)
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        if is_loopback(name):
            return True
        return not is_loopback(self.address) and (_is_ip(name) or name in self.names)

    def allows_origin(self, origin: str, host: str) -> bool:
        """Return True if the page that makes a request (its Origin header) was served under the same Host."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() != ""

    def allows_token(self, given: str) -> bool:
        """Return True if `given` is the token, or none is needed; takes the same time for all wrong ones."""
        return not self.token or hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


class WrongTokens:
    """Counts wrong tokens by the address that they came from, and says when an address has given too many.

    The right token is never refused for it: who knows it may share an address with who guesses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> int:
        """Note a wrong token; return the seconds after which another is looked at, 0 for at once."""
        now = self._clock()
        given = self._given.setdefault(address, deque(maxlen=MOST_WRONG))
        self._given.move_to_end(address)
        if len(self._given) > _MOST_ADDRESSES:
            self._given.popitem(last=False)
        if len(given) == MOST_WRONG and now - given[0] < WRONG_WITHIN:
            return math.ceil(given[0] + WRONG_WITHIN - now)
        given.append(now)
        return 0


def is_loopback(host: str) -> bool:
    """Return True if `host` can be reached from this machine alone."""
    return host.lower() == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reachable(address: str) -> str:
    """Return `address`, or, where that stands for all of this machine's, the one that others most likely reach."""
    if not _is_ip(address) or not ipaddress.ip_address(address).is_unspecified:
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only the route is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
