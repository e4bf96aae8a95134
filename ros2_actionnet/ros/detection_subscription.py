"""The subscription to a detector, whichever of the usual types it publishes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.recognition.subjects.detection_messages import READERS, VISION
from ros2_actionnet.recognition.subjects.detections import FrameDetections
from ros2_actionnet.ros.image_types import message_class

_DEPTH = 30  # detections that may wait while the executor is busy


class DetectionSubscription:
    """Hands the detections on `detections`, or `camera/detections`, to `on_detections`.

    The type is the publishers', vision_msgs/Detection2DArray until one is seen. Best effort, which all of them serve.

    Attributes:
        topic: Its full name.
        publishers: The nodes that publish there.
        problem: Why the publishers' type cannot be subscribed to, "" if it can.
        received: Number of messages.
    """

    def __init__(self, node: Node, camera: str, on_detections: Callable[[FrameDetections], None]) -> None:
        self._node = node
        self._name = f"{camera}/detections" if camera else "detections"
        self.topic: str = node.resolve_topic_name(self._name)
        self.publishers: tuple[str, ...] = ()
        self.problem = ""
        self.received = 0
        self._on_detections = on_detections
        self._type_name = ""
        self._subscription: Any = None
        self.follow_publishers()

    def follow_publishers(self) -> None:
        """Read the list of publishers; subscribe anew if they publish another type."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        self.publishers = tuple(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos)
        offered = {info.topic_type for info in infos}
        understood = sorted(offered.intersection(READERS))
        if offered and not understood:
            self.problem = f"{self.topic} carries {', '.join(sorted(offered))}, not {' or '.join(READERS)}"
            return
        type_name = self._type_name or VISION
        if understood and type_name not in understood:
            type_name = understood[0]
        if type_name == self._type_name:
            self.problem = ""
            return
        try:
            kind = message_class(type_name)
        except SettingsError as error:
            self.problem = str(error)
            return
        self.destroy()
        qos = QoSProfile(depth=_DEPTH, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._node.create_subscription(
            kind, self._name, lambda message: self._take(message, type_name), qos
        )
        self._type_name, self.problem = type_name, ""

    def destroy(self) -> None:
        """Unsubscribe."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _take(self, message: Any, type_name: str) -> None:
        self.received += 1
        self._on_detections(READERS[type_name](message))
