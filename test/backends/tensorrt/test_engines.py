"""Building engines: real ones, with TensorRT for RTX, whose builder needs no GPU; and other versions' spellings."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from numpy.typing import NDArray

from ros2_actionnet import load_monitor
from ros2_actionnet.backends.tensorrt import build_process, engines
from ros2_actionnet.backends.tensorrt.build_process import build_engine
from ros2_actionnet.backends.tensorrt.builder import build_here, configure, onnx_for, read_network
from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache
from ros2_actionnet.backends.tensorrt.engines import EngineRequest, Gpu, engine_for, identify
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.errors import BackendError, LoadCancelled, NetworkError
from ros2_actionnet.load_monitor import UNMONITORED, Unmonitored
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.prepare_process import prepare_in_process
from support.int8 import quantized
from support.larger_networks import save_attention_network, save_random_resnet
from support.networks import save_brightness_network
from support.tensorrt_doubles import (
    TENSORRT_8_5,
    TENSORRT_10,
    TENSORRT_11,
    TENSORRT_RTX,
    Machine,
    Surface,
    make_tensorrt,
)

ORIN = Gpu("Orin", (8, 7))
TURING = Gpu("GeForce RTX 2080", (7, 5))
TIMEOUT = 60.0


def prepared(model: Path) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(model))))


@pytest.fixture(name="rtx", scope="session")
def rtx_fixture() -> TensorRT:
    """TensorRT for RTX; pyproject.toml has it among what the tests need, on x86-64, where there are packages of it."""
    found = find_tensorrt()
    if found.is_rtx:
        return found
    module = pytest.importorskip("tensorrt_rtx_bindings")
    return TensorRT(module, str(module.__version__), is_rtx=True)


@pytest.fixture(name="tiny", scope="session")
def tiny_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    return prepared(save_brightness_network(tmp_path_factory.mktemp("tiny"), ("dark", "bright"), name="tiny"))


@pytest.fixture(name="attention", scope="session")
def attention_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    """Input [1, T, 3, H, W]."""
    return prepared(save_attention_network(tmp_path_factory.mktemp("attention")))


@pytest.fixture(name="resnet", scope="module", params=[18, 34])
def resnet_fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    path = save_random_resnet(tmp_path_factory.mktemp("resnet"), request.param)
    network = prepared(path)
    path.unlink()
    return network


def definition(tensorrt: TensorRT, request: EngineRequest) -> tuple[Any, ...]:
    """The network as TensorRT's parser has it, with the parser, which owns its weights, and the builder."""
    builder = tensorrt.module.Builder(tensorrt.logger)
    network = builder.create_network(0)
    parser = tensorrt.module.OnnxParser(network, tensorrt.logger)
    read_network(tensorrt, request, parser)
    return network, parser, builder


def assert_signature(tensorrt: TensorRT, request: EngineRequest, precision: str) -> None:
    """What is fed and what comes out, and the types in between."""
    trt, prepared_network = tensorrt.module, request.network
    network, _parser, builder = definition(tensorrt, request)
    assert (network.num_inputs, network.num_outputs) == (1, 1)
    frames, scores = network.get_input(0), network.get_output(0)
    size = (prepared_network.frames, prepared_network.height, prepared_network.width, 3)
    assert (frames.name, frames.dtype, tuple(frames.shape)) == ("frames", trt.DataType.UINT8, (-1, *size))
    assert (scores.name, scores.dtype) == ("scores", trt.DataType.FLOAT)
    assert tuple(scores.shape) == (-1, prepared_network.num_classes)
    assert configure(tensorrt, request, builder, None).num_optimization_profiles == 1
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    weighty = [layer for layer in layers if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)]
    assert weighty
    expected = trt.DataType.HALF if precision == "fp16" else trt.DataType.FLOAT
    assert {layer.get_output(0).dtype for layer in weighty} == {expected}


def run(model: bytes, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"frames": frames})[0])


