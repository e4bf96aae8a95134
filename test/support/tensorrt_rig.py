"""TensorRT as it would be found on a machine that has it, with doubles in place of the GPU; a test tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ros2_actionnet.backends.tensorrt import backend, engines, profile
from ros2_actionnet.backends.tensorrt.builder import EngineRequest, Gpu
from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.load_monitor import LoadMonitor
from support.cuda_doubles import FakeCuda, FakeEngine, FakeTensorRT
from support.cuda_graph_double import FakeGraphDriver


@dataclass
class TensorRTRig:
    """Doubles of CUDA and TensorRT, installed where the backend looks for them; engines need no building."""

    cuda: FakeCuda = field(default_factory=FakeCuda)
    version: str = "10.3.0.30"
    is_rtx: bool = False
    requests: list[tuple[EngineRequest, Gpu | None, EngineCache]] = field(default_factory=list)
    cannot_build: Exception | None = None
    layers: tuple[str, ...] = ("conv1", "pool", "fc")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tensorrt = TensorRT(FakeTensorRT(self.cuda), self.version, self.is_rtx)
        monkeypatch.setattr(backend, "load_driver", lambda: self.cuda)
        monkeypatch.setattr(backend, "load_graph_driver", lambda: FakeGraphDriver(self.cuda))
        monkeypatch.setattr(engines, "engine_for", self.engine_for)
        for module in (backend, profile):
            monkeypatch.setattr(module, "find_tensorrt", lambda: tensorrt)

    def engine_for(
        self,
        tensorrt: TensorRT,
        request: EngineRequest,
        gpu: Gpu | None,
        cache: EngineCache,
        monitor: LoadMonitor,
        deserialize: Callable[[bytes], Any],
    ) -> Any:
        """In place of `engines.engine_for`."""
        self.requests.append((request, gpu, cache))
        monitor.progress("building engine, 5 s so far")
        if self.cannot_build is not None:
            raise self.cannot_build
        network = request.network
        plan = FakeEngine(
            network.frames, network.height, network.width, network.num_classes, request.max_batch, layers=self.layers
        )
        return deserialize(plan.serialize())
