"""Trial run of a network on single windows, with measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import NetworkRequest, NetworkSpec, PreparedNetwork, prepare
from ros2_actionnet.networks.resolve import score_kind
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.recognition.score_check import score_window
from ros2_actionnet.settings import Settings

_LONGEST = 3.0  # s, limit of the measurement
_MOST = 20  # windows, limit of the measurement


@dataclass(frozen=True)
class Trial:
    """Result of a trial run.

    Attributes:
        network: The prepared network, without its model; its spec is complete.
        device: Backend, device and precision that it ran with.
        milliseconds: Median time per window.
        total: Sum of the scores; 1 unless they are independent of each other.
        varies: True if noise and darkness get different scores.
        scores: Of the window that it was tried on, float32 [classes]; None without one.
    """

    network: PreparedNetwork
    device: str
    milliseconds: float
    total: float
    varies: bool
    scores: Scores | None = None

    @property
    def doubts(self) -> list[str]:
        """Findings that the user should look into."""
        found = list[str]()
        if not self.varies:
            found.append("noise and darkness get the same scores: check that the model contains trained weights")
        if abs(self.total - 1) > 0.01 and self.network.spec.scores != "sigmoid":
            found.append(f"the scores add up to {self.total:.3f}, not to 1")
        return found


def try_out(
    spec: NetworkSpec,
    settings: Settings,
    monitor: LoadMonitor = UNMONITORED,
    make_window: Callable[[PreparedNetwork], NDArray[np.uint8]] | None = None,
) -> Trial:
    """Prepare and load the network of `spec`, and classify windows with it, the one of `make_window` too.

    Raises:
        NetworkError: The network cannot be prepared.
        BackendError: The network cannot be loaded or run.
    """

    def prepared(request: NetworkRequest, monitor: LoadMonitor) -> AbstractContextManager[PreparedNetwork]:
        return nullcontext(prepare(replace(spec, scores=score_kind(request.scores) or spec.scores)))

    session = load(settings, monitor, prepare=prepared).session
    try:
        return _measure(session, make_window(session.network) if make_window is not None else None)
    finally:
        session.close()


def _measure(session: Session[Any], window: NDArray[np.uint8] | None) -> Trial:
    network = session.network
    size = (network.frames, network.height, network.width, 3)
    ring: FrameRing[Any] = session.create_ring()
    dark = score_window(session, ring, np.zeros(size, np.uint8))
    noise = score_window(session, ring, np.random.default_rng(0).integers(0, 256, size, np.uint8))
    times = list[float]()
    while len(times) < _MOST and sum(times) < _LONGEST:
        began = time.perf_counter()
        session.infer([ring.window(0)])
        times.append(time.perf_counter() - began)
    return Trial(
        network,
        device=f"{session.backend} {session.device} {session.precision}",
        milliseconds=statistics.median(times) * 1e3,
        total=float(noise.sum(dtype=np.float64)),
        varies=not np.allclose(dark, noise, rtol=1e-3, atol=1e-9),
        scores=score_window(session, ring, window) if window is not None else None,
    )
