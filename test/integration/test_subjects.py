"""The actions of each person over real DDS: boxes that come late, miss and change, and what each of them does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesis, ObjectHypothesisWithPose

from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import header_message
from support.networks import save_brightness_network
from support.ros import IMAGE_TOPIC, Probe, running_node, stamp_of

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")
GREYS = {"dark": 20, "dim": 128, "bright": 240}
HEIGHT, WIDTH, SIDE = 120, 320, 60
PERIOD = 1 / 15  # s
Track = tuple[str, str, float]  # id, what it does, left edge of its box in pixels


class Scene:
    """People as squares of a grey level on a dark image, with a detector that answers some images later."""

    def __init__(self, probe: Probe, delay: int = 2) -> None:
        self.probe, self.delay = probe, delay
        self.actions: list[Detection2DArray] = []
        probe.node.create_subscription(Detection2DArray, "/actionnet/actions", self.actions.append, 100)
        self.detector = probe.publisher("/detections", Detection2DArray)
        self.images = probe.publisher(IMAGE_TOPIC)
        self.sent = 0
        self.waiting: list[Detection2DArray] = []

    def wait_until_ready(self) -> None:
        self.probe.wait_until_ready()
        self.probe.wait_for(self.detector.get_subscription_count, "subscription to the detections")
        self.probe.wait_for(lambda: self.probe.node.count_publishers("/actionnet/actions"), "publisher of actions")

    def show(self, tracks: list[Track], missed: tuple[str, ...] = (), label: str = "person") -> float:
        """Sends the next image, and the detections of the one `delay` images before; the image's stamp (s)."""
        self.sent += 1
        header = FrameHeader.at(10**12 + round(self.sent * PERIOD * 1e9), "lens")
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for _, doing, left in tracks:
            frame[:, max(0, round(left) - 40) : round(left) + SIDE + 40] = GREYS[doing]
        self.probe.publish(frame, header.stamp / 1e9, frame_id="lens")
        message = Detection2DArray(header=header_message(header))
        for track_id, _, left in tracks:
            if track_id not in missed:
                message.detections.append(detection(track_id, left, label))
        self.waiting.append(message)
        if len(self.waiting) > self.delay:
            self.detector.publish(self.waiting.pop(0))
        self.probe.spin(PERIOD / 2)
        return header.stamp / 1e9

    def wait_for_windows(self, track_ids: list[str]) -> None:
        """Waits for the windows that are due after the images sent so far: the whole image's, and the subjects'."""
        whole, matched = self.sent - 3, self.sent - self.delay - 3
        self.probe.wait_for(lambda: len(self.probe.classifications) >= whole, "the whole image")
        self.probe.wait_for(lambda: all(len(self.of(name)) >= matched for name in track_ids), "the subjects")

    def finish(self) -> None:
        """Sends the detections that are still due."""
        for message in self.waiting:
            self.detector.publish(message)
            self.probe.spin(PERIOD)  # or the windows of both are due at once, and the older one is left out
        self.waiting.clear()
        self.probe.spin(0.3)

    def of(self, track_id: str) -> list[tuple[float, str]]:
        """When the track was classified (s), and as what."""
        return [
            (stamp_of(message), one.results[0].hypothesis.class_id)
            for message in self.actions
            for one in message.detections
            if one.id == track_id
        ]


def detection(track_id: str, left: float, label: str) -> Detection2D:
    message = Detection2D(id=track_id)
    message.bbox.center.position.x, message.bbox.center.position.y = left + SIDE / 2, HEIGHT / 2
    message.bbox.size_x = message.bbox.size_y = float(SIDE)
    message.results = [ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=label, score=0.9))]
    return message


@pytest.fixture(name="parameters", scope="module")
def parameters_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("brightness")
    return {
        "model": str(save_brightness_network(folder, LABELS)),
        "detections": True,
        "skip_frames": 0,
        "event_min_duration": 0.0,
        "box_margin": 0.0,
        "max_gap": 0.5,
    }


@pytest.fixture(name="scene")
def scene_fixture(parameters: dict[str, Any]) -> Iterator[Scene]:
    with running_node(parameters) as (_, probe):
        scene = Scene(probe)
        scene.wait_until_ready()
        yield scene


