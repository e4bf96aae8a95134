"""Publishes a video file or a camera device as an image topic."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.ros.video_publisher"))

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from ros2_actionnet import __version__
from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.media.opencv_capture import open_capture
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.ros.fastdds import use_image_profile
from ros2_actionnet.ros.messages import compressed_message, image_message
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.logs import LIMIT
from ros2_actionnet.system.termination import on_termination
from ros2_actionnet.system.text import printable

_PATIENCE = 0.1  # s, longest sleep before it is seen that the process is told to end


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    input: str
    topic: str
    rate: float
    loop: bool
    reliability: str
    frame_id: str
    size: tuple[int, int] | None
    wait_for: int
    transport: str


def parse_options(arguments: list[str]) -> Options:
    """The options in `arguments` (without the program's name and ROS's own)."""
    parser = argparse.ArgumentParser(
        prog="video_publisher", description="Publishes a video file or a camera device as an image topic."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("input", help="video file, or the number or path of a camera device (0, /dev/video0)")
    parser.add_argument("--topic", default="image_raw", help="image topic (default: %(default)s)")
    parser.add_argument("--rate", type=_rate, default=0.0, help="frames a second; 0: the file's own (default)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end of the file")
    parser.add_argument(
        "--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS reliability"
    )
    parser.add_argument("--frame-id", default="camera", help="frame_id of the images (default: %(default)s)")
    parser.add_argument(
        "--size", type=_size, metavar="WxH", help="size of the images, such as 1280x720 (default: as is)"
    )
    parser.add_argument("--wait-for", type=int, default=0, metavar="N", help="begin once N nodes have subscribed")
    parser.add_argument(
        "--transport",
        choices=("raw", "compressed", "both"),
        default="raw",
        help="raw: on TOPIC; compressed: as JPEG, on TOPIC/compressed (default: %(default)s)",
    )
    return Options(**vars(parser.parse_args(arguments)))


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of frames a second")
    return rate


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1280x720") from None
    if width < 1 or height < 1:
        raise argparse.ArgumentTypeError(f"'{text}' has a side under 1 pixel")
    return width, height


def frames(source: str, loop: bool, size: tuple[int, int] | None) -> Iterator[NDArray[np.uint8]]:
    """The frames of a file or camera, uint8 [H, W, 3], BGR, of `size` (width, height; None: as is), once or for ever.

    Raises MediaError if it cannot be opened or has no frame that can be decoded.
    """
    while True:
        with closing(open_capture(source)) as capture:
            for frame in capture.pictures():
                resized = frame if size is None else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                yield np.asarray(resized, np.uint8)
        if not loop:
            return


class VideoPublisher(Node):
    """Publishes images at an even rate, stamped with the time at which each is due: simulated with `use_sim_time`."""

    def __init__(self, options: Options, ended: threading.Event | None = None) -> None:
        """Open the video; `ended` is set, by any thread, to end `play`."""
        super().__init__("video_publisher")
        self._ended = ended or threading.Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        with closing(open_capture(options.input)) as capture:
            self.rate = options.rate or capture.rate
        self._options = options
        qos = QoSProfile(depth=5, reliability=QoSReliabilityPolicy[options.reliability.upper()])
        self._outputs: list[tuple[Any, Callable[[NDArray[np.uint8], FrameHeader], Any]]] = []
        if options.transport != "compressed":
            self._outputs.append((self.create_publisher(Image, options.topic, qos), _raw))
        if options.transport != "raw":
            topic = f"{options.topic}/compressed"
            self._outputs.append((self.create_publisher(CompressedImage, topic, qos), _compressed))
        self.published = 0

    def play(self) -> None:
        """Publishes until the video or the process ends."""
        options = self._options
        while self._goes_on() and sum(p.get_subscription_count() for p, _ in self._outputs) < options.wait_for:
            time.sleep(0.02)
        topics = " and ".join(publisher.topic_name for publisher, _ in self._outputs)
        self.get_logger().info(
            f"publishing {printable(without_password(options.input))} on {topics} at {self.rate:g} Hz"
        )
        now = self._simulated_time if self.get_parameter("use_sim_time").value else _steady_time
        while self._goes_on() and now() == 0:  # there is no /clock yet
            time.sleep(0.02)
        started, start = now(), self.get_clock().now().nanoseconds
        for index, frame in enumerate(frames(options.input, options.loop, options.size)):
            due = nanoseconds(index / self.rate)
            self._sleep(now, started + due)
            if not self._goes_on():
                return
            header = FrameHeader.at(start + due, options.frame_id)
            try:
                for publisher, message in self._outputs:
                    publisher.publish(message(frame, header))
            except Exception:
                if self._goes_on():
                    raise
                return  # told to end just now
            self.published += 1
        # The last images are still on their way: a publisher that leaves now takes them along.
        for publisher, _ in self._outputs:
            publisher.wait_for_all_acked(Duration(seconds=2))
        self.get_logger().info(f"published {self.published} images")

    def _goes_on(self) -> bool:
        return rclpy.ok() and not self._ended.is_set()

    def _simulated_time(self) -> int:
        """Return the time of /clock in ns, after what has come of it; 0 before the first."""
        self._executor.spin_once(timeout_sec=0.0)
        return int(self.get_clock().now().nanoseconds)

    def _sleep(self, now: Callable[[], int], until: int) -> None:
        """Sleep until the time `until` (ns) of `now`, or until the process is told to end."""
        while self._goes_on() and (left := until - now()) > 0:
            time.sleep(min(left * 1e-9, _PATIENCE))


def _steady_time() -> int:
    """Return the time in ns of a clock that nobody sets."""
    return nanoseconds(time.monotonic())


def _raw(frame: NDArray[np.uint8], header: FrameHeader) -> Image:
    return image_message(frame, "bgr8", header)


def _compressed(frame: NDArray[np.uint8], header: FrameHeader) -> CompressedImage:
    _, jpeg = cv2.imencode(".jpg", frame)
    return compressed_message(np.asarray(jpeg, np.uint8), "bgr8; jpeg compressed bgr8", header)


def main(args: list[str] | None = None) -> int:
    """Runs the command."""
    arguments = sys.argv if args is None else ["video_publisher", *args]
    options = parse_options(remove_ros_args(arguments)[1:])
    use_image_profile(os.environ)
    ended = threading.Event()
    undo = on_termination(ended.set)
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        VideoPublisher(options, ended).play()
    except ActionNetError as error:
        print(f"video_publisher: {printable(error, LIMIT)}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
        undo()
    return 0
