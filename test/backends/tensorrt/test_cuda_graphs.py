"""Inferences as CUDA graphs: the same scores, captured once for every start position, and cleaned up."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends.tensorrt.cuda import CudaContext, find_device
from ros2_actionnet.backends.tensorrt.cuda_graphs import load_graph_driver
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.errors import BackendError
from support.cuda_doubles import FakeCuda, FakeEngine, FakeTensorRT, ILogger, IProfiler, scores_of
from support.cuda_graph_double import FakeGraphDriver
from support.fakes import make_network

N = 4
LABELS = ("a", "b", "c")
SIZE = 16  # 768 bytes a frame, so that every window is read in place
Pixels = NDArray[np.uint8]


class Rig:
    """A session whose inferences are captured."""

    def __init__(self, max_batch: int = 1, size: int = SIZE, eager: float = 0.5, **plan: Any) -> None:
        self.cuda = FakeCuda(eager=eager)
        self.graphs = FakeGraphDriver(self.cuda)
        self.size = size
        engine = FakeEngine(N, size, size, len(LABELS), max_batch, **plan).serialize()
        tensorrt: Any = FakeTensorRT(self.cuda)
        self.session = TensorRTSession(
            make_network("tiny", LABELS, frames=N, size=size),
            CudaContext(self.cuda, find_device(self.cuda, "")),
            lambda: tensorrt.Runtime(ILogger()).deserialize_cuda_engine(engine),
            device="GPU 0 (Orin)",
            precision="fp16",
            max_batch=max_batch,
            graph_driver=self.graphs,
        )
        self._number = 0

    def new_frame(self, ring: DeviceRing, slot: int) -> Pixels:
        self._number += 1
        frame = np.random.default_rng(self._number).integers(0, 256, (self.size, self.size, 3), np.uint8)
        ring.write(slot, frame)
        return frame

    def run(self, rings: list[DeviceRing], turns: int) -> None:
        """Frames into all rings, turn after turn, and a batch of their windows, which must have the right scores."""
        frames: list[list[Pixels]] = [[self.new_frame(ring, slot) for slot in range(N)] for ring in rings]
        for turn in range(turns):
            for ring, seen in zip(rings, frames, strict=True):
                seen.append(self.new_frame(ring, turn % N))
            scores = self.session.infer([ring.window((turn + 1) % N) for ring in rings])
            expected = [scores_of(np.stack(seen[-N:]), len(LABELS)) for seen in frames]
            np.testing.assert_array_equal(scores, expected)

    def count(self, name: str) -> int:
        return self.cuda.names().count(name)

    def close(self) -> None:
        self.session.close()
        self.graphs.assert_clean()
        self.cuda.assert_clean()


@pytest.fixture(name="rig")
def rig_fixture() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_a_ring_has_n_start_positions_whose_graphs_serve_for_ever(rig: Rig) -> None:
    rig.run([rig.session.create_ring()], turns=5 * N)
    assert rig.count("cuGraphInstantiateWithFlags") == N
    assert rig.count("cuGraphLaunch") == 4 * N
    assert rig.count("execute_async_v3") == 2 * N  # the first of each position: once run and once captured
    assert not rig.graphs.graphs  # they are not needed any more


@pytest.mark.parametrize("size", [SIZE, 10])
def test_batches_are_copied_to_one_address_and_have_one_graph_a_size(size: int) -> None:
    rig = Rig(max_batch=3, size=size)
    rings = [rig.session.create_ring() for _ in range(3)]
    for count in (3, 2, 3, 2):
        rig.run(rings[:count], turns=2 * N)
    assert rig.count("cuGraphInstantiateWithFlags") == 2
    assert rig.count("cuGraphLaunch") == 4 * 2 * N - 2
    rig.close()


def test_sizes_in_turn_do_not_disturb_each_others_graphs() -> None:
    rig = Rig(max_batch=2)
    rings = [rig.session.create_ring() for _ in range(2)]
    for _ in range(6):
        rig.run(rings, turns=1)
        rig.run(rings[:1], turns=1)
    assert rig.count("cuGraphInstantiateWithFlags") == 2
    rig.close()


def test_what_cannot_be_captured_runs_without_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(captures=False)
    with caplog.at_level(logging.WARNING):
        rig.run([rig.session.create_ring()], turns=3 * N)
    assert [record.message for record in caplog.records] == [
        "inferences run without CUDA graphs, since they cannot be captured: TensorRT refused execute_async_v3; see "
        "TensorRT's own message in the log"
    ]
    assert rig.count("cuStreamBeginCapture_v2") == rig.count("cuStreamEndCapture") == 1
    rig.close()


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy"]
)
def test_a_capture_that_cuda_refuses_leaves_the_session_as_it_was(
    rig: Rig, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.graphs.fails = {function}
    with caplog.at_level(logging.WARNING):
        rig.run([rig.session.create_ring()], turns=2 * N)
    assert caplog.text.count("run without CUDA graphs") == 1
    assert f"{function} failed: " in caplog.text
    assert rig.count("cuStreamBeginCapture_v2") == 1


def test_a_launch_that_fails_is_a_failed_inference(rig: Rig) -> None:
    ring = rig.session.create_ring()
    rig.run([ring], turns=N)
    rig.graphs.fails = {"cuGraphLaunch"}
    with pytest.raises(BackendError, match="CUDA failed: cuGraphLaunch failed: invalid resource handle"):
        rig.session.infer([ring.window(0)])
    rig.graphs.fails = set()
    rig.run([ring], turns=N)


def test_layers_are_timed_without_graphs(rig: Rig) -> None:
    times: list[str] = []

    class Profiler(IProfiler):
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.append(layer_name)

    ring = rig.session.create_ring()
    rig.run([ring], turns=N)
    rig.session.report_layers(Profiler())
    rig.session.infer([ring.window(0)])
    assert times == ["conv1", "pool", "fc"]


def test_the_real_driver_has_all_that_its_double_has() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("there is no NVIDIA driver on this machine")
    driver = load_graph_driver()
    for name in vars(FakeGraphDriver):
        assert not name.startswith("cu") or getattr(driver, name).argtypes
