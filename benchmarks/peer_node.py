"""The node that a user writes today to run an action network on a camera: what ours is measured against.

    benchmarks/run peer_node MODEL LABELS --library openvino --ros-args -r image:=/camera/image_raw

It is written as a competent user would, not to look bad. A frame that is skipped is left before its pixels are touched;
the pixels are viewed where they lie in the message; the frame is resized before it becomes floating point; only the
newest image is kept waiting (depth 1), so that results are not late; the libraries run as they come, OpenVINO with the
hint for latency. What it has in common with most such nodes, and with what tutorials show:

- the image message is deserialized for every frame, as rclpy does by default;
- the whole frame is converted to RGB, as `cv_bridge.imgmsg_to_cv2(message, "rgb8")` does;
- the window is a list of floating-point frames, stacked anew for each inference;
- the inference runs in the image callback, so no image is received meanwhile.

It prints, when told to end, one line of JSON with what it counted.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, ObjectHypothesis

from ros2_actionnet.system.termination import on_termination

Array = NDArray[np.float32]
Network = Callable[[Array], Array]
"""Takes float32 [1, 3, 16, 112, 112], gives logits [1, classes]."""

FRAMES = 16
SIZE = 112
MEAN = np.array([0.4344705882352941, 0.4050980392156863, 0.3774901960784314], np.float32)


def with_onnxruntime(model: Path) -> Network:
    """The network in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda window: np.asarray(session.run(None, {name: window})[0], np.float32)


def with_openvino(model: Path) -> Network:
    """The network in OpenVINO."""
    import openvino

    compiled = openvino.Core().compile_model(str(model), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda window: np.asarray(compiled(window)[0], np.float32)


LIBRARIES: dict[str, Callable[[Path], Network]] = {"onnxruntime": with_onnxruntime, "openvino": with_openvino}


class PeerNode(Node):
    """Subscribes to images, publishes the five best classes of the newest window."""

    def __init__(self, network: Network, labels: list[str], skip_frames: int, reliability: str) -> None:
        super().__init__("peer")
        self._network = network
        self._labels = labels
        self._skip_frames = skip_frames
        self._window: deque[Array] = deque(maxlen=FRAMES)
        self.received = self.sampled = self.classified = 0
        qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy[reliability.upper()])
        self._publisher = self.create_publisher(Classification, "~/classification", 10)
        self.create_subscription(Image, "image", self._on_image, qos)

    def _on_image(self, message: Image) -> None:
        self.received += 1
        if (self.received - 1) % (self._skip_frames + 1):
            return
        self.sampled += 1
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        bgr = rows[:, : message.width * 3].reshape(message.height, message.width, 3)
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        small = cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        self._window.append((small.astype(np.float32) / np.float32(255) - MEAN).transpose(2, 0, 1))
        if len(self._window) < FRAMES:
            return
        window = np.stack(self._window, axis=1)[np.newaxis]
        logits = self._network(window)[0]
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
        best = np.argsort(scores)[::-1][:5]
        results = [ObjectHypothesis(class_id=self._labels[i], score=float(scores[i])) for i in best]
        self._publisher.publish(Classification(header=message.header, results=results))
        self.classified += 1


def main() -> None:
    """Runs the node."""
    parser = argparse.ArgumentParser(description="The node that a user writes today.")
    parser.add_argument("model", type=Path, help="the .onnx file")
    parser.add_argument("labels", type=Path, help="its label file")
    parser.add_argument("--library", choices=tuple(LIBRARIES), default="openvino", help="default: %(default)s")
    parser.add_argument("--skip-frames", type=int, default=1, help="frames skipped between two (default: %(default)s)")
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS")
    options = parser.parse_args(remove_ros_args()[1:])
    labels = options.labels.read_text(encoding="utf-8").splitlines()
    network = LIBRARIES[options.library](options.model)
    # As in receiver.py: so that the counts are printed for sure.
    ended = threading.Event()
    on_termination(ended.set)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = PeerNode(network, labels, options.skip_frames, options.reliability)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.2)
    counts = {"received": node.received, "sampled": node.sampled, "classified": node.classified}
    print(json.dumps(counts), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
