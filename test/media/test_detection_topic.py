"""Detections on a topic of a bag, of either type, with their definitions in the bag or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.box import Box
from ros2_actionnet.media.detection_topic import read_detection_topic
from ros2_actionnet.recognition.subjects.detection_messages import VISION, YOLO
from ros2_actionnet.recognition.subjects.detections import Detection
from support.bags import START, Topic, images_topic, imu_topic, write_bag, write_humble_bag
from support.detection_bags import detection_topic

FOUND = {
    START: (Detection("3", "person", 0.75, Box(125, 240, 50, 80)), Detection("", "dog", 0.5, Box(13, 24, 5, 8))),
    START + 80_000_000: (Detection("3", "person", 1.0, Box(135.5, 240, 50, 80)),),
    START + 120_000_000: (),
}
PICTURES = [np.zeros((8, 8, 3), np.uint8)] * 4


@pytest.fixture(name="topics", params=[VISION, YOLO])
def topics_fixture(request: pytest.FixtureRequest) -> Sequence[Topic]:
    return [images_topic(PICTURES), detection_topic(FOUND, "/detector/boxes", request.param), imu_topic(3)]


def test_boxes_are_found_by_the_stamps_of_their_headers(topics: Sequence[Topic], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics)
    assert read_detection_topic(bag, "/detector/boxes") == FOUND
    assert read_detection_topic(bag, "detector/boxes") == FOUND


def test_a_bag_of_humble_which_has_no_definitions(topics: Sequence[Topic], tmp_path: Path) -> None:
    assert read_detection_topic(write_humble_bag(tmp_path / "bag", topics), "/detector/boxes") == FOUND


def test_a_topic_that_is_not_there_is_refused_with_those_that_are(topics: Sequence[Topic], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics)
    with pytest.raises(MediaError, match=rf"no topic of that name; .*/detector/boxes \({topics[1].type_name}, 3\)$"):
        read_detection_topic(bag, "/boxes")


def test_a_topic_of_another_type_is_refused_with_those_that_fit(topics: Sequence[Topic], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics)
    with pytest.raises(MediaError, match=r"/imu in '.*' carries sensor_msgs/msg/Imu, no detections; .*/detector/boxes"):
        read_detection_topic(bag, "/imu")


def test_a_bag_without_detections_says_what_it_has(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [images_topic(PICTURES)])
    with pytest.raises(
        MediaError, match=r"none with detections \(vision_msgs/msg/Detection2DArray or yolo.*/image_raw"
    ):
        read_detection_topic(bag, "/boxes")


@pytest.mark.parametrize("messages", [[], [(START, b"\0\1\0\0no such thing")]])
def test_messages_that_cannot_be_used_are_refused(messages: Any, tmp_path: Path) -> None:
    topic = detection_topic(FOUND, "/boxes", VISION)
    topic.messages[:] = messages
    bag = write_bag(tmp_path / "bag", [images_topic(PICTURES), topic])
    with pytest.raises(
        MediaError, match=r"there is no message on /boxes|message 0 of /boxes in '.*' is no vision_msgs"
    ):
        read_detection_topic(bag, "/boxes")