class TestRealEngines:
    @pytest.mark.slow
    def test_resnets_in_both_precisions_for_batches_of_1_to_4(self, rtx: TensorRT, resnet: PreparedNetwork) -> None:
        sizes, scores = {}, {}
        shape = (1, resnet.frames, resnet.height, resnet.width, 3)
        frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for precision in ("fp32", "fp16"):
            model = onnx_for(rtx, EngineRequest(resnet, precision))
            # Rewritten once, for it takes seconds; the smaller networks go all the way.
            request = EngineRequest(replace(resnet, model=model), "fp32", max_batch=4)
            assert_signature(rtx, request, precision)
            sizes[precision] = len(build_here(rtx, request))
            scores[precision] = run(model, frames)
        # The weights are nearly all of it.
        assert sizes["fp32"] == pytest.approx(len(resnet.model), rel=0.02)
        assert sizes["fp16"] == pytest.approx(len(resnet.model) / 2, rel=0.02)
        error = np.linalg.norm(scores["fp16"] - scores["fp32"]) / np.linalg.norm(scores["fp32"])
        assert 1e-6 < error < 5e-3

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    @pytest.mark.parametrize("opset", [13, 17])
    def test_a_transformer_on_t3hw(self, rtx: TensorRT, tmp_path: Path, opset: int, precision: str) -> None:
        network = prepared(save_attention_network(tmp_path, opset=opset))
        assert network.spec.layout == "NTCHW"
        request = EngineRequest(network, precision, max_batch=4)
        assert_signature(rtx, request, precision)
        assert len(build_here(rtx, request)) > 10_000

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_camera_motion(self, rtx: TensorRT, precision: str) -> None:
        request = EngineRequest(prepare(resolve(NetworkRequest("camera_motion"))), precision, max_batch=4)
        assert_signature(rtx, request, precision)
        assert len(build_here(rtx, request)) > 500_000

    def test_camera_motion_in_int8(self, rtx: TensorRT, tmp_path: Path) -> None:
        network = quantized(resolve(NetworkRequest("camera_motion")).model, tmp_path)
        request = EngineRequest(network, "int8", max_batch=4)
        assert_signature(rtx, request, "fp32")
        assert len(build_here(rtx, request)) > 300_000

    @pytest.mark.slow
    def test_resnet_18_in_int8(self, rtx: TensorRT, tmp_path: Path) -> None:
        network = quantized(save_random_resnet(tmp_path, 18), tmp_path, count=2)
        assert network.file is not None
        request = EngineRequest(network, "int8", max_batch=4)
        assert_signature(rtx, request, "fp32")
        assert len(build_here(rtx, request)) == pytest.approx(network.file.stat().st_size, rel=0.1), (
            "a byte for each weight"
        )

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_one_with_an_operator_that_was_a_plugin(self, rtx: TensorRT, tiny: PreparedNetwork, precision: str) -> None:
        model = onnx.load_model_from_string(tiny.model)
        ones = [onnx.numpy_helper.from_array(np.ones(3, np.float32), name) for name in ("norm/scale", "norm/bias")]
        model.graph.initializer.extend(ones)
        mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
        inputs = [mean.input[0], *(tensor.name for tensor in ones)]
        norm = onnx.helper.make_node("InstanceNormalization", inputs, ["normed"], name="norm")
        mean.input[0] = "normed"
        model.graph.node.insert(list(model.graph.node).index(mean), norm)
        network = replace(tiny, model=model.SerializeToString())
        assert len(build_here(rtx, EngineRequest(network, precision, max_batch=2))) > 1000

    def test_for_older_rtx_cards_the_current_one_is_the_target(self, rtx: TensorRT, tiny: PreparedNetwork) -> None:
        request = EngineRequest(tiny, "fp32")
        _, _, builder = definition(rtx, request)
        assert configure(rtx, request, builder, Gpu("any", (8, 0))).num_compute_capabilities == 0
        config = configure(rtx, request, builder, TURING)
        assert config.get_compute_capability(0) == rtx.module.ComputeCapability.CURRENT

    def test_a_network_with_a_fixed_batch(self, rtx: TensorRT, tiny: PreparedNetwork) -> None:
        model = onnx.load_model_from_string(tiny.model)
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        fixed = replace(tiny, model=model.SerializeToString(), max_batch=1)
        assert len(build_here(rtx, EngineRequest(fixed, "fp16"))) > 1000


