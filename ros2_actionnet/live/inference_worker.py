"""The thread that owns the running network and the windows of all streams.

The caller's thread hands over frames with `Stream.submit`, which makes the thumbnails and returns; everything else
happens in the worker, in rounds (see `inference_rounds`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ros2_actionnet.live.inference_rounds import InferenceRounds, Listener, WorkerStatus
from ros2_actionnet.live.network_loader import Load, load_in_background
from ros2_actionnet.live.stream import Stream, StreamListener
from ros2_actionnet.settings import Settings

_POLL = 0.1  # s between looks at the clock while a loaded network waits to take over


class InferenceWorker:
    """Does the rounds of inference in a thread of its own, as long as there is something to do in them.

    `_woken` and `_stopped` are written with `_work` held.
    """

    def __init__(
        self,
        listener: Listener,
        load: Load = load_in_background,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread; `load` loads networks, `clock` gives seconds that never step back."""
        self._work = threading.Condition()
        self._woken = self._stopped = False
        self._rounds = InferenceRounds(listener, load, clock, self._wake)
        self._thread = threading.Thread(target=self._run, name="inference_worker", daemon=True)
        self._thread.start()

    # Nothing here waits for an inference or a load.

    def open_stream(self, settings: Settings, listener: StreamListener) -> Stream:
        """Return a new stream with an empty window; `listener` receives its results in the worker's thread."""
        return self._rounds.open_stream(settings, listener)

    def request_network(self, settings: Settings) -> None:
        """Make the network of `settings` the running one, as soon as nothing is lost by it."""
        self._rounds.request_network(settings)

    def status(self) -> WorkerStatus:
        """Return a snapshot for diagnostics."""
        return self._rounds.status()

    def close(self, timeout: float = 1.5) -> bool:
        """End the worker, which frees the networks; waits at most `timeout` (s) for an inference, and for no load.

        Returns False if its thread has not ended, because it is still inside an inference.
        """
        self._rounds.cancel_load()
        with self._work:
            self._stopped = True
        self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_for_loader(self, timeout: float) -> bool:
        """Wait at most `timeout` (s) for a load that `close` has cancelled; return True if it has ended."""
        return self._rounds.wait_for_loader(timeout)

    def _wake(self) -> None:
        with self._work:
            self._woken = True
            self._work.notify()

    def _run(self) -> None:
        while True:
            with self._work:
                poll = _POLL if self._rounds.is_waiting_for_windows else None
                self._work.wait_for(lambda: self._woken, poll)
                self._woken = False
                if self._stopped:
                    break
            try:
                self._rounds.do_round()
            except Exception as error:
                self._rounds.report_unexpected(error)
        self._rounds.free()
