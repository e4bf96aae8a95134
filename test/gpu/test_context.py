"""pycuda's rules, with the real pycuda: no thread ends with a context pushed, and nothing is freed late."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends.tensorrt import cuda as cuda_module
from ros2_actionnet.backends.tensorrt.cuda import CudaContext
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing
from ros2_actionnet.errors import BackendError
from support import cuda_doubles

pytestmark = pytest.mark.gpu

# A process in which threads come and go with contexts, some with exceptions on their way. pycuda aborts it if one of
# them ends with a context pushed, and warns where something is freed without.
PROGRAM = """
import threading, warnings
from ros2_actionnet.backends.tensorrt.cuda import CudaContext, find_device, load_driver
driver = load_driver()
warnings.simplefilter("error")  # not before: what pycuda imports may warn
made = []
def make():
    cuda = CudaContext(driver, find_device(driver, ""))
    with cuda.pushed(), cuda.pushed():
        cuda.allocate(1 << 20)
    made.append(cuda)
def use():
    try:
        with made[-1].pushed():
            made[-1].allocate_pinned((1000,), "u1")
            raise ValueError
    except ValueError:
        pass
def close():
    made.pop().close()
for turn in range(20):
    for step in (make, use, close) if turn % 2 else (make, close):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
warnings.simplefilter("ignore")  # pycuda then tells that it cannot be freed any more
make()
print("ends with a context that nobody has closed")
"""


def test_threads_that_come_and_go_leave_nothing_pushed(gpu: Any) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# A process that ends as the node does, while a thread of it is inside CUDA.
ENDS_INSIDE = """
import os, threading, time
from ros2_actionnet.backends.tensorrt.cuda import CudaContext, find_device, load_driver
driver = load_driver()
cuda = CudaContext(driver, find_device(driver, ""))
inside = threading.Event()
def work():
    with cuda.pushed():
        size = 1 << 27
        memory = cuda.allocate(2 * size)
        while True:
            for _ in range(200):
                cuda.copy(memory, memory + size, size)
            inside.set()
            cuda.synchronize()
threading.Thread(target=work, daemon=True).start()
assert inside.wait(60)
time.sleep(0.5)
os._exit(0)
"""


def test_a_process_ends_cleanly_while_a_thread_is_inside_cuda(gpu: Any) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS_INSIDE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_waiting_for_the_gpu_leaves_the_core_to_others(gpu: Any, measured: Any) -> None:
    cuda: CudaContext = gpu.context()
    size = 1 << 27
    with cuda.pushed():
        memory = cuda.allocate(2 * size)
        started, used = time.perf_counter(), time.thread_time()
        for _ in range(10):
            for _ in range(50):
                cuda.copy(memory, memory + size, size)
            cuda.synchronize()
        elapsed, computed = time.perf_counter() - started, time.thread_time() - used
    cuda.close()
    measured("share of a core that waiting for the GPU takes", f"{100 * computed / elapsed:.0f} %")
    assert computed < 0.5 * elapsed


def test_two_threads_each_with_a_session_of_its_own(gpu: Any) -> None:
    """As a network that is being loaded beside the one that runs."""
    faults: list[BaseException] = []

    def live(seed: int) -> None:
        try:
            random = np.random.default_rng(seed)
            for _ in range(5):
                cuda: CudaContext = gpu.context()
                with cuda.pushed():
                    staging = cuda.allocate_pinned((64, 64, 3), np.uint8)
                    back = cuda.allocate_pinned((4, 64, 64, 3), np.uint8)
                    ring = DeviceRing(cuda, cuda.allocate(8 * staging.nbytes), staging, 4)
                frames = random.integers(0, 256, (200, 64, 64, 3), np.uint8)
                for number, frame in enumerate(frames):
                    ring.write(number % 4, frame)
                with cuda.pushed():
                    cuda.copy_out(back, ring.window(0).address)
                    cuda.synchronize()
                np.testing.assert_array_equal(back, frames[-4:])
                cuda.close()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=live, args=[seed]) for seed in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults, faults


def test_what_cuda_refuses_comes_as_our_error(gpu: Any) -> None:
    cuda: CudaContext = gpu.context()
    with pytest.raises(BackendError, match=r"CUDA failed: cuMemAlloc failed: .*memory"), cuda.pushed():
        cuda.allocate(1 << 46)
    cuda.close()
    with pytest.raises(BackendError, match="closed"), cuda.pushed():
        pass


def test_pycuda_has_all_that_its_double_has(gpu: Any) -> None:
    """So that what the tests without a GPU show is true here too."""
    double = cuda_doubles.FakeCuda()
    used = set(re.findall(r"\b_?driver\.([A-Za-z]\w*)", Path(cuda_module.__file__).read_text()))
    assert used > {"init", "mem_alloc", "pagelocked_empty", "memcpy_htod_async", "memcpy_dtoh_async", "Stream", "Event"}
    for name in used:
        assert hasattr(double, name), name
        assert hasattr(gpu.driver, name), name
    for kind, names in {
        "Device": ("count", "name", "compute_capability", "get_attribute", "retain_primary_context"),
        "device_attribute": [attribute.name for attribute in cuda_doubles.device_attribute],
        "Context": ("push", "pop"),
        "Stream": ("synchronize", "handle"),
        "Event": ("record", "query", "synchronize", "time_till"),
        "DeviceAllocation": ("free", "__int__"),
        "PagelockedHostAllocation": ("free",),
    }.items():
        for name in names:
            assert hasattr(getattr(gpu.driver, kind), name), f"{kind}.{name}"
    assert hash(gpu.driver.Device(0)) == hash(gpu.driver.Device(0))
    assert gpu.driver.Device(0) == gpu.driver.Device(0)
