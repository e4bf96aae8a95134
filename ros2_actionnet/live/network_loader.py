"""Loads networks beside the running one, in a thread that lives only while there is something to load."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ros2_actionnet.backends import Session, choose_backend
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.networks import PreparedNetwork, obtain
from ros2_actionnet.networks.prepare_process import prepare_in_process
from ros2_actionnet.recognition.loading import load_options, network_request
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.allocator import give_back_free_memory


@dataclass(frozen=True)
class LoadCallbacks:
    """Receives the loader's reports in the loader's thread; each call names the settings it is about."""

    progress: Callable[[Settings, str], None]
    prepared: Callable[[Settings, PreparedNetwork], None]
    loaded: Callable[[Settings, Session[Any], str], None]
    failed: Callable[[Settings, Exception], None]


@dataclass(frozen=True)
class _Monitor:
    """Follows the load of `settings` for the loader."""

    loader: NetworkLoader
    settings: Settings

    def progress(self, what: str) -> None:
        self.loader.on_progress(self.settings, what)

    def cancelled(self) -> bool:
        return self.loader.loading is not self.settings


class NetworkLoader:
    """Loads the network of the newest settings asked for; one that has been superseded is dropped unused."""

    def __init__(self, callbacks: LoadCallbacks) -> None:
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._wanted: Settings | None = None
        self._progress = ""
        self._thread: threading.Thread | None = None

    @property
    def loading(self) -> Settings | None:
        """The settings whose network is being loaded; None if none is."""
        return self._wanted

    @property
    def progress(self) -> str:
        """The current step of the load in a few words; empty if it takes no time worth mentioning."""
        return self._progress

    def on_progress(self, settings: Settings, what: str) -> None:
        """Takes what is being done for the network of `settings`."""
        if self._wanted is settings:
            self._progress = what
            self._callbacks.progress(settings, what)

    def request(self, settings: Settings) -> None:
        """Loads the network of `settings`, in place of any that is being loaded."""
        with self._lock:
            self._wanted = settings
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="network_loader", daemon=True)
                self._thread.start()

    def cancel(self) -> None:
        """Drops what is being loaded."""
        with self._lock:
            self._wanted = None

    def join(self, timeout: float) -> bool:
        """Waits at most `timeout` (s) for the thread to end; whether it has."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while (settings := self._next()) is not None:
            try:
                self._load(settings)
            except Exception as error:
                self._report_failure(settings, error)

    def _next(self) -> Settings | None:
        """Return the settings to load next; None ends the thread."""
        with self._lock:
            if self._wanted is None:
                self._thread = None
            self._progress = ""
            return self._wanted

    def _report_failure(self, settings: Settings, error: Exception) -> None:
        self._finish(settings, lambda: self._callbacks.failed(settings, error))

    def _load(self, settings: Settings) -> None:
        monitor = _Monitor(self, settings)
        spec = obtain(network_request(settings), monitor)
        with prepare_in_process(spec, monitor) as network:
            if self._is_wanted(settings):
                self._load_prepared(settings, network)

    def _load_prepared(self, settings: Settings, network: PreparedNetwork) -> None:
        choice = choose_backend(settings.backend, settings.device)
        # Whoever keeps the network does not need the model's bytes (134 MB for a ResNet-18) once it is loaded.
        described = replace(network, model=b"", file=None)
        self._callbacks.prepared(settings, described)
        session = choice.backend.load(network, load_options(settings), _Monitor(self, settings))
        session.network = described
        give_back_free_memory()
        try:
            warm_up(session)
        except Exception:
            session.close()
            raise
        if not self._finish(settings, lambda: self._callbacks.loaded(settings, session, choice.reason)):
            session.close()

    def _is_wanted(self, settings: Settings) -> bool:
        return self._wanted is settings

    def _finish(self, settings: Settings, report: Callable[[], None]) -> bool:
        """Reports the end of a load, unless it has been superseded meanwhile."""
        with self._lock:
            if self._wanted is not settings:
                return False
            self._wanted = None
        report()
        return True


def warm_up(session: Session[Any]) -> None:
    """Runs one inference, so that the first real one does not pay for what a library puts off until then.

    Raises BackendError if the network cannot be run.
    """
    network = session.network
    ring: FrameRing[Any] = session.create_ring()
    blank = np.zeros((network.height, network.width, 3), np.uint8)
    for slot in range(network.frames):
        ring.write(slot, blank)
    session.infer([ring.window(0)])
