"""Topics of detections for bags, with the definitions of the packages themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import get_types_from_msg

from ros2_actionnet.recognition.subjects.detection_messages import VISION
from ros2_actionnet.recognition.subjects.detections import Detection
from support.bags import STORE, Topic, header

_PACKAGES = Path(__file__).parents[2] / "ros_from_wheels"
_definitions: dict[str, Any] = {}
for _package in (_PACKAGES / "vision_msgs", _PACKAGES / "yolo_msgs"):
    for _file in sorted((_package / "msg").glob("*.msg")):
        _definitions.update(get_types_from_msg(_file.read_text(), f"{_package.name}/msg/{_file.stem}"))
STORE.register({name: fields for name, fields in _definitions.items() if name not in STORE.types})


def detection_topic(
    found: Mapping[int, Sequence[Detection]], name: str, type_name: str, delay: int = 60_000_000
) -> Topic:
    """A topic of the detections at each stamp (ns), each message received `delay` ns after it."""
    make = _vision if type_name == VISION else _yolo
    kind = STORE.types[type_name]
    messages = [
        (
            stamp + delay,
            bytes(STORE.serialize_cdr(kind(header(stamp), [make(stamp, one) for one in detections]), type_name)),
        )
        for stamp, detections in found.items()
    ]
    return Topic(name, type_name, messages)


def _make(type_name: str, **fields: Any) -> Any:
    return STORE.types[type_name](**fields)


def _pose() -> Any:
    point = _make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
    return _make(
        "geometry_msgs/msg/Pose",
        position=point,
        orientation=_make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )


def _vision(stamp: int, detection: Detection) -> Any:
    box = detection.box
    # The best hypothesis is not the first.
    hypotheses = [("cat", detection.score / 2), (detection.label, detection.score)]
    return _make(
        "vision_msgs/msg/Detection2D",
        header=header(stamp),
        results=[
            _make(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=_make("vision_msgs/msg/ObjectHypothesis", class_id=label, score=score),
                pose=_make("geometry_msgs/msg/PoseWithCovariance", pose=_pose(), covariance=np.zeros(36)),
            )
            for label, score in hypotheses
        ],
        bbox=_make(
            "vision_msgs/msg/BoundingBox2D",
            center=_make(
                "vision_msgs/msg/Pose2D",
                position=_make("vision_msgs/msg/Point2D", x=float(box.x), y=float(box.y)),
                theta=0.0,
            ),
            size_x=float(box.width),
            size_y=float(box.height),
        ),
        id=detection.track_id,
    )


def _yolo(stamp: int, detection: Detection) -> Any:
    box = detection.box
    point = _make("yolo_msgs/msg/Point2D", x=float(box.x), y=float(box.y))
    flat = _make("yolo_msgs/msg/Vector2", x=float(box.width), y=float(box.height))
    return _make(
        "yolo_msgs/msg/Detection",
        class_id=0,
        class_name=detection.label,
        score=detection.score,
        id=detection.track_id,
        bbox=_make(
            "yolo_msgs/msg/BoundingBox2D", center=_make("yolo_msgs/msg/Pose2D", position=point, theta=0.0), size=flat
        ),
        bbox3d=_make(
            "yolo_msgs/msg/BoundingBox3D",
            center=_pose(),
            size=_make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0),
            frame_id="",
        ),
        mask=_make("yolo_msgs/msg/Mask", height=480, width=640, data=[point, point]),
        keypoints=_make(
            "yolo_msgs/msg/KeyPoint2DArray", data=[_make("yolo_msgs/msg/KeyPoint2D", id=1, point=point, score=0.5)]
        ),
        keypoints3d=_make("yolo_msgs/msg/KeyPoint3DArray", data=[], frame_id=""),
    )
