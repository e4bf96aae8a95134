"""Real nodes over real DDS: the node in a process of its own, and a probe in the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from typing import IO, Any, TypeVar

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification, VisionInfo

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.messages import image_message

TIMEOUT = 30.0  # s; generous, for a busy machine: a test that passes does not wait for it
IMAGE_TOPIC = "/camera/image_raw"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
T = TypeVar("T")


_domains = count(os.getpid() * 7)
_locks: deque[IO[str]] = deque(maxlen=8)  # the newest; closing one releases it


def unused_domain() -> int:
    """A ROS domain that no other test here uses now; 2 to 99, as the ports of those above 101 may be the system's.

    Two runs at a time on one machine must not meet: the nodes of both have the same names.
    """
    for _ in range(98):
        domain = 2 + next(_domains) % 98
        lock = (Path(gettempdir()) / f"ros2_actionnet_test_domain_{domain}").open("a")
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if len(_locks) == _locks.maxlen:
            _locks[0].close()
        _locks.append(lock)
        return domain
    raise RuntimeError("all ROS domains are taken by other test runs; wait until they end")


class NodeProcess:
    """`actionnet_node` in a process of its own; `log` is what it has printed so far."""

    def __init__(self, domain: int, parameters: dict[str, Any], arguments: tuple[str, ...] = ()) -> None:
        command = [sys.executable, "-m", "ros2_actionnet.ros.main", "--ros-args", "-r", f"image:={IMAGE_TOPIC}"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self.process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # All the time: a pipe that nobody reads is full at 64 KiB, and the node then waits in the middle of its log.
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log += line

    def stop(self, by: signal.Signals = signal.SIGINT, timeout: float = 20.0) -> int:
        """Ends the process; its exit code. `log` then holds all that it printed."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        return self.process.returncode


