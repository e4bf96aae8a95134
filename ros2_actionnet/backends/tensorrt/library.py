"""Finds TensorRT, which has three module names, and describes how its versions differ."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ros2_actionnet.backends.tensorrt.cuda import GPU_REMEDY, remedy_for
from ros2_actionnet.errors import BackendError

logger = logging.getLogger(__name__)

# TensorRT, then TensorRT for RTX as installed from NVIDIA's archive, and from PyPI's packages.
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

Made = TypeVar("Made")

# The newest opset that the ONNX parsers of 8.5 and 8.6 support.
OPSET_OF_8 = 17

# Opsets that the parser reads, from this version on: docs/operators.md of onnx-tensorrt.
_OPSETS = {(8, 5): (7, OPSET_OF_8), (10, 0): (9, 20), (10, 15): (9, 24)}


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT. Each predicate is named after the decision that it controls.

    Attributes:
        module: the Python module. The type checker sees it where a function imports `tensorrt` for it (see `Logger`).
        version: the full version, on which engines depend: "10.3.0.30".
        is_rtx: True for TensorRT for RTX, which has its own version numbers and the API of TensorRT 11.
    """

    module: Any
    version: str
    is_rtx: bool = False

    @property
    def name(self) -> str:
        """Display name: "TensorRT 10.3.0.30"."""
        return f"TensorRT for RTX {self.version}" if self.is_rtx else f"TensorRT {self.version}"

    @property
    def major(self) -> int:
        """First number of the version."""
        return int(self.version.partition(".")[0])

    @property
    def _major_and_minor(self) -> tuple[int, ...]:
        return tuple(map(int, self.version.split(".")[:2]))

    @property
    def needs_explicit_batch(self) -> bool:
        """True if a network with an explicit batch dimension must be requested; since 10 there is no other."""
        return not self.has_strong_typing

    @property
    def has_strong_typing(self) -> bool:
        """True if an engine computes in the types of the ONNX model; in earlier versions a flag allows fp16."""
        return self.is_rtx or self.major >= 10

    @property
    def needs_strong_typing_flag(self) -> bool:
        """True if strong typing must be requested; since 11, and with RTX, there is no other."""
        return not self.is_rtx and self.major == 10

    @property
    def has_timing_cache(self) -> bool:
        """True if the timings of one engine build can be reused for the next. RTX measures nothing."""
        return not self.is_rtx

    @property
    def has_portable_engines(self) -> bool:
        """True if an engine runs on other GPUs than the one it was built on, and can be built without one."""
        return self.is_rtx

    @property
    def newest_opset(self) -> int | None:
        """Newest ONNX opset that the parser supports; None if it is newer than that of any known model."""
        return None if self.has_strong_typing else OPSET_OF_8

    @property
    def opsets(self) -> tuple[int, int]:
        """Oldest and newest ONNX opset that the parser is known to read."""
        if self.is_rtx:
            return _OPSETS[10, 15]
        return max((since, opsets) for since, opsets in _OPSETS.items() if since <= max(self._major_and_minor, (8, 5)))[
            1
        ]

    @property
    def holds_interpreter(self) -> bool:
        """True if no other Python thread runs while an execution context is created, which may take seconds."""
        return not self.is_rtx and self.major < 10

    @property
    def has_runtime_cache(self) -> bool:
        """True if kernels are compiled when an engine is loaded, and can be kept for the next time."""
        return self.is_rtx

    @property
    def names_failed_nodes(self) -> bool:
        """True if the parser's errors name the node and its operator, and not only its number."""
        return self.is_rtx or self.major >= 10

    @cached_property
    def logger(self) -> Any:
        """The only logger for all TensorRT objects, since TensorRT accepts just one per process; see `Logger`."""
        return _logger_class(self.module)()

    def take_error(self) -> str:
        """Return the newest error message since the last call, and forget it; empty if there is none."""
        message, self.logger.last_error = self.logger.last_error, ""
        return str(message)

    def register_plugins(self) -> bool:
        """Register TensorRT's own plugins, once per process; return False, and log it, if that fails.

        Networks with InstanceNormalization or RoiAlign contain such plugins under TensorRT 8. Its parser registers them
        by itself, in its process; no other process can load the engine unless it has registered them too.
        """
        return self._has_plugins

    @cached_property
    def _has_plugins(self) -> bool:
        registered: bool = self.module.init_libnvinfer_plugins(self.logger, "")
        if not registered:
            logger.warning("the plugins of %s cannot be registered; networks that need none still run", self.name)
        return registered

    def make(self, function: Callable[..., Made | None], *arguments: Any) -> Made:
        """Return `function(*arguments)`, an object of TensorRT.

        Raises BackendError, with TensorRT's reason, if the library has given none: its constructors then raise an
        error of pybind11, without a reason, and its functions return None.
        """
        self.logger.last_error = ""
        try:
            made = function(*arguments)
        except (TypeError, RuntimeError) as error:
            raise self._cannot_start(str(error)) from error
        if made is None:
            raise self._cannot_start("it does not say why")
        return made

    def _cannot_start(self, otherwise: str) -> BackendError:
        reason = self.logger.last_error or otherwise
        return BackendError(f"{self.name} cannot be started here: {reason}{remedy_for(reason) or f'; {GPU_REMEDY}'}")

    def deserialize(self, plan: bytes) -> Any | None:
        """Deserialize `plan`, with a context on its GPU pushed; None if this TensorRT and GPU cannot load it.

        The logger's `last_error` then has TensorRT's reason. Raises BackendError if TensorRT does not start.
        """
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = self.module
        runtime = self.make(trt.Runtime, self.logger)
        self.register_plugins()
        self.logger.last_error = ""
        return runtime.deserialize_cuda_engine(plan)


@cache
def find_tensorrt() -> TensorRT:
    """Return the installed TensorRT; the same value for the whole process.

    Raises BackendError, with what to install, if no working one is found.
    """
    reasons = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                reasons.append(f"{name}: {error}")
        except Exception as error:  # a missing or incompatible library: ImportError, OSError, RuntimeError
            reasons.append(f"{name}: {error}")
        else:
            # A leftover folder of a removed package, or of type stubs, is importable too.
            if hasattr(module, "Builder"):
                return TensorRT(module, str(module.__version__), is_rtx=name != "tensorrt")
            reasons.append(f"{name}: it is empty")
    found = f" ({'; '.join(reasons)})" if reasons else ""
    raise BackendError(
        f"TensorRT {'cannot be imported' if reasons else 'is not installed'}{found}; on a Jetson: apt install "
        "python3-libnvinfer, and a virtual environment made with --system-site-packages; on a PC: pip install "
        "tensorrt, or for an RTX card tensorrt-rtx-cu13-bindings and tensorrt-rtx-cu13-libs; see docs/tensorrt.md"
    )


def _logger_class(module: Any) -> type[Any]:
    """Create the logger class, which can be derived only once TensorRT is imported."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module

    class Logger(trt.ILogger):
        """Forwards TensorRT's warnings and errors to `logging`, from any thread.

        `last_error` is the newest error message; to get the error of one call, clear it before the call.
        """

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 requires an explicit call
            self.last_error = ""

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            """Forward a message; called by TensorRT."""
            message = message.strip()
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message
                logger.error("TensorRT: %s", message)
            elif severity == trt.ILogger.Severity.WARNING:
                logger.warning("TensorRT: %s", message)

    return Logger
