"""Doubles for the networks and their sessions, whose pace a test controls, and a listener that records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import DEFAULT_OPTIONS, Choice, LoadOptions, Scores, Session
from ros2_actionnet.backends.ring import HostRing
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.inference_rounds import RunningNetwork
from ros2_actionnet.live.stream import Classified
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import NetworkRequest, NetworkSpec, PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.loading import LoadedNetwork, load
from ros2_actionnet.settings import Settings

TIMEOUT = 20.0  # s; a test that passes does not wait for it
LABELS = ("calm", "lively")
Pixels = NDArray[np.uint8]


class Gate:
    """A point that threads pass: `close` it, and they wait there until `open`; `reached` counts those that came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self.reached = 0

    def close(self) -> None:
        with self._changed:
            self._closed = True

    def open(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def wait_until_reached(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.reached >= times, TIMEOUT), f"reached {self.reached} times"

    def pass_through(self) -> None:
        with self._changed:
            self.reached += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: not self._closed, TIMEOUT), "the test left a gate closed"


def make_network(
    name: str = "first", labels: tuple[str, ...] = LABELS, *, frames: int = 4, size: int = 4
) -> PreparedNetwork:
    """A network that only `FakeSession` can run."""
    spec = NetworkSpec(
        name, Path(f"/fake/{name}.onnx"), frames=frames, height=size, width=size, layout="NCTHW", mean_from="here"
    )
    return PreparedNetwork(spec, labels, model=b"")


def grey_image(value: int, size: int = 4) -> RawImage:
    """An image of one grey level, of the size of `make_network`'s."""
    return RawImage.from_array(np.full((size, size, 3), value % 256, np.uint8), "rgb8")


class FakeSession(Session[Pixels]):
    """Records every window as its frames' grey levels, and the threads that use it."""

    def __init__(self, network: PreparedNetwork) -> None:
        super().__init__(network, backend="fake", device="TEST", precision="fp32")
        self.gate = Gate()
        self.windows: list[list[int]] = []
        self.inference_threads: list[str] = []
        self.closing_threads: list[str] = []
        self.failures = 0  # inferences yet to fail
        self.scores = [1.0] + [0.0] * (network.num_classes - 1)

    @property
    def closed(self) -> bool:
        return bool(self.closing_threads)

    def create_ring(self) -> HostRing:
        return HostRing(self.network.frames, self.network.height, self.network.width)

    def _infer(self, windows: Sequence[Pixels]) -> Scores:
        assert not self.closed, "used after it was closed"
        self.inference_threads.append(threading.current_thread().name)
        self.windows += [window[:, 0, 0, 0].tolist() for window in windows]
        self.gate.pass_through()
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the fake device is gone")
        return np.array([self.scores] * len(windows), np.float32)

    def close(self) -> None:
        self.closing_threads.append(threading.current_thread().name)


class FakeNetworks:
    """Stands in for everything that the loader loads with: networks by name, sessions, and what goes wrong."""

    def __init__(self, *networks: PreparedNetwork) -> None:
        self.networks = {network.name: network for network in networks}
        self.sessions: list[FakeSession] = []
        self.gate = Gate()  # where loading waits
        self.while_preparing: Callable[[], None] = lambda: None
        self.received: list[tuple[str, int, int]] = []  # states of a download
        self.cannot_prepare: Exception | None = None
        self.cannot_load: Exception | None = None
        self.fails_when_warm = 0  # inferences that a new session fails
        self.name = "fake"
        self.progress: list[str] = []  # what a load says
        self.cancelled: list[bool] = []  # whether each load found at its end that it was not wanted any more

    def load_network(
        self, settings: Settings, monitor: LoadMonitor, on_prepared: Callable[[PreparedNetwork], None]
    ) -> LoadedNetwork:
        """What a loader loads with."""
        return load(
            settings,
            monitor,
            on_prepared,
            prepare=lambda request, monitor: nullcontext(self.prepare(request)),
            choose=lambda name, device: Choice(self, "fake (as asked)"),
        )

    def prepare(self, request: NetworkRequest) -> PreparedNetwork:
        self.while_preparing()
        if self.cannot_prepare is not None:
            raise self.cannot_prepare
        return self.networks[request.network]

    def unavailable(self, device: str) -> str | None:
        return None

    def unsupported(self, device: str, precision: str) -> str | None:
        return None

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> Session[Any]:
        for what in self.progress:
            monitor.progress(what)
        for state in self.received:
            monitor.downloaded(*state)
        self.gate.pass_through()
        self.cancelled.append(monitor.cancelled())
        if self.cannot_load is not None:
            raise self.cannot_load
        session = FakeSession(network)
        session.failures = self.fails_when_warm
        self.sessions.append(session)
        return session


@dataclass
class RecordingListener:
    """What a worker reported, in order."""

    classified: list[Classified] = field(default_factory=list)
    ended: list[tuple[list[Event], FrameHeader, PreparedNetwork]] = field(default_factory=list)
    networks: list[RunningNetwork] = field(default_factory=list)
    progress: list[tuple[Settings, str]] = field(default_factory=list)
    load_failures: list[tuple[Settings, Exception]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, TIMEOUT), f"no {what}; problems: {self.problems}"

    def on_classified(self, result: Classified) -> None:
        self._note("classified", self.classified, result)

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        self._note("ended", self.ended, (events, header, network))

    def on_network(self, running: RunningNetwork) -> None:
        self._note("network", self.networks, running)

    def on_load_progress(self, settings: Settings, what: str) -> None:
        self._note("progress", self.progress, (settings, what))

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        self._note("load failed", self.load_failures, (settings, error))

    def on_filter_problem(self, message: str) -> None:
        self._note("problem", self.problems, message)

    def on_problem(self, message: str) -> None:
        self._note("problem", self.problems, message)

    def _note(self, what: str, into: list[Any], item: Any) -> None:
        with self.changed:
            into.append(item)
            self.order.append(what)
            self.changed.notify_all()
