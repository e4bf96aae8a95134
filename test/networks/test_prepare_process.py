from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.errors import LoadCancelled, NetworkError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.networks.prepare_process import prepare_in_process
from support.networks import save_brightness_network


def test_it_is_the_same_network_as_prepared_here(tmp_path: Path) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    here = prepare(spec)
    with prepare_in_process(spec) as apart:
        assert apart.file is not None
        assert apart.file.read_bytes() == here.model
        assert (apart.spec, apart.labels, apart.max_batch) == (here.spec, here.labels, here.max_batch)
        assert apart.sha256 == here.sha256
        assert apart.model == b""


def files_in_memory() -> list[str]:
    """Those that this process has open."""
    files = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # other threads open and close theirs
            files.append(str(descriptor.readlink()))
    return [file for file in files if file.startswith("/memfd:")]


def test_a_backend_loads_it_and_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    with prepare_in_process(spec) as network:
        assert files_in_memory() == ["/memfd:model (deleted)"]
        session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    assert files_in_memory() == []
    window = session.create_ring().window(0)
    window[:] = 255
    assert session.infer([window])[0].argmax() == 1


def test_what_is_wrong_with_a_model_is_said_as_by_prepare(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path, ("dark", "bright"))
    model.write_bytes(model.read_bytes()[:200])
    spec = resolve(NetworkRequest(model=str(model)))
    with pytest.raises(NetworkError) as here:
        prepare(spec)
    with pytest.raises(NetworkError) as apart, prepare_in_process(spec):
        pass
    assert str(apart.value) == str(here.value)


def test_a_process_that_dies_is_an_error_that_names_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(NetworkError, match="prepares model ended with 1"), prepare_in_process(spec):
        pass


def test_ctrl_c_in_a_terminal_does_not_reach_it(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        "from ros2_actionnet.networks import NetworkRequest, resolve\n"
        "from ros2_actionnet.networks.prepare_process import prepare_in_process\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "with prepare_in_process(resolve(NetworkRequest(model=sys.argv[1]))) as network:\n"
        "    print(network.labels)\n"
    )
    command = [sys.executable, "-c", program, str(save_brightness_network(tmp_path, ("dark", "bright")))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        children = psutil.Process(process.pid).children
        while process.poll() is None and not any(
            "ros2_actionnet.networks.prepare_process" in c.cmdline() for c in children()
        ):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to all that run in it
        assert process.communicate() == ("('dark', 'bright')\n", "")


class Impatient:
    """A monitor that cancels once it has been asked a few times, as when another network is asked for meanwhile."""

    def __init__(self, patience: int) -> None:
        self.left = patience

    def progress(self, what: str) -> None:
        pass

    def downloaded(self, name: str, done: int, total: int) -> None:
        pass

    def cancelled(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_one_that_never_ends_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve(NetworkRequest(model=str(save_brightness_network(tmp_path, ("dark", "bright")))))
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\nexec sleep 100\n")
    stuck.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(stuck))
    with pytest.raises(LoadCancelled, match="loading model was cancelled"), prepare_in_process(spec, Impatient(3)):
        pass
    assert [child for child in psutil.Process().children() if "sleep" in child.name()] == []
