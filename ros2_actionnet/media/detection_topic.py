"""Detections on a topic of a bag, without a ROS installation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.bag_reader import Bag, list_topics, result_types
from ros2_actionnet.recognition.subjects.detection_messages import READERS, VISION, YOLO
from ros2_actionnet.recognition.subjects.detections import Detection
from ros2_actionnet.system.text import printable

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

# For bags that lack the definitions, as Humble's do.
_YOLO_DEFINITION = """std_msgs/Header header
yolo_msgs/Detection[] detections
{line}
MSG: yolo_msgs/Detection
int32 class_id
string class_name
float64 score
string id
yolo_msgs/BoundingBox2D bbox
yolo_msgs/BoundingBox3D bbox3d
yolo_msgs/Mask mask
yolo_msgs/KeyPoint2DArray keypoints
yolo_msgs/KeyPoint3DArray keypoints3d
{line}
MSG: yolo_msgs/BoundingBox2D
yolo_msgs/Pose2D center
yolo_msgs/Vector2 size
{line}
MSG: yolo_msgs/Pose2D
yolo_msgs/Point2D position
float64 theta
{line}
MSG: yolo_msgs/Point2D
float64 x
float64 y
{line}
MSG: yolo_msgs/Vector2
float64 x
float64 y
{line}
MSG: yolo_msgs/BoundingBox3D
geometry_msgs/Pose center
geometry_msgs/Vector3 size
string frame_id
{line}
MSG: yolo_msgs/Mask
int32 height
int32 width
yolo_msgs/Point2D[] data
{line}
MSG: yolo_msgs/KeyPoint2DArray
yolo_msgs/KeyPoint2D[] data
{line}
MSG: yolo_msgs/KeyPoint2D
int32 id
yolo_msgs/Point2D point
float64 score
{line}
MSG: yolo_msgs/KeyPoint3DArray
yolo_msgs/KeyPoint3D[] data
string frame_id
{line}
MSG: yolo_msgs/KeyPoint3D
int32 id
geometry_msgs/Point point
float64 score
""".replace("{line}", 80 * "=")


def read_detection_topic(path: Path, topic: str) -> Mapping[int, tuple[Detection, ...]]:
    """Return the detections in the messages of `topic` of the bag at `path`, by the stamp (ns) in their headers.

    Raises MediaError if the bag has no such topic, one of another type, or none that can be read.
    """
    with closing(Bag(path)) as bag:
        connections = _choose(bag, topic)
        for connection in connections:
            bag.learn(connection, _YOLO_DEFINITION if connection.msgtype == YOLO else _vision_definition())
        return _read(bag, connections)


def _read(bag: Bag, connections: list[Connection]) -> dict[int, tuple[Detection, ...]]:
    from rosbags.serde import SerdeError

    found = dict[int, tuple[Detection, ...]]()
    for number, (connection, _, content) in enumerate(bag.messages(connections)):
        try:
            frame = READERS[connection.msgtype](bag.deserialize(content, connection.msgtype))
        except (SerdeError, AttributeError) as error:
            raise MediaError(
                f"message {number} of {printable(connection.topic, 80)} in '{bag.path}' is no "
                f"{connection.msgtype} of ROS 2 Humble or newer: {printable(error)}; give a file of boxes instead"
            ) from error
        found[frame.stamp] = frame.detections
    if not found:
        raise MediaError(f"there is no message on {printable(connections[0].topic, 80)} in '{bag.path}'")
    return found


def _vision_definition() -> str:
    definition: str = result_types().generate_msgdef(VISION, ros_version=2)[0]
    return definition


def _choose(bag: Bag, wanted: str) -> list[Connection]:
    named = [one for one in bag.connections if one.topic.strip("/") == wanted.strip("/")]
    usable = [one for one in bag.connections if one.msgtype in READERS]
    chosen = [one for one in named if one.msgtype in READERS]
    if chosen:
        return chosen
    what = (
        f"{wanted} in '{bag.path}' carries {printable(named[0].msgtype, 80)}, no detections"
        if named
        else f"there is no file '{wanted}', and '{bag.path}' has no topic of that name"
    )
    if usable:
        raise MediaError(f"{what}; its topics of detections: {list_topics(usable)}")
    raise MediaError(
        f"{what}, and none with detections ({' or '.join(READERS)}); it has {list_topics(bag.connections)}"
    )
