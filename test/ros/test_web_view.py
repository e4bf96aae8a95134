"""What `web_view` finds, passes on and refuses, with doubles of a node's topics in the test's own process."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification, ObjectHypothesis

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.ros.web_view import WebView, parse_options
from ros2_actionnet.web.hub import Viewer
from support.own_domain import Domain

pytestmark = pytest.mark.ros


class Rig:
    """A node that publishes what actionnet does, and a `WebView` with one viewer."""

    def __init__(self, domain: Domain, view: WebView, camera: str = "") -> None:
        self.domain, self.view = domain, view
        self.node = domain.node("robot")
        base = f"~/{camera}/" if camera else "~/"
        self.scores = self.node.create_publisher(Classification, f"{base}classification", 10)
        self.events = self.node.create_publisher(ActionEvent, f"{base}events", 10)
        self.video = self.node.create_publisher(CompressedImage, f"{base}annotated/compressed", 10)
        self.health = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        viewer = view.hub.join(lambda: None)
        assert viewer is not None
        self.viewer: Viewer = viewer
        self.frames: list[bytes] = []
        self.messages: list[dict[str, Any]] = []

    def take(self) -> list[bytes]:
        """Take what waits; all frames so far."""
        messages, frames = self.viewer.take()
        self.messages += [json.loads(message) for message in messages]
        self.frames += frames
        return self.frames

    def wait_for(self, kind: str) -> dict[str, Any]:
        """The newest message of a kind."""

        def found() -> list[dict[str, Any]]:
            self.take()
            return [message for message in self.messages if message["type"] == kind]

        self.domain.spin_until(found, kind)
        return found()[-1]

    def stream(self) -> int:
        """The number of the camera's stream, once its topics are subscribed."""
        self.domain.spin_until(self.scores.get_subscription_count, "subscription")
        self.domain.spin_until(self.events.get_subscription_count, "subscription")
        return int(self.wait_for("nodes")["nodes"][0]["streams"][0]["id"])

    def answer(self, future: Future[str]) -> str:
        self.domain.spin_until(future.done, "answer")
        return future.result()


@pytest.fixture(name="rig")
def rig_fixture(domain: Domain) -> Iterator[Rig]:
    yield Rig(domain, web_view(domain))


def web_view(domain: Domain, *only: str) -> WebView:
    view: WebView = domain.add(WebView(only, context=domain.context))
    return view


def header(seconds: int) -> Header:
    return Header(stamp=Time(sec=seconds))


def grey_jpeg(level: int) -> bytes:
    return cv2.imencode(".jpg", np.full((180, 480, 3), level, np.uint8))[1].tobytes()


def test_options() -> None:
    options = parse_options([])
    assert (options.listen, options.token, options.read_only, options.nodes) == ("127.0.0.1:8080", "", False, ())
    options = parse_options(["--listen", "0.0.0.0", "--read-only", "--node", "robot1/actionnet", "--node", "/b"])
    assert (options.listen, options.read_only, options.nodes) == ("0.0.0.0", True, ("/robot1/actionnet", "/b"))


def test_results_pass_with_their_stamps_whatever_they_hold(rig: Rig) -> None:
    stream = rig.stream()
    results = [ObjectHypothesis(class_id="walk", score=0.75), ObjectHypothesis(class_id="\x1b[2J", score=float("nan"))]
    rig.scores.publish(Classification(header=header(7), results=results))
    message = rig.wait_for("scores")
    assert (message["stream"], message["time"]) == (stream, 7.0)
    assert message["results"] == [["walk", 0.75], ["\\x1b[2J", None]]


