from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.networks.apart import prepared_apart
from support.networks import save_brightness_network


def test_it_is_the_same_network_as_prepared_here(tmp_path: Path) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    here = prepare(spec)
    with prepared_apart(spec) as apart:
        assert apart.file is not None
        assert apart.file.read_bytes() == here.model
        assert (apart.spec, apart.labels, apart.max_batch) == (here.spec, here.labels, here.max_batch)
        assert apart.sha256 == here.sha256
        assert apart.model == b""


def test_a_backend_loads_it_and_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with prepared_apart(spec) as network:
        session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    window = session.create_ring().window(0)
    window[:] = 255
    assert session.infer([window])[0].argmax() == 1


def test_what_is_wrong_with_a_model_is_said_as_by_prepare(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path, ("dark", "bright"))
    model.write_bytes(model.read_bytes()[:200])
    spec = resolve(NetworkRequest(model=str(model)))
    with pytest.raises(NetworkError) as here:
        prepare(spec)
    with pytest.raises(NetworkError) as apart, prepared_apart(spec):
        pass
    assert str(apart.value) == str(here.value)


def test_a_process_that_dies_is_an_error_that_names_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(NetworkError, match="prepares model ended with 1"), prepared_apart(spec):
        pass
