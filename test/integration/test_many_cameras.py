"""Several cameras on one network, over real DDS: each has its own results, settings and troubles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import image_message
from support.networks import save_brightness_network
from support.ros import Probe, running_node, stamp_of

pytestmark = pytest.mark.integration

GREYS = {"front": 20, "rear": 240, "left": 128, "right": 20}
LABELS = {20: "dark", 128: "dim", 240: "bright"}
PERIOD = 0.05  # s between two images of one camera


class Cameras:
    """Four cameras that send one grey level each, and what is said of them."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.results: dict[str, list[Classification]] = defaultdict(list)
        self.events: dict[str, list[ActionEvent]] = defaultdict(list)
        self.statuses: dict[str, Any] = {}
        self.publishers = {name: probe.publisher(f"/{name}/image") for name in GREYS}
        self.sent = 0
        subscribe = probe.node.create_subscription
        for name in GREYS:
            subscribe(Classification, f"/actionnet/{name}/classification", self.results[name].append, 100)
            subscribe(ActionEvent, f"/actionnet/{name}/events", self.events[name].append, 100)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.statuses[status.name] = status

    def wait_until_ready(self) -> None:
        self.probe.wait_for(lambda: self.probe.infos, "network")
        node = self.probe.node
        self.probe.wait_for(lambda: all(p.get_subscription_count() for p in self.publishers.values()), "subscriptions")
        topics = [f"/actionnet/{name}/classification" for name in GREYS]
        self.probe.wait_for(lambda: all(node.count_publishers(topic) for topic in topics), "publishers")

    def send(self, count: int = 1, **instead: Any) -> None:
        """Sends `count` images of each camera; `instead` of a camera's image another message, or None for none."""
        for _ in range(count):
            self.sent += 1
            header = FrameHeader.at(self.sent * int(PERIOD * 1e9) + 10**12, "lens")
            for name, grey in GREYS.items():
                message = image_message(np.full((24, 32, 3), grey, np.uint8), "bgr8", header)
                message = instead.get(name, message)
                if message is not None:
                    self.publishers[name].publish(message)
            self.probe.spin(PERIOD / 2)

    def wait_for_results(self, name: str, count: int) -> list[Classification]:
        self.probe.wait_for(lambda: len(self.results[name]) >= count, f"{count} results of {name}")
        return self.results[name]

    def frames(self, name: str) -> list[int]:
        """The number of the newest frame of each result, counted from 1."""
        return [round((stamp_of(result) - 1000) / PERIOD) for result in self.results[name]]

    def status(self, name: str) -> dict[str, str]:
        self.statuses.pop(name, None)
        self.probe.wait_for(lambda: name in self.statuses, f"status {name} in {list(self.statuses)}")
        status = self.statuses[name]
        return {pair.key: pair.value for pair in status.values} | {"message": status.message}


@pytest.fixture(name="parameters", scope="module")
def parameters_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("brightness")
    model = save_brightness_network(folder, tuple(LABELS.values()))
    return {
        "cameras": "[front, rear, left, right]",
        "model": str(model),
        "skip_frames": 0,
        "event_min_duration": 0.0,
        "threshold": 0.0,
        "front.top_k": 1,
    }


@pytest.fixture(name="cameras")
def cameras_fixture(parameters: dict[str, Any]) -> Iterator[Cameras]:
    with running_node(parameters) as (_, probe):
        cameras = Cameras(probe)
        cameras.wait_until_ready()
        yield cameras


def test_each_has_its_own_results_under_its_own_stamps_and_its_own_settings(cameras: Cameras) -> None:
    cameras.send(12)
    for name, grey in GREYS.items():
        results = cameras.wait_for_results(name, 9)
        assert cameras.frames(name)[:9] == list(range(4, 13)), "the first whole window is that of the fourth image"
        for result in results:
            assert result.results[0].class_id == LABELS[grey], name
            assert result.header.frame_id == "lens"
        assert cameras.events[name][0].label == LABELS[grey]
    assert len(cameras.results["front"][0].results) == 1, "top_k is front's own"
    assert len(cameras.results["rear"][0].results) > 1

    (result,) = cameras.probe.set(**{"rear.threshold": 1.0})
    assert result.successful, result.reason
    counts = {name: len(results) for name, results in cameras.results.items()}
    cameras.send(6)
    for name in GREYS:
        last = cameras.wait_for_results(name, counts[name] + 4)[-1]
        assert bool(last.results) is (name != "rear"), "the threshold of rear alone"


