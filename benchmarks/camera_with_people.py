"""A camera and its person detector: the frames of a real clip, and for each of them boxes that come some time later.

The boxes are of persons side by side who stand still: what is in them does not change what they cost. Prints two lines
of JSON: when it begins, and the stamps (s) of all images that it sent.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from contextlib import suppress

import rclpy
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesis, ObjectHypothesisWithPose

from benchmarks.camera import camera_parser, image_message, read_frames, subscribed
from benchmarks.processes import IMAGE_TOPIC

_MOST_IN_A_ROW = 8


def people(count: int, size: tuple[int, int]) -> Detection2DArray:
    """Return the boxes of `count` persons, in rows of up to eight, in an image of this width and height."""
    rows = max(1, math.ceil(count / _MOST_IN_A_ROW))
    width, height = size[0] / _MOST_IN_A_ROW, size[1] / rows
    message = Detection2DArray()
    for number in range(count):
        row, column = divmod(number, _MOST_IN_A_ROW)
        one = Detection2D(id=str(number + 1))
        one.bbox.center.position.x, one.bbox.center.position.y = (column + 0.5) * width, (row + 0.5) * height
        one.bbox.size_x, one.bbox.size_y = 0.7 * width, min(0.8 * height, 2 * width)
        one.results = [ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id="person", score=0.9))]
        message.detections.append(one)
    return message


def play(
    camera: Publisher,
    detector: Publisher,
    images: list[Image],
    boxes: Detection2DArray,
    *,
    rate: float,
    seconds: float,
    delay: float,
) -> list[float]:
    """Publish `images` in turn at `rate` (Hz), and for each of them `boxes` `delay` (s) later; return the stamps (s).

    Where publishing takes longer than a period the frames in between are dropped, as a camera does.
    """
    stamps: list[float] = []
    waiting: deque[tuple[float, Header]] = deque()  # when the boxes of an image are due, and its header
    began = due = time.monotonic()
    while due < began + seconds or waiting:
        if waiting and (waiting[0][0] <= due or due >= began + seconds):
            at, header = waiting.popleft()
            time.sleep(max(0.0, at - time.monotonic()))
            boxes.header = header
            detector.publish(boxes)
            continue
        time.sleep(max(0.0, due - time.monotonic()))
        image = images[len(stamps) % len(images)]
        now = time.time_ns()
        stamp = image.header.stamp
        stamp.sec, stamp.nanosec = divmod(now, 1_000_000_000)
        camera.publish(image)
        header = Header(frame_id=image.header.frame_id)
        header.stamp.sec, header.stamp.nanosec = stamp.sec, stamp.nanosec
        waiting.append((time.monotonic() + delay, header))
        stamps.append(now * 1e-9)
        due = max(due + 1 / rate, time.monotonic() - 1 / rate)
    return stamps


def main() -> None:
    """Run the command."""
    parser = camera_parser("Publishes frames of a clip, and boxes of persons in them.", (1920, 1080), 15.0)
    parser.add_argument("persons", type=int, help="number of boxes in each image")
    parser.add_argument(
        "--delay", type=float, default=0.05, help="from an image to its boxes, s (default: %(default)s)"
    )
    options = parser.parse_args(remove_ros_args()[1:])
    images = [image_message(frame) for frame in read_frames(options.clip, options.size)]
    rclpy.init()
    node = rclpy.create_node("camera_with_people")
    camera = node.create_publisher(Image, IMAGE_TOPIC, QoSProfile(depth=5))
    detector = node.create_publisher(Detection2DArray, "detections", QoSProfile(depth=10))
    boxes = people(options.persons, options.size)
    with subscribed(camera, detector):
        stamps = play(camera, detector, images, boxes, rate=options.rate, seconds=options.seconds, delay=options.delay)
    print(json.dumps({"stamps": stamps}), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
