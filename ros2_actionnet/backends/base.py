"""The interface of every inference backend, with checked inputs and outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import FrameRing, WindowT
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.system.text import printable

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a network.

    Attributes:
        device: device name as the backend defines it; "" leaves the choice to the backend.
        precision: fp32, fp16, bf16, int8 for an int8 model, or auto, which leaves the choice to the backend.
        max_batch: largest number of windows in one `infer` call.
        engine_cache: folder for artifacts that a backend builds once and keeps; "" is the user's cache folder.
        cuda_graphs: True to run inferences as CUDA graphs, under TensorRT alone.
        timeout: seconds in which a server must answer.
    """

    device: str = ""
    precision: str = "auto"
    max_batch: int = 1
    engine_cache: str = ""
    cuda_graphs: bool = False
    timeout: float = 1.0


DEFAULT_OPTIONS = LoadOptions()


_DISPLAY_NAMES = {"openvino": "OpenVINO", "tensorrt": "TensorRT", "triton": "Triton"}


def describe_loaded(network: PreparedNetwork, backend: str, device: str, precision: str) -> str:
    """Return one short line about a loaded network, for logs."""
    return (
        f"{network.name}: {network.num_classes} classes, {network.frames} frames of {network.width}x{network.height}, "
        f"{_DISPLAY_NAMES.get(backend, backend)} on {device} in {precision}"
    )


def check_int8(network: PreparedNetwork, precision: str) -> None:
    """Raise BackendError if `precision` is int8 and `network` is not an int8 model: it would run in another one."""
    if precision == "int8" and network.spec.int8_of is None:
        raise BackendError(
            f"{network.name} is not an int8 model; make one with `actionnet-networks quantize`, or set precision auto"
        )


class Session(ABC, Generic[WindowT]):
    """One network loaded on one device. Must be used by one thread at a time.

    A backend implements `create_ring`, `_infer` and `close`; callers use `infer`, which checks inputs and outputs.
    `max_batch` is the largest number of windows that are computed at once; more are computed one after the other.
    """

    max_batch = 1

    def __init__(self, network: PreparedNetwork, *, backend: str, device: str, precision: str) -> None:
        self.network = network
        self.backend = backend
        self.device = device
        self.precision = precision

    @abstractmethod
    def create_ring(self) -> FrameRing[WindowT]:
        """Return a new ring for this network's windows, in the memory that suits the device."""

    def infer(self, windows: Sequence[WindowT]) -> Scores:
        """Score B windows from this session's rings: float32 [B, classes] in [0, 1].

        Raises BackendError if the inference fails or returns anything else.
        """
        if not windows:
            raise BackendError("infer was called with no window; give it at least one")
        try:
            scores = self._infer(windows)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"{self.backend} failed on {self.network.name}: {printable(error, 1000)}") from error
        expected = (len(windows), self.network.num_classes)
        if scores.shape != expected or scores.dtype != np.float32:
            raise BackendError(
                f"{self.backend} gave scores {scores.dtype} {list(scores.shape)} for {self.network.name}; "
                f"expected float32 {list(expected)}"
            )
        if not np.isfinite(scores).all():
            raise BackendError(
                f"{self.network.name} gave scores that are not numbers under {self.backend} {self.precision}; "
                "try precision fp32"
            )
        return scores

    @abstractmethod
    def _infer(self, windows: Sequence[WindowT]) -> Scores:
        """Run the inference for `infer`; may raise any exception of the backend's library."""

    @abstractmethod
    def close(self) -> None:
        """Free the network and its rings; the session must not be used again. May be called twice."""


class Backend(Protocol):
    """Loads networks with one inference library, which is not imported before `unavailable` or `load` is called."""

    name: str

    def unavailable(self, device: str) -> str | None:
        """Return why this backend cannot be used on `device` and what to do about it; None if it can."""

    def unsupported(self, device: str, precision: str) -> str | None:
        """Return why a backend that can be used has no such device here, or not in `precision`; None if it has."""

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> Session[Any]:
        """Load `network`.

        Raises:
            BackendError: the network cannot be loaded.
            LoadCancelled: `monitor` cancelled the load.
        """
