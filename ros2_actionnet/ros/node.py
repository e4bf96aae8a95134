"""The node: parameters, topics and lifecycle, wired to the worker, the intake and the annotator."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ros2_actionnet.backends import choose_backend, describe_loaded
from ros2_actionnet.errors import ServerError, SettingsError, about
from ros2_actionnet.live.inference_rounds import RunningNetwork
from ros2_actionnet.networks import NetworkRequest, check_request
from ros2_actionnet.recognition.loading import check_change, network_request
from ros2_actionnet.recognition.prediction import allowed_classes
from ros2_actionnet.ros.configured import Callbacks, Configured
from ros2_actionnet.ros.diagnostics import Health, HealthMonitor, complaints, status_message
from ros2_actionnet.ros.image_types import TRANSPORTS, message_class
from ros2_actionnet.ros.lifecycle import GuardedLifecycleNode, LifecycleState, TransitionCallbackReturn
from ros2_actionnet.ros.mailbox import Mailbox
from ros2_actionnet.ros.node_settings import NodeSettings, parameter_name
from ros2_actionnet.ros.parameters import Parameters
from ros2_actionnet.ros.readiness import Readiness, awaited
from ros2_actionnet.settings import SETTINGS, Effect, Settings


class ActionNetNode(GuardedLifecycleNode):
    """Recognizes actions in an image topic: parameters, lifecycle and diagnostics around one configuration."""

    def __init__(self, **options: Any) -> None:
        super().__init__("actionnet", **options)
        self.mailbox = Mailbox(self)
        self._declared = Parameters(self, self._check_change, self._on_parameters_changed)
        self._settings: NodeSettings = self._declared.settings()
        self._configured: Configured | None = None
        self._versions = itertools.count()  # of the networks, over all configurations
        self._unended = False  # whether a worker has outlasted its configuration
        self._health = HealthMonitor()
        self._next_warning: dict[tuple[str, str], float] = {}  # s, monotonic clock, by camera and kind of complaint
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._readiness = Readiness(self)
        self.create_service(Trigger, "~/reset", self._on_reset)
        # By the wall clock: with simulated time that stands still, diagnostics are wanted most.
        self.create_timer(1.0, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._starts_itself = self._settings.node.autostart
        if self._starts_itself:
            self.mailbox.post(self._start)
        else:
            self.get_logger().info(awaited(self.state, self.get_fully_qualified_name()))

    # Lifecycle.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks the settings, creates the topics and begins to load the network."""
        return self.attempt("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the images."""
        return self.attempt("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes and empties the window; the network stays loaded."""
        return self.attempt("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the network and takes the topics back."""
        return self.attempt("clean up", self._free)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything."""
        return self.attempt("shut down", self._free)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, which leads back to unconfigured."""
        return self.attempt("recover", self._free)

    def _start(self) -> None:
        """Configures and activates, as `autostart` says; a change of parameters tries again until it succeeds."""
        if self.state == "unconfigured" and self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self._starts_itself = self.trigger_activate() is not TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        try:
            settings = self._settings = self._declared.settings()
            check_request(network_request(settings.node))
            _check_fallback(settings.node)
            choose_backend(settings.node.backend, settings.node.device)
            with about("image_transport"):
                for own in settings.cameras.values():
                    message_class(TRANSPORTS[own.image_transport][1])
            callbacks = Callbacks(
                self._on_network_changed, lambda failed, why: self.mailbox.post(lambda: self._go_back(failed, why))
            )
            self._configured = Configured(self, settings, self._health, self._versions, callbacks)
        except Exception as error:
            self._health.last_error = str(error)
            self._free()
            raise

    def _activate(self) -> None:
        assert self._configured is not None
        self.get_logger().info(f"waiting for images on {' and '.join(self._configured.subscribe())}")

    def _deactivate(self) -> None:
        if self._configured is not None:
            self._configured.unsubscribe()

    def _free(self) -> None:
        configured, self._configured = self._configured, None
        if configured is not None and not configured.close():
            self._unended = True

    # Parameters.

    def _check_change(self, before: NodeSettings, after: NodeSettings) -> None:
        """Refuses, by raising, what can be known at once not to work."""
        effects = before.changed(after)
        if Effect.CONFIGURE in effects and self.state != "unconfigured":
            raise SettingsError(
                f"{', '.join(_names_of_changed(before, after))} {Effect.CONFIGURE.value}; first: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} deactivate, then cleanup"
            )
        if after.node.network != before.node.network:
            # So that a misspelled name is refused even where `model` overrides it.
            check_request(NetworkRequest(after.node.network))
            if after.node.model:
                self.get_logger().warning(
                    f"model {after.node.model} overrides network; to run {after.node.network} set model to ''"
                )
        if after.node.fallback_network != before.node.fallback_network:
            _check_fallback(after.node)
        if Effect.NEW_NETWORK in effects:
            check_change(before.node, after.node)
            return
        running = self._running()
        # The labels of a network that is still loading are not known, and the filter may be meant for them.
        if running is None or not after.node.asks_for_network_of(running.settings):
            return
        for camera, settings in after.cameras.items():
            if settings.class_filter != before.cameras.get(camera, settings).class_filter:
                allowed_classes(running.network.labels, settings.class_filter)

    def _on_parameters_changed(self) -> None:
        settings = self._declared.settings()
        self._settings = settings
        if self._configured is not None:
            self._configured.apply(settings)
        elif self._starts_itself:
            self._start()

    def _on_network_changed(self, running: RunningNetwork) -> None:
        """Show the labels of the network that has taken over, and log it; called in the worker's thread."""
        network = running.network
        self.mailbox.post(lambda: self._declared.show_labels(network.labels))
        logger = self.get_logger()
        logger.info(describe_loaded(network, running.backend, running.device, running.precision))
        logger.debug(f"backend: {running.reason}")

    def _go_back(self, failed: Settings, error: Exception) -> None:
        running, configured = self._running(), self._configured
        message = f"cannot load {failed.model or failed.network}: {error}"
        goes_on = f"; {running.network.name} goes on" if running is not None else ""
        if message != self._health.last_error or not isinstance(error, ServerError):  # which is tried again
            self.get_logger().error(message + goes_on)
        self._health.last_error = message
        if running is None or configured is None:
            return
        before: Settings | None = running.settings
        if configured.runs_as_fallback(running):
            before = None if isinstance(error, ServerError) else configured.recovery.asked
        # A change that came after the one that failed must not be undone with it.
        if before is not None and failed.asks_for_network_of(self._declared.settings().node):
            self._declared.restore(before, [Effect.NEW_NETWORK])
            self._settings = self._declared.settings()

    def _running(self) -> RunningNetwork | None:
        return self._configured.worker.status().running if self._configured is not None else None

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, as rclpy does; one that does not exist is refused with what there is."""
        refusal = self._declared.refusal_of_unknown(parameter.name for parameter in parameter_list)
        if refusal:
            return SetParametersResult(successful=False, reason=refusal)
        return super().set_parameters_atomically(parameter_list)

    # Services and diagnostics.

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._configured is not None
        if self._configured is not None:
            self._configured.reset()
            response.message = "window cleared"
        else:
            response.message = f"the node is {self.state}: there is no window to empty"
        return response

    def _on_tick(self) -> None:
        configured = self._configured
        cameras = configured.cameras if configured is not None else []
        for camera in cameras:
            camera.follow_publishers()
        name = self.get_fully_qualified_name()
        same = [ns for node, ns in self.get_node_names_and_namespaces() if f"{ns.rstrip('/')}/{node}" == name]
        health = self._health.look(self.state, configured.worker if configured is not None else None)
        health = replace(health, name=name, duplicate_names=max(0, len(same) - 1))
        if configured is not None:
            health = replace(health, fallback_reason=configured.fallback_reason)
            configured.recover()
        self._readiness.update(health)
        of_cameras = [
            self._health.camera(camera.name).look(
                health, camera.stream, camera.intake, camera.subscription, camera.subjects
            )
            for camera in cameras
        ]
        for one in of_cameras:
            self._warn(one)
        # The only camera has no status of its own.
        statuses = of_cameras if len(cameras) == 1 and not cameras[0].name else [health, *of_cameras]
        message = DiagnosticArray(status=[status_message(status) for status in statuses])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _warn(self, health: Health) -> None:
        now = time.monotonic()
        for complaint in complaints(health):
            kind = health.camera, complaint.kind
            if now >= self._next_warning.get(kind, now):
                self._next_warning[kind] = now + complaint.again_after
                self.get_logger().warning(complaint.text)

    def close(self) -> bool:
        """Free everything; return False if a thread is still inside a library that cannot be interrupted."""
        worker = self._configured.worker if self._configured is not None else None
        self._free()
        return not self._unended and (worker is None or worker.wait_for_loader(1.0))


def _check_fallback(settings: Settings) -> None:
    """Raise NetworkError if there is no network of the name in `fallback_network`."""
    if settings.fallback_network:
        check_request(NetworkRequest(settings.fallback_network))


def _names_of_changed(before: NodeSettings, after: NodeSettings) -> list[str]:
    """Return the names of the parameters that are not live and would change."""
    fixed = [setting for setting in SETTINGS if not setting.live]
    changed = [s.name for s in fixed if getattr(before.node, s.name) != getattr(after.node, s.name)]
    for camera in before.cameras.keys() & after.cameras.keys():
        old, new = before.cameras[camera], after.cameras[camera]
        if camera and old != new:
            changed += [
                parameter_name(camera, s)
                for s in fixed
                if s.name not in changed and getattr(old, s.name) != getattr(new, s.name)
            ]
    return changed
