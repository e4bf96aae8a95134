"""The ring in the GPU's memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import HostRing
from ros2_actionnet.backends.tensorrt.cuda import CudaContext
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer

pytestmark = pytest.mark.gpu

N = 16
PUSHES = 100_000
Pixels = NDArray[np.uint8]


@dataclass
class Memory:
    """A context with what a ring of N frames needs, and a host array to read windows into."""

    cuda: CudaContext
    size: int

    def __post_init__(self) -> None:
        shape = (self.size, self.size, 3)
        with self.cuda.pushed():
            self.staging: Pixels = self.cuda.allocate_pinned(shape, np.uint8)
            self.address = self.cuda.allocate(2 * N * self.staging.nbytes)
            self._window: Pixels = self.cuda.allocate_pinned((N, *shape), np.uint8)
        self.ring = DeviceRing(self.cuda, self.address, self.staging, N)

    def pixels(self, address: int) -> Pixels:
        with self.cuda.pushed():
            self.cuda.copy_out(self._window, address)
            self.cuda.synchronize()
        return self._window


@pytest.fixture(name="cuda")
def cuda_fixture(gpu: Any) -> Iterator[CudaContext]:
    context: CudaContext = gpu.context()
    yield context
    context.close()


@pytest.mark.parametrize("size", [112, 100], ids=["aligned", "not aligned"])
def test_every_window_is_the_host_rings_over_a_thousand_random_pushes(cuda: CudaContext, size: int) -> None:
    memory, random = Memory(cuda, size), np.random.default_rng(size)
    ours, host = TemporalBuffer(memory.ring, 1, False), TemporalBuffer(HostRing(N, size, size), 1, False)
    compared = 0
    for _ in range(1000):
        frame = random.integers(0, 256, (size, size, 3), np.uint8)
        sample = Sample(int(random.integers(1, 6)) if random.random() < 0.1 else 1, restart=random.random() < 0.01)
        ours.push(frame, sample)
        host.push(frame, sample)
        frame[:] = 0  # the ring must have it by now
        if host.full:
            np.testing.assert_array_equal(memory.pixels(ours.take_window().address), host.take_window())
            compared += 1
    assert compared > 500


def test_what_a_frame_costs(cuda: CudaContext, measured: Any) -> None:
    memory = Memory(cuda, 112)
    frame = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    alone, together = [], []
    for turn in range(1000):
        started = time.perf_counter()
        memory.ring.write(turn % N, frame)
        together.append(time.perf_counter() - started)
        if turn % 2:  # else the next one waits for this one's copies
            with cuda.pushed():
                cuda.synchronize()
            alone.append(together.pop())
    mirror = memory.address + N * frame.nbytes
    with cuda.pushed():
        steps = [
            lambda: cuda.copy_in(memory.address, memory.staging),
            lambda: cuda.copy(mirror, memory.address, frame.nbytes),
        ]
        times = [cuda.time(steps) for _ in range(200)]
    measured("a frame into the ring, on the CPU", f"{1e6 * median(alone):.1f} us")
    measured("the same right after another frame", f"{1e6 * median(together):.1f} us")
    measured("its copy to the GPU (37,632 bytes)", f"{1e3 * median(t[0] for t in times):.1f} us")
    measured("its copy to the mirror", f"{1e3 * median(t[1] for t in times):.1f} us")


def test_a_hundred_thousand_frames_leave_no_memory_behind(gpu: Any, measured: Any) -> None:
    frame = np.zeros((112, 112, 3), np.uint8)
    gpu.context().close()
    free, resident = gpu.free_memory(), 0
    for round_ in range(10):  # with a context of its own each
        cuda: CudaContext = gpu.context()
        memory = Memory(cuda, 112)
        for turn in range(PUSHES // 10):
            memory.ring.write(turn % N, frame)
        cuda.close()
        if round_ == 2:  # the allocators have what they keep
            resident = resident_bytes()
    grown, lost = resident_bytes() - resident, free - gpu.free_memory()
    measured("memory lost over 100,000 frames and 10 contexts: host, GPU", f"{grown / 1e6:.2f}, {lost / 1e6:.2f} MB")
    assert grown < 5e6
    assert lost < 5e6 or gpu.is_integrated


def resident_bytes() -> int:
    """This process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
