"""Execution contexts: TensorRT for RTX keeps the kernels that it compiles, and TensorRT 8 says that it stops all."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.load_monitor import Unmonitored
from support import cuda_doubles
from support.cuda_doubles import CudaGraphStrategy, FakeCuda, IRuntimeCache, IRuntimeConfig
from support.fakes import make_network
from support.tensorrt_rig import TensorRTRig

ADA = ("NVIDIA GeForce RTX 4090", (8, 9))


class Monitor(Unmonitored):
    """Notes what is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def progress(self, what: str) -> None:
        self.words.append(what)


class TestRtx:
    @pytest.fixture(name="rig")
    def rig_fixture(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRTRig]:
        rig = TensorRTRig(FakeCuda([ADA]), "1.7.1.116", is_rtx=True)
        rig.install(monkeypatch)
        yield rig
        rig.cuda.assert_clean()

    @pytest.fixture(name="load")
    def load_fixture(self, rig: TensorRTRig, tmp_path: Path) -> Callable[..., None]:
        def load(**options: Any) -> None:
            TensorRTBackend().load(make_network("tiny"), LoadOptions(engine_cache=str(tmp_path), **options)).close()

        return load

    def test_kernels_are_compiled_once_and_kept_beside_the_engine(
        self, rig: TensorRTRig, load: Callable[..., None], tmp_path: Path
    ) -> None:
        load()
        (file,) = tmp_path.glob("*.runtime")
        assert file.read_bytes() == b"NVIDIA GeForce RTX 4090: kernels"
        assert "NVIDIA_GeForce_RTX_4090" in file.name
        written = file.stat().st_mtime_ns
        load()
        assert rig.cuda.names("compile") == ["compile"]
        assert file.stat().st_mtime_ns == written

    def test_those_of_another_driver_are_compiled_anew(
        self, rig: TensorRTRig, load: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        load()
        (file,) = tmp_path.glob("*.runtime")
        file.write_bytes(b"of the driver before")
        with caplog.at_level(logging.INFO):
            load()
        assert f"the kernels in {file} are for another GPU or driver, or damaged" in caplog.text
        assert file.read_bytes() == b"NVIDIA GeForce RTX 4090: kernels"

    def test_where_they_cannot_be_kept_the_engine_runs(
        self, rig: TensorRTRig, load: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        load()
        (file,) = tmp_path.glob("*.runtime")
        file.unlink()
        file.mkdir()  # in its place
        with caplog.at_level(logging.INFO):
            load()
        assert "the compiled kernels cannot be kept in" in caplog.text

    @pytest.mark.parametrize("call", ["create_runtime_config", "create_runtime_cache"])
    def test_without_what_keeps_them_the_engine_runs(
        self, rig: TensorRTRig, load: Callable[..., None], tmp_path: Path, call: str
    ) -> None:
        load()
        names = rig.cuda.names()
        rig.cuda.fail_at = len(names) + names.index(call) - 2  # the primary context and plugins are there
        load()
        assert rig.cuda.names("create_execution_context").count("create_execution_context") == 2

    def test_graphs_are_its_own(self, rig: TensorRTRig, load: Callable[..., None]) -> None:
        load()
        load(cuda_graphs=True)
        strategies = [config.cuda_graph_strategy for config in rig.cuda.runtime_configs]
        assert strategies == [CudaGraphStrategy.DISABLED, CudaGraphStrategy.WHOLE_GRAPH_CAPTURE]

    def test_the_double_has_nothing_that_the_real_one_does_not_have(self) -> None:
        trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 only")
        for double in (IRuntimeConfig, IRuntimeCache):
            real = set(dir(getattr(trt, double.__name__)))
            assert {name for name in vars(double) if not name.startswith("_")} <= real
        assert {strategy.name for strategy in CudaGraphStrategy} == set(trt.CudaGraphStrategy.__members__)
        assert hasattr(trt.ICudaEngine, "create_runtime_config")
        assert "runtime_config: " in trt.ICudaEngine.create_execution_context.__doc__


@pytest.mark.parametrize(("wanted", "launched"), [(False, 0), (True, 2)])
def test_graphs_of_tensorrt_itself_are_captured_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, wanted: bool, launched: int
) -> None:
    rig = TensorRTRig()
    rig.install(monkeypatch)
    session = TensorRTBackend().load(make_network("tiny"), LoadOptions(cuda_graphs=wanted))
    window = session.create_ring().window(0)
    for _ in range(3):
        session.infer([window])
    session.close()
    assert rig.cuda.names().count("cuGraphLaunch") == launched
    rig.cuda.assert_clean()


def hold_interpreter(seconds: float) -> None:
    """Sleep as a library that does not give the interpreter's lock free: PyDLL keeps it."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@pytest.mark.parametrize(("version", "is_told"), [("8.6.2.3", True), ("10.3.0.30", False)])
def test_a_start_that_stops_all_other_threads_is_announced(
    monkeypatch: pytest.MonkeyPatch, version: str, is_told: bool
) -> None:
    """TensorRT 8 holds the interpreter's lock; what other threads lose is as long as the call, and cannot be less."""
    rig = TensorRTRig(version=version)
    rig.install(monkeypatch)
    create, pause = cuda_doubles._create_execution_context, 0.3
    ticks: list[float] = []
    stop = threading.Event()

    def slow(*arguments: Any) -> Any:
        (hold_interpreter if version.startswith("8.") else time.sleep)(pause)
        return create(*arguments)

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.01)
        ticks.append(time.monotonic())

    monkeypatch.setattr(cuda_doubles, "_create_execution_context", slow)
    other, monitor = threading.Thread(target=tick), Monitor()
    other.start()
    try:
        TensorRTBackend().load(make_network("tiny"), monitor=monitor).close()
    finally:
        stop.set()
        other.join()
    gaps = [after - before for before, after in pairwise(ticks)]
    assert (max(gaps) >= 0.9 * pause) is is_told
    announced = [words for words in monitor.words if "lets nothing else in this process run" in words]
    assert bool(announced) is is_told
    rig.cuda.assert_clean()