class TestBrokenNetworks:
    """The parser's own words come through."""

    def test_what_is_no_model(self, rtx: TensorRT, tiny: PreparedNetwork) -> None:
        broken = replace(tiny, model=tiny.model[:200])
        with pytest.raises(BackendError, match=r"cannot read the network tiny: .*Failed to parse the ONNX model"):
            build_here(rtx, EngineRequest(broken, "fp32"))

    @pytest.mark.parametrize("surface", [None, TENSORRT_8_5, TENSORRT_10])
    def test_an_operator_that_it_does_not_know_is_named_with_its_node(
        self, rtx: TensorRT, tiny: PreparedNetwork, surface: Surface | None
    ) -> None:
        tensorrt = rtx if surface is None else make_tensorrt(surface)
        model = onnx.load_model_from_string(tiny.model)
        model.graph.node[-2].op_type, model.graph.node[-2].name = "NoSuchOperator", "the_one"
        broken = replace(tiny, model=model.SerializeToString())
        with pytest.raises(BackendError) as refusal:
            build_here(tensorrt, EngineRequest(broken, "fp32"))
        for words in ("Plugin not found", "NoSuchOperator", "the_one", tensorrt.name, "set backend openvino"):
            assert words in str(refusal.value)

    def test_a_tensor_that_nothing_makes(self, rtx: TensorRT, tiny: PreparedNetwork) -> None:
        model = onnx.load_model_from_string(tiny.model)
        model.graph.node[-2].input[0] = "nowhere"
        broken = replace(tiny, model=model.SerializeToString())
        with pytest.raises(BackendError, match="Node input was not registered"):
            build_here(rtx, EngineRequest(broken, "fp32"))

    def test_what_cannot_be_rewritten_in_fp16(self, rtx: TensorRT, tiny: PreparedNetwork) -> None:
        model = onnx.load_model_from_string(tiny.model)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full(weight.dims, 1e5, np.float32), "weight"))
        with pytest.raises(NetworkError, match="the weight 'weight', which reaches 1e\\+05"):
            build_here(rtx, EngineRequest(replace(tiny, model=model.SerializeToString()), "fp16"))


def test_int8_of_a_network_that_is_not_quantized(tiny: PreparedNetwork) -> None:
    with pytest.raises(BackendError, match="tiny is not an int8 model"):
        EngineRequest(tiny, "int8")


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_other_precisions_are_refused(tiny: PreparedNetwork, precision: str) -> None:
    with pytest.raises(BackendError, match=f"precision {precision} is not offered under TensorRT; set it to fp32"):
        EngineRequest(tiny, precision)


@pytest.mark.parametrize(("batch", "of_network"), [(2, 1), (0, None), (5, 4)])
def test_batches_that_the_network_does_not_take_are_refused(
    tiny: PreparedNetwork, batch: int, of_network: int | None
) -> None:
    with pytest.raises(BackendError, match=f"for batches of {batch} cannot be built of tiny.*dynamic batch"):
        EngineRequest(replace(tiny, max_batch=of_network), "fp32", batch)


def built(surface: Surface, request: EngineRequest, gpu: Gpu | None = ORIN, machine: Machine | None = None) -> Any:
    """How the double of a version built the engine."""
    return json.loads(bytes(build_here(make_tensorrt(surface, machine), request, gpu)))


