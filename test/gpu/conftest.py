"""Checks on a real GPU, which scripts/check-gpu runs; `support.gpu_report` writes the report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.backends.tensorrt.cuda import CudaContext, Driver, find_device, load_driver
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import NetworkRequest, NetworkSpec, PreparedNetwork, prepare, resolve

HERE = Path(__file__).parent

Measured = Callable[[str, str], None]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leaves this folder out of any run but that of scripts/check-gpu, which brings the folder's own pytest.ini."""
    return None if config.inipath == HERE / "pytest.ini" else True


@dataclass(frozen=True)
class Gpu:
    """The GPU that is checked."""

    driver: Driver
    device: Any  # pycuda's

    def context(self) -> CudaContext:
        """A new one; whoever takes it closes it."""
        return CudaContext(self.driver, self.device)

    @property
    def is_integrated(self) -> bool:
        """True if it shares its memory with the CPU: what is free there also depends on the page cache."""
        driver: Any = self.driver
        return bool(self.device.get_attribute(driver.device_attribute.INTEGRATED))

    def free_memory(self) -> int:
        """Bytes of device memory that nobody uses."""
        context = self.context()
        try:
            with context.pushed():
                free: int = self.driver.mem_get_info()[0]  # type: ignore[attr-defined]
        finally:
            context.close()
        return free


@pytest.fixture(name="gpu", scope="session")
def gpu_fixture() -> Gpu:
    try:
        driver = load_driver()
        return Gpu(driver, find_device(driver, ""))
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(name="backend", scope="session")
def backend_fixture(gpu: Gpu) -> TensorRTBackend:
    backend = TensorRTBackend()
    reason = backend.unavailable("")
    if reason is not None:
        pytest.skip(reason)
    return backend


@pytest.fixture(name="cache", scope="session")
def cache_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run keeps its engines: it builds each once, whatever the user's cache has."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(name="camera_motion", scope="session")
def camera_motion_fixture() -> PreparedNetwork:
    return prepare(resolve(NetworkRequest("camera_motion")))


@pytest.fixture(name="resnet18", scope="session")
def resnet18_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    """With random weights: its speed is that of the trained one."""
    folder = tmp_path_factory.mktemp("resnet18")
    program = HERE.parents[1] / "benchmarks" / "random_resnet.py"
    subprocess.run([sys.executable, str(program), str(folder)], check=True)
    model = folder / "random_resnet_18.onnx"
    return prepare(NetworkSpec("resnet-18, random", model, folder / "labels.txt"))


class Announcer:
    """A LoadMonitor that tells the person who waits."""

    def __init__(self, shown: Callable[[], Any]) -> None:
        self._shown = shown

    def progress(self, what: str) -> None:
        """Shows what is being done."""
        with self._shown():
            sys.stdout.write(f"\n  {what}\n")
            sys.stdout.flush()

    def downloaded(self, name: str, done: int, total: int) -> None:
        pass

    def cancelled(self) -> bool:
        """Never."""
        return False


@pytest.fixture(name="announcer")
def announcer_fixture(request: pytest.FixtureRequest) -> Announcer:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    return Announcer(nullcontext if capture is None else capture.global_and_fixture_disabled)


@pytest.fixture(name="measured")
def measured_fixture(request: pytest.FixtureRequest) -> Iterator[Measured]:
    """Takes what a check has measured, for the report: what it is, and the value with its unit."""

    def note(what: str, value: str) -> None:
        request.node.user_properties.append((what, value))

    yield note
