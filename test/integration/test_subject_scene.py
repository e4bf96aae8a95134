"""The four-panel scene over real DDS: what each track does, read from `~/actions`.

The images are sent as fast as the node takes them, with the stamps of a camera of 15 Hz; what is late is late by these.
"""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from typing import Any

import numpy as np
import pytest
from rclpy.duration import Duration
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesis, ObjectHypothesisWithPose

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.subjects.detections import FrameDetections
from ros2_actionnet.ros.messages import header_message, image_message
from support.ros import IMAGE_TOPIC, Probe, running_node
from support.subject_scene import OTHER_LABELS, RATE, SOME_LABELS, Nervousness, SubjectScene

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WINDOW, EVERY = 16, 2  # samples, and frames of the scene for one
LATEST, EARLIEST = 300, 20  # ms after their image
PARAMETERS: dict[str, Any] = {
    "network": "camera_motion",
    "detections": True,
    "skip_frames": 0,
    "max_gap": 0.5,
    # Five windows an image, on a machine that is busy with other things: the time by the clock on the wall is longer.
    "detection_delay": 5.0,
}


class Show:
    """Sends the scene, and the boxes of each image when their time has come."""

    def __init__(self, probe: Probe, scene: SubjectScene) -> None:
        self.probe, self.scene = probe, scene
        # By stamp (ns) and id; the first window of a track may come in a message of its own.
        self.actions: dict[int, dict[str, Detection2D]] = {}
        self.images = probe.publisher(IMAGE_TOPIC)
        self.detector = probe.publisher("/detections", Detection2DArray)
        probe.node.create_subscription(Detection2DArray, "/actionnet/actions", self._on_actions, 100)
        probe.wait_until_ready()
        probe.wait_for(self.detector.get_subscription_count, "subscription to the detections")
        probe.wait_for(lambda: probe.node.count_publishers("/actionnet/actions"), "publisher of actions")
        self._waiting: deque[tuple[int, int]] = deque()  # when the boxes come (ns), and the number of their frame
        self._delays = np.random.default_rng(7).uniform(EARLIEST, LATEST, scene.frames)

    def play(self) -> None:
        """Sends everything, and waits for what is due."""
        for number in range(0, self.scene.frames, EVERY):
            now = self.scene.stamp(number)
            self._send_detections(now)
            self.images.publish(image_message(self.scene.picture(number), "bgr8", FrameHeader.at(now, "camera")))
            assert self.images.wait_for_all_acked(Duration(seconds=30))
            whole = number // EVERY + 2 - WINDOW  # windows of the whole image, which does not wait for boxes
            self.probe.wait_for(partial(self._has_classified, whole), "classification of the whole image")
            # A detector answers in order.
            due = now + round(1e6 * self._delays[number])
            self._waiting.append((max(due, self._waiting[-1][0] if self._waiting else 0), number))
        self._send_detections(None)

    def _send_detections(self, now: int | None) -> None:
        """Sends the boxes that have come by `now` (ns), and waits for the actions in their images."""
        while self._waiting and (now is None or self._waiting[0][0] <= now):
            _, number = self._waiting.popleft()
            self.detector.publish(detections_message(self.scene.detections(number)))
            if self.has_windows(number):
                self.probe.wait_for(partial(self.actions.get, self.scene.stamp(number)), f"actions in frame {number}")
            else:
                self.probe.spin(0.02)

    def has_windows(self, number: int) -> bool:
        """Whether tracks have a whole window at this frame: those of before the ids switched, or those of after."""
        whole, switch = EVERY * (WINDOW - 1), self.scene.nervousness.switch_at
        old_until = switch - EVERY + round(PARAMETERS["max_gap"] * RATE) if switch else self.scene.frames
        return whole <= number <= old_until or (switch > 0 and number >= switch + whole)

    def _has_classified(self, count: int) -> bool:
        return len(self.probe.classifications) >= count

    def _on_actions(self, message: Detection2DArray) -> None:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        for one in message.detections:
            self.actions.setdefault(stamp, {})[one.id] = one


def detections_message(frame: FrameDetections) -> Detection2DArray:
    message = Detection2DArray(header=header_message(FrameHeader.at(frame.stamp, "camera")))
    for found in frame.detections:
        one = Detection2D(id=found.track_id)
        one.bbox.center.position.x, one.bbox.center.position.y = found.box.x, found.box.y
        one.bbox.size_x, one.bbox.size_y = found.box.width, found.box.height
        hypothesis = ObjectHypothesis(class_id=found.label, score=found.score)
        one.results = [ObjectHypothesisWithPose(hypothesis=hypothesis)]
        message.detections.append(one)
    return message


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("labels", "switch_at"), [(SOME_LABELS, 0), (OTHER_LABELS, 38)], ids=["steady ids", "ids that switch"]
)
def test_every_track_is_right(labels: tuple[str, ...], switch_at: int) -> None:
    scene = SubjectScene(labels, Nervousness(switch_at=switch_at))
    windows, right = Counter[str](), Counter[str]()
    with running_node(PARAMETERS) as (_, probe):
        show = Show(probe, scene)
        show.play()
        values = probe.diagnosis(lambda _, values: "detections late" in values, "with subjects")
    for number in range(0, scene.frames, EVERY):
        found = show.actions.get(scene.stamp(number), {})
        assert bool(found) == show.has_windows(number), number
        for one in found.values():
            panel = scene.panels[(int(one.id) - 1) % 100]
            windows[one.id] += 1
            right[one.id] += one.results[0].hypothesis.class_id == panel.label
            place = one.bbox.center.position
            # One that is missed, or whose id is no more, is where it was last seen.
            assert Box(place.x, place.y, one.bbox.size_x, one.bbox.size_y).overlap(panel.box(number)) > 0.6
    names = {str(panel.number + 1 + more) for panel in scene.panels for more in ((0, 100) if switch_at else (0,))}
    assert windows.keys() == names
    assert min(windows.values()) >= 4
    assert all(right[name] >= 0.95 * windows[name] for name in names), (windows, right)
    assert (values["detections late"], values["images without detections"]) == ("0", "0")