def test_each_has_its_actions_under_the_images_stamp_with_its_box_and_events(scene: Scene) -> None:
    stamps = []
    for step in range(20):
        stamps.append(scene.show([("7", "bright", 60.0 + step), ("9", "dark", 200.0 - step)]))
        # One image after the other: a window that is overtaken on a busy machine is left out.
        scene.wait_for_windows(["7", "9"])
    scene.finish()
    for track_id, doing in (("7", "bright"), ("9", "dark")):
        times = [time for time, _ in scene.of(track_id)]
        assert [round(t - 1000, 3) for t in times] == [round(t - 1000, 3) for t in stamps[3:]], "each, in order"
        assert {label for _, label in scene.of(track_id)} == {doing}
    last = scene.actions[-1]
    assert last.header.frame_id == "lens"
    boxes = {one.id: (one.bbox.center.position.x, one.bbox.size_x) for one in last.detections}
    assert boxes == {"7": (79.0 + 30, 60.0), "9": (181.0 + 30, 60.0)}
    began = {event.subject: event.label for event in scene.probe.events}
    assert began == {"7": "bright", "9": "dark", "": began[""]}
    assert len(scene.probe.classifications) == 17, "the whole image goes on beside them"


def test_a_missed_detection_is_bridged_and_a_lost_track_ends_its_events(scene: Scene) -> None:
    for step in range(16):
        scene.show([("1", "bright", 100.0)], missed=("1",) if step in (6, 7, 11) else ())
    scene.finish()
    assert len(scene.of("1")) == 13, "every window from the fourth image on"
    events = [event for event in scene.probe.events if event.subject == "1"]
    assert [(event.type, event.label) for event in events] == [(events[0].BEGAN, "bright")]
    for _ in range(12):  # 0.8 s, above max_gap
        scene.show([])
    scene.finish()
    # Until the track is given up its view shows what is there now.
    types = [event.type for event in scene.probe.events if event.subject == "1"]
    assert types.count(events[0].ENDED) == types.count(events[0].BEGAN)
    before = len(scene.of("1"))
    for _ in range(3):
        scene.show([("1", "dim", 100.0)])
    scene.finish()
    assert len(scene.of("1")) == before, "an id that returns late begins anew"
    scene.show([("1", "dim", 100.0)])
    scene.finish()
    assert scene.of("1")[-1][1] == "dim"


def test_only_subjects_of_the_classes_asked_for_and_the_largest_first(scene: Scene) -> None:
    for _ in range(6):
        scene.show([("car", "bright", 100.0)], label="car")
    scene.finish()
    assert scene.actions == []
    results = scene.probe.set(subject_classes=["car"], max_subjects=1)
    assert all(result.successful for result in results), results
    for _ in range(6):
        scene.show([("a", "bright", 40.0), ("b", "dark", 200.0)], label="car")
    scene.finish()
    ids = {one.id for message in scene.actions for one in message.detections}
    assert len(ids) == 1
    values = scene.probe.diagnosis(lambda _, values: "subjects" in values, "with subjects")
    assert (values["subjects"], values["subjects left out"]) == ("1", "1")


def test_detections_without_ids_are_tracked(scene: Scene) -> None:
    for step in range(10):
        scene.show([("", "bright", 20.0 + 2 * step), ("", "dark", 220.0 - 2 * step)])
    scene.finish()
    by_id: dict[str, set[str]] = {}
    for message in scene.actions:
        for one in message.detections:
            by_id.setdefault(one.id, set()).add(one.results[0].hypothesis.class_id)
    assert sorted(map(sorted, by_id.values())) == [["bright"], ["dark"]]
    assert all(by_id)


def test_without_a_detector_the_whole_image_goes_on_and_it_is_said(scene: Scene) -> None:
    scene.delay = 10**9
    for _ in range(8):
        scene.show([("1", "bright", 100.0)])
    scene.probe.wait_for(lambda: len(scene.probe.classifications) >= 5, "classifications of the whole image")
    values = scene.probe.diagnosis(
        lambda _, values: values.get("images without detections", "0") != "0", "with images without detections"
    )
    assert scene.actions == []
    assert float(values["images waiting (MB)"]) < 1.0
