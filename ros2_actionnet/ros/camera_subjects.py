"""The subjects of one camera, such as the people in it: each has a stream of its own, and all a topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.subject_overlay import SubjectLabel
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.live.stream import Classified, Stream
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.annotation import subject_label
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.subjects.actions import ActionCollector, FrameActions
from ros2_actionnet.recognition.subjects.detections import FrameDetections
from ros2_actionnet.recognition.subjects.matcher import DetectionMatcher, Match
from ros2_actionnet.recognition.subjects.subjects import SampledImage, Subjects
from ros2_actionnet.ros.detection_messages import actions_message
from ros2_actionnet.ros.detection_subscription import DetectionSubscription
from ros2_actionnet.ros.publishers import CameraPublishers
from ros2_actionnet.ros.report_gate import ReportGate
from ros2_actionnet.settings import Settings

_LOOK = 0.05  # s between looks for images that have waited too long


@dataclass(frozen=True)
class SubjectsHealth:
    """A snapshot for diagnostics; the counts are since the node was configured."""

    topic: str
    publishers: tuple[str, ...]
    problem: str  # why the detections cannot be read
    received: int  # messages with detections
    subjects: int  # that have a stream
    left_out: int  # of the newest image
    unmatched: int  # images that went without detections
    late: int  # detections that came after their image had gone
    waiting_bytes: int  # of images that wait for their detections


class CameraSubjects:
    """Matches sampled images with their detections, and gives every chosen track a stream.

    The whole image's stream is never held up. All methods but those of the streams' listeners are called in the
    executor's thread.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        settings: Settings,
        worker: InferenceWorker,
        publishers: CameraPublishers,
        gate: ReportGate,
        rejected: Callable[[ImageError], None],
    ) -> None:
        """Create the topic of the actions of camera `camera`, "" for the only one."""
        self._node, self._camera = node, camera
        self._settings = settings
        self._worker = worker
        self._events = publishers
        self._gate = gate
        self._report_rejected = rejected
        topic = f"~/{camera}/actions" if camera else "~/actions"
        self._actions = node.create_publisher(Detection2DArray, topic, 10)
        self._matcher = DetectionMatcher[SampledImage](settings.detection_delay)
        self._subjects = Subjects(settings, self._open_stream)
        self._collector = ActionCollector(self._publish)
        self._latest: dict[str, Prediction] = {}  # by track, for the annotated image
        self._labels: list[SubjectLabel] = []  # replaced as a whole, as the annotator's thread reads it
        self.subscription: DetectionSubscription | None = None
        self._timer = node.create_timer(_LOOK, self._expire, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def subscribe(self) -> None:
        """Subscribe to the detections."""
        self.subscription = DetectionSubscription(self._node, self._camera, self._on_detections)

    def unsubscribe(self) -> None:
        """Unsubscribe, and end all subjects."""
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None
        self.reset()

    def reset(self) -> None:
        """End all subjects, as before the first image."""
        self._matcher.clear()
        self._subjects.reset()
        self._collector.clear()
        self._labels = []

    def configure(self, settings: Settings) -> None:
        """Take over settings that act on the next frame."""
        self._settings = settings
        self._matcher.delay = settings.detection_delay
        self._subjects.configure(settings)

    def close(self) -> None:
        """Take the topics back; the streams end with the worker."""
        if self.subscription is not None:
            self.subscription.destroy()
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._actions)

    def sample(self, taken_at: int) -> Sample | None:
        """Return the place in the subjects' windows of the next image, taken at `taken_at` (ns); None for none."""
        return self._subjects.sample(taken_at)

    def miss(self, sample: Sample) -> None:
        """Record that the image of `sample` is not coming."""
        self._subjects.miss(sample)

    def take(self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int) -> None:
        """Let a sampled image, whose memory must not change, wait for its detections."""
        frame = SampledImage(image, sample, header, index, taken_at)
        self._show(self._matcher.add_image(header.stamp, frame, image.step * image.height, time.monotonic()))

    def labels(self) -> list[SubjectLabel]:
        """Return the newest box of each subject with what it does; called in the annotator's thread."""
        return self._labels

    def health(self) -> SubjectsHealth:
        """Return a snapshot for diagnostics."""
        status, matcher, subscription = self._subjects.status(), self._matcher, self.subscription
        return SubjectsHealth(
            topic=subscription.topic if subscription else "",
            publishers=subscription.publishers if subscription else (),
            problem=subscription.problem if subscription else "",
            received=subscription.received if subscription else 0,
            subjects=status.subjects,
            left_out=status.left_out,
            unmatched=matcher.unmatched,
            late=matcher.late,
            waiting_bytes=matcher.waiting_bytes,
        )

    def _on_detections(self, detections: FrameDetections) -> None:
        self._show(self._matcher.add_detections(detections, time.monotonic()))

    def _expire(self) -> None:
        self._show(self._matcher.expire(time.monotonic()))

    def _show(self, matches: list[Match[SampledImage]]) -> None:
        for match in matches:
            frame = match.image
            try:
                # Before the streams report, which may be at once.
                with self._collector.expecting(frame.index, frame.header, lambda: self._subjects.detections):
                    self._subjects.show(frame, match.detections)
            except ImageError as error:
                self._report_rejected(error)
        if matches:
            found = self._subjects.detections
            self._labels = [subject_label(name, one.box, self._latest.get(name)) for name, one in found.items()]

    def _open_stream(self, track_id: str) -> _SubjectStream:
        stream = self._worker.open_stream(self._settings, _SubjectListener(self, track_id, self._gate))
        return _SubjectStream(stream, lambda: self._forget(track_id))

    def _forget(self, track_id: str) -> None:
        self._latest.pop(track_id, None)
        self._collector.forget(track_id)

    # What the listeners of the streams report, in the worker's thread.

    def on_classified(self, track_id: str, result: Classified) -> None:
        """Publish the events of a subject, and its actions with those of the others in the same image."""
        self._latest[track_id] = result.prediction
        self._collector.add(track_id, result.prediction)
        self._events.events(result.events, result.network, result.header, track_id)

    def on_ended(self, track_id: str, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        """Publish the ends of a subject's actions."""
        self._events.events(events, network, header, track_id)

    def _publish(self, actions: FrameActions) -> None:
        self._actions.publish(actions_message(actions, self._settings))


class _SubjectStream:
    """The stream of one subject, whose end is told."""

    def __init__(self, stream: Stream, on_closed: Callable[[], None]) -> None:
        self.submit = stream.submit
        self.configure = stream.configure
        self.reset = stream.reset
        self._stream, self._on_closed = stream, on_closed

    def close(self) -> None:
        self._stream.close()
        self._on_closed()


class _SubjectListener:
    """The listener of one subject's stream."""

    def __init__(self, subjects: CameraSubjects, track_id: str, gate: ReportGate) -> None:
        self._subjects, self._track_id, self._gate = subjects, track_id, gate

    def on_classified(self, result: Classified) -> None:
        self._gate.run(lambda: self._subjects.on_classified(self._track_id, result))

    def on_events_ended(self, events: list[Event], header: FrameHeader, network: PreparedNetwork) -> None:
        self._gate.run(lambda: self._subjects.on_ended(self._track_id, events, header, network))

    def on_filter_problem(self, message: str) -> None:
        """The stream of the whole image says it."""
