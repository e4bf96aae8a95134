"""The subscription to the camera, with a QoS that fits what is published."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterAlreadyDeclaredException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.image_types import IMAGE, IMAGE_TYPES, TRANSPORTS, message_class
from ros2_actionnet.ros.subscription_events import create_subscription
from ros2_actionnet.ros.topic_advice import ImageTopics

_RELIABILITIES = {"reliable": QoSReliabilityPolicy.RELIABLE, "best_effort": QoSReliabilityPolicy.BEST_EFFORT}
RCLError = rclpy_implementation.RCLError
_DEPTH = 5  # images that may wait while the executor is busy; at 1080p each is 6 MB
_COMPRESSED_DEPTH = 30  # of compressed ones: a lost packet of a video spoils the frames up to the next key frame


class ImageSubscription:
    """Hands serialized images and their type to `on_message`; re-subscribes when it no longer fits the publishers.

    The type is the one that `transport` usually has, unless the publishers have another one that is understood.
    `reliability` is `auto`, `reliable` or `best_effort`; the parameter `qos_overrides.<topic>.subscription.reliability`
    goes before it, as those for history and depth go before what is set here.
    """

    def __init__(
        self, node: Node, transport: str, reliability: str, on_message: Callable[[bytes, str], None], camera: str = ""
    ) -> None:
        """Subscribe to `image`, or `camera/image`."""
        self._node = node
        name, self._usual_type = TRANSPORTS[transport]
        name = f"{camera}/{name}" if camera else name
        self._transport = transport
        self.topic: str = node.resolve_topic_name(name)
        self.publishers: tuple[str, ...] = ()  # seen at the last look, each as `/node (reliability)`
        self.type_name = self._usual_type
        self.problem = ""  # why the publishers' type cannot be subscribed to
        self.lost = 0  # messages that the middleware says were lost on the way
        self._name = name
        self._on_message = on_message
        self._policy = self._overridden(reliability)
        self.reliability = ""
        self._subscription: Any = None
        self.follow_publishers()

    def follow_publishers(self) -> None:
        """Read the list of publishers; subscribe anew if the type or the reliability in force does not fit them."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        self.publishers = tuple(
            f"{info.node_namespace.rstrip('/')}/{info.node_name} ({info.qos_profile.reliability.name.lower()})"
            for info in infos
        )
        reliability = self._fitting_reliability({info.qos_profile.reliability for info in infos})
        type_name = self._fitting_type({info.topic_type for info in infos})
        if self._subscription is not None and (type_name, reliability) == (self.type_name, self.reliability):
            return
        try:
            message_type = message_class(type_name)
        except SettingsError as error:
            self.problem = str(error)
            return
        if self._subscription is not None:
            what = f"{reliability} QoS" if type_name == self.type_name else type_name
            self._node.get_logger().info(f"{self.topic}: subscribing with {what}, as the publishers offer")
        self.destroy()
        try:
            self._subscription = self._subscribe(message_type, type_name, _qos(type_name, reliability))
        except RCLError as error:
            # Fast DDS has one type of a topic in a process, until the executor has let go of the old subscription.
            self.problem = f"cannot subscribe with {type_name}: {error}"
            return
        self.problem = ""
        self.type_name, self.reliability = type_name, reliability

    def advice(self) -> str:
        """Return what to type so that images come, as far as the topics that exist tell; empty if they do not."""
        return ImageTopics.seen_by(self._node).advice(self.topic, self._transport)

    def destroy(self) -> None:
        """Unsubscribes."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _fitting_type(self, offers: set[str]) -> str:
        """Return the type to subscribe to: one that is published and understood, else that in force."""
        understood = sorted(offers.intersection(IMAGE_TYPES))
        for preferred in (self.type_name, self._usual_type):
            if preferred in understood:
                return preferred
        return understood[0] if understood else self.type_name

    def _fitting_reliability(self, offers: set[QoSReliabilityPolicy]) -> str:
        """Return the reliability that all publishers serve: best effort if one of them offers no more, else reliable.

        Large images need reliable: of 1080p images in best effort, Fast DDS delivers next to none as it comes.
        """
        if self._policy != "auto":
            return self._policy
        if not offers:
            return self.reliability or "reliable"
        return "best_effort" if QoSReliabilityPolicy.BEST_EFFORT in offers else "reliable"

    def _overridden(self, reliability: str) -> str:
        """`reliability`, or what the standard parameter for overriding it says.

        rclpy's own declaration of that parameter would hold on to the reliability of the first subscription.
        """
        name = f"qos_overrides.{self.topic}.subscription.reliability"
        with suppress(ParameterAlreadyDeclaredException):
            # Empty rather than `reliability`, which may be another one when the node is configured again.
            self._node.declare_parameter(name, "", ParameterDescriptor(read_only=True))
        value = str(self._node.get_parameter(name).value)
        return value if value in _RELIABILITIES else reliability

    def _subscribe(self, message_type: Any, type_name: str, qos: QoSProfile) -> Any:
        return create_subscription(
            self._node,
            message_type,
            self._name,
            lambda message: self._on_message(message, type_name),
            qos,
            {"incompatible_qos": lambda _: self.follow_publishers(), "message_lost": self._on_lost},
            qos_overriding_options=QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH]),
            raw=True,
        )

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change


def _qos(type_name: str, reliability: str) -> QoSProfile:
    depth = _DEPTH if type_name == IMAGE else _COMPRESSED_DEPTH
    return QoSProfile(depth=depth, reliability=_RELIABILITIES[reliability])
