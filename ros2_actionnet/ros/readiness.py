"""The topic ~/ready: whether images lead to results, for launch files and scripts that wait for it."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool

from ros2_actionnet.ros.diagnostics import Health

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_NEXT_STEPS = {"unconfigured": "configure, then activate", "inactive": "activate"}


def is_ready(health: Health) -> bool:
    """Return True if the node is active and its network is loaded and works: `configure` answers before it is."""
    worker = health.worker
    return health.state == "active" and worker is not None and worker.running is not None and not worker.failing


def awaited(state: str, node: str) -> str:
    """Return what the node of the full name `node` waits for in a lifecycle state; empty if for nothing."""
    steps = _NEXT_STEPS.get(state)
    return f"{state}; waiting for: ros2 lifecycle set {node} {steps}" if steps else ""


class Readiness:
    """Publishes changes, latched. Nothing comes before the first True: `ros2 topic echo --once` waits for it."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(Bool, "~/ready", _LATCHED)
        self._ready = False

    def update(self, health: Health) -> None:
        """Publish a change."""
        if is_ready(health) is not self._ready:
            self._ready = not self._ready
            self._publisher.publish(Bool(data=self._ready))
