"""An encrypted connection to a real server, with certificates on both sides."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.errors import ServerError
from ros2_actionnet.networks import PreparedNetwork
from support.triton_server import TritonServer, export, why_no_server

pytestmark = [
    pytest.mark.skipif(bool(why_no_server()), reason=why_no_server()),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates: install openssl"),
]


@pytest.fixture(name="certificates", scope="module")
def certificates_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, server.pem, server.key, client.pem, client.key."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    openssl(*new, "/CN=authority", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(*new, f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.pem")
    return folder


@pytest.fixture(name="tls_server", scope="module")
def tls_server_fixture(
    network: PreparedNetwork, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("tls") / "repository"
    export(network, repository)
    server = TritonServer(repository, certificates=certificates)
    with server:
        yield server


def test_with_certificates_the_network_runs_and_without_them_it_does_not(
    network: PreparedNetwork, certificates: Path, tls_server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LoadOptions(tls_server.address, timeout=5.0)
    with pytest.raises(ServerError, match=f"{tls_server.address} (cannot be reached|answers)"):
        TritonBackend().load(network, options)
    monkeypatch.setenv("ACTIONNET_TRITON_CA", str(certificates / "ca.pem"))
    with pytest.raises(ServerError):
        TritonBackend().load(network, options)
    monkeypatch.setenv("ACTIONNET_TRITON_CERTIFICATE", str(certificates / "client.pem"))
    monkeypatch.setenv("ACTIONNET_TRITON_KEY", str(certificates / "client.key"))
    session = TritonBackend().load(network, options)
    ring = session.create_ring()
    assert int(session.infer([ring.window(0)]).argmax()) == 0
    session.close()
