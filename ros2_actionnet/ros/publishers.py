"""The topics that the node publishes results on."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification, VisionInfo

from ros2_actionnet.live.stream import Classified
from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import (
    LABEL_INFO,
    classification_message,
    compressed_message,
    event_message,
    image_message,
    label_info_message,
    vision_info_message,
)
from ros2_actionnet.settings import Settings

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_JPEG_QUALITY = 85


class CameraPublishers:
    """What the node publishes of one camera; each method may be called from any one thread at a time."""

    def __init__(self, node: Node, camera: str) -> None:
        """Create the topics under `~/`, or under the name of `camera` below that."""
        self._node = node
        prefix = f"~/{camera}/" if camera else "~/"
        self._classification = node.create_publisher(Classification, f"{prefix}classification", 10)
        self._events = node.create_publisher(ActionEvent, f"{prefix}events", 10)
        self._annotated = node.create_publisher(Image, f"{prefix}annotated", 1)
        self._annotated_compressed = node.create_publisher(CompressedImage, f"{prefix}annotated/compressed", 1)

    def wants_annotation(self) -> bool:
        """Return True if an annotated image has a subscriber."""
        return bool(self._annotated.get_subscription_count() or self._annotated_compressed.get_subscription_count())

    def classified(self, result: Classified, settings: Settings) -> None:
        """Publish a classification and the events that it brought."""
        self._classification.publish(classification_message(result.prediction, result.header, settings))
        self.events(result.events, result.network, result.header)

    def events(self, events: Iterable[Event], network: PreparedNetwork, header: FrameHeader, subject: str = "") -> None:
        """Publish that actions began or ended; `subject` is the id of the track whose actions they are."""
        for event in events:
            self._events.publish(event_message(event, network, header, subject))

    def annotated(self, pixels: NDArray[np.uint8], header: FrameHeader) -> None:
        """Publish an annotated image (uint8 [H, W, 3], BGR) to its subscribers: raw, as JPEG or both."""
        if self._annotated.get_subscription_count():
            self._annotated.publish(image_message(pixels, "bgr8", header))
        if self._annotated_compressed.get_subscription_count():
            _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._annotated_compressed.publish(compressed_message(jpeg, "jpeg", header))

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in (self._classification, self._events, self._annotated, self._annotated_compressed):
            self._node.destroy_publisher(publisher)


class NetworkPublishers:
    """Publishes which network classifies the images of all cameras."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._vision_info = node.create_publisher(VisionInfo, "~/vision_info", _LATCHED)
        self._label_info = node.create_publisher(LABEL_INFO, "~/label_info", _LATCHED) if LABEL_INFO else None

    def network(self, network: PreparedNetwork, labels_parameter: str, version: int, threshold: float) -> None:
        """Publish which network classifies from now on."""
        stamp = self._node.get_clock().now().to_msg()
        info = vision_info_message(network, labels_parameter, version)
        info.header.stamp = stamp
        self._vision_info.publish(info)
        label_info = label_info_message(network, threshold)
        if label_info is not None and self._label_info is not None:
            label_info.header.stamp = stamp
            self._label_info.publish(label_info)

    def destroy(self) -> None:
        """Take the topics back."""
        self._node.destroy_publisher(self._vision_info)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)
