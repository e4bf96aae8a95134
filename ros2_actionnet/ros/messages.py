"""The node's results and images as ROS messages."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader, split_nanoseconds
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.settings import Settings

try:
    from vision_msgs.msg import LabelInfo, VisionClass

    LABEL_INFO = LabelInfo
except ImportError:  # vision_msgs of Humble
    LABEL_INFO = None


def classification_message(prediction: Prediction, header: FrameHeader, settings: Settings) -> Classification:
    """Return the best classes of `prediction`, under the header of its window's newest frame."""
    by_index = settings.class_id_format == "index"
    return Classification(
        header=header_message(header),
        results=[
            ObjectHypothesis(class_id=str(result.class_id) if by_index else result.label, score=result.score)
            for result in prediction.top(settings.top_k, by_label=not by_index)
        ],
    )


def event_message(event: Event, network: PreparedNetwork, header: FrameHeader, subject: str = "") -> ActionEvent:
    """An action of `network` that began or ended, under the header of the frame that showed it.

    `subject` is the id of the track whose action it is, empty for the whole image.
    """
    return ActionEvent(
        header=header_message(header),
        type=event.type.value,
        label=network.labels[event.class_index],
        class_index=event.class_index,
        score=float(event.score),
        start=Time(**split_nanoseconds(event.start)),
        duration=Duration(**split_nanoseconds(event.duration)),
        subject=subject,
    )


def vision_info_message(network: PreparedNetwork, labels_parameter: str, version: int) -> VisionInfo:
    """Return the network as a VisionInfo: its name, the parameter with its labels, and how many came before it."""
    return VisionInfo(method=network.name, database_location=labels_parameter, database_version=version)


def label_info_message(network: PreparedNetwork, threshold: float) -> Any:
    """Return the label of every class; None where the installed vision_msgs has no such message."""
    if LABEL_INFO is None:
        return None
    classes = [VisionClass(class_id=index, class_name=label) for index, label in enumerate(network.labels)]
    return LabelInfo(class_map=classes, threshold=threshold)


def to_frame_header(message: Header) -> FrameHeader:
    """A std_msgs/Header as a FrameHeader."""
    return FrameHeader(message.stamp.sec, message.stamp.nanosec, message.frame_id)


def header_message(header: FrameHeader) -> Header:
    """`header` as a std_msgs/Header."""
    message = Header(frame_id=header.frame_id)
    message.stamp.sec, message.stamp.nanosec = header.sec, header.nanosec
    return message


def image_message(pixels: NDArray[np.uint8], encoding: str, header: FrameHeader) -> Image:
    """`pixels` (uint8 [H, W] or [H, W, C], C-contiguous) as a sensor_msgs/Image with the given encoding and header."""
    message = Image(header=header_message(header), encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    message.data = _octets(pixels)
    return message


def compressed_message(data: NDArray[np.uint8], format_: str, header: FrameHeader) -> CompressedImage:
    """Encoded `data` (uint8 [bytes]) as a sensor_msgs/CompressedImage; `format_` is "jpeg" or "png"."""
    return CompressedImage(header=header_message(header), format=format_, data=_octets(data))


def _octets(pixels: NDArray[np.uint8]) -> array[int]:
    # The only way that is fast everywhere: rclpy checks every element of anything but an array('B'), and making one
    # from an ndarray or a memoryview goes element by element (170 ms and more for 1080p, against 0.4 ms).
    octets = array("B")
    octets.frombytes(pixels.data.cast("B"))
    return octets
