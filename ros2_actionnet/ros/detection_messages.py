"""Detections as ROS messages: those of detectors in, the actions of each subject out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.subjects.actions import FrameActions, SubjectActions
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.ros.messages import header_message, to_frame_header
from ros2_actionnet.settings import Settings

VISION = "vision_msgs/msg/Detection2DArray"
YOLO = "yolo_msgs/msg/DetectionArray"

_MOST = 1000  # detections of one message that are looked at


def read_vision(message: Detection2DArray) -> FrameDetections:
    """Return the detections of a vision_msgs/Detection2DArray; the label is that of the best hypothesis."""
    return FrameDetections(_stamp(message), tuple(_of_vision(one) for one in message.detections[:_MOST]))


def read_yolo(message: Any) -> FrameDetections:
    """Return the detections of a yolo_msgs/DetectionArray."""
    return FrameDetections(_stamp(message), tuple(_of_yolo(one) for one in message.detections[:_MOST]))


READERS: dict[str, Callable[[Any], FrameDetections]] = {VISION: read_vision, YOLO: read_yolo}
"""By the type of the topic."""


def actions_message(actions: FrameActions, settings: Settings) -> Detection2DArray:
    """Return the subjects of an image, each with its box, its id and, in `results`, its actions by falling score."""
    header = header_message(actions.header)
    return Detection2DArray(header=header, detections=[_subject(one, header, settings) for one in actions.subjects])


def _subject(actions: SubjectActions, header: Any, settings: Settings) -> Detection2D:
    by_index = settings.class_id_format == "index"
    detection, box = actions.detection, actions.detection.box
    results = [
        ObjectHypothesisWithPose(
            hypothesis=ObjectHypothesis(class_id=str(one.class_id) if by_index else one.label, score=one.score)
        )
        for one in actions.prediction.top(settings.top_k, by_label=not by_index)
    ]
    message = Detection2D(header=header, results=results, id=detection.track_id)
    message.bbox.center.position.x, message.bbox.center.position.y = box.x, box.y
    message.bbox.size_x, message.bbox.size_y = box.width, box.height
    return message


def _stamp(message: Any) -> int:
    header: FrameHeader = to_frame_header(message.header)
    return header.stamp


def _of_vision(detection: Detection2D) -> Detection:
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
