"""A subscriber that only receives: what any node pays for an image before it does anything with it.

Prints, when told to end, one line of JSON: how many messages came, and the median time from stamp to callback (s).
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from statistics import median
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from benchmarks.processes import IMAGE_TOPIC
from ros2_actionnet.ros.messages import to_frame_header
from ros2_actionnet.ros.serialized_images import read_header
from ros2_actionnet.system.allocator import keep_large_blocks
from ros2_actionnet.system.termination import on_termination


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Receives images and does nothing with them.")
    parser.add_argument("--topic", default=IMAGE_TOPIC, help="of the images (default: %(default)s)")
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS")
    parser.add_argument("--raw", action="store_true", help="take the serialized message, as our node does")
    parser.add_argument("--keep-blocks", action="store_true", help="have malloc keep large blocks, as our node does")
    options = parser.parse_args(remove_ros_args()[1:])
    if options.keep_blocks:
        keep_large_blocks()
    delays: list[float] = []

    def take(message: Any) -> None:
        header = read_header(message) if options.raw else to_frame_header(message.header)
        delays.append(time.time() - header.stamp / 1e9)

    # rclpy's own handlers end the context under a callback that is running, and now and then the count with it.
    ended = threading.Event()
    on_termination(ended.set)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("receiver")
    reliability = QoSReliabilityPolicy[options.reliability.upper()]
    qos = QoSProfile(depth=5, reliability=reliability)
    node.create_subscription(Image, options.topic, take, qos, raw=options.raw)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.2)
    print(json.dumps({"received": len(delays), "delay": median(delays) if delays else None}), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
