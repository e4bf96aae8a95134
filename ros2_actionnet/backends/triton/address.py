"""Where a served model is: `HOST:PORT[/MODEL]`, and the certificates of an encrypted connection."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ros2_actionnet.errors import BackendError
from ros2_actionnet.system.text import printable

TLS_VARIABLE = "ACTIONNET_TRITON_TLS"
_FILE_VARIABLES = {
    "ca": "ACTIONNET_TRITON_CA",
    "certificate": "ACTIONNET_TRITON_CERTIFICATE",
    "key": "ACTIONNET_TRITON_KEY",
}
_PATTERN = re.compile(r"(?P<host>\[[0-9A-Za-z:.%]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})(?:/(?P<model>[^\s/]+))?")


@dataclass(frozen=True)
class Address:
    """A served model.

    Attributes:
        server: HOST:PORT of the server's gRPC.
        model: Name of the model; "" is the name of the network.
    """

    server: str
    model: str = ""

    @classmethod
    def parse(cls, device: str) -> Address:
        """Return the address in the setting `device`; raise BackendError if it is none."""
        match = _PATTERN.fullmatch(device)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise BackendError(
                f"device '{printable(device)}' is no address of a Triton server; set device to HOST:PORT or "
                "HOST:PORT/MODEL, with the port of its gRPC, such as fleet-server:8001"
            )
        return cls(f"{match['host']}:{match['port']}", match["model"] or "")


@dataclass(frozen=True)
class Tls:
    """Files of an encrypted connection, all in PEM; None: the system's authorities, and no certificate of our own."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Tls | None:
        """Return what the environment says; None for a connection that is not encrypted.

        Raises BackendError for a file that does not exist, and for a certificate without its key.
        """
        files = {field: environment.get(variable) or None for field, variable in _FILE_VARIABLES.items()}
        for field, path in files.items():
            if path is not None and not Path(path).is_file():
                raise BackendError(
                    f"{_FILE_VARIABLES[field]} names {printable(path)}, which is no file; set it to a file in PEM"
                )
        if (files["certificate"] is None) != (files["key"] is None):
            names = " and ".join(_FILE_VARIABLES[field] for field in ("certificate", "key"))
            raise BackendError(f"only one of {names} is set; set both, or neither")
        if not any(files.values()) and environment.get(TLS_VARIABLE, "0") in ("", "0"):
            return None
        return cls(**files)
