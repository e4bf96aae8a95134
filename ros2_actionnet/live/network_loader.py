"""Loads networks beside the running one, in a thread that lives only while there is something to load."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ros2_actionnet.load_monitor import DownloadInWords, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.loading import LoadedNetwork, load, prepared_in_process
from ros2_actionnet.settings import Settings


@dataclass(frozen=True, eq=False)
class LoadRequest:
    """One request for the network of `settings`; requests are distinct, even with equal settings."""

    settings: Settings


class Load(Protocol):
    """Loads a network as `recognition.loading.load` does."""

    def __call__(
        self, settings: Settings, monitor: LoadMonitor, on_prepared: Callable[[PreparedNetwork], None]
    ) -> LoadedNetwork:
        """Load the network of `settings`."""


load_in_background: Load = partial(load, prepare=prepared_in_process)
"""Loads a network while other threads of this process receive images."""


@dataclass(frozen=True)
class LoadCallbacks:
    """Receives the loader's reports in the loader's thread; each call names the request that it is about."""

    progress: Callable[[LoadRequest, str], None]
    prepared: Callable[[LoadRequest, PreparedNetwork], None]
    loaded: Callable[[LoadRequest, LoadedNetwork], None]
    failed: Callable[[LoadRequest, Exception], None]


class _Monitor:
    """Follows the load of `request` for the loader."""

    def __init__(self, loader: NetworkLoader, request: LoadRequest) -> None:
        self._loader, self._request = loader, request
        self._download = DownloadInWords(self.progress)

    def progress(self, what: str) -> None:
        self._loader.on_progress(self._request, what)

    def downloaded(self, name: str, done: int, total: int) -> None:
        self._download(name, done, total)

    def cancelled(self) -> bool:
        return self._loader.loading is not self._request


class NetworkLoader:
    """Loads the network that was requested last; one that has been superseded is dropped unused."""

    def __init__(self, callbacks: LoadCallbacks, load: Load = load_in_background) -> None:
        self._callbacks = callbacks
        self._load = load
        self._lock = threading.Lock()
        self._wanted: LoadRequest | None = None
        self._progress = ""
        self._thread: threading.Thread | None = None

    @property
    def loading(self) -> LoadRequest | None:
        """The request that is being loaded; None if none is."""
        return self._wanted

    @property
    def progress(self) -> str:
        """The current step of the load in a few words; empty if it takes no time worth mentioning."""
        return self._progress

    def on_progress(self, request: LoadRequest, what: str) -> None:
        """Receive the current step of the load of `request`."""
        if self._wanted is request:
            self._progress = what
            self._callbacks.progress(request, what)

    def request(self, request: LoadRequest) -> None:
        """Load the network of `request`, in place of any that is being loaded."""
        with self._lock:
            self._wanted = request
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="network_loader", daemon=True)
                self._thread.start()

    def cancel(self) -> None:
        """Drop what is being loaded."""
        with self._lock:
            self._wanted = None

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for the thread to end; return True if it has."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while (request := self._next()) is not None:
            self._load_one(request)

    def _next(self) -> LoadRequest | None:
        """Return the request to load next; None ends the thread."""
        with self._lock:
            if self._wanted is None:
                self._thread = None
            self._progress = ""
            return self._wanted

    def _load_one(self, request: LoadRequest) -> None:
        try:
            network = self._load(
                request.settings,
                _Monitor(self, request),
                lambda prepared: self._callbacks.prepared(request, prepared),
            )
        except Exception as error:
            failure = error
            self._finish(request, lambda: self._callbacks.failed(request, failure))
            return
        if not self._finish(request, lambda: self._callbacks.loaded(request, network)):
            network.session.close()

    def _finish(self, request: LoadRequest, report: Callable[[], None]) -> bool:
        """Report the end of a load, unless it has been superseded meanwhile."""
        with self._lock:
            if self._wanted is not request:
                return False
            self._wanted = None
        report()
        return True
