"""One camera, from configure to cleanup: its topics, the way in for its images, its stream and its annotated image."""

from __future__ import annotations

from rclpy.node import Node
from std_srvs.srv import Trigger

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.images.subject_overlay import SubjectLabel
from ros2_actionnet.live.annotator import Annotator
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.live.stream import Classified, Stream
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.annotation import annotation_of
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.camera_subjects import CameraSubjects
from ros2_actionnet.ros.diagnostics import CameraMonitor
from ros2_actionnet.ros.image_intake import ImageIntake
from ros2_actionnet.ros.image_subscription import ImageSubscription
from ros2_actionnet.ros.publishers import CameraPublishers
from ros2_actionnet.ros.report_gate import ReportGate
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.text import printable

QUIET = 5.0
"""Seconds before the log repeats a message."""


class Camera:
    """The parts of one camera, and the listener of its stream.

    The methods `on_...` are called in the worker's thread, all others in the executor's.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        settings: Settings,
        worker: InferenceWorker,
        monitor: CameraMonitor,
        gate: ReportGate,
    ) -> None:
        """Create the topics of camera `name`, "" for the only one; `gate` closes before the topics are taken back."""
        self.name = name
        self._node, self._logger = node, node.get_logger()
        self._settings = settings
        self._worker = worker
        self._monitor = monitor
        self._gate = gate
        self._latest: Classified | None = None  # for the annotated image
        self.subscription: ImageSubscription | None = None  # while the node is active
        self._publishers = publishers = CameraPublishers(node, name)
        self._reset = node.create_service(Trigger, f"~/{name}/reset", self._on_reset) if name else None
        self.stream: Stream = worker.open_stream(settings, self)
        self.subjects = (
            CameraSubjects(node, name, settings, worker, publishers, gate, self._on_rejected)
            if settings.detections
            else None
        )
        self._annotator = annotator = Annotator[FrameHeader](
            self._annotation, publishers.annotated, self._on_annotation_failed, self._labels
        )
        self.intake = ImageIntake(
            self.stream,
            settings,
            lambda image, header: annotator.offer(image, header, self._settings.annotated_width),
            publishers.wants_annotation,
            self._on_rejected,
            lambda: self._settings.annotated_width,
            self.subjects,
        )

    def subscribe(self) -> ImageSubscription:
        """Subscribe to the images."""
        settings = self._settings
        self.subscription = ImageSubscription(
            self._node, settings.image_transport, settings.image_reliability, self.intake.take, self.name
        )
        if self.subjects is not None:
            self.subjects.subscribe()
        self._monitor.activated()
        return self.subscription

    def unsubscribe(self) -> None:
        """Unsubscribe and empty the window."""
        self._drop_subscription()
        if self.subjects is not None:
            self.subjects.unsubscribe()
        self.intake.restart()

    def follow_publishers(self) -> None:
        """Subscribe anew where the publishers ask for it."""
        if self.subscription is not None:
            self.subscription.follow_publishers()
        if self.subjects is not None and self.subjects.subscription is not None:
            self.subjects.subscription.follow_publishers()

    def configure(self, settings: Settings) -> None:
        """Take over changed settings."""
        self._settings = settings
        self.intake.configure(settings)
        self.stream.configure(settings)
        if self.subjects is not None:
            self.subjects.configure(settings)

    def close(self) -> None:
        """Take the topics back; the stream ends with the worker."""
        self._drop_subscription()
        if self.subjects is not None:
            self.subjects.close()
        self._annotator.close()
        self._publishers.destroy()
        if self._reset is not None:
            self._node.destroy_service(self._reset)

    def on_classified(self, result: Classified) -> None:
        """Publish a classification."""
        self._gate.run(lambda: self._publish(result))

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """Publish the ends of actions whose window was emptied."""
        self._gate.run(lambda: self._publishers.events(events, network, header))

    def on_filter_problem(self, message: str) -> None:
        """Log that the class filter does not fit the network that runs."""
        self._gate.run(lambda: self._complain(message))

    def on_network(self) -> None:
        """Forget what was under another network."""
        self._latest = None
        self._monitor.last_error = ""

    def _publish(self, result: Classified) -> None:
        self._latest = result
        self._monitor.classified(result)
        self._publishers.classified(result, self._settings)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.intake.reset()
        response.success, response.message = True, f"window of {self.name} cleared"
        return response

    def _drop_subscription(self) -> None:
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None

    # What the annotator and the intake report.

    def _annotation(self) -> Annotation:
        status = self._worker.status()
        if status.running is None:
            return Annotation(fill=0.0, status=f"loading {status.loading}")
        stream = self.stream.status()
        # Read once: the worker's thread forgets it when another network takes over.
        latest = self._latest if stream.fill == stream.frames else None
        return annotation_of(latest.prediction if latest is not None else None, stream.fill, stream.frames)

    def _labels(self) -> list[SubjectLabel]:
        return self.subjects.labels() if self.subjects is not None else []

    def _on_annotation_failed(self, error: Exception) -> None:
        self._logger.error(f"cannot annotate: {printable(error, 1000)}", throttle_duration_sec=QUIET)

    def _on_rejected(self, error: ImageError) -> None:
        self._complain(f"image rejected: {printable(error, 1000)}")

    def _complain(self, message: str) -> None:
        self._monitor.last_error = message
        prefix = f"{self.name}: " if self.name else ""
        self._logger.error(prefix + message, throttle_duration_sec=QUIET)
