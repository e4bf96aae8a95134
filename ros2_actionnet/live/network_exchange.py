"""The exchange of networks: one runs, another fills its windows beside it, then takes over between two frames.

    request ──▶ loader ──▶ arriving network ── every window full ──▶ running network ──▶ retired session, closed

All streams change to another network at once. Another view of the image is a lane of one stream on the network that
runs, and takes over in that stream alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.live.hosted_network import HostedNetwork
from ros2_actionnet.live.lane import Lane
from ros2_actionnet.live.network_loader import Load, LoadCallbacks, LoadRequest, NetworkLoader
from ros2_actionnet.live.stream import Stream
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.loading import LoadedNetwork
from ros2_actionnet.settings import Settings


class NetworkExchange:
    """Owns the networks, and gives every stream its lanes on them.

    What is under "any thread" may be called from any thread, what is under "the worker's thread" from that one alone.
    Everything is written with `lock` held; `running` is written by the worker's thread alone, which therefore reads it
    without.
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
        self.lock = threading.Lock()
        self._streams: list[Stream] = []
        self._closed_streams: list[Stream] = []  # whose actions are to be ended by the worker's thread
        self._running: HostedNetwork | None = None
        self._arriving: HostedNetwork | None = None
        self._arrival: LoadRequest | None = None  # that the arriving network belongs to
        self._retired: list[Session[Any]] = []  # to be closed by the worker's thread, which uses them
        self._freed = False

    # Any thread.

    @property
    def running(self) -> HostedNetwork | None:
        """The network that classifies."""
        return self._running

    @property
    def streams(self) -> list[Stream]:
        """The open streams, in the order in which they were opened."""
        with self.lock:
            return list(self._streams)

    @property
    def is_changing(self) -> bool:
        """True while another network is loading or waits to take over."""
        return self._arriving is not None or self._loader.loading is not None

    @property
    def loading(self) -> str:
        """The network that is loading, or waits for its windows to fill; empty for none."""
        arriving, request = self._arriving, self._loader.loading
        if arriving is not None:
            return arriving.network.name
        return (request.settings.model or request.settings.network) if request is not None else ""

    @property
    def progress(self) -> str:
        """The current step of the load in a few words; empty if it takes no time worth mentioning."""
        return self._loader.progress

    def add(self, stream: Stream) -> None:
        """Give a new stream its lanes."""
        with self.lock:
            self._streams.append(stream)
            if self._running is not None:
                stream.running = Lane(self._running, stream.settings)
            if self._arriving is not None:
                stream.arriving = Lane(self._arriving, stream.settings)

    def remove(self, stream: Stream) -> None:
        """Take a stream out; the worker's thread ends its actions and keeps its rings for others."""
        with self.lock:
            if stream in self._streams:
                self._streams.remove(stream)
                self._closed_streams.append(stream)

    def review_view(self, stream: Stream) -> None:
        """Give a stream whose settings ask for another view of the image the lanes for it."""
        with self.lock:
            self._review_view(stream)

    def request(self, settings: Settings, *, anew: bool) -> None:
        """Make the network of `settings` the running one, as soon as nothing is lost by it.

        It is loaded if another one runs or is arriving, or if `anew` is set.
        """
        with self.lock:
            running, wanted = self._running, self._requested
            if wanted is not None and settings.asks_for_network_of(wanted.settings):
                return
            self._retire_arriving()
            self._loader.cancel()
            if running is None or anew or not settings.asks_for_network_of(running.settings):
                self._loader.request(LoadRequest(settings))
        self._wake()

    def cancel(self) -> None:
        """Drop what is being loaded."""
        self._loader.cancel()

    def wait_for_loader(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for a load that has been cancelled; return True if it has ended."""
        return self._loader.join(timeout)

    # The worker's thread.

    @property
    def is_waiting_for_windows(self) -> bool:
        """True while a loaded network, or another view of the image, waits to take over."""
        arriving = self._arriving
        is_loaded = arriving is not None and arriving.session is not None
        return is_loaded or any(stream.next_view is not None for stream in self.streams)

    def take_over(self) -> bool:
        """Let what has arrived take over where nothing is lost by it; return True if another network runs now."""
        streams = self.streams
        for stream in streams:
            self._take_over_view(stream)
        arriving = self._arriving
        if arriving is None or arriving.session is None:
            return False
        if not all(stream.may_change_to(stream.arriving) for stream in streams):
            return False
        with self.lock:
            if self._arriving is not arriving:  # superseded meanwhile
                return False
            running, self._running = self._running, arriving
            self._arriving = self._arrival = None
            before = [
                (stream, stream.change_to(stream.arriving or Lane(arriving, stream.settings)))
                for stream in self._streams
            ]
            if running is not None and running.session is not None:
                self._retired.append(running.session)
        for stream, lane in before:
            stream.end_events(lane)
        return True

    def end_closed_streams(self) -> None:
        """End the actions of the streams that were closed, and free their windows."""
        with self.lock:
            closed, self._closed_streams = self._closed_streams, []
        for stream in closed:
            stream.end_events(stream.running)
        with self.lock:
            for stream in closed:
                stream.running = stream.next_view = stream.arriving = None

    def close_retired(self) -> None:
        """Close the sessions that are not used any more."""
        while self._retired:
            self._retired.pop().close()

    def free(self) -> None:
        """Close all sessions, at the end of the worker's thread."""
        with self.lock:
            self._freed = True
            self._retire_arriving()
            running, self._running = self._running, None
            for stream in self._streams:
                stream.running = stream.next_view = None
            if running is not None and running.session is not None:
                self._retired.append(running.session)
        self.close_retired()

    def _take_over_view(self, stream: Stream) -> None:
        view = stream.next_view
        if view is None or not stream.may_change_to(view):
            return
        with self.lock:
            if stream.next_view is not view:  # superseded meanwhile
                return
            before = stream.change_to(view)
        stream.end_events(before)
        stream.apply(is_changing=self.is_changing)

    # The loader's thread.

    def _on_prepared(self, request: LoadRequest, network: PreparedNetwork) -> None:
        with self.lock:
            if self._loader.loading is request:
                self._retire_arriving()  # the same network, read differently
                self._arriving, self._arrival = HostedNetwork(request.settings, network), request
                for stream in self._streams:
                    stream.arriving = Lane(self._arriving, stream.settings)

    def _on_loaded(self, request: LoadRequest, network: LoadedNetwork) -> None:
        with self.lock:
            if self._freed:  # the worker will close nothing any more
                network.session.close()
            elif self._arriving is not None and self._arrival is request:
                self._arriving.host(network)
            else:
                self._retired.append(network.session)
        self._wake()

    def _on_failed(self, request: LoadRequest, error: Exception) -> None:
        with self.lock:
            if self._arrival is request:
                self._retire_arriving()
        self._report_failure(request.settings, error)
        self._wake()

    # With the lock held.

    @property
    def _requested(self) -> LoadRequest | None:
        """The request whose network is loading or waits to take over."""
        return self._loader.loading or self._arrival

    def _review_view(self, stream: Stream) -> None:
        settings, running, arriving = stream.settings, stream.running, stream.arriving
        if running is None or running.has_view_of(settings):
            stream.next_view = None
        elif stream.next_view is None or not stream.next_view.has_view_of(settings):
            stream.next_view = Lane(running.host, settings)
        if arriving is not None and not arriving.has_view_of(settings):
            stream.arriving = Lane(arriving.host, settings)

    def _retire_arriving(self) -> None:
        """Drop the network that waits to take over."""
        arriving, self._arriving, self._arrival = self._arriving, None, None
        if arriving is None:
            return
        for stream in self._streams:
            stream.arriving = None
        if arriving.session is not None:
            self._retired.append(arriving.session)
