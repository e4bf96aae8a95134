"""Test tools, and nothing else: doubles of what TensorRT's builder has in each version, for machines without that one.

`TENSORRT_8_5`, `TENSORRT_10`, `TENSORRT_11` and `TENSORRT_RTX` make the module of that version. It has the names that
the real one has of those that this package uses, and no others, so that a branch that is wrong for a version ends in an
AttributeError; and it refuses what the real one refuses. Its "engine" is JSON that says how it was built.

The names are those of the bindings in NVIDIA's TensorRT repository: 8.5.3, 10.3.0 and 11.1; those of TensorRT for RTX,
of 1.7.1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto

from ros2_actionnet.backends.tensorrt.library import TensorRT


@dataclass(frozen=True)
class Surface:
    """What of the builder's API a version has."""

    version: str
    creation_flags: dict[str, int]
    builder_flags: dict[str, int]
    is_always_strongly_typed: bool
    newest_opset: int
    names_nodes: bool
    timing_cache: bool = True
    compute_capabilities: bool = False
    needs_gpu: bool = True


TENSORRT_8_5 = Surface(
    "8.5.2.2", {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1}, {"FP16": 0, "TF32": 7}, False, 17, names_nodes=False
)
TENSORRT_10 = Surface(
    "10.3.0.30", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, {"FP16": 0, "TF32": 6}, False, 20, names_nodes=True
)
TENSORRT_11 = Surface("11.1.0.106", {"STRONGLY_TYPED": 0}, {"TF32": 6}, True, 24, names_nodes=True)
TENSORRT_RTX = Surface(
    "1.7.1.116",
    {"STRONGLY_TYPED": 0},
    {"TF32": 6},
    True,
    24,
    names_nodes=True,
    timing_cache=False,
    compute_capabilities=True,
    needs_gpu=False,
)


@dataclass
class Machine:
    """What a double finds around it, and what it was seen to do."""

    has_gpu: bool = True
    measures: str = "this GPU"  # what its timing cache is for
    words_before_failure: str = ""  # if set, the build fails with them
    warnings: list[str] = field(default_factory=list)
    timing_caches: list[bytes] = field(default_factory=list)  # that were given to builds
    calls: list[str] = field(default_factory=list)  # of the functions whose order counts
    has_plugins: bool = True


def make_tensorrt(surface: Surface, machine: Machine | None = None) -> TensorRT:
    """The double of a version, as `find_tensorrt` would give it."""
    return TensorRT(make_module(surface, machine or Machine()), surface.version, surface is TENSORRT_RTX)


def make_module(surface: Surface, machine: Machine) -> ModuleType:
    """The double of the Python module."""
    module = ModuleType("tensorrt_double")
    names: dict[str, Any] = {
        "__version__": surface.version,
        "ILogger": ILogger,
        "Dims": Dims,
        "MemoryPoolType": IntEnum("MemoryPoolType", {"WORKSPACE": 0}),
        "NetworkDefinitionCreationFlag": IntEnum("NetworkDefinitionCreationFlag", surface.creation_flags),
        "BuilderFlag": _flags(surface),
        "Builder": lambda logger: Builder(surface, machine, logger),
        "OnnxParser": partial(OnnxParser, machine),
        "Runtime": partial(Runtime, machine),
        "init_libnvinfer_plugins": partial(_init_plugins, machine),
    }
    if surface.compute_capabilities:
        names["ComputeCapability"] = IntEnum("ComputeCapability", {"CURRENT": 1, "SM75": 75})
    for name, value in names.items():
        setattr(module, name, value)
    return module


def _flags(surface: Surface) -> Any:
    return IntEnum("BuilderFlag", surface.builder_flags)


class ILogger:
    """tensorrt.ILogger."""

    class Severity(IntEnum):
        """tensorrt.ILogger.Severity."""

        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        self.is_made = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError("log must be overridden")


def _init_plugins(machine: Machine, logger: ILogger, namespace: str) -> bool:
    assert isinstance(logger, ILogger)
    assert namespace == ""
    machine.calls.append("init_libnvinfer_plugins")
    return machine.has_plugins


class Runtime:
    """tensorrt.Runtime, whose engine is the plan."""

    def __init__(self, machine: Machine, logger: ILogger) -> None:
        if not machine.has_gpu:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._machine = machine

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> bytes:
        self._machine.calls.append("deserialize_cuda_engine")
        return serialized_engine


class Dims(list[int]):
    """tensorrt.Dims."""


class Builder:
    """tensorrt.Builder."""

    def __init__(self, surface: Surface, machine: Machine, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        assert logger.is_made, "ILogger.__init__ was not called"
        self.surface, self.machine, self.logger = surface, machine, logger
        if surface.needs_gpu and not machine.has_gpu:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        for warning in machine.warnings:
            logger.log(ILogger.Severity.WARNING, warning)

    def create_network(self, flags: int = 0) -> Network:
        known = sum(1 << value for value in self.surface.creation_flags.values())
        assert not flags & ~known, f"unknown creation flags {flags:b}"
        return Network(self.surface, flags)

    def create_builder_config(self) -> Any:
        return make_config(self.surface, self.machine)

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Any) -> bytes | None:
        """The real one gives IHostMemory, which is a buffer, as bytes are."""
        if self.machine.words_before_failure:
            return self._fail(self.machine.words_before_failure)
        if network.model is None:
            return self._fail("the network has no output")
        flags = {flag.name for flag in config.enabled_flags}
        if network.is_strongly_typed and "FP16" in flags:
            return self._fail("precision flags cannot be set with strongly typed networks")
        if network._has_dynamic_batch and not config.profiles:
            return self._fail("Network has dynamic or shape inputs, but no optimization profile has been defined")
        weights = {tensor.data_type for tensor in network.model.graph.initializer if len(tensor.dims) > 1}
        if TensorProto.FLOAT16 in weights and not network.is_strongly_typed:
            return self._fail("fp16 weights in a weakly typed network without the FP16 flag")
        plan = {
            "weights": sorted(TensorProto.DataType.Name(kind) for kind in weights),
            "flags": sorted(flags),
            "strongly_typed": network.is_strongly_typed,
            "opset": network.model.opset_import[0].version,
            "profiles": config.profiles,
            "workspace": config.pools["WORKSPACE"],
            "compute_capabilities": config.compute_capabilities,
        }
        return json.dumps(plan).encode()

    def _fail(self, words: str) -> bytes | None:
        self.logger.log(ILogger.Severity.ERROR, f"IBuilder::buildSerializedNetwork: Error Code 4: {words}")
        return None


