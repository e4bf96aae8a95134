"""What every inference backend offers, and the one checked way into it."""

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

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class LoadOptions:
    """How a network is to be loaded.

    Attributes:
        device: what the backend calls a device; "" leaves the choice to it.
        precision: fp32, fp16, bf16, or auto, which leaves the choice to the backend.
        max_batch: windows that one `infer` must be able to take.
        engine_cache: folder for what a backend builds once and keeps; "" is the user's cache folder.
    """

    device: str = ""
    precision: str = "auto"
    max_batch: int = 1
    engine_cache: str = ""


DEFAULT_OPTIONS = LoadOptions()


class Session(ABC, Generic[WindowT]):
    """One network loaded on one device. All calls come from one thread at a time.

    A backend implements `create_ring`, `_infer` and `close`; callers use `infer`, which checks what goes in and out.
    """

    def __init__(self, network: PreparedNetwork, *, backend: str, device: str, precision: str) -> None:
        self.network = network
        self.backend = backend
        self.device = device
        self.precision = precision

    @abstractmethod
    def create_ring(self) -> FrameRing[WindowT]:
        """A new ring for this network's windows, in the memory that suits the device."""

    def infer(self, windows: Sequence[WindowT]) -> Scores:
        """Scores of B windows from this session's rings: float32 [B, classes], in [0, 1], each row summing to 1.

        Raises BackendError if the inference fails or gives anything else.
        """
        if not windows:
            raise BackendError("infer was called with no window; give it at least one")
        try:
            scores = self._infer(windows)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"{self.backend} failed on {self.network.name}: {error}") from error
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
        """The backend's part of `infer`; it may raise what its library raises."""

    @abstractmethod
    def close(self) -> None:
        """Frees the network and its rings; the session must not be used again. May be called twice."""


class Backend(Protocol):
    """Loads networks with one inference library, which is imported no sooner than `unavailable` or `load` is called."""

    name: str

    def unavailable(self, device: str) -> str | None:
        """Why this backend cannot be used on `device` here and what to do about it; None if it can."""

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> Session[Any]:
        """Loads `network`.

        Raises:
            BackendError: it cannot be loaded.
            LoadCancelled: `monitor` said that it is not wanted any more.
        """
