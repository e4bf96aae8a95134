"""Several cameras in one process: each publishes frames of a real clip on a topic of its own, one after the other.

Prints two lines of JSON: when they begin, and the stamps (s) that each has sent.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from benchmarks.camera import camera_parser, image_message, read_frames, subscribed


def camera_names(count: int) -> list[str]:
    """Return the names of `count` cameras."""
    return [f"camera{number}" for number in range(count)]


def play(publishers: list[Any], messages: list[Image], rate: float, seconds: float) -> list[list[float]]:
    """Publish `messages` in turn at `rate` (Hz) on each topic, evenly one after the other; the stamps (s) of each.

    What comes too late because publishing takes longer than that is dropped, as a camera does.
    """
    stamps: list[list[float]] = [[] for _ in publishers]
    step = 1 / rate / len(publishers)
    began, turn = time.monotonic(), 0
    while turn * step < seconds:
        late = time.monotonic() - began - turn * step
        if late > 1 / rate:
            turn += 1
            continue
        time.sleep(max(0.0, -late))
        camera = turn % len(publishers)
        message = messages[len(stamps[camera]) % len(messages)]
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        publishers[camera].publish(message)
        stamps[camera].append(now * 1e-9)
        turn += 1
    return stamps


def main() -> None:
    """Run the command."""
    parser = camera_parser("Publishes frames of a clip as several cameras do.", (1280, 720), 15.0)
    parser.add_argument("count", type=int, help="number of cameras")
    options = parser.parse_args(remove_ros_args()[1:])
    messages = [image_message(frame) for frame in read_frames(options.clip, options.size)]
    rclpy.init()
    node = rclpy.create_node("cameras")
    names = camera_names(options.count)
    publishers = [node.create_publisher(Image, f"{name}/image", QoSProfile(depth=5)) for name in names]
    with subscribed(*publishers):
        stamps = play(publishers, messages, options.rate, options.seconds)
    print(json.dumps({"stamps": dict(zip(names, stamps, strict=True))}), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
