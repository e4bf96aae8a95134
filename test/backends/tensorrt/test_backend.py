"""The backend: what it says is missing, how it loads, and a life under the real worker and loader."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.backends import BACKENDS, Choice, LoadOptions, choose_backend
from ros2_actionnet.backends.tensorrt import backend
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.backends.tensorrt.builder import EngineRequest
from ros2_actionnet.errors import BackendError, LoadCancelled
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.networks import Conversion, NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.prepare_process import prepare_in_process
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.loading import load, warm_up
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.score_check import score_window
from ros2_actionnet.settings import Settings
from support.cuda_doubles import FakeCuda, FakeEngine, scores_of
from support.fakes import TIMEOUT, RecordingListener, make_network
from support.tensorrt_rig import TensorRTRig

N = 4
LABELS = ("a", "b", "c")
SIZE = 16
Pixels = NDArray[np.uint8]


@pytest.fixture(name="rig")
def rig_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRTRig]:
    rig = TensorRTRig()
    rig.install(monkeypatch)
    yield rig
    rig.cuda.assert_clean()


def network(name: str = "tiny", size: int = SIZE, frames: int = N, labels: tuple[str, ...] = LABELS) -> PreparedNetwork:
    return make_network(name, labels, frames=frames, size=size)


def image(number: int, size: int = SIZE) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


class TestUnavailable:
    def test_where_everything_is_there_it_can_be_used_and_no_context_is_made(self, rig: TensorRTRig) -> None:
        assert TensorRTBackend().unavailable("") is None
        assert not set(rig.cuda.names()) & {"retain_primary_context", "push", "mem_alloc"}

    def test_it_is_the_first_that_auto_takes(self, rig: TensorRTRig) -> None:
        assert list(BACKENDS)[:2] == ["tensorrt", "openvino"]
        assert choose_backend().reason == "tensorrt (the first that can be used here)"
        assert choose_backend("auto", "CPU").reason.startswith("openvino (tensorrt: device 'CPU' is not the index of")

    def test_the_first_thing_that_is_missing_is_told(self, rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> Any:
            raise BackendError("TensorRT is not installed")

        monkeypatch.setattr(backend, "find_tensorrt", missing)
        assert TensorRTBackend().unavailable("") == "TensorRT is not installed"
        assert "no GPU 1 here" in str(TensorRTBackend().unavailable("1"))
        with pytest.raises(BackendError, match="TensorRT is not installed"):
            TensorRTBackend().load(network())

    def test_without_a_gpu_tensorrt_is_not_even_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> Any:
            raise BackendError("no driver")

        monkeypatch.setattr(backend, "load_driver", missing)
        monkeypatch.setattr(backend, "find_tensorrt", lambda: sys.exit("it was"))
        assert TensorRTBackend().unavailable("") == "no driver"

    @pytest.mark.parametrize(
        ("capability", "runs"),
        [((7, 5), True), ((8, 6), True), ((8, 7), False), ((8, 9), True), ((9, 0), False), ((12, 0), True)],
    )
    def test_tensorrt_for_rtx_runs_on_some_gpus_only(
        self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], runs: bool
    ) -> None:
        rig = TensorRTRig(FakeCuda([("The GPU", capability)]), "1.7.1.116", is_rtx=True)
        rig.install(monkeypatch)
        reason = TensorRTBackend().unavailable("")
        if runs:
            assert reason is None
        else:
            sm = ".".join(map(str, capability))
            assert reason is not None
            assert f"TensorRT for RTX 1.7.1.116 does not run on The GPU (SM {sm})" in reason
            assert "install TensorRT itself" in reason


def save_engine(folder: Path, engine: FakeEngine) -> Path:
    """A ready engine with its labels, and a network.yaml that describes windows of SIZE."""
    (folder / "labels.txt").write_text("\n".join(LABELS))
    (folder / "network.yaml").write_text(f"model: net.engine\nframes: {N}\nheight: {SIZE}\nwidth: {SIZE}\n")
    path = folder / "net.engine"
    path.write_bytes(engine.serialize())
    return path


class TestLoad:
    def test_a_model_in_openvinos_ir_is_refused_with_what_to_do(self, rig: TensorRTRig) -> None:
        ir = replace(network(), conversion=Conversion((1, 3, N, SIZE, SIZE)))
        with pytest.raises(BackendError, match="in OpenVINO's IR; set backend openvino, or export the"):
            TensorRTBackend().load(ir)

    def test_a_ready_engine_is_run_as_it_is(self, rig: TensorRTRig, tmp_path: Path) -> None:
        path = save_engine(tmp_path, FakeEngine(N, SIZE, SIZE, len(LABELS)))
        with prepare_in_process(resolve(NetworkRequest(model=str(path)))) as prepared:
            session = TensorRTBackend().load(prepared, LoadOptions(max_batch=4))
        assert (session.max_batch, session.network.labels, rig.requests) == (1, LABELS, [])
        window = np.stack([image(number) for number in range(N)])
        found = score_window(session, session.create_ring(), window)
        np.testing.assert_allclose(found, scores_of(window, len(LABELS)), atol=1e-6)
        session.close()

    @pytest.mark.parametrize(
        ("engine", "words"),
        [
            (
                FakeEngine(N, SIZE, SIZE, 3, tensors={"x": "FLOAT", "scores": "FLOAT"}),
                r"takes and gives .*'x': 'FLOAT'",
            ),
            (FakeEngine(N, SIZE + 1, SIZE, 3), r"takes windows of \[4, 17, 16, 3\], not \[4, 16, 16, 3\]"),
        ],
    )
    def test_an_engine_of_another_signature_is_refused(
        self, engine: FakeEngine, words: str, rig: TensorRTRig, tmp_path: Path
    ) -> None:
        prepared = prepare(resolve(NetworkRequest(model=str(save_engine(tmp_path, engine)))))
        with pytest.raises(BackendError, match=rf"{words}.*; build it of what `actionnet-engine build .*--onnx-only"):
            TensorRTBackend().load(prepared)

    def test_an_engine_that_tensorrt_refuses_or_that_is_for_another_backend(
        self, rig: TensorRTRig, tmp_path: Path
    ) -> None:
        path = save_engine(tmp_path, FakeEngine(N, SIZE, SIZE, 3))
        prepared = prepare(resolve(NetworkRequest(model=str(path))))
        with pytest.raises(BackendError, match=r"OpenVINO cannot read .* set backend tensorrt, or `model` to"):
            BACKENDS["openvino"]().load(prepared)
        with pytest.raises(BackendError, match="is an engine already"):
            EngineRequest(prepared, "fp16")
        path.write_bytes(b"ftrt")
        with pytest.raises(BackendError, match=r"cannot load the engine .*; set `model` to the .onnx file"):
            TensorRTBackend().load(prepared)

    def test_a_session_says_what_it_runs_on_and_gives_the_scores(self, rig: TensorRTRig) -> None:
        session = TensorRTBackend().load(network())
        assert (session.backend, session.device, session.precision) == ("tensorrt", "GPU 0 (Orin)", "fp16")
        ring = session.create_ring()
        for slot in range(N):
            ring.write(slot, image(slot))
        expected = scores_of(np.stack([image(slot) for slot in range(N)]), len(LABELS))
        np.testing.assert_array_equal(session.infer([ring.window(0)]), [expected])
        session.close()

    @pytest.mark.parametrize(
        ("capability", "asked", "taken"),
        [
            ((8, 7), "auto", "fp16"),
            ((8, 7), "fp32", "fp32"),
            ((5, 3), "auto", "fp16"),
            ((5, 2), "auto", "fp32"),
            ((6, 1), "auto", "fp32"),
            ((6, 1), "fp16", "fp16"),
        ],
    )
    def test_auto_is_fp16_where_the_gpu_is_fast_in_it(
        self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], asked: str, taken: str
    ) -> None:
        rig = TensorRTRig(FakeCuda([("The GPU", capability)]))
        rig.install(monkeypatch)
        session = TensorRTBackend().load(network(), LoadOptions(precision=asked))
        assert session.precision == rig.requests[0][0].precision == taken
        session.close()

    def test_bf16_is_refused_with_what_there_is(self, rig: TensorRTRig) -> None:
        with pytest.raises(BackendError, match=r"bf16 is not offered under TensorRT.*fp32.*fp16.*auto"):
            TensorRTBackend().load(network(), LoadOptions(precision="bf16"))

    def test_device_batch_and_cache_are_those_of_the_options(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        rig = TensorRTRig(FakeCuda([("Orin", (8, 7)), ("RTX 4090", (8, 9))]))
        rig.install(monkeypatch)
        session = TensorRTBackend().load(network(), LoadOptions("1", max_batch=3, engine_cache=str(tmp_path)))
        ((request, gpu, cache),) = rig.requests
        assert session.device == "GPU 1 (RTX 4090)"
        assert gpu is not None
        assert (gpu.name, gpu.compute_capability, gpu.index) == ("RTX 4090", (8, 9), 1)
        assert gpu.hardware == "8 multiprocessors, L2 2048 KiB, memory of 128 bits, integrated"
        assert (request.max_batch, session.max_batch, cache.folder) == (3, 3, tmp_path)
        session.close()
        rig.cuda.assert_clean()

    def test_a_network_of_a_fixed_batch_takes_windows_one_by_one(self, rig: TensorRTRig) -> None:
        session = TensorRTBackend().load(replace(network(), max_batch=1), LoadOptions(max_batch=3))
        assert rig.requests[0][0].max_batch == 1
        rings = [session.create_ring() for _ in range(3)]
        for number, ring in enumerate(rings):
            for slot in range(N):
                ring.write(slot, image(number))
        expected = [scores_of(np.stack([image(number)] * N), len(LABELS)) for number in range(3)]
        np.testing.assert_array_equal(session.infer([ring.window(2) for ring in rings]), expected)
        session.close()

    @pytest.mark.parametrize(
        ("raised", "told"),
        [
            (BackendError("no engine"), "^no engine$"),
            (RuntimeError("pybind"), "TensorRT 10.3.0.30 cannot load tiny: pybind"),
        ],
    )
    def test_what_goes_wrong_comes_as_our_error_and_leaves_nothing(
        self, rig: TensorRTRig, raised: Exception, told: str
    ) -> None:
        rig.cannot_build = raised
        with pytest.raises(BackendError, match=told):
            TensorRTBackend().load(network())
        assert rig.cuda.allocated == 0

    def test_a_load_that_is_cancelled_leaves_nothing(self, rig: TensorRTRig) -> None:
        rig.cannot_build = LoadCancelled("tiny was cancelled")
        with pytest.raises(LoadCancelled):
            TensorRTBackend().load(network())

    def test_the_engine_is_found_or_built_with_the_context_pushed(self, rig: TensorRTRig) -> None:
        TensorRTBackend().load(network()).close()
        (call,) = (call for call in rig.cuda.calls if call.name == "deserialize_cuda_engine")
        assert call.contexts == 1


class Stream:
    """The real worker with the real loader, on networks that need no preparing; frames are `image(number)`."""

    def __init__(self, *networks: PreparedNetwork) -> None:
        known = {network.name: network for network in networks}
        load_known = partial(
            load,
            prepare=lambda request, monitor: nullcontext(known[request.network]),
            choose=lambda name, device: Choice(TensorRTBackend(), "here"),
        )
        self.said = RecordingListener()
        # A machine that stands still for a second is no pause in the stream, with which a network may take over early.
        self.settings = Settings(network=networks[0].name, max_gap=60.0)
        self.worker = InferenceWorker(self.said, load_known)
        self.stream = self.worker.open_stream(self.settings, self.said)
        self.fed = 0

    def start(self) -> None:
        """Loads the first network and fills its window."""
        self.worker.request_network(self.settings)
        self.said.wait_for(lambda: self.said.networks, "take-over")
        self.feed(N)

    def change(self, settings: Settings) -> None:
        """Changes to `settings` while frames come."""
        before = len(self.said.networks)
        self.worker.request_network(settings)
        while len(self.said.networks) == before:
            self.feed_and_wait(1)

    def feed(self, count: int = 1) -> None:
        for _ in range(count):
            header = FrameHeader(*divmod(self.fed * 100_000_000, 1_000_000_000), "camera")
            self.stream.submit(RawImage.from_array(image(self.fed), "rgb8"), Sample(), header, self.fed, header.stamp)
            self.fed += 1

    def feed_and_wait(self, count: int) -> None:
        for _ in range(count):
            self.feed()
            self.said.wait_for(
                lambda: [r.prediction.frame for r in self.said.classified][-1:] == [self.fed - 1], "result"
            )

    def close(self) -> None:
        self.worker.close(TIMEOUT)
        assert self.worker.wait_for_loader(TIMEOUT)


class TestUnderTheWorker:
    def test_the_session_goes_from_the_loaders_thread_to_the_workers(
        self, rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = Stream(network())
        stream.start()
        stream.feed_and_wait(10)
        for result in stream.said.classified[-10:]:
            newest = result.prediction.frame
            window = np.stack([image(number) for number in range(newest - N + 1, newest + 1)])
            np.testing.assert_array_equal(result.prediction.scores, scores_of(window, len(LABELS)))
        stream.close()
        assert not stream.said.problems
        by = {name: {call.thread for call in rig.cuda.calls if call.name == name} for name in rig.cuda.names()}
        assert by["deserialize_cuda_engine"] == {"network_loader"}
        assert by["execute_async_v3"] == {"network_loader", "inference_worker"}  # the first warms up
        assert by["free"] == by["free_pinned"] == {"inference_worker"}
        assert not any(thread.name == "network_loader" for thread in threading.enumerate())

    def test_a_network_that_is_changed_live_leaves_nothing_of_the_old_one(
        self, rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = Stream(network("first"), network("second", 10, 6, ("x", "y")))
        stream.start()
        stream.feed_and_wait(3)
        alone = rig.cuda.allocated
        for name in ("second", "first", "second", "first"):
            stream.change(Settings(network=name))
            stream.feed_and_wait(3)
        assert rig.cuda.allocated == alone
        assert {result.network.name for result in stream.said.classified} == {"first", "second"}
        stream.close()
        assert not stream.said.problems
        assert rig.cuda.names("retain_primary_context") == ["retain_primary_context"]

    def test_another_view_of_the_image_takes_another_ring_of_the_same_session_and_gives_it_back(
        self, rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = Stream(network())
        stream.start()
        stream.feed_and_wait(2)
        one_ring = 2 * N * SIZE * SIZE * 3
        alone = rig.cuda.allocated
        for number in range(4):
            stream.stream.configure(Settings(network="tiny", roi=(0.0, 0.0, 0.5 + number / 10, 1.0)))
            stream.feed_and_wait(N + 1)
            assert len(stream.stream.lanes) == 1
        assert rig.cuda.allocated == alone + one_ring
        stream.close()
        assert not stream.said.problems

    def test_a_load_that_fails_when_warm_is_told_and_leaves_nothing(
        self, rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = Stream(network())
        loaded = TensorRTBackend().load(network())
        warm_up(loaded)
        loaded.close()
        # The primary context and the plugins are there already, which are two calls less.
        rig.cuda.fail_at = len(rig.cuda.calls) + rig.cuda.names().index("execute_async_v3") - 2
        stream.worker.request_network(Settings(network="tiny"))
        stream.said.wait_for(lambda: stream.said.load_failures, "failure")
        stream.close()
        ((_, error),) = stream.said.load_failures
        assert "refused execute_async_v3" in str(error)


def test_a_precision_that_tensorrt_is_not_used_in_is_refused_with_those_it_is() -> None:
    assert [TensorRTBackend().unsupported("", precision) for precision in ("auto", "fp32", "fp16")] == [None] * 3
    assert TensorRTBackend().unsupported("", "bf16") == (
        "precision bf16 is not offered under TensorRT; set it to fp32, fp16, int8 or auto"
    )
