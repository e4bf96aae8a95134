"""What to type when no image comes, told from the topics that exist."""

from __future__ import annotations

import pytest
from sensor_msgs.msg import CompressedImage, Image

from ros2_actionnet.ros.image_types import COMPRESSED
from ros2_actionnet.ros.image_types import IMAGE as RAW
from ros2_actionnet.ros.topic_advice import ImageTopics
from support.own_domain import Domain

pytestmark = pytest.mark.ros

CLOUD = "sensor_msgs/msg/PointCloud2"


def advice(topic: str, transport: str = "raw", **published: str) -> str:
    """The advice for `topic` where the topics of `published` exist, their names with __ for /."""
    topics = {name.replace("__", "/"): frozenset([kind]) for name, kind in published.items()}
    return ImageTopics(topics).advice(topic, transport)


@pytest.mark.parametrize(
    ("topic", "transport", "published", "commands"),
    [
        # image_topic:=/cam/image_raw/compressed image_transport:=compressed
        (
            "/cam/image_raw/compressed/compressed",
            "compressed",
            {"__cam__image_raw__compressed": COMPRESSED},
            "image_topic:=/cam/image_raw",
        ),
        # only compressed exists, raw is asked for; and the other way round
        (
            "/cam/image_raw",
            "raw",
            {"__cam__image_raw__compressed": COMPRESSED},
            "image_topic:=/cam/image_raw/compressed",
        ),
        (
            "/cam/image_raw/compressed",
            "compressed",
            {"__cam__image_raw": RAW},
            "image_topic:=/cam/image_raw image_transport:=raw",
        ),
        # another namespace, a near miss, and others altogether
        ("/image_raw", "raw", {"__robot1__image_raw": RAW, "__map": CLOUD}, "image_topic:=/robot1/image_raw"),
        ("/camera/image_rw", "raw", {"__camera__image_raw": RAW}, "image_topic:=/camera/image_raw"),
        (
            "/camera/image_raw",
            "raw",
            {"__a": RAW, "__b": RAW, "__b__compressed": COMPRESSED},
            "image_topic:=/a, or image_topic:=/b",
        ),
        # compressed images under a name that no transport has
        ("/jpeg", "raw", {"__jpegs": COMPRESSED}, "image_topic:=/jpegs"),
        ("/jpeg/compressed", "compressed", {"__jpegs": COMPRESSED}, "image_topic:=/jpegs image_transport:=raw"),
    ],
)
def test_the_one_thing_to_type(topic: str, transport: str, published: dict[str, str], commands: str) -> None:
    assert advice(topic, transport, **published).endswith(f"; set {commands}")


def test_a_topic_of_another_type_is_named_with_its_type() -> None:
    text = advice("/cam/points", __cam__points=CLOUD, __cam__image_raw=RAW)
    assert text == f"/cam/points carries {CLOUD}, not {RAW}; set image_topic:=/cam/image_raw"
    assert advice("/cam/points", __cam__points=CLOUD).endswith("no node that can be seen from here publishes images")


def test_the_right_topic_needs_no_advice() -> None:
    assert advice("/cam", __cam=RAW) == ""
    assert advice("/cam/compressed", "compressed", __cam__compressed=COMPRESSED) == ""
    assert advice("/cam/compressed", __cam__compressed=COMPRESSED) == "", "the subscription takes the publishers' type"


def test_what_another_node_of_ours_shows_is_no_camera() -> None:
    shown = {"__front__actionnet__annotated": RAW, "__front__actionnet__annotated__compressed": COMPRESSED}
    ours = {**shown, "__front__actionnet__classification": "vision_msgs/msg/Classification"}
    nobody = "nobody publishes there, and no node that can be seen from here publishes images"
    assert advice("/rear/image_raw", **ours) == nobody
    assert advice("/rear/image_raw", **ours, __cam=RAW).endswith("set image_topic:=/cam")
    assert advice("/rear/image_raw", **shown).endswith("set image_topic:=/front/actionnet/annotated"), (
        "of somebody else"
    )


def test_only_the_publishers_of_others_count(domain: Domain) -> None:
    node, camera = domain.node("actionnet"), domain.node("camera")
    node.create_publisher(Image, "/actionnet/annotated", 1)
    node.create_subscription(Image, "/asked", lambda message: None, 1)
    camera.create_publisher(CompressedImage, "/cam/compressed", 1)
    domain.spin_until(lambda: node.count_publishers("/cam/compressed"), "publisher in the graph")
    topics = ImageTopics.seen_by(node)
    images = {name: types for name, types in topics.published.items() if types & {RAW, COMPRESSED}}
    assert images == {"/cam/compressed": {COMPRESSED}}
    expected = "nobody publishes there; set image_topic:=/cam/compressed"
    assert topics.advice("/asked", "raw") == expected
