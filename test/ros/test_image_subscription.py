"""The camera's QoS, whatever it is: `auto` follows what publishers offer; fixed ones and overrides hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros import image_subscription
from ros2_actionnet.ros.image_subscription import ImageSubscription
from ros2_actionnet.ros.image_types import message_class
from ros2_actionnet.ros.messages import compressed_message, image_message
from ros2_actionnet.ros.serialized_images import read_compressed, read_header, read_image
from support.own_domain import Domain

pytestmark = pytest.mark.ros

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
TOPIC = "/camera/image_raw"


class Rig:
    """A node that subscribes, and cameras that come and go."""

    def __init__(self, domain: Domain, *overrides: Parameter) -> None:
        self.domain = domain
        self.node = domain.node(
            "actionnet", cli_args=["--ros-args", "-r", f"image:={TOPIC}"], parameter_overrides=list(overrides)
        )
        self.received: list[bytes] = []
        self.types: list[str] = []
        self.cameras: list[Any] = []
        self.subscription: ImageSubscription | None = None

    def subscribe(self, reliability: str = "auto", transport: str = "raw") -> ImageSubscription:
        self.subscription = ImageSubscription(self.node, transport, reliability, self._receive)
        return self.subscription

    def _receive(self, message: bytes, type_name: str) -> None:
        self.received.append(message)
        self.types.append(type_name)

    def camera(self, reliability: str, kind: Any = Image, topic: str = TOPIC) -> Any:
        """A publisher on a node of its own, once the subscriber's node has heard of it."""
        known = len(self.node.get_publishers_info_by_topic(topic))
        node = self.domain.node(f"camera_{len(self.cameras)}")
        qos = QoSProfile(depth=5, reliability=QoSReliabilityPolicy[reliability.upper()])
        publisher = node.create_publisher(kind, topic, qos)
        self.cameras.append((node, publisher))
        self.domain.spin_until(
            lambda: len(self.node.get_publishers_info_by_topic(topic)) > known, "publisher in the graph"
        )
        return publisher

    def unplug(self, number: int) -> None:
        node, publisher = self.cameras[number]
        known = len(self.node.get_publishers_info_by_topic(TOPIC))
        node.destroy_publisher(publisher)
        self.domain.spin_until(
            lambda: len(self.node.get_publishers_info_by_topic(TOPIC)) < known, "end of the publisher"
        )

    def expect_image_from(self, publisher: Any, sec: int) -> None:
        """That an image of this publisher arrives: it is sent until it does, as a camera would."""
        message = image_message(PIXELS, "bgr8", FrameHeader(sec, 0, "camera"))

        def arrived() -> bool:
            publisher.publish(message)
            return any(read_header(data).sec == sec for data in self.received)

        self.domain.spin_until(arrived, f"image {sec}")


@pytest.fixture(name="rig")
def rig_fixture(domain: Domain) -> Rig:
    return Rig(domain)


def test_images_arrive_serialized_on_the_remapped_topic(rig: Rig) -> None:
    subscription = rig.subscribe()
    assert subscription.topic == TOPIC
    camera = rig.camera("reliable")
    rig.expect_image_from(camera, 7)
    image = read_image(rig.received[0])
    assert bytes(image.data) == PIXELS.tobytes()
    assert (image.height, image.width, image.encoding) == (2, 2, "bgr8")


def test_compressed_images_come_on_the_topic_beside_it(domain: Domain) -> None:
    rig = Rig(domain)
    subscription = rig.subscribe(transport="compressed")
    publisher = rig.camera("reliable", CompressedImage, subscription.topic)
    message = compressed_message(np.arange(9, dtype=np.uint8), "jpeg", FrameHeader(3, 4))

    def arrived() -> bool:
        publisher.publish(message)
        return bool(rig.received)

    domain.spin_until(arrived, "compressed image")
    assert subscription.topic.endswith("/compressed")
    assert read_compressed(rig.received[0]).format == "jpeg"


