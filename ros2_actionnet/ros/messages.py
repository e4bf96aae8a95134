"""What the node says, as ROS messages."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Duration, Time
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader, split_seconds
from ros2_actionnet.recognition.window_classifier import Prediction
from ros2_actionnet.ros.serialized_images import header_message
from ros2_actionnet.settings import Settings

try:
    from vision_msgs.msg import LabelInfo, VisionClass

    LABEL_INFO = LabelInfo
except ImportError:  # vision_msgs of Humble
    LABEL_INFO = None


def classification_message(prediction: Prediction, header: FrameHeader, settings: Settings) -> Classification:
    """The best classes of `prediction`, under the header of its window's newest frame."""
    by_index = settings.class_id_format == "index"
    return Classification(
        header=header_message(header),
        results=[
            ObjectHypothesis(class_id=str(result.class_id) if by_index else result.label, score=result.score)
            for result in prediction.top(settings.top_k)
        ],
    )


def event_message(event: Event, network: PreparedNetwork, header: FrameHeader) -> ActionEvent:
    """An action of `network` that began or ended, under the header of the frame that showed it."""
    return ActionEvent(
        header=header_message(header),
        type=event.type.value,
        label=network.labels[event.class_index],
        class_index=event.class_index,
        score=float(event.score),
        start=Time(**split_seconds(event.start)),
        duration=Duration(**split_seconds(event.duration)),
    )


def vision_info_message(network: PreparedNetwork, labels_parameter: str, version: int) -> VisionInfo:
    """What classifies: the network's name, the parameter that holds its labels, and how many came before it."""
    return VisionInfo(method=network.name, database_location=labels_parameter, database_version=version)


def label_info_message(network: PreparedNetwork, threshold: float) -> Any:
    """The label of every class; None where the installed vision_msgs has no such message."""
    if LABEL_INFO is None:
        return None
    classes = [VisionClass(class_id=index, class_name=label) for index, label in enumerate(network.labels)]
    return LabelInfo(class_map=classes, threshold=threshold)
