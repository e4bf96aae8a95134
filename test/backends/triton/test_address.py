"""Addresses of served models, and the files of encrypted connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.backends import choose_backend
from ros2_actionnet.backends.triton.address import Address, Tls
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.errors import BackendError


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("fleet:8001", Address("fleet:8001")),
        ("fleet.local:8001/gestures", Address("fleet.local:8001", "gestures")),
        ("10.0.0.7:9/m-1_b.2", Address("10.0.0.7:9", "m-1_b.2")),
        ("[fe80::1%eth0]:8001/m", Address("[fe80::1%eth0]:8001", "m")),
    ],
)
def test_an_address_is_a_host_and_a_port_and_perhaps_a_model(device: str, expected: Address) -> None:
    assert Address.parse(device) == expected


@pytest.mark.parametrize(
    "device",
    ["", "fleet", ":8001", "fleet:", "fleet:0", "fleet:65536", "fleet:8001/", "fleet:8001/a/b", "http://fleet:8001"],
)
def test_anything_else_is_refused_with_what_to_type(device: str) -> None:
    with pytest.raises(BackendError, match="set device to HOST:PORT or HOST:PORT/MODEL"):
        Address.parse(device)


class TestTls:
    def test_nothing_is_encrypted_unless_the_environment_says_so(self) -> None:
        assert Tls.from_environment({}) is None
        assert Tls.from_environment({"ACTIONNET_TRITON_TLS": "0"}) is None
        assert Tls.from_environment({"ACTIONNET_TRITON_TLS": "1"}) == Tls()

    def test_files(self, tmp_path: Path) -> None:
        file = tmp_path / "any.pem"
        file.write_text("")
        assert Tls.from_environment({"ACTIONNET_TRITON_CA": str(file)}) == Tls(ca=str(file))
        with pytest.raises(BackendError, match="only one of ACTIONNET_TRITON_CERTIFICATE and ACTIONNET_TRITON_KEY"):
            Tls.from_environment({"ACTIONNET_TRITON_KEY": str(file)})
        with pytest.raises(BackendError, match="ACTIONNET_TRITON_CA names /nowhere, which is no file"):
            Tls.from_environment({"ACTIONNET_TRITON_CA": "/nowhere"})


def test_auto_never_chooses_a_server() -> None:
    assert choose_backend("auto", "").backend.name != "triton"
    with pytest.raises(BackendError) as caught:
        choose_backend("auto", "127.0.0.1:8001")
    assert "triton" not in str(caught.value).replace("tritonclient", "")


def test_a_wrong_address_is_refused_before_anything_is_loaded() -> None:
    pytest.importorskip("tritonclient")
    assert TritonBackend().unavailable("127.0.0.1:8001") is None
    with pytest.raises(BackendError, match="device 'CPU' is no address"):
        choose_backend("triton", "CPU")