class TestVersions:
    """Each version's own spelling, against doubles that have no other."""

    @pytest.mark.parametrize("surface", [TENSORRT_8_5, TENSORRT_10, TENSORRT_11, TENSORRT_RTX])
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_precision_profile_and_workspace(
        self, attention: PreparedNetwork, surface: Surface, precision: str
    ) -> None:
        plan = built(surface, EngineRequest(attention, precision, max_batch=4, workspace=12345))
        window = [attention.frames, attention.height, attention.width, 3]
        assert plan["profiles"] == [{"frames": [[1, *window], [4, *window], [4, *window]]}]
        assert plan["workspace"] == 12345
        assert plan["compute_capabilities"] == []
        by_flag = surface is TENSORRT_8_5
        assert plan["strongly_typed"] is not by_flag
        assert plan["flags"] == (["FP16"] if by_flag and precision == "fp16" else [])  # never TF32
        assert plan["weights"] == (["FLOAT16"] if precision == "fp16" and not by_flag else ["FLOAT"])

    def test_of_an_rtx_card_that_portable_engines_leave_out(self, tiny: PreparedNetwork) -> None:
        assert built(TENSORRT_RTX, EngineRequest(tiny, "fp32"), TURING)["compute_capabilities"] == ["CURRENT"]
        assert built(TENSORRT_RTX, EngineRequest(tiny, "fp32"), None)["compute_capabilities"] == []

    def test_a_newer_opset_is_rewritten_for_the_parsers_of_8(self, tiny: PreparedNetwork) -> None:
        model = onnx.version_converter.convert_version(onnx.load_model_from_string(tiny.model), 20)
        newer = replace(tiny, model=model.SerializeToString())
        assert built(TENSORRT_8_5, EngineRequest(newer, "fp16"))["opset"] == 17
        assert built(TENSORRT_10, EngineRequest(newer, "fp16"))["opset"] == 20

    def test_one_that_cannot_be_is_refused_with_the_remedy(self, attention: PreparedNetwork) -> None:
        model = onnx.load_model_from_string(attention.model)
        model.opset_import[0].version = 20
        next(node for node in model.graph.node if node.op_type == "Erf").op_type = "Gelu"
        newer = replace(attention, model=model.SerializeToString())
        with pytest.raises(NetworkError, match=r"opset 20, which cannot be turned into opset 17.*opset_version=17"):
            built(TENSORRT_8_5, EngineRequest(newer, "fp32"))

    @pytest.mark.parametrize("surface", [TENSORRT_8_5, TENSORRT_10, TENSORRT_11])
    def test_without_a_gpu_it_says_so_in_tensorrts_words(self, tiny: PreparedNetwork, surface: Surface) -> None:
        said = "cannot be started here: CUDA initialization failure with error: 35; .*usermod -aG video"
        with pytest.raises(BackendError, match=said):
            built(surface, EngineRequest(tiny, "fp32"), machine=Machine(has_gpu=False))
        assert built(TENSORRT_RTX, EngineRequest(tiny, "fp32"), machine=Machine(has_gpu=False))

    @pytest.mark.parametrize("surface", [TENSORRT_8_5, TENSORRT_10, TENSORRT_11, TENSORRT_RTX])
    def test_plugins_are_registered_once_before_the_first_network_is_parsed(
        self, tiny: PreparedNetwork, surface: Surface
    ) -> None:
        machine = Machine()
        tensorrt = make_tensorrt(surface, machine)
        for _ in range(2):
            build_here(tensorrt, EngineRequest(tiny, "fp32"), ORIN)
        assert machine.calls == ["init_libnvinfer_plugins", "OnnxParser", "OnnxParser"]

    def test_an_opset_that_the_parser_does_not_read_is_named_with_those_that_it_does(
        self, tiny: PreparedNetwork
    ) -> None:
        model = onnx.load_model_from_string(tiny.model)
        model.opset_import[0].version = 22
        newer = replace(tiny, model=model.SerializeToString())
        said = "It is in ONNX opset 22, and this parser reads 9 to 20: export it with opset 20. Export the network"
        with pytest.raises(BackendError, match=said):
            built(TENSORRT_10, EngineRequest(newer, "fp32"))
        assert built(TENSORRT_11, EngineRequest(newer, "fp32"))

    def test_a_build_that_fails_says_why(self, tiny: PreparedNetwork) -> None:
        machine = Machine(words_before_failure="Could not find any implementation for node conv1 (out of memory)")
        with pytest.raises(BackendError, match=r"cannot build an engine of tiny: .*for node conv1 \(out of memory\)"):
            built(TENSORRT_10, EngineRequest(tiny, "fp32"), machine=machine)


