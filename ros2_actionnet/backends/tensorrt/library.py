"""Finds TensorRT, which goes by three names, and knows in what its versions differ."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from ros2_actionnet.errors import BackendError

logger = logging.getLogger(__name__)

# TensorRT, then TensorRT for RTX as NVIDIA's archive installs it, and as PyPI's packages do.
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

# The newest operators that the ONNX parsers of 8.5 and 8.6 read.
OPSET_OF_8 = 17


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT. Each predicate names what is decided by it.

    Attributes:
        module: the Python module. The type checker sees it where a function imports `tensorrt` for it (see `Logger`).
        version: in full, as engines depend on it: "10.3.0.30".
        is_rtx: whether it is TensorRT for RTX, whose version numbers are its own and whose API is that of TensorRT 11.
    """

    module: Any
    version: str
    is_rtx: bool = False

    @property
    def name(self) -> str:
        """What it is, for a person: "TensorRT 10.3.0.30"."""
        return f"TensorRT for RTX {self.version}" if self.is_rtx else f"TensorRT {self.version}"

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.partition(".")[0])

    @property
    def needs_explicit_batch(self) -> bool:
        """Whether a network with a batch dimension of its own must be asked for; since 10 there is no other."""
        return not self.has_strong_typing

    @property
    def has_strong_typing(self) -> bool:
        """Whether an engine computes in the types that the ONNX model states; before, a flag allows it fp16."""
        return self.is_rtx or self.major >= 10

    @property
    def needs_strong_typing_flag(self) -> bool:
        """Whether strong typing must be asked for; since 11, and under RTX, there is no other."""
        return not self.is_rtx and self.major == 10

    @property
    def has_timing_cache(self) -> bool:
        """Whether what was measured for one engine can be kept for the next. RTX measures nothing."""
        return not self.is_rtx

    @property
    def has_portable_engines(self) -> bool:
        """Whether an engine runs on other GPUs than the one it was built on, and can be built without one."""
        return self.is_rtx

    @property
    def newest_opset(self) -> int | None:
        """The newest ONNX opset that the parser reads; None where that is later than any model has met."""
        return None if self.has_strong_typing else OPSET_OF_8

    @property
    def names_failed_nodes(self) -> bool:
        """Whether the parser's errors name the node and its operator, and not its number only."""
        return self.is_rtx or self.major >= 10

    @cached_property
    def logger(self) -> Any:
        """The one logger for all that is made with TensorRT, which takes no second one in a process; see `Logger`."""
        return _logger_class(self.module)()

    def deserialise(self, plan: bytes) -> Any | None:
        """The engine of `plan`, with a context on its GPU pushed; None if this TensorRT and GPU cannot take it.

        What TensorRT says about that is then the logger's `last_error`.
        """
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = self.module
        self.logger.last_error = ""
        return trt.Runtime(self.logger).deserialize_cuda_engine(plan)


@cache
def find_tensorrt() -> TensorRT:
    """The TensorRT that is installed; the same value for the whole process.

    Raises BackendError, saying what to install, where there is none that works.
    """
    reasons = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                reasons.append(f"{name}: {error}")
        except Exception as error:  # a library that is missing or does not fit: ImportError, OSError, RuntimeError
            reasons.append(f"{name}: {error}")
        else:
            # A folder that is left of a removed package, or of type stubs, is importable too.
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
    """The class of loggers, which can be made only when TensorRT is there to derive it from."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module

    class Logger(trt.ILogger):
        """Hands TensorRT's warnings and errors to `logging`, from whatever thread they come.

        `last_error` has the words of the newest error; whoever wants to know those of one call empties it before.
        """

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 asks for this spelling
            self.last_error = ""

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            """Takes a message; called by TensorRT."""
            message = message.strip()
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message
                logger.error("TensorRT: %s", message)
            elif severity == trt.ILogger.Severity.WARNING:
                logger.warning("TensorRT: %s", message)

    return Logger
