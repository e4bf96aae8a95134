"""Detections in the messages of the usual detectors, by the names of their fields, whichever library made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections

VISION = "vision_msgs/msg/Detection2DArray"
YOLO = "yolo_msgs/msg/DetectionArray"

_MOST = 1000  # detections of one message that are looked at


def read_vision(message: Any) -> FrameDetections:
    """Return the detections of a vision_msgs/Detection2DArray; the label is that of the best hypothesis."""
    return FrameDetections(_stamp(message), tuple(_of_vision(one) for one in message.detections[:_MOST]))


def read_yolo(message: Any) -> FrameDetections:
    """Return the detections of a yolo_msgs/DetectionArray."""
    return FrameDetections(_stamp(message), tuple(_of_yolo(one) for one in message.detections[:_MOST]))


READERS: dict[str, Callable[[Any], FrameDetections]] = {VISION: read_vision, YOLO: read_yolo}
"""By the type of the topic."""


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return FrameHeader(stamp.sec, stamp.nanosec).stamp


def _of_vision(detection: Any) -> Detection:
    best = max((one.hypothesis for one in detection.results), key=lambda one: one.score, default=None)
    center, box = detection.bbox.center.position, detection.bbox
    return Detection(
        detection.id,
        best.class_id if best is not None else "",
        best.score if best is not None else 0.0,
        Box(center.x, center.y, box.size_x, box.size_y),
    )


def _of_yolo(detection: Any) -> Detection:
    center, size = detection.bbox.center.position, detection.bbox.size
    return Detection(detection.id, detection.class_name, detection.score, Box(center.x, center.y, size.x, size.y))
