"""How many windows are worth one inference, measured on a loaded network."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np

from ros2_actionnet.backends import Session

logger = logging.getLogger(__name__)

WORTH_IT = 0.9
"""A larger batch must bring the time of one window under this part of what it was: the results of all come later."""

_REPETITIONS = 5


def best_batch(session: Session[Any], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the number of windows, 1, 2, 4 or 8, that `session` should be given at once; it is logged in one line.

    Raises BackendError if the network cannot be run.
    """
    if session.max_batch == 1:
        return 1
    sizes = [size for size in (1, 2, 4, 8) if size <= session.max_batch]
    times = {size: seconds_per_inference(session, size, clock) for size in sizes}
    batch = choose_batch(times)
    measured = ", ".join(f"{size}: {seconds * 1e3:.1f} ms" for size, seconds in times.items())
    logger.info("%s: up to %d windows are classified at once (%s)", session.network.name, batch, measured)
    return batch


def choose_batch(seconds: Mapping[int, float]) -> int:
    """Return the size of the largest batch that is worth it, by the time (s) that a batch of each size takes."""
    best = 1
    for size in sorted(seconds):
        if seconds[size] / size < WORTH_IT * seconds[best] / best:
            best = size
    return best


def seconds_per_inference(
    session: Session[Any], size: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Measure the time of one inference of `size` windows in seconds: the median of a few, after a warm-up."""
    network = session.network
    blank = np.zeros((network.height, network.width, 3), np.uint8)
    rings = [session.create_ring() for _ in range(size)]
    for ring in rings:
        for slot in range(network.frames):
            ring.write(slot, blank)
    windows = [ring.window(0) for ring in rings]
    session.infer(windows)
    times = []
    for _ in range(_REPETITIONS):
        started = clock()
        session.infer(windows)
        times.append(clock() - started)
    return median(times)
