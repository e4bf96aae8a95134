"""The exchange of networks: one runs, another loads and fills its window beside it, then takes over between two frames.

    request ──▶ loader ──▶ arriving lane ── window full ──▶ running lane ──▶ retired session, closed

A change of the region of interest is a new lane on the session that runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.live.lane import Lane
from ros2_actionnet.live.network_loader import Load, LoadCallbacks, LoadRequest, NetworkLoader
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.loading import LoadedNetwork
from ros2_actionnet.settings import Effect, Settings


class NetworkExchange:
    """Owns the lanes, and the sessions under them.

    `request`, `cancel` and `lanes` may be called from any thread, the methods under "the worker's thread" from that one
    alone. `_running`, `_arriving`, `_arrival`, `_retired` and `_freed` are written with the lock held; `_running` is
    written by the worker's thread alone, which therefore reads it without.
    """

    def __init__(
        self,
        load: Load,
        on_progress: Callable[[Settings, str], None],
        on_failed: Callable[[Settings, Exception], None],
        wake: Callable[[], None],
    ) -> None:
        """Begin with no network; `wake` tells the worker that there is something for it to do."""
        self._loader = NetworkLoader(
            LoadCallbacks(
                lambda request, what: on_progress(request.settings, what),
                self._on_prepared,
                self._on_loaded,
                self._on_failed,
            ),
            load,
        )
        self._report_failure = on_failed
        self._wake = wake
        self._lock = threading.Lock()
        self._running: Lane | None = None
        self._arriving: Lane | None = None
        self._arrival: LoadRequest | None = None  # that the arriving lane belongs to
        self._retired: list[Session[Any]] = []  # to be closed by the worker's thread, which uses them
        self._freed = False

    # Any thread.

    @property
    def running(self) -> Lane | None:
        """The lane of the network that classifies."""
        return self._running

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that take frames, the running one first."""
        with self._lock:  # or a take-over between the two would show one lane twice
            return [lane for lane in (self._running, self._arriving) if lane is not None]

    @property
    def is_changing(self) -> bool:
        """True while another network is loading or waits to take over."""
        return self._arriving is not None or self._loader.loading is not None

    @property
    def loading(self) -> str:
        """The network that is loading, or waits for its window to fill; empty for none."""
        arriving, request = self._arriving, self._loader.loading
        if arriving is not None:
            return arriving.network.name
        return (request.settings.model or request.settings.network) if request is not None else ""

    @property
    def progress(self) -> str:
        """The current step of the load in a few words; empty if it takes no time worth mentioning."""
        return self._loader.progress

    def request(self, settings: Settings, *, anew: bool) -> None:
        """Make the network and the view of `settings` the running ones, as soon as nothing is lost by it.

        The network is loaded if another one runs, or if `anew` is set.
        """
        with self._lock:
            running = self._running
            effects = {Effect.NEW_NETWORK} if running is None or anew else running.settings.changed(settings)
            self._retire_arriving()
            self._loader.cancel()
            if Effect.NEW_NETWORK in effects:
                self._loader.request(LoadRequest(settings))
            elif Effect.NEW_WINDOW in effects and running is not None:
                self._arriving = Lane(settings, running.network)
                self._arriving.session, self._arriving.reason = running.session, running.reason
        self._wake()

    def cancel(self) -> None:
        """Drop what is being loaded."""
        self._loader.cancel()

    def wait_for_loader(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for a load that has been cancelled; return True if it has ended."""
        return self._loader.join(timeout)

    # The worker's thread.

    @property
    def is_waiting_for_window(self) -> bool:
        """True while a loaded network waits to take over."""
        arriving = self._arriving
        return arriving is not None and arriving.session is not None

    def open_lanes(self, settings: Settings, on_emptied: Callable[[Lane], None]) -> None:
        """Open loaded lanes, with `settings`, and take all waiting frames in; `on_emptied` receives emptied lanes."""
        for lane in self.lanes:
            if lane.classifier is None and lane.session is not None:
                lane.open(settings, is_first=self._running is None)
            if lane.classifier is not None and lane.drain():
                on_emptied(lane)

    def take_over(self, *, stream_paused: bool) -> tuple[Lane | None, Lane] | None:
        """Let the arriving network take over if nothing is lost by it; return the lanes before and after, else None."""
        with self._lock:
            arriving, running = self._arriving, self._running
            if arriving is None or arriving.classifier is None:
                return None
            old_has_window = running is not None and running.classifier is not None and running.classifier.full
            if old_has_window and not arriving.classifier.full and not stream_paused:
                return None
            self._running, self._arriving, self._arrival = arriving, None, None
            if running is not None and running.session is not None and running.session is not arriving.session:
                self._retired.append(running.session)
            return running, arriving

    def close_retired(self) -> None:
        """Close the sessions that are not used any more."""
        while self._retired:
            self._retired.pop().close()

    def free(self) -> None:
        """Close all sessions, at the end of the worker's thread."""
        with self._lock:
            self._freed = True
            self._retire_arriving()
            running, self._running = self._running, None
            if running is not None and running.session is not None:
                self._retired.append(running.session)
        self.close_retired()

    # The loader's thread.

    def _on_prepared(self, request: LoadRequest, network: PreparedNetwork) -> None:
        with self._lock:
            if self._loader.loading is request:
                self._arriving, self._arrival = Lane(request.settings, network), request

    def _on_loaded(self, request: LoadRequest, network: LoadedNetwork) -> None:
        with self._lock:
            if self._freed:  # the worker will close nothing any more
                network.session.close()
            elif self._arriving is not None and self._arrival is request:
                self._arriving.session, self._arriving.reason = network.session, network.reason
            else:
                self._retired.append(network.session)
        self._wake()

    def _on_failed(self, request: LoadRequest, error: Exception) -> None:
        with self._lock:
            if self._arrival is request:
                self._arriving = self._arrival = None
        self._report_failure(request.settings, error)
        self._wake()

    def _retire_arriving(self) -> None:
        """Drop the network that waits to take over; with the lock held."""
        arriving, self._arriving, self._arrival = self._arriving, None, None
        if arriving is None or arriving.session is None:
            return
        if self._running is None or arriving.session is not self._running.session:
            self._retired.append(arriving.session)