class TestType:
    """A node and a camera in participants of their own: in one, Fast DDS has one type of a topic."""

    @pytest.fixture(name="camera")
    def camera_fixture(self, rig: Rig) -> Iterator[Any]:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=rig.domain.context.get_domain_id())
        node = rclpy.create_node("camera", context=context)
        yield node
        node.destroy_node()
        rclpy.shutdown(context=context)

    def expect(self, rig: Rig, publisher: Any, message: Any) -> None:
        """Send a message until it arrives, with the node's timer looking at the graph."""

        def arrived() -> bool:
            assert rig.subscription is not None
            rig.subscription.follow_publishers()
            publisher.publish(message)
            return bool(rig.received)

        rig.domain.spin_until(arrived, "message")

    @pytest.mark.parametrize("first", ["camera", "node"])
    def test_a_compressed_topic_given_as_the_image_topic_is_read_as_what_it_is(
        self, rig: Rig, camera: Any, first: str
    ) -> None:
        if first == "node":
            assert rig.subscribe(transport="raw").type_name == "sensor_msgs/msg/Image"
        publisher = camera.create_publisher(CompressedImage, TOPIC, 5)
        subscription = rig.subscription or rig.subscribe(transport="raw")
        self.expect(rig, publisher, compressed_message(np.arange(9, dtype=np.uint8), "jpeg", FrameHeader(3, 4)))
        assert set(rig.types) == {"sensor_msgs/msg/CompressedImage"}
        assert read_compressed(rig.received[0]).format == "jpeg"
        assert subscription.problem == ""

    def test_a_type_that_is_no_image_changes_nothing(self, rig: Rig, camera: Any) -> None:
        subscription = rig.subscribe(transport="raw")
        publisher = camera.create_publisher(Header, TOPIC, 5)
        rig.domain.spin_until(lambda: rig.node.get_publishers_info_by_topic(TOPIC), "publisher")
        subscription.follow_publishers()
        assert (subscription.type_name, subscription.problem) == ("sensor_msgs/msg/Image", "")
        camera.destroy_publisher(publisher)

    def test_a_publisher_whose_package_is_not_installed_here_is_a_problem_that_is_told(
        self, rig: Rig, camera: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subscription = rig.subscribe(transport="raw")
        publisher = camera.create_publisher(CompressedImage, TOPIC, 5)
        rig.domain.spin_until(lambda: rig.node.get_publishers_info_by_topic(TOPIC), "publisher")
        monkeypatch.setattr(image_subscription, "message_class", lambda name: message_class("no_such_msgs/msg/Video"))
        subscription.follow_publishers()
        assert "sudo apt install" in subscription.problem
        assert subscription.type_name == "sensor_msgs/msg/Image"
        monkeypatch.undo()
        self.expect(rig, publisher, compressed_message(np.arange(9, dtype=np.uint8), "jpeg", FrameHeader(3, 4)))
        assert subscription.problem == ""

    def test_a_package_that_is_not_installed_is_named(self) -> None:
        with pytest.raises(SettingsError, match=r"sudo apt install ros-.*-no-such-msgs, then"):
            message_class("no_such_msgs/msg/Video")


class TestAuto:
    def test_without_a_publisher_it_asks_for_reliable(self, rig: Rig) -> None:
        assert rig.subscribe().reliability == "reliable"

    @pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
    def test_it_takes_what_the_publisher_offers(self, rig: Rig, reliability: str) -> None:
        camera = rig.camera(reliability)
        assert rig.subscribe().reliability == reliability
        rig.expect_image_from(camera, 1)

    def test_a_best_effort_publisher_that_joins_is_heard_too(self, rig: Rig) -> None:
        reliable = rig.camera("reliable")
        subscription = rig.subscribe()
        rig.expect_image_from(reliable, 1)
        best_effort = rig.camera("best_effort")
        # The event of incompatible QoS tells of it; the node's timer would look as well.
        rig.domain.spin_until(lambda: subscription.reliability == "best_effort", "new subscription")
        rig.expect_image_from(best_effort, 2)
        rig.expect_image_from(reliable, 3)

    def test_one_that_comes_after_the_subscription_is_heard(self, rig: Rig) -> None:
        subscription = rig.subscribe()
        camera = rig.camera("best_effort")
        rig.domain.spin_until(lambda: subscription.reliability == "best_effort", "new subscription")
        rig.expect_image_from(camera, 1)

    def test_when_only_reliable_ones_are_left_it_asks_for_reliable_again(self, rig: Rig) -> None:
        rig.camera("best_effort")
        reliable = rig.camera("reliable")
        subscription = rig.subscribe()
        assert subscription.reliability == "best_effort"
        rig.unplug(0)
        subscription.follow_publishers()
        assert subscription.reliability == "reliable"
        rig.expect_image_from(reliable, 1)

    def test_a_camera_that_pauses_leaves_it_as_it_is(self, rig: Rig) -> None:
        rig.camera("best_effort")
        subscription = rig.subscribe()
        rig.unplug(0)
        subscription.follow_publishers()
        assert subscription.reliability == "best_effort"

    def test_it_subscribes_anew_only_when_something_changed(self, rig: Rig) -> None:
        rig.camera("reliable")
        subscription = rig.subscribe()
        before = subscription._subscription
        for _ in range(3):
            subscription.follow_publishers()
        assert subscription._subscription is before

    def test_there_is_one_subscription_at_any_time(self, rig: Rig) -> None:
        rig.camera("reliable")
        subscription = rig.subscribe()
        rig.camera("best_effort")
        subscription.follow_publishers()
        rig.domain.spin_until(lambda: rig.node.count_subscribers(TOPIC) == 1, "one subscription")
        subscription.destroy()
        rig.domain.spin_until(lambda: rig.node.count_subscribers(TOPIC) == 0, "no subscription")


class TestFixed:
    @pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
    def test_it_holds_whatever_is_offered(self, rig: Rig, reliability: str) -> None:
        rig.camera("best_effort")
        rig.camera("reliable")
        subscription = rig.subscribe(reliability)
        subscription.follow_publishers()
        assert subscription.reliability == reliability

    def test_another_one_at_the_next_activation_is_taken(self, rig: Rig) -> None:
        rig.subscribe("reliable").destroy()
        assert rig.subscribe("best_effort").reliability == "best_effort"


class TestOverrides:
    def override(self, policy: str, value: Any) -> Parameter:
        return Parameter(f"qos_overrides.{TOPIC}.subscription.{policy}", value=value)

    def test_reliability_goes_before_ours(self, domain: Domain) -> None:
        rig = Rig(domain, self.override("reliability", "best_effort"))
        assert rig.subscribe("reliable").reliability == "best_effort"

    def test_reliability_goes_before_auto_and_holds(self, domain: Domain) -> None:
        rig = Rig(domain, self.override("reliability", "best_effort"))
        camera = rig.camera("reliable")
        subscription = rig.subscribe("auto")
        subscription.follow_publishers()
        assert subscription.reliability == "best_effort"
        rig.expect_image_from(camera, 1)

    def test_depth_goes_before_ours_and_stays_when_subscribing_anew(self, domain: Domain) -> None:
        rig = Rig(domain, self.override("depth", 17))
        rig.camera("reliable")
        subscription = rig.subscribe()
        assert subscription._subscription.qos_profile.depth == 17
        rig.camera("best_effort")
        subscription.follow_publishers()
        assert subscription._subscription.qos_profile.depth == 17
        assert subscription.reliability == "best_effort"


def test_publishers_are_named_with_what_they_offer(rig: Rig) -> None:
    subscription = rig.subscribe()
    assert subscription.publishers == ()
    rig.camera("reliable")
    rig.camera("best_effort")
    subscription.follow_publishers()
    assert sorted(subscription.publishers) == ["/camera_0 (reliable)", "/camera_1 (best_effort)"]
