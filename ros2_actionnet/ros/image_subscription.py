"""The subscription to the camera, with a QoS that fits what is published."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterAlreadyDeclaredException
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # rclpy of Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_TRANSPORTS: dict[str, tuple[str, Any]] = {"raw": ("image", Image), "compressed": ("image/compressed", CompressedImage)}
_RELIABILITIES = {"reliable": QoSReliabilityPolicy.RELIABLE, "best_effort": QoSReliabilityPolicy.BEST_EFFORT}
_DEPTH = 5  # images that may wait while the executor is busy; at 1080p each is 6 MB


class ImageSubscription:
    """Hands serialized images to `on_message`, and re-subscribes when `auto` reliability no longer fits the publishers.

    `reliability` is `auto`, `reliable` or `best_effort`; the parameter `qos_overrides.<topic>.subscription.reliability`
    goes before it, as those for history and depth go before what is set here.
    """

    def __init__(
        self, node: Node, transport: str, reliability: str, on_message: Callable[[bytes], None], camera: str = ""
    ) -> None:
        """Subscribe to `image`, or `camera/image`."""
        self._node = node
        name, self._type = _TRANSPORTS[transport]
        name = f"{camera}/{name}" if camera else name
        self.topic: str = node.resolve_topic_name(name)
        self.publishers: tuple[str, ...] = ()  # seen at the last look, each as `/node (reliability)`
        self.lost = 0  # messages that the middleware says were lost on the way
        self._name = name
        self._on_message = on_message
        self._policy = self._overridden(reliability)
        self.reliability = ""
        self._subscription: Any = None
        self.follow_publishers()

    def follow_publishers(self) -> None:
        """Read the list of publishers; subscribe anew if the reliability in force does not fit them."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        self.publishers = tuple(
            f"{info.node_namespace.rstrip('/')}/{info.node_name} ({info.qos_profile.reliability.name.lower()})"
            for info in infos
        )
        reliability = self._fitting_reliability({info.qos_profile.reliability for info in infos})
        if reliability == self.reliability:
            return
        if self._subscription is not None:
            self._node.get_logger().info(f"{self.topic}: subscribing with {reliability} QoS, as the publishers offer")
            self._node.destroy_subscription(self._subscription)
        self.reliability = reliability
        self._subscription = self._subscribe(QoSProfile(depth=_DEPTH, reliability=_RELIABILITIES[reliability]))

    def destroy(self) -> None:
        """Unsubscribes."""
        self._node.destroy_subscription(self._subscription)

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

    def _subscribe(self, qos: QoSProfile) -> Any:
        return self._node.create_subscription(
            self._type,
            self._name,
            self._on_message,
            qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda _: self.follow_publishers(), message_lost=self._on_lost
            ),
            qos_overriding_options=QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH]),
            raw=True,
        )

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change