class Probe:
    """A node that publishes images, records what the node under test says, and calls its services."""

    def __init__(self, domain: int, target: str = "/actionnet") -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.target = target
        self.classifications: list[Classification] = []
        self.arrivals: list[float] = []  # s, monotonic clock, of each classification
        self.events: list[ActionEvent] = []
        self.infos: list[VisionInfo] = []
        self.annotated: list[Image] = []
        self.diagnostics: list[DiagnosticStatus] = []
        subscribe = self.node.create_subscription
        subscribe(Classification, f"{target}/classification", self._on_classification, 100)
        subscribe(ActionEvent, f"{target}/events", self.events.append, 100)
        subscribe(VisionInfo, f"{target}/vision_info", self.infos.append, _LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", lambda message: self.diagnostics.extend(message.status), 10)
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}

    def _on_classification(self, message: Classification) -> None:
        self.classifications.append(message)
        self.arrivals.append(time.monotonic())

    def spin(self, seconds: float = 0.0) -> None:
        """Takes what has arrived, and what arrives within `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            self.executor.spin_once(timeout_sec=min(0.02, max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                return

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> None:
        """Spins until `condition` holds; fails with `what` was waited for otherwise."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
            self.executor.spin_once(timeout_sec=0.02)

    def wait_until_ready(self, networks: int = 1) -> None:
        """Waits until the node has loaded its network and subscribed to the images."""
        publisher = self.publisher()
        self.wait_for(lambda: len(self.infos) >= networks, f"vision_info number {networks}")
        self.wait_for(lambda: publisher.get_subscription_count() >= 1, "subscription to the images")

    def subscribe_annotated(self) -> None:
        """Subscribes to the annotated images, which the node does not make otherwise."""
        self.node.create_subscription(Image, f"{self.target}/annotated", self.annotated.append, 100)
        topic = f"{self.target}/annotated"
        self.wait_for(lambda: self.node.count_publishers(topic) >= 1, "publisher of annotated images")

    def publisher(self, topic: str = IMAGE_TOPIC, kind: Any = Image, reliability: str = "reliable") -> Any:
        """The probe's publisher on `topic`."""
        key = f"{topic} {reliability}"
        if key not in self._publishers:
            qos = QoSProfile(depth=10, reliability=QoSReliabilityPolicy[reliability.upper()])
            self._publishers[key] = self.node.create_publisher(kind, topic, qos)
        return self._publishers[key]

    def publish(self, frame: NDArray[np.uint8], stamp: float, encoding: str = "bgr8", frame_id: str = "camera") -> None:
        """Publishes one image."""
        header = FrameHeader(*divmod(round(stamp * 1e9), 1_000_000_000), frame_id)
        self.publisher().publish(image_message(np.ascontiguousarray(frame), encoding, header))

    def play(self, frames: list[NDArray[np.uint8]], start: float, rate: float = 30.0, speed: float = 1.0) -> None:
        """Publishes `frames` stamped at `rate` (Hz) from `start` (s), `speed` times as fast as that in real time."""
        began = time.monotonic()
        for index, frame in enumerate(frames):
            self.publish(frame, start + index / rate)
            self.spin(max(0.0, began + (index + 1) / rate / speed - time.monotonic()))

    def call(self, kind: Any, name: str, request: Any, timeout: float = TIMEOUT) -> Any:
        """The answer of the node's service `name`."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f"{self.target}/{name}")
        client = self._clients[name]
        self.wait_for(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.wait_for(future.done, f"answer of {name}", timeout)
        return future.result()

    def set(self, **parameters: Any) -> list[Any]:
        """Sets parameters one by one in one request, as `ros2 param load` does; the result of each."""
        request = SetParameters.Request(parameters=_messages(parameters))
        return list(self.call(SetParameters, "set_parameters", request).results)

    def set_atomically(self, **parameters: Any) -> Any:
        """Sets parameters all or none; the result."""
        request = SetParametersAtomically.Request(parameters=_messages(parameters))
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result

    def get(self, *names: str) -> list[Any]:
        """The values of parameters."""
        answer = self.call(GetParameters, "get_parameters", GetParameters.Request(names=list(names)))
        return [
            Parameter.from_parameter_msg(ParameterMessage(name=name, value=value)).value
            for name, value in zip(names, answer.values, strict=True)
        ]

    def describe(self, *names: str) -> list[Any]:
        """The descriptors of parameters."""
        answer = self.call(DescribeParameters, "describe_parameters", DescribeParameters.Request(names=list(names)))
        return list(answer.descriptors)

    def change_state(self, label: str) -> bool:
        """Asks for a lifecycle transition; whether it was made."""
        request = ChangeState.Request()
        request.transition.label = label
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        """The lifecycle state."""
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def reset(self) -> Any:
        """Empties the window."""
        return self.call(Trigger, "reset", Trigger.Request())

    def diagnosis(self, condition: Callable[[str, dict[str, str]], bool], what: str) -> dict[str, str]:
        """Waits for a diagnostic status whose message and values meet `condition`; the values."""
        self.diagnostics.clear()
        found: list[dict[str, str]] = []

        def look() -> bool:
            for status in self.diagnostics:
                values = {pair.key: pair.value for pair in status.values}
                if condition(status.message, values):
                    found.append(values | {"message": status.message, "level": str(ord(status.level))})
            return bool(found)

        try:
            self.wait_for(look, f"diagnostic status {what}")
        except AssertionError as error:
            last = self.diagnostics[-1:]
            raise AssertionError(f"{error}; the last one: {last}") from None
        return found[-1]

    def close(self) -> None:
        """Leaves the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def _messages(parameters: dict[str, Any]) -> list[Any]:
    return [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]


@contextmanager
def running_node(parameters: dict[str, Any], *arguments: str) -> Iterator[tuple[NodeProcess, Probe]]:
    """A node with `parameters` and a probe beside it, in a domain of their own; both end with the block."""
    domain = unused_domain()
    process = NodeProcess(domain, parameters, arguments)
    probe = Probe(domain)
    try:
        yield process, probe
    finally:
        probe.close()
        process.stop()
        sys.stderr.write(process.log)


def stamp_of(message: Any) -> float:
    """The stamp of a message's header in seconds."""
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)
