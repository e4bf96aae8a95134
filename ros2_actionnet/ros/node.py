"""The node: parameters, topics and lifecycle, wired to the worker, the intake and the annotator."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from ros2_actionnet.backends import choose_backend
from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.live.annotator import Annotator
from ros2_actionnet.live.inference_worker import Classified, InferenceWorker, RunningNetwork
from ros2_actionnet.networks import Catalogue, PreparedNetwork, check_request
from ros2_actionnet.recognition.annotation import annotation_of
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.loading import network_request
from ros2_actionnet.recognition.prediction import allowed_classes
from ros2_actionnet.recognition.sampling import sampling_policy
from ros2_actionnet.ros.diagnostics import Health, HealthMonitor, complaints, status_message
from ros2_actionnet.ros.image_intake import READERS, ImageIntake
from ros2_actionnet.ros.image_subscription import ImageSubscription
from ros2_actionnet.ros.lifecycle import GuardedLifecycleNode, LifecycleState, TransitionCallbackReturn
from ros2_actionnet.ros.mailbox import Mailbox
from ros2_actionnet.ros.parameters import LABELS_PARAMETER, Parameters
from ros2_actionnet.ros.publishers import ResultPublishers
from ros2_actionnet.settings import SETTINGS, Effect, Settings

_LOADS = {Effect.NEW_NETWORK, Effect.NEW_WINDOW}
_QUIET = 5.0  # s before the log says the same thing again


class ActionNetNode(GuardedLifecycleNode):
    """Recognises actions in an image topic. It is the worker's listener: methods `on_...` come from its threads."""

    def __init__(self, **options: Any) -> None:
        super().__init__("actionnet", **options)
        self.mailbox = Mailbox(self)
        self._declared = Parameters(self, self._check_change, self._on_parameters_changed)
        self._settings = self._declared.settings()
        self._results: ResultPublishers | None = None
        self._worker: InferenceWorker | None = None
        self._annotator: Annotator[FrameHeader] | None = None
        self._intake: ImageIntake | None = None
        self._subscription: ImageSubscription | None = None
        self._network: PreparedNetwork | None = None
        self._latest: Classified | None = None  # for the annotated image
        self._version = -1
        self._health = HealthMonitor()
        self._next_warning: dict[str, float] = {}  # s, monotonic clock, by kind of complaint
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        # By the wall clock: with simulated time that stands still, diagnostics are wanted most.
        self.create_timer(1.0, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._starts_itself = self._settings.autostart
        if self._starts_itself:
            self.mailbox.post(self._start)

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
            check_request(network_request(settings))
            choose_backend(settings.backend, settings.device)
            self._results = publishers = ResultPublishers(self)
            self._worker = InferenceWorker(settings, self)
            self._annotator = annotator = Annotator(self._annotation, publishers.annotated, self._on_annotation_failed)
            self._intake = ImageIntake(
                self._worker,
                sampling_policy(settings),
                lambda image, header: annotator.offer(image, header, self._settings.annotated_width),
                publishers.wants_annotation,
                self._on_rejected,
                READERS[settings.image_transport],
                lambda: self._settings.annotated_width,
            )
            self._worker.request_network(settings)
        except Exception as error:
            self._health.last_error = str(error)
            self._free()
            raise

    def _activate(self) -> None:
        assert self._intake is not None
        settings = self._settings
        self._health.activated()
        self._subscription = ImageSubscription(
            self, settings.image_transport, settings.image_reliability, self._intake.take
        )
        self.get_logger().info(f"waiting for images on {self._subscription.topic}")

    def _deactivate(self) -> None:
        self._unsubscribe()
        if self._intake is not None:
            self._intake.reset()

    def _free(self) -> None:
        self._unsubscribe()
        if self._annotator is not None:
            self._annotator.close()
        if self._worker is not None:
            self._worker.close()
        if self._results is not None:
            self._results.destroy()
        self._annotator = self._worker = self._results = self._intake = None
        self._network = self._latest = None

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None

    # Parameters.

    def _check_change(self, before: Settings, after: Settings) -> None:
        """Refuses, by raising, what can be known at once not to work."""
        effects = before.changed(after)
        if Effect.CONFIGURE in effects and self.state != "unconfigured":
            names = [s.name for s in SETTINGS if not s.live and getattr(before, s.name) != getattr(after, s.name)]
            raise SettingsError(
                f"{', '.join(names)} {Effect.CONFIGURE.value}; first: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} deactivate, then cleanup"
            )
        if after.network != before.network:
            Catalogue.load().find(after.network)  # also where it is not what would be loaded: refuse a slip of the pen
            if after.model:
                self.get_logger().warning(
                    f"model {after.model} overrides network; to run {after.network} set model to ''"
                )
        if Effect.NEW_NETWORK in effects:
            error = _cannot_load(after)
            # What was wrong before is not this change's fault: `labels` may be mended before `model`.
            if error is not None and str(error) != str(_cannot_load(before)):
                raise error
        elif after.class_filter != before.class_filter:
            running = self._worker.status().running if self._worker is not None else None
            # The labels of a network that is still loading are not known, and the filter may be meant for them.
            if running is not None and Effect.NEW_NETWORK not in running.settings.changed(after):
                allowed_classes(running.network.labels, after.class_filter)

    def _on_parameters_changed(self) -> None:
        settings = self._declared.settings()
        effects = self._settings.changed(settings)
        self._settings = settings
        if self._worker is not None and self._intake is not None:
            self._intake.sampler.policy = sampling_policy(settings)
            status = self._worker.status()
            # Any change is a reason to try again what has failed, but none to begin anew what is being loaded.
            if effects & _LOADS or status.failing or (status.running is None and not status.loading):
                self._worker.request_network(settings)
            self._worker.configure(settings)  # after that: a class filter may be meant for the new network
        elif self._starts_itself:
            self._start()

    # What the worker says, in its threads.

    def on_classified(self, result: Classified) -> None:
        """Publishes a classification."""
        self._latest = result
        self._health.classified(result)
        if self._results is not None:
            self._results.classified(result, self._settings)

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """Publishes the ends of actions whose window was emptied."""
        if self._results is not None:
            self._results.events(events, network, header)

    def on_network(self, running: RunningNetwork) -> None:
        """Publishes which network classifies from now on."""
        if self._results is None or running.network is self._network:
            return
        self._network, self._latest = running.network, None
        self._version += 1
        self._health.last_error = ""
        parameter = f"{self.get_fully_qualified_name()}/{LABELS_PARAMETER}"
        self._results.network(running.network, parameter, self._version, self._settings)
        self.mailbox.post(lambda: self._declared.show_labels(running.network.labels))
        self.get_logger().info(
            f"{running.network.name}: {running.network.num_classes} classes, {running.network.frames} frames of "
            f"{running.network.width}x{running.network.height}, {running.reason}, {running.device} {running.precision}"
        )

    def on_load_progress(self, settings: Settings, what: str) -> None:
        """Logs what takes long in a load."""
        self.get_logger().info(f"loading {settings.model or settings.network}: {what}")

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        """Sets the parameters back to what runs."""
        self.mailbox.post(lambda: self._go_back(settings, error))

    def on_problem(self, message: str) -> None:
        """Logs a problem of the worker."""
        self._health.last_error = message
        self.get_logger().error(message, throttle_duration_sec=_QUIET)

    def _go_back(self, failed: Settings, error: Exception) -> None:
        running = self._worker.status().running if self._worker is not None else None
        self._health.last_error = f"cannot load {failed.model or failed.network}: {error}"
        goes_on = f"; {running.network.name} goes on" if running is not None else ""
        self.get_logger().error(self._health.last_error + goes_on)
        # A change that came after the one that failed must not be undone with it.
        if running is not None and not failed.changed(self._declared.settings()) & _LOADS:
            self._declared.restore(running.settings, _LOADS)
            self._settings = self._declared.settings()

    # What else happens.

    def _annotation(self) -> Annotation:
        status = self._worker.status() if self._worker is not None else None
        if status is None or status.running is None:
            return Annotation(fill=0.0, status=f"loading {status.loading}" if status else "")
        is_full = status.fill == status.frames and self._latest is not None
        prediction = self._latest.prediction if is_full and self._latest is not None else None
        return annotation_of(prediction, status.fill, status.frames)

    def _on_rejected(self, error: Exception) -> None:
        self._health.last_error = f"image rejected: {error}"
        self.get_logger().error(self._health.last_error, throttle_duration_sec=_QUIET)

    def _on_annotation_failed(self, error: Exception) -> None:
        self.get_logger().error(f"cannot annotate: {error}", throttle_duration_sec=_QUIET)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._intake is not None
        if self._intake is not None:
            self._intake.reset()
            response.message = "the window is empty"
        else:
            response.message = f"the node is {self.state}: there is no window to empty"
        return response

    def _on_tick(self) -> None:
        if self._subscription is not None:
            self._subscription.follow_publishers()
        name = self.get_fully_qualified_name()
        same = [ns for node, ns in self.get_node_names_and_namespaces() if f"{ns.rstrip('/')}/{node}" == name]
        health = self._health.look(self.state, self._worker, self._intake, self._subscription)
        health = replace(health, name=name, duplicate_names=max(0, len(same) - 1))
        self._warn(health)
        message = DiagnosticArray(status=[status_message(health)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _warn(self, health: Health) -> None:
        now = time.monotonic()
        for complaint in complaints(health):
            if now >= self._next_warning.get(complaint.kind, now):
                self._next_warning[complaint.kind] = now + complaint.again_after
                self.get_logger().warning(complaint.text)

    def close(self) -> bool:
        """Frees everything; False if a load is still under way that cannot be interrupted."""
        worker = self._worker
        self._free()
        return worker is None or worker.wait_for_loader(1.0)


def _cannot_load(settings: Settings) -> ActionNetError | None:
    """What can be known at once to keep the network of `settings` from being loaded."""
    try:
        check_request(network_request(settings))
        choose_backend(settings.backend, settings.device)
    except ActionNetError as error:
        return error
    return None
