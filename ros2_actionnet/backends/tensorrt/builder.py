"""Builds an engine from a prepared network, in this process; `build_process` does it in one of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros2_actionnet.backends.tensorrt.engine_cache import write_atomically
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import INPUT_NAME, PreparedNetwork

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16")

DEFAULT_WORKSPACE = 1 << 30
"""Bytes. The intermediate results of a ResNet-34 in batches of 4 take less than half of it; a Jetson may have 4 GB."""

# From here on an engine of TensorRT for RTX runs on every GPU, unless it was built for older ones.
_RTX_PORTABLE_FROM = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """A GPU, as far as engines depend on it; `index` is what CUDA counts it by in this process."""

    name: str
    compute_capability: tuple[int, int]
    index: int = 0


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is to be built of.

    Attributes:
        network: the prepared network.
        precision: fp32 or fp16.
        max_batch: the engine takes 1 to so many windows.
        workspace: bytes of device memory that a layer may use for what it works out in between.
    """

    network: PreparedNetwork
    precision: str
    max_batch: int = 1
    workspace: int = DEFAULT_WORKSPACE

    def __post_init__(self) -> None:
        """Raises BackendError for a precision that TensorRT is not offered in, and a batch that cannot be."""
        if self.precision not in PRECISIONS:
            raise BackendError(
                f"precision {self.precision} is not offered under TensorRT; set it to {', '.join(PRECISIONS)} or auto"
            )
        if not 1 <= self.max_batch <= (self.network.max_batch or self.max_batch):
            raise BackendError(
                f"an engine for batches of {self.max_batch} cannot be built of {self.network.name}, whose batch is "
                f"{self.network.max_batch or 'at least 1'}; ask for that, or export the network with a dynamic batch"
            )

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The input's smallest shape, the one to be fastest for, and its largest."""
        window = (self.network.frames, self.network.height, self.network.width, 3)
        return (1, *window), (self.max_batch, *window), (self.max_batch, *window)


def portable(tensorrt: TensorRT, gpu: Gpu | None) -> bool:
    """Whether an engine that is built for `gpu` runs on other ones as well."""
    return tensorrt.has_portable_engines and (gpu is None or gpu.compute_capability >= _RTX_PORTABLE_FROM)


def build_here(
    tensorrt: TensorRT, request: EngineRequest, gpu: Gpu | None = None, timing_cache: Path | None = None
) -> memoryview:
    """The serialised engine; seconds to many minutes. `timing_cache` is a file that is read and written.

    The GPU is the current one, or the first; `gpu` says what it is. None is needed under TensorRT for RTX.

    Raises:
        BackendError: TensorRT cannot read the network, or build an engine of it, or finds no GPU.
        NetworkError: the network cannot be rewritten in fp16, or as old a TensorRT as this needs it.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = tensorrt.module
    tensorrt.logger.last_error = ""
    try:
        builder = trt.Builder(tensorrt.logger)
    except (TypeError, RuntimeError) as error:  # pybind11's words for a null pointer
        raise BackendError(
            f"{tensorrt.name} cannot build engines here: {tensorrt.logger.last_error or error}; see whether nvidia-smi "
            "(PC) or tegrastats (Jetson) shows a GPU that this process may use"
        ) from error
    network = builder.create_network(_creation_flags(tensorrt))
    parser = trt.OnnxParser(network, tensorrt.logger)  # has the weights: it must outlive the build
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
    """Parses the network of `request`, rewritten as this TensorRT needs it.

    Raises BackendError with the parser's own words, and NetworkError if it cannot be rewritten.
    """
    model = onnx_for(tensorrt, request)
    if parser.parse(model):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    words = "; ".join(_describe(tensorrt, error, model) for error in errors)
    raise BackendError(
        f"{tensorrt.name} cannot read the network {request.network.name}: "
        f"{words or tensorrt.logger.last_error or 'it does not say why'}. Export the network without that operator, or "
        "set backend openvino"
    )


def onnx_for(tensorrt: TensorRT, request: EngineRequest) -> bytes:
    """The serialised ONNX model that TensorRT is given for `request`. Raises NetworkError if there can be none."""
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
    serialised: bytes = parsed.SerializeToString()
    return serialised


def configure(tensorrt: TensorRT, request: EngineRequest, builder: trt.Builder, gpu: Gpu | None) -> trt.IBuilderConfig:
    """How the engine is to be built. Raises BackendError if TensorRT refuses the profile."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = tensorrt.module
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    # TF32 has 10 bits of mantissa, as fp16 has: who asks for fp32 wants fp32.
    config.clear_flag(trt.BuilderFlag.TF32)
    if request.precision == "fp16" and not tensorrt.has_strong_typing:
        config.set_flag(trt.BuilderFlag.FP16)
    if tensorrt.has_portable_engines and not portable(tensorrt, gpu):
        target: Any = config  # RTX's alone has this
        target.num_compute_capabilities = 1
        target.set_compute_capability(tensorrt.module.ComputeCapability.CURRENT, 0)
    profile = builder.create_optimization_profile()
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
    """The parser's words; with the node's name and operator, also from parsers that give its number only."""
    words = str(error).strip()
    if tensorrt.names_failed_nodes or error.node() < 0:
        return words
    import onnx

    try:
        node = onnx.load_model_from_string(model).graph.node[error.node()]
    except Exception:  # whatever protobuf raises over a file that is no model, and IndexError
        return words
    return f"{words} (node {error.node()} is the {node.op_type} '{node.name or node.output[0]}')"


def _load_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Lets TensorRT use what it measured before. A file that it does not take is as good as none."""
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    cache: Any = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        logger.warning("the timing cache %s is not for this TensorRT and GPU, or damaged; a new one is begun", path)
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _save_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Keeps what TensorRT has measured. Of two processes that do so at once, one's measurements are lost: only time."""
    try:
        write_atomically(path, memoryview(config.get_timing_cache().serialize()))
    except OSError as error:
        logger.warning("the timing cache cannot be kept in %s: %s", path, error)