class Network:
    """tensorrt.INetworkDefinition."""

    def __init__(self, surface: Surface, flags: int) -> None:
        self.surface = surface
        asked = {name for name, value in surface.creation_flags.items() if flags >> value & 1}
        self.is_strongly_typed = surface.is_always_strongly_typed or "STRONGLY_TYPED" in asked
        self.has_explicit_batch = "EXPLICIT_BATCH" not in surface.creation_flags or bool(
            asked & {"EXPLICIT_BATCH", "STRONGLY_TYPED"}
        )
        self.model: onnx.ModelProto | None = None

    @property
    def _has_dynamic_batch(self) -> bool:
        assert self.model is not None
        return not self.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value


class OnnxParser:
    """tensorrt.OnnxParser."""

    def __init__(self, machine: Machine, network: Network, logger: ILogger) -> None:
        machine.calls.append("OnnxParser")
        if network is None:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._network, self._errors = network, list[Any]()

    def parse(self, model: bytes) -> bool:
        surface = self._network.surface
        try:
            parsed = onnx.load_model_from_string(model)
        except Exception:
            return self._refuse("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model.", -1, None)
        if not self._network.has_explicit_batch:
            return self._refuse("INVALID_VALUE", "the network must have an explicit batch dimension", -1, None)
        if parsed.opset_import[0].version > surface.newest_opset:
            return self._refuse("UNSUPPORTED_NODE", "no importer registered for this opset", 0, parsed.graph.node[0])
        for index, node in enumerate(parsed.graph.node):
            if not onnx.defs.has(node.op_type):
                return self._refuse("UNSUPPORTED_NODE", "Plugin not found", index, node)
        self._network.model = parsed
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def _refuse(self, code: str, words: str, index: int, node: onnx.NodeProto | None) -> bool:
        named = self._network.surface.names_nodes and node is not None
        name = f" with name: {node.name} and operator: {node.op_type}" if named and node is not None else ""
        error = ParserError(f"In node {index}{name} (parseNode): {code}: {words}", index)
        self._errors.append(error)
        return False


class ParserError:
    """tensorrt.ParserError."""

    def __init__(self, words: str, index: int) -> None:
        self._words, self._index = words, index

    def __str__(self) -> str:
        return self._words

    def node(self) -> int:
        return self._index


class Profile:
    """tensorrt.IOptimizationProfile."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        assert all(isinstance(shape, Dims) for shape in (min, opt, max))
        assert all(low <= best <= high for low, best, high in zip(min, opt, max, strict=True))
        self.shapes[input] = [list(min), list(opt), list(max)]


class Config:
    """tensorrt.IBuilderConfig, as far as all versions agree on it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.enabled_flags: set[Any] = set()
        self.profiles: list[dict[str, list[list[int]]]] = []
        self.pools: dict[str, int] = {}
        self.compute_capabilities: list[str] = []

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[pool.name] = pool_size

    def set_flag(self, flag: Any) -> None:
        self.enabled_flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.enabled_flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1


class ConfigWithTimingCache(Config):
    """Where the builder measures."""

    _cache: TimingCache | None = None

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None:
        content = bytes(serialized_timing_cache)
        if content.startswith(b"garbage"):
            return None
        return TimingCache(content or f"{self.machine.measures}:".encode())

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if not cache.content.startswith(self.machine.measures.encode()) and not ignore_mismatch:
            return False
        self._cache = cache
        self.machine.timing_caches.append(cache.content)
        return True

    def get_timing_cache(self) -> TimingCache:
        assert self._cache is not None
        return TimingCache(self._cache.content + b" one more")


@dataclass
class TimingCache:
    """tensorrt.ITimingCache."""

    content: bytes

    def serialize(self) -> bytes:
        return self.content


class ConfigWithComputeCapability(Config):
    """Where engines are for several GPUs."""

    num_compute_capabilities = 0

    def set_compute_capability(self, compute_capability: Any, index: int) -> None:
        assert index < self.num_compute_capabilities
        self.compute_capabilities.append(compute_capability.name)


def make_config(surface: Surface, machine: Machine) -> Config:
    """The IBuilderConfig of a version, with the flag that TensorRT sets by itself."""
    kinds: list[type[Config]] = []
    if surface.timing_cache:
        kinds.append(ConfigWithTimingCache)
    if surface.compute_capabilities:
        kinds.append(ConfigWithComputeCapability)
    kind: type[Config] = type("IBuilderConfig", tuple(kinds) or (Config,), {})
    config = kind(machine)
    config.enabled_flags.add(_flags(surface).TF32)
    return config
