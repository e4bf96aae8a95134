"""Subscriptions with the QoS events that the middleware has: not every RMW has all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # rclpy of Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


def create_subscription(
    node: Node,
    kind: Any,
    topic: str,
    on_message: Callable[[Any], None],
    qos: QoSProfile,
    events: Mapping[str, Callable[[Any], None]],
    **options: Any,
) -> Any:
    """Create a subscription with as many of `events` as the middleware has; the last is given up first.

    `events` are callbacks by the name of the event in SubscriptionEventCallbacks; `options` are further keywords of
    `Node.create_subscription`.
    """
    names = list(events)
    while True:
        callbacks = SubscriptionEventCallbacks(**{name: events[name] for name in names}, use_default_callbacks=False)
        try:
            return node.create_subscription(kind, topic, on_message, qos, event_callbacks=callbacks, **options)
        except UnsupportedEventTypeError:
            if not names:
                raise
            node.get_logger().debug(f"{topic}: this middleware has no event {names.pop()}")
