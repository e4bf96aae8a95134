"""Builds an engine from a prepared network, in this process; `build_process` does it in a subprocess."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros2_actionnet.backends.base import check_int8
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import INPUT_NAME, PreparedNetwork
from ros2_actionnet.system.files import write_atomically

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "int8")

DEFAULT_WORKSPACE = 1 << 30
"""Bytes. The intermediate results of a ResNet-34 in batches of 4 need less than half of it; a Jetson may have 4 GB."""

# From this compute capability, an engine of TensorRT for RTX runs on every GPU, unless it was built for older ones.
_RTX_PORTABLE_FROM = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """The properties of a GPU that engines depend on.

    Attributes:
        name: as CUDA reports it; one name may stand for several GPUs: every Orin is "Orin", with 8.7.
        compute_capability: (8, 7).
        index: its CUDA device index in this process.
        hardware: what distinguishes GPUs of one name, in words; see `hardware_of`.
    """

    name: str
    compute_capability: tuple[int, int]
    index: int = 0
    hardware: str = ""


@dataclass(frozen=True)
class EngineRequest:
    """The network and the settings of an engine build.

    Attributes:
        network: the prepared network.
        precision: fp32, fp16, or int8 for an int8 model.
        max_batch: largest batch of the engine, which accepts 1 to `max_batch` windows.
        workspace: bytes of device memory that a layer may use for intermediate results.
    """

    network: PreparedNetwork
    precision: str
    max_batch: int = 1
    workspace: int = DEFAULT_WORKSPACE

    def __post_init__(self) -> None:
        """Raise BackendError for a model that TensorRT cannot read, a precision that it lacks, or an invalid batch."""
        if self.network.conversion is not None:
            raise BackendError(
                f"TensorRT cannot read {self.network.spec.model}, which is in OpenVINO's IR; set backend openvino, "
                "or export the network to ONNX and set `model` to that"
            )
        if self.network.is_engine:
            raise BackendError(
                f"{self.network.spec.model} is an engine already; set `model` to the .onnx file that it was built from"
            )
        if self.precision not in PRECISIONS:
            raise BackendError(
                f"precision {self.precision} is not offered under TensorRT; set it to {', '.join(PRECISIONS)} or auto"
            )
        check_int8(self.network, self.precision)
        if not 1 <= self.max_batch <= (self.network.max_batch or self.max_batch):
            raise BackendError(
                f"an engine for batches of {self.max_batch} cannot be built of {self.network.name}, whose batch is "
                f"{self.network.max_batch or 'at least 1'}; ask for that, or export the network with a dynamic batch"
            )

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Smallest input shape, the shape to optimize for, and the largest shape."""
        window = (self.network.frames, self.network.height, self.network.width, 3)
        return (1, *window), (self.max_batch, *window), (self.max_batch, *window)


def portable(tensorrt: TensorRT, gpu: Gpu | None) -> bool:
    """Return True if an engine that is built for `gpu` also runs on other GPUs."""
    return tensorrt.has_portable_engines and (gpu is None or gpu.compute_capability >= _RTX_PORTABLE_FROM)


