"""What the measurement hears of a node: its classifications and when they came, its state and its own counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Classification, VisionInfo

from benchmarks.processes import IMAGE_TOPIC, MeasuredProcess, Place

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_TIMEOUT = 60.0  # s until a node must be ready


class Observer:
    """Listens to the node called `name` in a place, in a thread of its own; used as a context manager."""

    def __init__(self, place: Place, name: str = "actionnet") -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=place.domain)
        self._namespace = place.namespace
        self._node = rclpy.create_node("observer", context=self._context)
        self.classifications: list[tuple[float, float]] = []  # s: the image's stamp, the arrival
        self.diagnostics: dict[str, str] = {}
        self._introduced = threading.Event()  # the node has said which network it runs
        subscribe = self._node.create_subscription
        subscribe(Classification, f"{place.namespace}/{name}/classification", self._on_classification, 100)
        subscribe(VisionInfo, f"{place.namespace}/{name}/vision_info", lambda _: self._introduced.set(), _LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="observer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Observer:
        """The observer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the place."""
        rclpy.shutdown(context=self._context)
        self._thread.join(5)

    def wait_until_ready(self, process: MeasuredProcess, *, introduced: bool = True) -> None:
        """Waits until the node has subscribed to the images and, if it does that, said which network it runs."""
        topic = f"{self._namespace}/{IMAGE_TOPIC}"
        self._wait(process, lambda: self._node.count_subscribers(topic) > 0, "subscription to the images")
        if introduced:
            self._wait(process, self._introduced.is_set, "vision_info")

    def wait_for_diagnostics(self, process: MeasuredProcess) -> dict[str, str]:
        """The values of the next diagnostics."""
        self.diagnostics = {}
        self._wait(process, lambda: bool(self.diagnostics), "diagnostics")
        return self.diagnostics

    def _wait(self, process: MeasuredProcess, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not condition():
            process.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {what} within {_TIMEOUT:.0f} s")
            time.sleep(0.005)

    def _on_classification(self, message: Any) -> None:
        arrival = time.time()
        self.classifications.append((message.header.stamp.sec + message.header.stamp.nanosec * 1e-9, arrival))

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if not status.name.startswith(self._namespace):
                continue
            self.diagnostics = {pair.key: pair.value for pair in status.values}

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()
