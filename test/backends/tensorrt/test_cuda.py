"""pycuda's rules are kept: a context for every entry, popped on every path, and everything freed under it."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends.tensorrt.cuda import ALIGNMENT, CudaContext, find_device, hardware_of, load_driver
from ros2_actionnet.errors import BackendError
from support.cuda_doubles import FakeCuda


class _Raising:
    """An import that fails with any error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pycuda.driver":
            raise self._error


def make_context(driver: FakeCuda) -> CudaContext:
    return CudaContext(driver, find_device(driver, ""))


class TestContext:
    def test_what_is_copied_in_comes_out_again_after_the_stream_has_been_waited_for(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with cuda.pushed():
            here, there = cuda.allocate(8), cuda.allocate(8)
            source, target = cuda.allocate_pinned((2, 4), np.uint8), cuda.allocate_pinned((8,), np.uint8)
            source[:] = np.arange(8).reshape(2, 4)
            target[:] = 0
            cuda.copy_in(here, source)
            cuda.copy(there, here, 8)
            cuda.copy_out(target, there)
            assert target.tolist() == [0] * 8
            cuda.synchronize()
            assert target.tolist() == list(range(8))
        cuda.close()
        driver.assert_clean()

    def test_memory_is_aligned_as_tensorrt_wants_it(self) -> None:
        cuda = make_context(FakeCuda())
        with cuda.pushed():
            assert [cuda.allocate(size) % ALIGNMENT for size in (1, 255, 1000)] == [0, 0, 0]
        cuda.close()

    def test_the_stream_waits_for_nothing_else_in_the_process(self) -> None:
        driver = FakeCuda()  # which refuses any other stream, and the default one
        cuda = make_context(driver)
        assert driver.names("Stream") == ["Stream"]
        assert cuda.stream != 0
        cuda.close()

    def test_every_call_is_made_with_the_context_pushed_and_none_stays_pushed(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with cuda.pushed(), cuda.pushed():
            cuda.allocate(1)
        cuda.close()
        outside = ("Device", "retain_primary_context", "push")
        assert all(call.contexts > 0 for call in driver.calls if call.name not in outside)
        assert driver.names("push", "pop").count("push") == driver.names("push", "pop").count("pop")
        driver.assert_clean()

    def test_the_context_is_popped_when_the_block_raises(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with pytest.raises(ValueError, match="mine"), cuda.pushed():
            raise ValueError("mine")
        cuda.close()
        driver.assert_clean()

    def test_what_cuda_refuses_is_a_backend_error_that_keeps_its_cause(self) -> None:
        driver = FakeCuda()
        driver.memory_limit = 1000
        cuda = make_context(driver)
        said = "cuMemAlloc failed: out of memory; free memory on the GPU"
        with pytest.raises(BackendError, match=said) as caught, cuda.pushed():
            cuda.allocate(1001)
        assert isinstance(caught.value.__cause__, FakeCuda.MemoryError)
        cuda.close()
        driver.assert_clean()

    def test_the_primary_context_is_retained_once_for_all_sessions_on_a_gpu(self) -> None:
        driver = FakeCuda()
        first, second = make_context(driver), make_context(driver)
        first.close()
        make_context(driver).close()
        second.close()
        assert driver.names("retain_primary_context") == ["retain_primary_context"]
        driver.assert_clean()

    def test_a_context_made_in_one_thread_may_be_used_and_closed_in_another(self) -> None:
        driver = FakeCuda()
        made: list[CudaContext] = []
        loader = threading.Thread(target=lambda: made.append(make_context(driver)), name="loader")
        loader.start()
        loader.join()
        with made[0].pushed():
            made[0].allocate(10)
        made[0].close()
        driver.assert_clean()

    def test_everything_is_freed_once_the_stream_is_idle_and_in_the_opposite_order(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        told: list[str] = []
        with cuda.pushed():
            cuda.allocate(10)
            cuda.allocate_pinned((1,), np.uint8)
            cuda.on_close(lambda: told.append(driver.names()[-1]))
        cuda.close()
        assert driver.names()[-7:] == ["push", "record", "query", "sleep", "free_pinned", "free", "pop"]
        assert told == ["sleep"]
        driver.assert_clean()
        calls = len(driver.calls)
        cuda.close()
        assert len(driver.calls) == calls

    def test_once_closed_it_says_so_and_touches_nothing(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        cuda.close()
        calls = len(driver.calls)
        with pytest.raises(BackendError, match="after it had been closed"), cuda.pushed():
            raise AssertionError("entered")
        assert len(driver.calls) == calls

    def test_what_cannot_be_freed_is_told_and_all_else_is_freed(self, caplog: pytest.LogCaptureFixture) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with cuda.pushed():
            cuda.allocate(10)
            cuda.allocate_pinned((1,), np.uint8)
        driver.fail_at = len(driver.calls) + 4  # the first `free`
        with caplog.at_level(logging.WARNING):
            cuda.close()
        assert "could not all be freed: CUDA failed: free_pinned failed: injected" in caplog.text
        assert driver.names()[-3:] == ["free_pinned", "free", "pop"]
        assert driver.allocated == 0

    def test_a_context_that_cannot_be_pushed_to_free_is_told_and_tried_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        driver.fail_at = len(driver.calls)
        cuda.close()
        assert "push failed" in caplog.text
        cuda.close()
        driver.assert_clean()

    @pytest.mark.parametrize(("number", "call"), [(1, "push"), (2, "Stream"), (3, "Event")])
    def test_what_cannot_be_made_leaves_nothing_behind(self, number: int, call: str) -> None:
        driver = FakeCuda()
        device = find_device(driver, "")
        driver.fail_at = len(driver.calls) + number  # after retain_primary_context
        with pytest.raises(BackendError, match=f"{call} failed"):
            CudaContext(driver, device)
        driver.assert_clean()

    @pytest.mark.parametrize(("eager", "calls"), [(0.0, ["record", "query", "sleep"]), (1.0, ["record", "query"])])
    def test_waiting_leaves_the_core_to_others_and_is_left_out_where_nothing_is_to_be_waited_for(
        self, eager: float, calls: list[str]
    ) -> None:
        driver = FakeCuda(eager=eager)  # at 1, queued work is done at once
        cuda = make_context(driver)
        with cuda.pushed():
            memory = cuda.allocate(10)
            for _ in range(2):  # the same event, again and again
                made = len(driver.calls)
                cuda.copy(memory, memory + 5, 5)
                cuda.synchronize()
                assert driver.names()[made + 1 :] == calls
        cuda.close()
        assert "spin" not in driver.names()
        assert driver.names("Event") == ["Event"]
        driver.assert_clean()

    @pytest.mark.parametrize(
        ("words", "remedy"),
        [
            ("out of memory", "free memory on the GPU"),
            ("an illegal memory access was encountered", "restart it"),
            ("unspecified launch failure", "restart it"),
            ("misaligned address", "restart it"),
            ("the launch timed out and was terminated", "restart it"),
            ("invalid argument", ""),
        ],
    )
    def test_an_error_that_ends_all_work_in_the_process_says_what_helps(self, words: str, remedy: str) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with pytest.raises(BackendError) as caught, cuda.pushed():
            raise driver.LaunchError(f"cuEventSynchronize failed: {words}")
        cuda.close()
        said = f"CUDA failed: cuEventSynchronize failed: {words}"
        assert str(caught.value) == said if not remedy else remedy in str(caught.value)

    def test_the_time_of_each_step_on_the_device(self) -> None:
        driver = FakeCuda()
        cuda = make_context(driver)
        with cuda.pushed():
            memory = cuda.allocate(10)

            def once() -> None:
                cuda.copy(memory, memory + 5, 5)

            def twice() -> None:
                once()
                once()

            assert cuda.time([once, twice, once]) == [2, 3, 2]  # with the mark that ends it
            with pytest.raises(ZeroDivisionError):
                cuda.time([once, lambda: 1 // 0])
        cuda.close()
        driver.assert_clean()  # the events too


class TestDevice:
    GPUS = (("Orin", (8, 7)), ("RTX 4090", (8, 9)))

    @pytest.mark.parametrize(("device", "name"), [("", "Orin"), ("0", "Orin"), ("1", "RTX 4090")])
    def test_an_index_names_a_gpu_and_nothing_the_first(self, device: str, name: str) -> None:
        assert find_device(FakeCuda(self.GPUS), device).name() == name

    @pytest.mark.parametrize("device", ["CPU", "GPU", "GPU.1", "-1", "1.0", "²", "0x1"])
    def test_what_is_no_index_is_refused_with_the_remedy(self, device: str) -> None:
        with pytest.raises(BackendError, match=r"is not the index of a GPU.*leave device empty.*openvino") as caught:
            find_device(FakeCuda(self.GPUS), device)
        assert f"'{device}'" in str(caught.value)

    def test_an_index_that_no_gpu_has_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(BackendError, match=r"no GPU 2 here \(CUDA sees 0: Orin, 1: RTX 4090\)"):
            find_device(FakeCuda(self.GPUS), "2")

    def test_gpus_of_one_name_are_distinguished_by_their_hardware(self) -> None:
        nano, agx = FakeCuda(), FakeCuda()
        agx.attributes["Orin"] = {"MULTIPROCESSOR_COUNT": 16, "GLOBAL_MEMORY_BUS_WIDTH": 256, "L2_CACHE_SIZE": 4 << 20}
        assert hardware_of(nano, find_device(nano, "")) == (
            "8 multiprocessors, L2 2048 KiB, memory of 128 bits, integrated"
        )
        assert hardware_of(agx, find_device(agx, "")) == (
            "16 multiprocessors, L2 4096 KiB, memory of 256 bits, integrated"
        )
        agx.attributes["Orin"]["INTEGRATED"] = 0
        assert hardware_of(agx, find_device(agx, "")).endswith(", discrete")
        agx.fail_at = len(agx.calls) + 1
        device = agx.Device(0)
        with pytest.raises(BackendError, match="get_attribute failed"):
            hardware_of(agx, device)


class TestDriver:
    """Each missing thing has a message of its own, with what to install."""

    @pytest.fixture(autouse=True)
    def everything_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver: Any = FakeCuda()
        package, module = ModuleType("pycuda"), self.driver
        package.__path__ = []
        package.driver = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", module)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(ctypes, "CDLL", lambda name: object())

    def test_where_all_is_there_it_is_initialized_and_has_no_context(self) -> None:
        loaded: Any = load_driver()
        assert loaded is self.driver
        assert self.driver.names() == ["init"]

    def test_no_nvidia_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> None:
            raise OSError(f"{name}: cannot open shared object file")

        monkeypatch.setattr(ctypes, "CDLL", missing)
        with pytest.raises(BackendError, match=r"no NVIDIA driver here \(libcuda.so.1\).*JetPack.*--gpus all"):
            load_driver()

    def test_no_pycuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(BackendError, match=r"pycuda is not installed.*Jetson.*PC.*pip install pycuda"):
            load_driver()

    @pytest.mark.parametrize(
        "error",
        [
            ImportError("libcurand.so.11: cannot open shared object file"),
            AttributeError("_ARRAY_API not found"),
            RuntimeError("module compiled against ABI version 0x1000009"),
            SystemError("initialization of _driver failed"),
        ],
    )
    def test_whatever_its_import_raises_is_our_error(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        package = ModuleType("pycuda")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.delitem(sys.modules, "pycuda.driver")
        monkeypatch.setattr(sys, "meta_path", [_Raising(error), *sys.meta_path])
        with pytest.raises(BackendError, match=r"pycuda cannot be imported: .*build it again") as caught:
            load_driver()
        assert str(error) in str(caught.value)

    def test_kernels_are_loaded_when_they_are_used_unless_the_user_says_otherwise(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str | None] = []
        monkeypatch.setattr(self.driver, "init", lambda: seen.append(os.environ.get("CUDA_MODULE_LOADING")))
        monkeypatch.setenv("CUDA_MODULE_LOADING", "EAGER")
        load_driver()
        monkeypatch.delenv("CUDA_MODULE_LOADING")
        load_driver()
        assert seen == ["EAGER", "LAZY"]

    def test_a_pycuda_that_cannot_be_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
        monkeypatch.delattr(sys.modules["pycuda"], "driver")
        with pytest.raises(BackendError, match=r"pycuda cannot be imported: .*build it again"):
            load_driver()

    def test_no_gpu(self) -> None:
        self.driver.gpus.clear()
        with pytest.raises(BackendError, match=r"cannot use any GPU here: cuInit failed: no CUDA-capable") as caught:
            load_driver()
        for remedy in ("nvidia-smi", "usermod -aG video,render", "--gpus all", "--group-add video"):
            assert remedy in str(caught.value)

    def test_here_where_there_is_no_driver_the_real_one_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            with pytest.raises(BackendError, match="no NVIDIA driver"):
                load_driver()
        else:
            pytest.skip("there is an NVIDIA driver on this machine")
