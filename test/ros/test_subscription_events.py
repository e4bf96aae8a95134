"""Subscriptions under a middleware that lacks some QoS events."""

from __future__ import annotations

from typing import Any

import pytest
from rclpy.qos import QoSProfile

from ros2_actionnet.ros.subscription_events import create_subscription
from support.own_domain import Domain

try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # rclpy of Humble
    from rclpy.qos_event import UnsupportedEventTypeError

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("supported", [(), ("incompatible_qos",), ("incompatible_qos", "message_lost")])
def test_the_events_that_there_are_are_used(
    domain: Domain, monkeypatch: pytest.MonkeyPatch, supported: tuple[str, ...]
) -> None:
    node = domain.node("actionnet")
    made: list[Any] = []

    def create(*arguments: Any, event_callbacks: Any, **options: Any) -> str:
        asked = {name for name in ("incompatible_qos", "message_lost") if getattr(event_callbacks, name)}
        if asked - set(supported):
            raise UnsupportedEventTypeError
        made.append((asked, options))
        return "subscription"

    monkeypatch.setattr(node, "create_subscription", create)
    events = {"incompatible_qos": print, "message_lost": print}
    assert create_subscription(node, None, "image", print, QoSProfile(depth=1), events, raw=True) == "subscription"
    assert made == [(set(supported), {"raw": True})]
