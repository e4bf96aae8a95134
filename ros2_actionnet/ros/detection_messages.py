"""The actions of each subject as a ROS message."""

from __future__ import annotations

from typing import Any

from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from ros2_actionnet.recognition.subjects.actions import FrameActions, SubjectActions
from ros2_actionnet.ros.messages import header_message
from ros2_actionnet.settings import Settings


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