def build_here(
    tensorrt: TensorRT, request: EngineRequest, gpu: Gpu | None = None, timing_cache: Path | None = None
) -> memoryview:
    """Build the serialized engine; takes seconds to many minutes. `timing_cache` is a file that is read and written.

    The GPU is the current one, or the first; `gpu` describes it. TensorRT for RTX needs none.

    Raises:
        BackendError: TensorRT cannot read the network, or cannot build an engine from it, or finds no GPU.
        NetworkError: the network cannot be rewritten in fp16, or for a TensorRT as old as this one.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = tensorrt.module
    builder = tensorrt.make(trt.Builder, tensorrt.logger)
    network = tensorrt.make(builder.create_network, _creation_flags(tensorrt))
    tensorrt.register_plugins()
    parser = tensorrt.make(trt.OnnxParser, network, tensorrt.logger)  # owns the weights: it must outlive the build
    read_network(tensorrt, request, parser)
    config = configure(tensorrt, request, builder, gpu)
    if tensorrt.has_timing_cache and timing_cache is not None:
        _load_timing_cache(config, timing_cache)
    plan: Any = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"{tensorrt.name} cannot build an engine of {request.network.name}: "
            f"{tensorrt.logger.last_error or 'it does not say why'}. Free memory on the GPU, or try another precision"
        )
    if tensorrt.has_timing_cache and timing_cache is not None:
        _save_timing_cache(config, timing_cache)
    return memoryview(plan)


def read_network(tensorrt: TensorRT, request: EngineRequest, parser: trt.OnnxParser) -> None:
    """Parse the network of `request`, rewritten for this TensorRT.

    Raises BackendError with the parser's message, and NetworkError if it cannot be rewritten.
    """
    model = onnx_for(tensorrt, request)
    if parser.parse(model):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    words = "; ".join(_describe(tensorrt, error, model) for error in errors)
    raise BackendError(
        f"{tensorrt.name} cannot read the network {request.network.name}: "
        f"{words or tensorrt.logger.last_error or 'it does not say why'}. {_opset_words(tensorrt, model)}Export the "
        "network without that operator, or set backend openvino"
    )


def _opset_words(tensorrt: TensorRT, model: bytes) -> str:
    """Return a sentence about the opset of `model`, if the parser is not known to read it; else an empty text."""
    import onnx

    try:
        imported = onnx.load_model_from_string(model).opset_import
    except Exception:  # anything that protobuf raises for an invalid model
        return ""
    opset = next((entry.version for entry in imported if entry.domain in ("", "ai.onnx")), 0)
    oldest, newest = tensorrt.opsets
    if oldest <= opset <= newest:
        return ""
    return f"It is in ONNX opset {opset}, and this parser reads {oldest} to {newest}: export it with opset {newest}. "


def onnx_for(tensorrt: TensorRT, request: EngineRequest) -> bytes:
    """Return the serialized ONNX model of `request` for TensorRT. Raises NetworkError if there can be none."""
    model = request.network.file.read_bytes() if request.network.file else request.network.model
    rewritten_in_half = request.precision == "fp16" and tensorrt.has_strong_typing
    if not rewritten_in_half and tensorrt.newest_opset is None:
        return model
    import onnx

    from ros2_actionnet.networks.graph.half_precision import to_half_precision
    from ros2_actionnet.networks.graph.older_opset import to_opset

    parsed = onnx.load_model_from_string(model)
    if tensorrt.newest_opset is not None:
        parsed = to_opset(parsed, tensorrt.newest_opset)
    if rewritten_in_half:
        to_half_precision(parsed)
    serialized: bytes = parsed.SerializeToString()
    return serialized


def configure(tensorrt: TensorRT, request: EngineRequest, builder: trt.Builder, gpu: Gpu | None) -> trt.IBuilderConfig:
    """Return the build configuration. Raises BackendError if TensorRT rejects the profile."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = tensorrt.module
    config = tensorrt.make(builder.create_builder_config)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    # TF32 has 10 bits of mantissa, like fp16: a request for fp32 means full fp32.
    config.clear_flag(trt.BuilderFlag.TF32)
    if request.precision == "fp16" and not tensorrt.has_strong_typing:
        config.set_flag(trt.BuilderFlag.FP16)
    if request.precision == "int8" and not tensorrt.has_strong_typing:
        config.set_flag(trt.BuilderFlag.INT8)  # which types QuantizeLinear gives
    if tensorrt.has_portable_engines and not portable(tensorrt, gpu):
        target: Any = config  # only RTX's config has this
        target.num_compute_capabilities = 1
        target.set_compute_capability(tensorrt.module.ComputeCapability.CURRENT, 0)
    profile = tensorrt.make(builder.create_optimization_profile)
    profile.set_shape(INPUT_NAME, *(trt.Dims(list(shape)) for shape in request.shapes))
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(
            f"{tensorrt.name} refuses batches of 1 to {request.max_batch} of {request.network.name}: "
            f"{tensorrt.logger.last_error or 'it does not say why'}"
        )
    return config


def _creation_flags(tensorrt: TensorRT) -> int:
    flags = tensorrt.module.NetworkDefinitionCreationFlag
    if tensorrt.needs_explicit_batch:
        return 1 << int(flags.EXPLICIT_BATCH)
    if tensorrt.needs_strong_typing_flag:
        return 1 << int(flags.STRONGLY_TYPED)
    return 0


def _describe(tensorrt: TensorRT, error: trt.ParserError, model: bytes) -> str:
    """Return the parser's message, with the node's name and operator, also for parsers that give its number only."""
    words = str(error).strip()
    if tensorrt.names_failed_nodes or error.node() < 0:
        return words
    import onnx

    try:
        node = onnx.load_model_from_string(model).graph.node[error.node()]
    except Exception:  # anything that protobuf raises for an invalid model, and IndexError
        return words
    return f"{words} (node {error.node()} is the {node.op_type} '{node.name or node.output[0]}')"


def _load_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Let TensorRT reuse earlier timings. A file that it rejects counts as missing."""
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    cache: Any = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        logger.warning("the timing cache %s is not for this TensorRT and GPU, or damaged; a new one is begun", path)
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _save_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Save TensorRT's timings. If two processes save at once, the timings of one are lost, which only costs time."""
    try:
        write_atomically(path, memoryview(config.get_timing_cache().serialize()))
    except OSError as error:
        logger.warning("the timing cache cannot be kept in %s: %s", path, error)