def test_an_event_has_the_picture_of_its_beginning(rig: Rig) -> None:
    stream = rig.stream()
    rig.view.hub.watch(rig.viewer, frozenset({stream}))
    rig.domain.spin_until(rig.video.get_subscription_count, "subscription to the video")
    for second in range(5):
        data = grey_jpeg(40 * second)
        rig.video.publish(CompressedImage(header=header(second), format="jpeg", data=data))
        rig.domain.spin_until(rig.take, "frame")
        assert rig.frames.pop()[12:] == data
        rig.viewer.drawn(stream)
    event = ActionEvent(header=header(4), type=ActionEvent.BEGAN, label="walk", score=0.5, start=Time(sec=2))
    rig.events.publish(event)
    message = rig.wait_for("event")
    assert (message["label"], message["began"], message["start"], message["time"]) == ("walk", True, 2.0, 4.0)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(message["picture"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (90, 240, 3)
    assert abs(float(picture.mean()) - 80) < 3

    rig.view.hub.leave(rig.viewer)  # nobody watches any more
    rig.domain.spin_until(lambda: not rig.video.get_subscription_count(), "end of the subscription")


def test_broken_pictures_and_foreign_diagnostics_change_nothing(rig: Rig) -> None:
    stream = rig.stream()
    rig.view.hub.watch(rig.viewer, frozenset({stream}))
    rig.domain.spin_until(rig.video.get_subscription_count, "subscription to the video")
    rig.video.publish(CompressedImage(header=header(1), format="jpeg", data=b"no jpeg"))
    rig.domain.spin_until(rig.take, "frame")
    rig.events.publish(ActionEvent(header=header(2), type=ActionEvent.BEGAN, label="walk"))
    assert rig.wait_for("event")["picture"] == ""
    own = DiagnosticStatus(name="/robot: camera", level=b"\x01", message="slow", values=[KeyValue(key="a", value="b")])
    rig.health.publish(DiagnosticArray(status=[DiagnosticStatus(name="/other: motor"), own]))
    message = rig.wait_for("health")
    assert message["node"] == "/robot"
    assert message["statuses"] == [{"name": "camera", "level": 1, "message": "slow", "values": [["a", "b"]]}]


def test_parameters_are_read_followed_and_set(rig: Rig) -> None:
    descriptor = ParameterDescriptor(
        description="Lower scores are omitted.",
        additional_constraints="0 to 1",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0)],
    )
    rig.node.declare_parameter("threshold", 0.25, descriptor)
    rig.node.declare_parameter("backend", "auto", ParameterDescriptor(additional_constraints="auto / openvino"))
    rig.node.declare_parameter("fixed", 1, ParameterDescriptor(read_only=True))
    rig.node.declare_parameter("octets", [b"\x01"])
    rig.node.declare_parameter("class_filter", [""])
    rig.stream()

    def shown() -> dict[str, Any]:
        return {parameter["name"]: parameter for parameter in rig.wait_for("parameters")["parameters"]}

    threshold = shown()["threshold"]
    assert (threshold["kind"], threshold["value"], threshold["limits"]) == ("double", 0.25, "0 to 1")
    assert (threshold["minimum"], threshold["maximum"], threshold["group"]) == (0.0, 1.0, "Acts on the next frame")
    assert threshold["description"] == "Lower scores are omitted."
    assert shown()["backend"]["choices"] == ["auto", "openvino"]
    assert shown()["class_filter"]["value"] == []
    assert not {"fixed", "octets"} & shown().keys()

    assert rig.answer(rig.view.set_parameter("/robot", "threshold", 1)) == ""  # JSON has 1 for 1.0
    assert rig.node.get_parameter("threshold").value == 1.0
    rig.domain.spin_until(lambda: shown()["threshold"]["value"] == 1.0, "the new value")
    assert rig.answer(rig.view.set_parameter("/robot", "class_filter", ["walk"])) == ""
    assert rig.answer(rig.view.set_parameter("/robot", "class_filter", [])) == ""
    assert rig.node.get_parameter("class_filter").value == [""]

    rig.node.add_on_set_parameters_callback(lambda _: SetParametersResult(successful=False, reason="not today"))
    assert rig.answer(rig.view.set_parameter("/robot", "backend", "openvino")) == "not today"
    assert "no parameter fixed" in rig.answer(rig.view.set_parameter("/robot", "fixed", 2))
    assert "no node /other" in rig.answer(rig.view.set_parameter("/other", "threshold", 0.5))
    assert "cannot be set" in rig.answer(rig.view.set_parameter("/robot", "threshold", 10**400))


def test_a_camera_is_reset_and_one_that_is_not_shown_is_refused(domain: Domain) -> None:
    rig = Rig(domain, web_view(domain), camera="front")
    resets: list[str] = []

    def reset(request: Any, response: Any) -> Any:
        resets.append("front")
        response.success = True
        return response

    rig.node.create_service(Trigger, "~/front/reset", reset)
    rig.stream()
    assert rig.wait_for("nodes")["nodes"][0]["streams"][0]["camera"] == "front"
    assert rig.answer(rig.view.reset("/robot", "front")) == ""
    assert resets == ["front"]
    assert "no camera ../x" in rig.answer(rig.view.reset("/robot", "../x"))


def test_only_the_nodes_that_were_asked_for_are_shown(domain: Domain) -> None:
    rig = Rig(domain, web_view(domain, "/another"))
    other = Node("another", context=domain.context)
    domain.add(other)
    other.create_publisher(ActionEvent, "~/events", 10)
    domain.spin_until(lambda: rig.wait_for("nodes")["nodes"], "node")
    assert [node["name"] for node in rig.wait_for("nodes")["nodes"]] == ["/another"]
    other.destroy_node()
    domain.spin_until(lambda: not rig.wait_for("nodes")["nodes"], "end of the node")


def test_an_answer_that_nobody_waits_for_is_no_failure(rig: Rig) -> None:
    rig.stream()
    future = rig.view.set_parameter("/robot", "threshold", 0.5)
    future.cancel()
    assert "no camera" in rig.answer(rig.view.reset("/robot", "x")), "the executor goes on"
