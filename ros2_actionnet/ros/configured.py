"""What lives from configure to cleanup: the worker, the topics, the annotator and the way in for images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rclpy.node import Node

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.live.annotator import Annotator
from ros2_actionnet.live.inference_worker import Classified, InferenceWorker, RunningNetwork
from ros2_actionnet.live.network_loader import Load, load_in_background
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.annotation import annotation_of
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.diagnostics import HealthMonitor
from ros2_actionnet.ros.image_intake import READERS, ImageIntake
from ros2_actionnet.ros.image_subscription import ImageSubscription
from ros2_actionnet.ros.parameters import LABELS_PARAMETER
from ros2_actionnet.ros.publishers import ResultPublishers
from ros2_actionnet.settings import Effect, Settings
from ros2_actionnet.system.text import printable

LOADS = frozenset({Effect.NEW_NETWORK, Effect.NEW_WINDOW})
"""Effects of settings that the worker is asked to load something for."""

QUIET = 5.0
"""Seconds before the log repeats a message."""


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
        settings: Settings,
        health: HealthMonitor,
        versions: Iterator[int],
        callbacks: Callbacks,
        load: Load = load_in_background,
    ) -> None:
        """Create the topics and begin to load the network of `settings`; `versions` numbers the networks."""
        self._node, self._logger = node, node.get_logger()
        self._settings = settings
        self._health, self._versions, self._callbacks = health, versions, callbacks
        self._open = threading.Lock()  # held while a report is acted on, so that none is once `close` has begun
        self._closed = False
        self._network: PreparedNetwork | None = None
        self._latest: Classified | None = None  # for the annotated image
        self.subscription: ImageSubscription | None = None  # while the node is active
        self._publishers = publishers = ResultPublishers(node)
        self.worker = InferenceWorker(settings, self, load)
        self._annotator = annotator = Annotator[FrameHeader](
            self._annotation, publishers.annotated, self._on_annotation_failed
        )
        self.intake = ImageIntake(
            self.worker,
            settings,
            lambda image, header: annotator.offer(image, header, self._settings.annotated_width),
            publishers.wants_annotation,
            self._on_rejected,
            READERS[settings.image_transport],
            lambda: self._settings.annotated_width,
        )
        self.worker.request_network(settings)

    def subscribe(self) -> ImageSubscription:
        """Subscribe to the images."""
        settings = self._settings
        self.subscription = ImageSubscription(
            self._node, settings.image_transport, settings.image_reliability, self.intake.take
        )
        return self.subscription

    def unsubscribe(self) -> None:
        """Unsubscribe and empty the window; the network stays loaded."""
        self._drop_subscription()
        self.intake.reset()

    def apply(self, settings: Settings) -> None:
        """Apply changed settings, and load what they need."""
        effects = self._settings.changed(settings)
        self._settings = settings
        self.intake.sampler.configure(settings)
        status = self.worker.status()
        # Any change is a reason to try again what has failed, but none to begin anew what is being loaded.
        if effects & LOADS or status.failing or (status.running is None and not status.loading):
            self.worker.request_network(settings)
        self.worker.configure(settings)  # after that: a class filter may be meant for the new network

    def close(self) -> bool:
        """Free everything; return False if the worker's thread has not ended, and may still use the network."""
        with self._open:
            self._closed = True
        self._drop_subscription()
        self._annotator.close()
        has_ended = self.worker.close()
        self._publishers.destroy()
        return has_ended

    def _drop_subscription(self) -> None:
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None

    # What the worker reports, in its threads.

    def on_classified(self, result: Classified) -> None:
        """Publish a classification."""
        with self._open:
            if not self._closed:
                self._latest = result
                self._health.classified(result)
                self._publishers.classified(result, self._settings)

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """Publish the ends of actions whose window was emptied."""
        with self._open:
            if not self._closed:
                self._publishers.events(events, network, header)

    def on_network(self, running: RunningNetwork) -> None:
        """Publish which network classifies from now on."""
        with self._open:
            if self._closed or running.network is self._network:
                return
            self._network, self._latest = running.network, None
            self._health.last_error = ""
            parameter = f"{self._node.get_fully_qualified_name()}/{LABELS_PARAMETER}"
            self._publishers.network(running.network, parameter, next(self._versions), self._settings)
            self._callbacks.network_changed(running)

    def on_load_progress(self, settings: Settings, what: str) -> None:
        """Log what takes long in a load."""
        with self._open:
            if not self._closed:
                self._logger.info(f"loading {settings.model or settings.network}: {what}")

    def on_load_failed(self, settings: Settings, error: Exception) -> None:
        """Let the node set its parameters back to what runs."""
        with self._open:
            if not self._closed:
                self._callbacks.load_failed(settings, error)

    def on_problem(self, message: str) -> None:
        """Log a problem of the worker."""
        with self._open:
            if not self._closed:
                self._health.last_error = message
                self._logger.error(message, throttle_duration_sec=QUIET)

    # What the annotator and the intake report.

    def _annotation(self) -> Annotation:
        status = self.worker.status()
        if status.running is None:
            return Annotation(fill=0.0, status=f"loading {status.loading}")
        # Read once: the worker's thread forgets it when another network takes over.
        latest = self._latest if status.fill == status.frames else None
        return annotation_of(latest.prediction if latest is not None else None, status.fill, status.frames)

    def _on_annotation_failed(self, error: Exception) -> None:
        self._logger.error(f"cannot annotate: {printable(error, 1000)}", throttle_duration_sec=QUIET)

    def _on_rejected(self, error: ImageError) -> None:
        self._health.last_error = f"image rejected: {printable(error, 1000)}"
        self._logger.error(self._health.last_error, throttle_duration_sec=QUIET)
