"""What lives from configure to cleanup: the worker, the cameras, and the topics about the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rclpy.node import Node

from ros2_actionnet.live.inference_rounds import RunningNetwork
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.live.network_loader import Load, load_in_background
from ros2_actionnet.live.recovery import Recovery, fallback_of
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.ros.camera import QUIET, Camera
from ros2_actionnet.ros.diagnostics import HealthMonitor
from ros2_actionnet.ros.node_settings import NodeSettings
from ros2_actionnet.ros.parameters import LABELS_PARAMETER
from ros2_actionnet.ros.publishers import NetworkPublishers
from ros2_actionnet.ros.report_gate import ReportGate
from ros2_actionnet.settings import Settings


@dataclass(frozen=True)
class Callbacks:
    """Tells the node what concerns more than one configuration; called in the worker's and the loader's threads."""

    network_changed: Callable[[RunningNetwork], None]
    load_failed: Callable[[Settings, Exception], None]


class Configured:
    """The parts of one configuration, and the listener of its own worker.

    The methods `on_...` are called in the threads of the worker and its loader, all others in the executor's. Once
    closed, it drops what its worker still reports: an inference or a load may outlast `close`.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        health: HealthMonitor,
        versions: Iterator[int],
        callbacks: Callbacks,
        load: Load = load_in_background,
    ) -> None:
        """Create the topics and begin to load the network of `settings`; `versions` numbers the networks."""
        self._node, self._logger = node, node.get_logger()
        self._settings = settings
        self._health, self._versions, self._callbacks = health, versions, callbacks
        self._gate = ReportGate()
        self._network: PreparedNetwork | None = None
        self._publishers = NetworkPublishers(node)
        self.recovery = Recovery()
        self.worker = InferenceWorker(self, load)
        self.cameras = [
            Camera(node, name, own, self.worker, health.camera(name), self._gate)
            for name, own in settings.cameras.items()
        ]
        self.worker.request_network(settings.node)

    def subscribe(self) -> list[str]:
        """Subscribe to the images; return the topics."""
        return [camera.subscribe().topic for camera in self.cameras]

    def unsubscribe(self) -> None:
        """Unsubscribe and empty the windows; the network stays loaded."""
        for camera in self.cameras:
            camera.unsubscribe()

    def reset(self) -> None:
        """Empty the windows of all cameras."""
        for camera in self.cameras:
            camera.intake.reset()

    def apply(self, settings: NodeSettings) -> None:
        """Apply changed settings, and load what they need."""
        needs_network = not settings.node.asks_for_network_of(self._settings.node)
        self._settings = settings
        status = self.worker.status()
        # Any change is a reason to try again what has failed, but none to begin anew what is being loaded.
        if needs_network or status.failing or (status.running is None and not status.loading):
            self.worker.request_network(settings.node)
        for camera in self.cameras:  # after that: a class filter may be meant for the new network
            camera.configure(settings.cameras[camera.name])

    @property
    def fallback_reason(self) -> str:
        """Why the fallback network runs; "" if it does not."""
        running = self.worker.status().running
        runs_fallback = running is not None and self.runs_as_fallback(running)
        return self.recovery.reason if runs_fallback else ""

    def runs_as_fallback(self, running: RunningNetwork) -> bool:
        """Return True if `running` is in the place of the network asked for."""
        wanted = self._settings.node
        return not running.settings.asks_for_network_of(wanted) and running.settings.asks_for_network_of(
            fallback_of(wanted)
        )

    def recover(self) -> None:
        """Load what takes the place of a network whose server fails; called about once a second."""
        wanted = self._settings.node
        request = self.recovery.next_request(self.worker.status(), wanted, self._health.last_error)
        if request is not None:
            self.worker.request_network(request)

    def close(self) -> bool:
        """Free everything; return False if the worker's thread has not ended, and may still use the network."""
        self._gate.close()
        for camera in self.cameras:
            camera.close()
        has_ended = self.worker.close()
        self._publishers.destroy()
        return has_ended

    def on_network(self, running: RunningNetwork) -> None:
        """Publish which network classifies from now on."""
        self._gate.run(lambda: self._show_network(running))

    def on_load_progress(self, settings: Settings, what: str) -> None:
        """Log what takes long in a load."""
        self._gate.run(lambda: self._logger.info(f"loading {settings.model or settings.network}: {what}"))

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        """Let the node set its parameters back to what runs."""
        self.recovery.load_failed(settings, self._settings.node, error)
        self._gate.run(lambda: self._callbacks.load_failed(settings, error))

    def on_problem(self, message: str) -> None:
        """Log a problem of the worker."""
        self._gate.run(lambda: self._complain(message))

    def _show_network(self, running: RunningNetwork) -> None:
        if running.network is self._network:
            return
        self._network = running.network
        for camera in self.cameras:
            camera.on_network()
        self._health.last_error = ""
        self.recovery.network_changed(running.settings, self._settings.node)
        parameter = f"{self._node.get_fully_qualified_name()}/{LABELS_PARAMETER}"
        self._publishers.network(running.network, parameter, next(self._versions), self._settings.node.threshold)
        self._callbacks.network_changed(running)

    def _complain(self, message: str) -> None:
        self._health.last_error = message
        self._logger.error(message, throttle_duration_sec=QUIET)
