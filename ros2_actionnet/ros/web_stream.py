"""The topics of one camera, passed on to the page."""

from __future__ import annotations

import base64
from collections import deque
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Classification

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.hub import LARGEST_FRAME, Hub

_MOST_RESULTS = 20  # of a classification
_RECENT_FRAMES, _RECENT_BYTES = 64, 4 * 1024 * 1024  # kept for the pictures of events, which are known some time later
_PICTURE_WIDTH = 240  # pixels
_NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class WebStream:
    """Subscribes to the topics of a camera under `base`, and to its annotated images only while they are watched."""

    def __init__(self, node: Node, hub: Hub, number: int, base: str, camera: str) -> None:
        self.number, self.camera = number, camera
        self._node, self._hub = node, hub
        self._topic = f"{base}/annotated/compressed"
        self._recent: deque[tuple[float, bytes]] = deque(maxlen=_RECENT_FRAMES)
        self._subscriptions = [
            node.create_subscription(Classification, f"{base}/classification", self._on_classification, 10),
            node.create_subscription(ActionEvent, f"{base}/events", self._on_event, 10),
        ]
        self._video: Any = None

    def watch(self, is_watched: bool) -> None:
        """Begin or end to receive annotated images."""
        if is_watched and self._video is None:
            self._video = self._node.create_subscription(CompressedImage, self._topic, self._on_frame, _NEWEST)
        elif not is_watched and self._video is not None:
            self._node.destroy_subscription(self._video)
            self._video = None
            self._recent.clear()

    def destroy(self) -> None:
        """Unsubscribe, and have the page forget the camera."""
        self.watch(False)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._hub.forget_stream(self.number)

    def _on_frame(self, message: CompressedImage) -> None:
        jpeg = bytes(message.data)
        if len(jpeg) > LARGEST_FRAME:
            return
        stamp = _seconds(message.header.stamp)
        self._recent.append((stamp, jpeg))
        while len(self._recent) > 1 and sum(len(data) for _, data in self._recent) > _RECENT_BYTES:
            self._recent.popleft()
        self._hub.frame(self.number, stamp, jpeg)

    def _on_classification(self, message: Classification) -> None:
        results = [(printable(r.class_id), float(r.score)) for r in message.results[:_MOST_RESULTS]]
        self._hub.scores(self.number, _seconds(message.header.stamp), results)

    def _on_event(self, message: ActionEvent) -> None:
        began = message.type == ActionEvent.BEGAN
        start = _seconds(message.start)
        content = {
            "began": began,
            "label": printable(message.label),
            "score": float(message.score),
            "start": start,
            "duration": _seconds(message.duration),
            "time": _seconds(message.header.stamp),
            "picture": self._picture(start) if began else "",
        }
        self._hub.event(self.number, content)

    def _picture(self, time: float) -> str:
        """Return the recent frame nearest to `time`, small, as a JPEG in base64; "" if there is none."""
        if not self._recent:
            return ""
        _, jpeg = min(self._recent, key=lambda frame: abs(frame[0] - time))
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            return ""
        height = max(1, round(pixels.shape[0] * _PICTURE_WIDTH / pixels.shape[1]))
        small = cv2.resize(pixels, (_PICTURE_WIDTH, min(height, 4 * _PICTURE_WIDTH)), interpolation=cv2.INTER_AREA)
        return base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode("ascii")


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + stamp.nanosec * 1e-9)
