"""What to load when the server of the running network has failed, or is not there at the start.

    the network asked for ── fails ──▶ the fallback network, if one is set ── the server answers again ──▶ the first

Both ways are an exchange of networks as any other: the one loads and fills its windows beside the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ros2_actionnet.errors import ServerError
from ros2_actionnet.live.inference_rounds import WorkerStatus
from ros2_actionnet.settings import SETTINGS, Effect, Settings

FIRST_WAIT = 2.0
"""Seconds from a failure to the next attempt; doubled with each, up to LONGEST_WAIT."""

LONGEST_WAIT = 30.0


def fallback_of(settings: Settings) -> Settings:
    """Return the settings of the fallback network: `fallback_network` on this computer, all else as it is."""
    defaults = {s.name: s.default for s in SETTINGS if s.effect is Effect.NEW_NETWORK and s.name != "engine_cache"}
    return replace(settings, **{**defaults, "network": settings.fallback_network})  # type: ignore[arg-type]


class Recovery:
    """Decides from the worker's status, about once a second, which network to request.

    Attributes:
        reason: Why the network asked for does not run; "" if it does.
        asked: Settings of the network that ran last as it was asked for; None if none has.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wait = FIRST_WAIT
        self._next = 0.0  # s, when to try the network asked for again
        self._waits = False  # for a server, which did not answer when the network was loaded
        self._unusable: Settings | None = None  # the fallback network that could not be loaded
        self.reason = ""
        self.asked: Settings | None = None

    def load_failed(self, settings: Settings, wanted: Settings, error: Exception) -> None:
        """Take note of why the network of `settings` could not be loaded."""
        if isinstance(error, ServerError):
            self.reason = str(error)
            self._postpone()
        elif not settings.asks_for_network_of(wanted):
            self._unusable = settings

    def network_changed(self, settings: Settings, wanted: Settings) -> None:
        """Take note of the network that runs now."""
        if settings.asks_for_network_of(wanted):
            self.asked = settings
            self.reason = ""
            self._wait = FIRST_WAIT
            self._waits = False
        else:
            self._postpone()

    def next_request(self, status: WorkerStatus, wanted: Settings, last_error: str) -> Settings | None:
        """Return the settings of the network to request now; None to leave everything as it is.

        Args:
            status: Of the worker.
            wanted: The node's settings.
            last_error: What failed last in an inference.
        """
        if status.loading:
            return None
        running = status.running
        fallback = fallback_of(wanted) if wanted.fallback_network and wanted.backend == "triton" else None
        if fallback is not None and self._unusable is not None and fallback.asks_for_network_of(self._unusable):
            fallback = None
        if running is not None and running.settings.asks_for_network_of(wanted):
            if not status.failing or fallback is None:
                return None
            self.reason = last_error
            return fallback
        if not self._waits:
            return None
        if running is None and fallback is not None:
            return fallback
        return wanted if self._clock() >= self._next else None

    def _postpone(self) -> None:
        self._waits = True
        self._next = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)