def test_what_does_not_exist_is_refused_with_what_does(cameras: Cameras) -> None:
    (result,) = cameras.probe.set(**{"back.threshold": 0.5})
    assert not result.successful
    assert "there is no camera back" in result.reason
    assert "front, rear, left, right" in result.reason


def test_one_that_dies_floods_or_sends_garbage_does_not_touch_the_others(cameras: Cameras) -> None:
    cameras.send(8)
    for name in GREYS:
        cameras.wait_for_results(name, 3)
    header = FrameHeader.at(10**13, "lens")
    garbage = Image(header=image_message(np.zeros((1, 1, 3), np.uint8), "bgr8", header).header, encoding="no\x1bsuch")
    for trouble in (None, garbage):
        before = {name: len(results) for name, results in cameras.results.items()}
        cameras.send(15, left=trouble)
        for name in ("front", "rear", "right"):
            cameras.wait_for_results(name, before[name] + 13)
    flood = image_message(np.full((24, 32, 3), 128, np.uint8), "bgr8", FrameHeader.at(2 * 10**12))
    before = {name: len(results) for name, results in cameras.results.items()}
    for _ in range(15):
        for _ in range(30):
            cameras.publishers["left"].publish(flood)
        cameras.send(1, left=None)
    for name in ("front", "rear", "right"):
        results = cameras.wait_for_results(name, before[name] + 13)
        assert {result.results[0].class_id for result in results} == {LABELS[GREYS[name]]}
    left = cameras.status("/actionnet: camera left")
    assert 10 < int(left["frames rejected"]) <= 15  # the first are out of line with the stamps before: left out unread
    assert r"no\x1bsuch" in left["last error"]
    rear = cameras.status("/actionnet: camera rear")
    assert (rear["frames rejected"], rear["last error"]) == ("0", "")
    node = cameras.status("/actionnet: action recognition")
    assert node["message"].startswith("classifying with")
    assert "image topic" not in node


def test_another_network_takes_over_for_all_between_two_frames_with_nothing_lost(cameras: Cameras) -> None:
    for _ in range(8):
        cameras.send()
        if cameras.sent >= 4:
            for name in GREYS:
                cameras.wait_for_results(name, cameras.sent - 3)
    (result,) = cameras.probe.set(precision="fp32")
    assert result.successful, result.reason
    for _ in range(200):
        cameras.send()
        # One image after the other: a window that is overtaken on a busy machine is left out.
        cameras.probe.wait_for(lambda: all(cameras.frames(n)[-1] == cameras.sent for n in GREYS), "the newest results")
        if len(cameras.probe.infos) > 1:
            break
    assert len(cameras.probe.infos) == 2
    for name in GREYS:
        frames = cameras.frames(name)
        assert frames == list(range(frames[0], cameras.sent + 1)), f"{name} lost or repeated a window"


def test_a_reset_of_one_empties_its_window_alone(cameras: Cameras) -> None:
    cameras.send(8)
    for name in GREYS:
        cameras.wait_for_results(name, 3)
    answer = cameras.probe.call(Trigger, "front/reset", Trigger.Request())
    assert answer.success
    before = {name: len(results) for name, results in cameras.results.items()}
    cameras.send(2)
    cameras.wait_for_results("rear", before["rear"] + 1)
    assert len(cameras.results["front"]) == before["front"]
    assert cameras.probe.reset().success
    before = {name: len(results) for name, results in cameras.results.items()}
    cameras.send(2)
    cameras.probe.spin(0.2)
    assert {name: len(results) for name, results in cameras.results.items()} == before
