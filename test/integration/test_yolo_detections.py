"""The topic `tracking` of yolo_ros over real DDS: the node follows its type, and reads what it needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from vision_msgs.msg import Detection2DArray
from yolo_msgs.msg import Detection, DetectionArray, KeyPoint2D, Point2D

from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import header_message
from support.networks import save_brightness_network
from support.ros import Probe, running_node

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")
TRACKING = "/yolo/tracking"
HEIGHT, WIDTH, SIDE = 120, 320, 60


@pytest.fixture(name="probe")
def probe_fixture(tmp_path: Path) -> Iterator[Probe]:
    parameters = {
        "model": str(save_brightness_network(tmp_path, LABELS)),
        "detections": True,
        "skip_frames": 0,
        "box_margin": 0.0,
        "detection_delay": 5.0,  # s; the boxes come at once, however busy the machine is
    }
    with running_node(parameters, "-r", f"detections:={TRACKING}") as (_, probe):
        probe.wait_until_ready()
        yield probe


def person(track_id: str, left: float, class_name: str = "person") -> Detection:
    """A detection with all that yolo_ros fills in for a pose or a segmentation."""
    message = Detection(class_id=0, class_name=class_name, score=0.87, id=track_id)
    message.bbox.center.position.x, message.bbox.center.position.y = left + SIDE / 2, HEIGHT / 2
    message.bbox.size.x = message.bbox.size.y = float(SIDE)
    message.mask.height, message.mask.width = HEIGHT, WIDTH
    message.mask.data = [Point2D(x=left, y=0.0), Point2D(x=left + 9, y=99.0), Point2D(x=-1.0, y=float("nan"))]
    message.keypoints.data = [KeyPoint2D(id=number, score=0.5) for number in range(17)]
    return message


def test_people_are_followed_on_the_topic_of_yolo_ros(probe: Probe) -> None:
    actions: list[Detection2DArray] = []
    probe.node.create_subscription(Detection2DArray, "/actionnet/actions", actions.append, 100)
    detector = probe.publisher(TRACKING, DetectionArray)
    # It has subscribed to vision_msgs/Detection2DArray, as nobody published yet, and changes over.
    probe.wait_for(detector.get_subscription_count, "subscription to yolo_msgs/DetectionArray")
    probe.wait_for(lambda: probe.node.count_publishers("/actionnet/actions"), "publisher of actions")

    def has_windows(count: int) -> bool:
        ids = [one.id for message in actions for one in message.detections]
        return len(probe.classifications) >= count and min(ids.count("12"), ids.count("3")) >= count

    for step in range(1, 9):
        header = FrameHeader.at(10**12 + step * 66_000_000, "lens")
        frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        frame[:, 40:100], frame[:, 200:260] = 240, 10
        probe.publish(frame, header.stamp / 1e9, frame_id="lens")
        # Without an id: seen, but not tracked yet. A chair is nobody.
        seen = [person("12", 40.0), person("3", 200.0), person("", 130.0), person("5", 260.0, "chair")]
        detector.publish(DetectionArray(header=header_message(header), detections=seen))
        probe.wait_for(partial(has_windows, step - 3), "windows of the whole image and of both")
    found: dict[int, dict[str, tuple[str, float]]] = {}  # by the stamp; a first window may come in a message of its own
    for message in actions:
        assert message.header.frame_id == "lens"
        for one in message.detections:
            what = (one.results[0].hypothesis.class_id, one.bbox.center.position.x)
            found.setdefault(message.header.stamp.nanosec, {})[one.id] = what
    assert found == {step * 66_000_000: {"12": ("bright", 70.0), "3": ("dark", 230.0)} for step in range(4, 9)}
    values = probe.diagnosis(lambda _, values: values.get("subjects") == "2", "with two subjects")
    assert values["detections late"] == "0"
