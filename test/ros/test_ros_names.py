"""Names of topics and namespaces, against rclpy's own check."""

from __future__ import annotations

import pytest

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.ros_names import check_namespace, check_topic


def topic_is_taken(name: str) -> bool:
    try:
        check_topic("image_topic", name)
    except SettingsError:
        return False
    return True


@pytest.mark.ros
@pytest.mark.parametrize(
    "name",
    ["/camera/image_raw", "image", "~/image", "_a/b1", "/a//b", "/a/", "a-b", "/1a", "a/2b", "", "/", "a b", "é"],
)
def test_a_topic_is_taken_where_rclpy_takes_it(name: str) -> None:
    expand = pytest.importorskip("rclpy.expand_topic_name").expand_topic_name
    validate = pytest.importorskip("rclpy.validate_full_topic_name").validate_full_topic_name
    try:
        expected = validate(expand(name, "actionnet", "/"))
    except Exception:
        expected = False
    assert topic_is_taken(name) is bool(expected)


@pytest.mark.parametrize(
    ("name", "proposed"),
    [("/camera/image-raw", "/camera/image_raw"), ("front/1/image", "front/_1/image"), ("", "/camera/image")],
)
def test_the_refusal_proposes_a_name_that_is_taken(name: str, proposed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        check_topic("image_topic", name)
    assert str(raised.value).endswith(f"such as {proposed}")
    assert topic_is_taken(proposed)


def test_namespaces() -> None:
    for name in ("", "/", "robot1", "/a/b"):
        check_namespace("namespace", name)
    with pytest.raises(SettingsError, match="such as robot_1"):
        check_namespace("namespace", "robot 1")
