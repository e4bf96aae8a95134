"""The rounds of inference over all streams.

    queues ──▶ each stream's window ──▶ due windows ── one batch ──▶ scores ──▶ each stream's prediction and events

A network that is loading has windows of its own, which fill up beside the running one's, so that they are full when it
takes over (see `network_exchange`). What belongs to one stream, whichever network runs, is in `stream`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from ros2_actionnet.errors import BackendError
from ros2_actionnet.live.hosted_network import HostedNetwork
from ros2_actionnet.live.network_exchange import NetworkExchange
from ros2_actionnet.live.network_loader import Load
from ros2_actionnet.live.stream import Stream, StreamListener
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.window_classifier import classify_together
from ros2_actionnet.settings import Settings

FAILING_AFTER = 3
"""Inferences that must fail in a row for the network to count as failing, not as having had a bad moment."""


@dataclass(frozen=True)
class RunningNetwork:
    """The network that classifies, and the backend that runs it."""

    settings: Settings
    network: PreparedNetwork
    backend: str
    device: str
    precision: str
    reason: str  # why this backend


@dataclass(frozen=True)
class WorkerStatus:
    """A snapshot for diagnostics; the counts are since the start."""

    running: RunningNetwork | None
    loading: str  # the network that is loading or waits for its windows to fill, empty for none
    progress: str  # what is being done to load it, empty where that takes no time worth mentioning
    inferences: int  # those that succeeded, each of one window or more
    failed: int  # inferences that raised
    failing: bool


class Listener(Protocol):
    """Receives what concerns all streams, in the worker's thread; `on_load_...` in the loader's."""

    def on_network(self, running: RunningNetwork) -> None:
        """Another network has taken over."""

    def on_load_progress(self, settings: Settings, what: str) -> None:
        """Report a slow step in loading the network of `settings`."""

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        """The network of `settings` cannot be loaded; what ran before still runs."""

    def on_problem(self, message: str) -> None:
        """Report a problem that a person should know of; the worker continues."""


class InferenceRounds:
    """Runs one network over any number of streams, and replaces it between two frames when asked to.

    Of the windows that are due, those go first whose stream has waited longest, as many as are worth one inference: no
    stream starves, and none gets a result that is older than its newest window.

    `do_round`, `is_waiting_for_windows` and `free` belong to one thread, the worker's, which writes all that is here;
    the rest may be called from any thread, and waits for no inference and no load.
    """

    def __init__(self, listener: Listener, load: Load, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        """Begin with no stream and no network; `wake` is called when there is something to do in a round."""
        self._listener = listener
        self._clock = clock
        self._wake = wake
        self._exchange = NetworkExchange(load, listener.on_load_progress, listener.on_load_failed, wake)
        self.lock = self._exchange.lock
        self._turns = itertools.count()
        self._inferences = self._failed = self._failed_in_a_row = 0

    # Any thread.

    def open_stream(self, settings: Settings, listener: StreamListener) -> Stream:
        """Return a new stream with an empty window; `listener` receives its results in the worker's thread."""
        stream = Stream(settings, listener, self)
        self._exchange.add(stream)
        return stream

    def request_network(self, settings: Settings) -> None:
        """Make the network of `settings` the running one, as soon as nothing is lost by it."""
        self._exchange.request(settings, anew=self._failed_in_a_row >= FAILING_AFTER)

    def cancel_load(self) -> None:
        """Drop what is being loaded."""
        self._exchange.cancel()

    def wait_for_loader(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for a load that has been cancelled; return True if it has ended."""
        return self._exchange.wait_for_loader(timeout)

    def status(self) -> WorkerStatus:
        """Return a snapshot for diagnostics."""
        running = self._exchange.running
        return WorkerStatus(
            running=_describe(running) if running else None,
            loading=self._exchange.loading,
            progress=self._exchange.progress,
            inferences=self._inferences,
            failed=self._failed,
            failing=self._failed_in_a_row >= FAILING_AFTER,
        )

    # What the streams call.

    def now(self) -> float:
        """Return the time in seconds, by a clock that never steps back."""
        return self._clock()

    def next_turn(self) -> int:
        """Return a number above all that were returned before."""
        return next(self._turns)

    def wake(self) -> None:
        """Let the worker see that there is something for it to do."""
        self._wake()

    def on_stream_configured(self, stream: Stream) -> None:
        """Give the stream what its settings ask for."""
        self._exchange.review_view(stream)
        self._wake()

    def on_stream_closed(self, stream: Stream) -> None:
        """Forget the stream."""
        self._exchange.remove(stream)
        self._wake()

    # The worker's thread.

    @property
    def is_waiting_for_windows(self) -> bool:
        """True while a loaded network, or another view of the image, waits to take over."""
        return self._exchange.is_waiting_for_windows

    def do_round(self) -> None:
        """Take all frames in, and classify the windows that have waited longest."""
        exchange = self._exchange
        exchange.end_closed_streams()
        exchange.close_retired()
        streams = exchange.streams
        for stream in streams:
            stream.apply_settings(is_changing=exchange.is_changing)
            stream.take_frames(is_changing=exchange.is_changing)
        self._take_over()
        running = exchange.running
        if running is None:
            return
        due = sorted((stream for stream in streams if stream.is_due()), key=attrgetter("turn"))
        if due:
            self._classify(due[: running.batch])
        if len(due) > running.batch:
            self._wake()  # after the frames that have come meanwhile are taken in

    def _take_over(self) -> None:
        exchange = self._exchange
        if not exchange.take_over():
            return
        self._failed_in_a_row = 0
        for stream in exchange.streams:
            stream.apply(is_changing=exchange.is_changing)
        running = exchange.running
        assert running is not None
        self._listener.on_network(_describe(running))
        exchange.close_retired()

    def _classify(self, streams: list[Stream]) -> None:
        """Classify the newest window of each of `streams` in one inference."""
        started = self._clock()
        for stream in streams:
            stream.begin_turn()
        try:
            all_scores = classify_together([stream.window for stream in streams])
        except BackendError as error:
            self._failed += 1
            self._failed_in_a_row += 1
            self._listener.on_problem(f"inference failed ({self._failed_in_a_row} in a row): {error}")
            return
        ended = self._clock()
        self._inferences += 1
        self._failed_in_a_row = 0
        for stream, scores in zip(streams, all_scores, strict=True):
            try:
                stream.finish_turn(scores, ended - started, ended)
            except Exception as error:  # what one stream's listener does wrong must not cost the others their results
                self.report_unexpected(error)

    def report_unexpected(self, error: Exception) -> None:
        """Report an exception that nothing here foresees."""
        self._listener.on_problem(f"the inference worker hit an unexpected {type(error).__name__}: {error}")

    def free(self) -> None:
        """Close all sessions; no round may follow."""
        self._exchange.free()


def _describe(host: HostedNetwork) -> RunningNetwork:
    assert host.session is not None
    session = host.session
    return RunningNetwork(host.settings, host.network, session.backend, session.device, session.precision, host.reason)
