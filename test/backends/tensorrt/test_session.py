"""A session on doubles of CUDA and TensorRT: the scores are of the right pixels, and every path leaves things clean."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends.tensorrt.cuda import CudaContext, find_device
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.errors import BackendError
from support.cuda_doubles import (
    DataType,
    FakeCuda,
    FakeEngine,
    FakeTensorRT,
    ICudaEngine,
    IExecutionContext,
    ILogger,
    IProfiler,
    Runtime,
    scores_of,
)
from support.fakes import make_network

N = 4
LABELS = ("a", "b", "c")
ALIGNED = 16  # 16 x 16 x 3 = 768 = 3 x 256 bytes
UNALIGNED = 10
Pixels = NDArray[np.uint8]


class Rig:
    """A session whose engine takes up to `max_batch` windows of N frames of `size` x `size` pixels."""

    def __init__(self, size: int = ALIGNED, max_batch: int = 1, *, eager: float = 0.0, **plan: Any) -> None:
        self.driver = FakeCuda(eager=eager)
        self.error = ""  # TensorRT's own words
        self.size, self.max_batch = size, max_batch
        described: dict[str, Any] = {"classes": len(LABELS), "max_batch": max_batch, **plan}
        self.engine = FakeEngine(N, size, size, **described).serialize()

    def open(self) -> TensorRTSession:
        return TensorRTSession(
            make_network("tiny", LABELS, frames=N, size=self.size),
            CudaContext(self.driver, find_device(self.driver, "")),
            self._make_engine,
            device="GPU 0 (Orin)",
            precision="fp16",
            max_batch=self.max_batch,
            take_error=lambda: self.error,
        )

    def _make_engine(self) -> Any:
        tensorrt: Any = FakeTensorRT(self.driver)
        engine = tensorrt.Runtime(None).deserialize_cuda_engine(self.engine)
        if engine is None:
            raise BackendError("no engine")
        return engine

    def frames(self, seed: int) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, (N, self.size, self.size, 3), np.uint8)

    def filled(self, session: TensorRTSession, seed: int, first: int = 0) -> DeviceRing:
        """A ring whose window from slot `first` on is `frames(seed)`."""
        ring = session.create_ring()
        for position, frame in enumerate(self.frames(seed)):
            ring.write((first + position) % N, frame)
        return ring

    def expected(self, *seeds: int) -> NDArray[np.float32]:
        return np.stack([scores_of(self.frames(seed), len(LABELS)) for seed in seeds])


MakeRig = Callable[..., Rig]


@pytest.fixture(name="make_rig")
def make_rig_fixture() -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(*arguments: Any, **keywords: Any) -> Rig:
        rigs.append(Rig(*arguments, **keywords))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.driver.assert_clean()


@pytest.mark.parametrize("eager", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [ALIGNED, UNALIGNED])
@pytest.mark.parametrize("max_batch", [1, 4])
def test_the_scores_are_those_of_the_window_wherever_it_begins(
    make_rig: MakeRig, size: int, max_batch: int, eager: float
) -> None:
    rig = make_rig(size, max_batch, eager=eager)
    session = rig.open()
    for first in range(N):
        ring = rig.filled(session, seed=first, first=first)
        np.testing.assert_array_equal(session.infer([ring.window(first)]), rig.expected(first))
    session.close()


class TestWhatMoves:
    def test_an_aligned_window_is_read_where_it_lies_and_only_scores_come_back(self, make_rig: MakeRig) -> None:
        rig = make_rig(ALIGNED)
        session = rig.open()
        ring = rig.filled(session, 1)
        before, calls = dict(rig.driver.moved), len(rig.driver.calls)
        session.infer([ring.window(0)])
        assert rig.driver.moved == {**before, "device to host": 3 * 4}
        session.infer([ring.window(1)])
        assert [call.name for call in rig.driver.calls[calls:]] == [
            *("push", "set_input_shape", "set_tensor_address", "execute_async_v3", "memcpy_dtoh_async"),
            *("record", "query", "sleep", "pop"),
            # The shape is what it was.
            *("push", "set_tensor_address", "execute_async_v3", "memcpy_dtoh_async"),
            *("record", "query", "sleep", "pop"),
        ]
        session.close()

    def test_a_window_that_is_not_aligned_is_copied_once_within_the_device(self, make_rig: MakeRig) -> None:
        rig = make_rig(UNALIGNED)
        session = rig.open()
        ring = rig.filled(session, 1, first=1)
        for first, copied in ((0, 0), (1, N * 10 * 10 * 3)):  # a ring begins at an aligned address
            before = dict(rig.driver.moved)
            session.infer([ring.window(first)])
            within = before["within the device"] + copied
            assert rig.driver.moved["within the device"] == within
            assert rig.driver.moved["host to device"] == before["host to device"]
        session.close()

    def test_an_input_of_its_own_is_only_there_where_it_is_needed(self, make_rig: MakeRig) -> None:
        window = N * ALIGNED * ALIGNED * 3
        held = []
        for max_batch in (1, 2):
            rig = make_rig(ALIGNED, max_batch)
            session = rig.open()
            held.append(rig.driver.allocated)
            session.close()
        scores = 3 * 4
        assert held == [scores, 2 * scores + 2 * window]


class TestSeveralRings:
    def test_their_windows_are_inferred_in_one_go(self, make_rig: MakeRig) -> None:
        rig = make_rig(ALIGNED, max_batch=4)
        session = rig.open()
        rings = [rig.filled(session, seed, first=seed % N) for seed in range(3)]
        calls = len(rig.driver.calls)
        scores = session.infer([ring.window(seed % N) for seed, ring in enumerate(rings)])
        np.testing.assert_array_equal(scores, rig.expected(0, 1, 2))
        names = [call.name for call in rig.driver.calls[calls:]]
        assert (names.count("memcpy_dtod_async"), names.count("execute_async_v3"), names.count("push")) == (3, 1, 1)
        session.close()

    @pytest.mark.parametrize("size", [ALIGNED, UNALIGNED])
    def test_more_windows_than_the_engine_takes_go_in_chunks(self, make_rig: MakeRig, size: int) -> None:
        rig = make_rig(size, max_batch=2)
        session = rig.open()
        rings = [rig.filled(session, seed) for seed in range(5)]
        scores = session.infer([ring.window(0) for ring in rings])
        np.testing.assert_array_equal(scores, rig.expected(*range(5)))
        assert len(rig.driver.names("execute_async_v3")) == 3
        session.close()

    def test_a_batch_then_one_window_then_a_batch(self, make_rig: MakeRig) -> None:
        rig = make_rig(ALIGNED, max_batch=3)
        session = rig.open()
        rings = [rig.filled(session, seed) for seed in range(3)]
        for seeds in ([0, 1, 2], [1], [2, 0], [0]):
            scores = session.infer([rings[seed].window(0) for seed in seeds])
            np.testing.assert_array_equal(scores, rig.expected(*seeds))
        session.close()

    def test_a_ring_that_nobody_holds_gives_its_memory_to_the_next(self, make_rig: MakeRig) -> None:
        rig = make_rig()
        session = rig.open()
        session.create_ring()
        gc.collect()
        held = rig.driver.allocated
        for _ in range(5):
            rig.filled(session, 1)
        assert rig.driver.allocated == held
        window = rig.filled(session, 2).window(0)  # holds its ring
        another = rig.filled(session, 3)
        assert rig.driver.allocated > held
        np.testing.assert_array_equal(session.infer([window]), rig.expected(2))
        np.testing.assert_array_equal(session.infer([another.window(0)]), rig.expected(3))
        session.close()


class TestRefusals:
    def test_scores_of_an_earlier_window_do_not_change_under_the_next(self, make_rig: MakeRig) -> None:
        rig = make_rig()
        session = rig.open()
        first = session.infer([rig.filled(session, 1).window(0)])
        session.infer([rig.filled(session, 2).window(0)])
        session.close()
        np.testing.assert_array_equal(first, rig.expected(1))

    def test_an_engine_with_another_signature_is_named_with_what_it_has(self, make_rig: MakeRig) -> None:
        rig = make_rig(tensors={"frames": "FLOAT", "scores": "HALF"})
        said = r"tiny takes and gives .*'frames': 'FLOAT'.*not .*'UINT8'.*engine cache"
        with pytest.raises(BackendError, match=said):
            rig.open()

    @pytest.mark.parametrize("classes", [len(LABELS) - 1, 2 * len(LABELS)])
    def test_an_engine_of_another_number_of_classes_is_named_with_both(self, make_rig: MakeRig, classes: int) -> None:
        rig = make_rig(classes=classes)
        said = rf"tiny gives {classes} scores a window, but its label file has {len(LABELS)} labels"
        with pytest.raises(BackendError, match=said):
            rig.open()

    def test_a_network_that_does_not_fit_into_the_memory_says_what_to_do(self, make_rig: MakeRig) -> None:
        rig = make_rig(max_batch=4)
        rig.driver.memory_limit = 1000
        with pytest.raises(BackendError, match="out of memory; free memory on the GPU, or take a smaller network"):
            rig.open()

    def test_used_after_it_was_closed_it_says_so(self, make_rig: MakeRig) -> None:
        rig = make_rig()
        session = rig.open()
        ring = rig.filled(session, 1)
        window = ring.window(0)
        session.close()
        session.close()
        for use in (
            lambda: session.infer([window]),
            lambda: ring.write(0, rig.frames(1)[0]),
            lambda: ring.repeat(0, 1),
            session.create_ring,
        ):
            with pytest.raises(BackendError, match="after it had been closed"):
                use()

    @pytest.mark.parametrize(
        ("number", "call"), [(1, "set_input_shape"), (2, "set_tensor_address"), (3, "execute_async_v3")]
    )
    def test_an_answer_of_false_is_an_error_that_names_the_call(
        self, make_rig: MakeRig, number: int, call: str
    ) -> None:
        rig = make_rig()
        session = rig.open()
        ring = rig.filled(session, 1)
        rig.driver.fail_at = len(rig.driver.calls) + number  # after the context has been pushed
        with pytest.raises(BackendError, match=f"TensorRT refused {call}"):
            session.infer([ring.window(0)])
        np.testing.assert_array_equal(session.infer([ring.window(0)]), rig.expected(1))
        session.close()


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", "refused execute_async_v3; see TensorRT's own message in the log"),
        ("Error Code 3: out of range", "refused execute_async_v3: Error Code 3: out of range"),
        ("Cuda Runtime (an illegal memory access was encountered)", "encountered); CUDA does nothing more in this"),
    ],
)
def test_tensorrts_own_reason_and_what_helps_are_in_the_error(make_rig: MakeRig, reason: str, said: str) -> None:
    rig = make_rig()
    session = rig.open()
    window = rig.filled(session, 1).window(0)
    rig.error = reason
    rig.driver.fail_at = len(rig.driver.calls) + 3
    with pytest.raises(BackendError) as caught:
        session.infer([window])
    assert said in str(caught.value)
    session.close()


def test_after_a_shape_that_was_refused_the_one_before_is_set_anew(make_rig: MakeRig) -> None:
    rig = make_rig(max_batch=2)
    session = rig.open()
    windows = [rig.filled(session, seed).window(0) for seed in (1, 2)]
    session.infer(windows)
    rig.driver.fail_at = len(rig.driver.calls) + 1
    with pytest.raises(BackendError, match="refused set_input_shape"):
        session.infer(windows[:1])
    np.testing.assert_array_equal(session.infer(windows), rig.expected(1, 2))
    session.close()


def test_the_double_has_nothing_that_tensorrt_does_not_have() -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 only")
    for double in (ICudaEngine, IExecutionContext, IProfiler, ILogger, Runtime):
        real = getattr(trt, double.__name__)
        assert {name for name in vars(double) if not name.startswith("_")} <= set(dir(real)), double
    for name in (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_dtype",
        "get_tensor_shape",
        "create_execution_context",
    ):
        assert hasattr(trt.ICudaEngine, name)
    for name in ("set_input_shape", "set_tensor_address", "execute_async_v3", "profiler"):
        assert hasattr(trt.IExecutionContext, name)
    assert {kind.name for kind in DataType} <= set(trt.DataType.__members__)
    assert {severity.name for severity in ILogger.Severity} <= set(trt.ILogger.Severity.__members__)


def life(rig: Rig) -> None:
    """All that a session does, with `close` on every path, as its owners call it."""
    session = rig.open()
    try:
        rings = [rig.filled(session, seed) for seed in (1, 2)]
        rings[0].repeat(0, 1)
        rings[0].write(1, rig.frames(1)[1])
        scores = session.infer([ring.window(0) for ring in rings])
        np.testing.assert_array_equal(scores, rig.expected(1, 2))
    finally:
        session.close()


@pytest.mark.parametrize(("size", "max_batch"), [(ALIGNED, 1), (UNALIGNED, 2)])
def test_whichever_call_fails_no_context_stays_pushed_and_everything_is_freed(size: int, max_batch: int) -> None:
    whole = Rig(size, max_batch)
    life(whole)
    whole.driver.assert_clean()
    calls = whole.driver.calls[: whole.driver.names().index("free")]
    closing = len(calls) - 4  # where `close` pushes the context; then it waits for the stream, in three calls
    for number, call in enumerate(calls):
        if call.name == "pop":
            continue
        rig = Rig(size, max_batch)
        rig.driver.fail_at = number
        if number < closing:
            with pytest.raises(BackendError):
                life(rig)
        else:
            life(rig)  # that is told in the log
        if number != closing:  # where nothing could be freed
            rig.driver.assert_clean()
    assert {call.name for call in calls} == {
        *("Device", "retain_primary_context", "push", "pop", "Stream", "Event", "mem_alloc", "pagelocked_empty"),
        *("record", "query", "sleep"),
        *("memcpy_htod_async", "memcpy_dtoh_async", "memcpy_dtod_async"),
        *("Runtime", "deserialize_cuda_engine", "create_execution_context"),
        *("set_input_shape", "set_tensor_address", "execute_async_v3"),
    }