class TestTimingCache:
    def build(self, surface: Surface, machine: Machine, network: PreparedNetwork, path: Path) -> None:
        build_here(make_tensorrt(surface, machine), EngineRequest(network, "fp32"), ORIN, path)

    @pytest.mark.parametrize("surface", [TENSORRT_8_5, TENSORRT_10, TENSORRT_11])
    def test_what_one_build_measured_helps_the_next(
        self, tiny: PreparedNetwork, surface: Surface, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        machine, path = Machine(), tmp_path / "it.timing"
        self.build(surface, machine, tiny, path)
        self.build(surface, machine, tiny, path)
        assert machine.timing_caches == [b"this GPU:", b"this GPU: one more"]
        assert path.read_bytes() == b"this GPU: one more one more"
        assert not caplog.records

    @pytest.mark.parametrize("content", [b"another GPU: much", b"garbage"])
    def test_one_that_does_not_fit_is_begun_anew(
        self, tiny: PreparedNetwork, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        machine, path = Machine(), tmp_path / "it.timing"
        path.write_bytes(content)
        self.build(TENSORRT_10, machine, tiny, path)
        assert machine.timing_caches == [b"this GPU:"]
        assert path.read_bytes() == b"this GPU: one more"
        assert f"the timing cache {path} is not for this TensorRT and GPU, or damaged" in caplog.text

    def test_one_that_cannot_be_kept_is_told(
        self, tiny: PreparedNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.build(TENSORRT_10, Machine(), tiny, tmp_path / "nowhere" / "it.timing")
        assert "the timing cache cannot be kept" in caplog.text

    def test_rtx_has_none(self, tiny: PreparedNetwork, tmp_path: Path) -> None:
        self.build(TENSORRT_RTX, Machine(), tiny, tmp_path / "it.timing")
        assert not list(tmp_path.iterdir())


class Monitor(Unmonitored):
    """Hears, and cancels as soon as it has heard something, if it is to."""

    def __init__(self, *, cancels: bool = False) -> None:
        self.words: list[str] = []
        self.cancels = cancels

    def progress(self, what: str) -> None:
        self.words.append(what)

    def downloaded(self, name: str, done: int, total: int) -> None:
        pass

    def cancelled(self) -> bool:
        return self.cancels and bool(self.words)


def builders() -> list[psutil.Process]:
    """The processes in which we are building."""
    mine = psutil.Process().children()
    return [child for child in mine if build_process.__name__ in " ".join(child.cmdline())]


@pytest.mark.usefixtures("rtx")
class TestProcess:
    """The building in a process of its own, with the TensorRT that is found there."""

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self) -> Iterator[None]:
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        yield
        assert not builders()
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors

    def test_it_gives_an_engine_and_says_how_long_it_takes(
        self, tiny: PreparedNetwork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(load_monitor, "PROGRESS_PERIOD", 0.05)
        monitor = Monitor()
        plan = build_engine(find_tensorrt(), EngineRequest(tiny, "fp16", 4), monitor)
        assert len(plan) == len(build_here(find_tensorrt(), EngineRequest(tiny, "fp16", 4)))
        assert len(monitor.words) > 2
        once = "this happens once per network, GPU and TensorRT version"
        assert monitor.words[0] == f"building engine, 0 s so far; {once}"

    def test_it_takes_a_network_whose_model_is_in_memory_only(self) -> None:
        with prepare_in_process(resolve(NetworkRequest("camera_motion"))) as network:
            assert network.model == b""
            assert len(build_engine(find_tensorrt(), EngineRequest(network, "fp16"))) > 500_000

    def test_it_ends_as_soon_as_nobody_wants_the_engine(self, tiny: PreparedNetwork) -> None:
        started = time.monotonic()
        with pytest.raises(LoadCancelled, match="loading tiny was cancelled"):
            build_engine(find_tensorrt(), EngineRequest(tiny, "fp32"), Monitor(cancels=True))
        assert time.monotonic() - started < 5

    def test_what_is_wrong_with_a_network_comes_back_as_from_here(self, tiny: PreparedNetwork) -> None:
        broken = replace(tiny, model=tiny.model[:200])
        with pytest.raises(BackendError) as here:
            build_here(find_tensorrt(), EngineRequest(broken, "fp32"))
        with pytest.raises(BackendError) as apart:
            build_engine(find_tensorrt(), EngineRequest(broken, "fp32"))
        assert str(apart.value) == str(here.value)

    def test_what_tensorrt_says_is_logged_here(self, tiny: PreparedNetwork, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(BackendError):
            build_engine(find_tensorrt(), EngineRequest(replace(tiny, model=b"none"), "fp32"))
        assert "TensorRT: " in caplog.text
        assert "Failed to parse the ONNX model" in caplog.text

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo first; echo cannot go on >&2; exit 7", "ended with 7: first / cannot go on; see what it printed"),
            ("kill -9 $$", "was ended by SIGKILL; if memory ran out, close other programs"),
        ],
    )
    def test_a_process_that_dies_is_an_error_with_its_last_words(
        self, tiny: PreparedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
    ) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        with pytest.raises(BackendError, match="builds the engine of tiny") as death:
            build_engine(find_tensorrt(), EngineRequest(tiny, "fp32"))
        assert words in str(death.value)

    def test_it_does_not_outlive_the_process_that_wants_the_engine(self, tiny: PreparedNetwork) -> None:
        answer = os.memfd_create("answer")
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", build_process.__name__, str(answer)], stdin=subprocess.PIPE, pass_fds=[answer]
            )
            # This closes its standard input after the request, as the death of the other process does.
            process.communicate(pickle.dumps((EngineRequest(tiny, "fp32"), None, None)), timeout=TIMEOUT)
            assert process.returncode == 1
            assert os.fstat(answer).st_size == 0
        finally:
            os.close(answer)

    @pytest.mark.parametrize(
        ("visible", "index", "expected"),
        [(None, 0, None), (None, 2, "2"), ("3,1", 0, "3,1"), ("3,1", 1, "1"), ("GPU-aa,GPU-bb", 1, "GPU-bb")],
    )
    def test_it_sees_the_gpu_that_is_meant_first(
        self, monkeypatch: pytest.MonkeyPatch, visible: str | None, index: int, expected: str | None
    ) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        environment = build_process._environment(Gpu("Orin", (8, 7), index))
        assert environment.get("CUDA_VISIBLE_DEVICES") == expected


class Builder:
    """In place of `build_engine`: counts, and gives plans that say which they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[tuple[EngineRequest, Path | None, Gpu | None]] = []
        monkeypatch.setattr(engines, "build_engine", self.build)

    def build(
        self, tensorrt: TensorRT, request: EngineRequest, monitor: Any, timing: Path | None, gpu: Gpu | None
    ) -> bytes:
        self.built.append((request, timing, gpu))
        return f"plan {len(self.built)}".encode()


class TestEngineFor:
    @pytest.fixture(name="builder")
    def builder_fixture(self, monkeypatch: pytest.MonkeyPatch) -> Builder:
        return Builder(monkeypatch)

    @pytest.fixture(name="tensorrt")
    def tensorrt_fixture(self) -> TensorRT:
        return make_tensorrt(TENSORRT_10)

    @pytest.fixture(name="engine")
    def engine_fixture(
        self, tensorrt: TensorRT, tiny: PreparedNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> Callable[..., Any]:
        """Gives an engine; its plan is what the "engine" is."""
        caplog.set_level(logging.INFO)

        def get(deserialize: Callable[[bytes], Any] = bytes.decode, gpu: Gpu | None = ORIN, **request: Any) -> Any:
            caplog.clear()
            wanted = EngineRequest(tiny, **{"precision": "fp16", **request})
            return engine_for(tensorrt, wanted, gpu, EngineCache(tmp_path), UNMONITORED, deserialize)

        return get

    def test_it_is_built_once(
        self, builder: Builder, engine: Callable[..., Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        assert engine() == "plan 1"
        assert "building the engine of tiny, fp16, with TensorRT 10.3.0.30 for Orin: there is none in" in caplog.text
        assert engine() == "plan 1"
        assert not caplog.records
        (request, timing, gpu), *_ = builder.built
        assert len(builder.built) == 1
        assert (request.precision, gpu) == ("fp16", ORIN)
        assert timing is not None
        assert timing.parent == tmp_path
        (sidecar,) = tmp_path.glob("*.json")
        assert json.loads(sidecar.read_text())["network"] == "tiny"

    def test_other_requests_and_gpus_have_other_engines(self, builder: Builder, engine: Callable[..., Any]) -> None:
        assert engine() == "plan 1"
        assert engine(precision="fp32") == "plan 2"
        assert engine(max_batch=2) == "plan 3"
        assert engine(gpu=Gpu("Orin", (8, 7), index=1)) == "plan 1"
        assert engine(gpu=Gpu("Xavier", (7, 2))) == "plan 4"

    def test_gpus_of_one_name_have_engines_and_timings_of_their_own(
        self, builder: Builder, engine: Callable[..., Any]
    ) -> None:
        nano, agx = (replace(ORIN, hardware=f"{count} multiprocessors") for count in (8, 16))
        assert [engine(gpu=gpu) for gpu in (nano, agx, nano)] == ["plan 1", "plan 2", "plan 1"]
        assert len({timing for _, timing, _ in builder.built}) == 2

    def test_one_that_is_refused_is_built_again_with_one_line_that_says_why(
        self, builder: Builder, engine: Callable[..., Any], tensorrt: TensorRT, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine()

        def refuse_the_first(plan: bytes) -> str | None:
            tensorrt.logger.last_error = "the engine plan file is not compatible with this version"
            return None if plan == b"plan 1" else plan.decode()

        assert engine(refuse_the_first) == "plan 2"
        lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(lines) == 1
        assert lines[0].endswith(
            "the cached one was refused (the engine plan file is not compatible with this version)"
        )
        assert engine(refuse_the_first) == "plan 2"
        assert len(builder.built) == 2

    def test_a_truncated_one_is_built_again_with_one_line_that_says_why(
        self, builder: Builder, engine: Callable[..., Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        engine()
        (plan,) = tmp_path.glob("*.engine")
        plan.write_bytes(b"pla")
        assert engine() == "plan 2"
        lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(lines) == 1
        assert "is damaged: it has 3 bytes" in lines[0]
        assert engine() == "plan 2"

    def test_one_that_was_built_just_now_and_is_refused_is_an_error(
        self, builder: Builder, engine: Callable[..., Any], tensorrt: TensorRT
    ) -> None:
        def refuse(plan: bytes) -> None:
            tensorrt.logger.last_error = "CUDA error 2"

        with pytest.raises(BackendError, match="cannot load the engine of tiny that it has built here: CUDA error 2"):
            engine(refuse)

    def test_one_that_was_refused_when_it_was_new_is_tried_again_but_not_built_again(
        self, builder: Builder, engine: Callable[..., Any], tensorrt: TensorRT, tmp_path: Path
    ) -> None:
        tried: list[bytes] = []

        def refuse(plan: bytes) -> None:
            tried.append(plan)
            tensorrt.logger.last_error = "Cannot find plugin: InstanceNormalization_TRT"

        for _ in range(3):
            with pytest.raises(BackendError, match=r"InstanceNormalization_TRT.*actionnet-engine remove [0-9a-f]{12}$"):
                engine(refuse)
        assert (tried, len(builder.built)) == ([b"plan 1"] * 3, 1)
        (sidecar,) = tmp_path.glob("*.json")
        assert json.loads(sidecar.read_text())["refused"] == "Cannot find plugin: InstanceNormalization_TRT"
        assert engine() == "plan 1"  # there is memory now, say
        # It has been loaded once, so a later refusal has another cause.
        assert engine(lambda plan: None if plan == b"plan 1" else plan.decode()) == "plan 2"

    def test_without_a_folder_it_works_all_the_same(
        self, builder: Builder, tensorrt: TensorRT, tiny: PreparedNetwork, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        cache = EngineCache(tmp_path / "file" / "engines")
        for plan in ("plan 1", "plan 2"):
            request = EngineRequest(tiny, "fp16")
            assert engine_for(tensorrt, request, ORIN, cache, UNMONITORED, bytes.decode) == plan

    def test_what_stops_a_build_goes_up_and_leaves_the_lock_free(
        self, monkeypatch: pytest.MonkeyPatch, engine: Callable[..., Any]
    ) -> None:
        def cancelled(*_: Any) -> bytes:
            raise LoadCancelled("loading tiny was cancelled")

        monkeypatch.setattr(engines, "build_engine", cancelled)
        with pytest.raises(LoadCancelled):
            engine()
        Builder(monkeypatch)
        assert engine() == "plan 1"

    def test_two_processes_build_it_once(self, tiny: PreparedNetwork, tmp_path: Path) -> None:
        request = tmp_path / "request"
        request.write_bytes(pickle.dumps(EngineRequest(tiny, "fp16")))
        program = (
            "import os, pickle, sys, time\n"
            "from pathlib import Path\n"
            "from ros2_actionnet.backends.tensorrt import engines\n"
            "from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache\n"
            "from ros2_actionnet.backends.tensorrt.library import TensorRT\n"
            "from ros2_actionnet.load_monitor import UNMONITORED\n"
            "folder = Path(sys.argv[1])\n"
            "def build(*arguments):\n"
            "    (folder / f'built.{os.getpid()}').touch()\n"
            "    while len(list(folder.glob('started.*'))) < 3: time.sleep(0.01)\n"
            "    time.sleep(0.2)\n"
            "    return b'plan of ' + str(os.getpid()).encode()\n"
            "engines.build_engine = build\n"
            "request = pickle.loads((folder / 'request').read_bytes())\n"
            "tensorrt = TensorRT(None, '10.3.0.30')\n"
            "(folder / f'started.{os.getpid()}').touch()\n"
            "cache, gpu = EngineCache(folder / 'engines'), engines.Gpu('Orin', (8, 7))\n"
            "print(engines.engine_for(tensorrt, request, gpu, cache, UNMONITORED, bytes.decode))\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        said = {process.communicate(timeout=TIMEOUT)[0].strip() for process in processes}
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert len(list(tmp_path.glob("built.*"))) == 1
        assert len(said) == 1
        assert said.pop().startswith("plan of ")

    def test_engines_of_rtx_need_no_gpu_and_are_for_all_from_sm_8_on(self, tiny: PreparedNetwork) -> None:
        rtx, request = make_tensorrt(TENSORRT_RTX), EngineRequest(tiny, "fp16")
        portable = identify(rtx, request, None)
        assert (portable.gpu, portable.compute_capability, portable.hardware) == ("any", "any", "any")
        assert identify(rtx, request, Gpu("NVIDIA GeForce RTX 4090", (8, 9), hardware="128")) == portable
        assert identify(rtx, request, TURING).gpu == "GeForce RTX 2080"

    def test_those_of_tensorrt_itself_need_one(self, tiny: PreparedNetwork) -> None:
        with pytest.raises(BackendError, match="only on the GPU that it is to run on, and none is given"):
            identify(make_tensorrt(TENSORRT_10), EngineRequest(tiny, "fp16"), None)

    def test_a_real_one_goes_through_the_cache(self, rtx: TensorRT, tiny: PreparedNetwork, tmp_path: Path) -> None:
        if find_tensorrt() is not rtx:
            pytest.skip("the process that builds would find the TensorRT of this machine")
        request, cache, monitor = EngineRequest(tiny, "fp16"), EngineCache(tmp_path), Monitor()
        first = engine_for(rtx, request, None, cache, monitor, lambda plan: plan)
        assert monitor.words
        monitor.words.clear()
        assert engine_for(rtx, request, None, cache, monitor, lambda plan: plan) == first
        assert not monitor.words
