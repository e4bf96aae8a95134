"""Several cameras on one network: each plays a part of a clip, or a clip of its own, and one picture shows them all."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.ros.many_cameras_demo"))

import argparse
import math
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, VisionInfo

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.media.opencv_capture import open_capture
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.ros.demo import PictureFiles, pixels_of, spin_until_ready, start_process, stop_process
from ros2_actionnet.ros.messages import image_message
from ros2_actionnet.system.logs import LIMIT
from ros2_actionnet.system.resources import shared_folder
from ros2_actionnet.system.text import printable

_RATE = 30.0  # Hz, of each camera
_TILE = (480, 270)  # width and height of a camera in the common picture
_SECONDS = 20.0  # how long the cameras play
_DRAIN = 1.0  # s, for what is on its way when they end

Frame = NDArray[np.uint8]


def read_clip(path: Path) -> list[Frame]:
    """Return the frames of a clip, uint8 [H, W, 3] BGR. Raises ActionNetError if it cannot be read."""
    with closing(open_capture(str(path))) as capture:
        frames = [np.asarray(cv2.resize(frame, _TILE), np.uint8) for frame in capture.pictures()]
    if not frames:
        raise ActionNetError(f"no frame can be read from '{path}'; give another video")
    return frames


class Cameras(Node):
    """Plays the clips, and puts the annotated images of all cameras into one picture."""

    def __init__(self, clips: list[list[Frame]], names: list[str], folder: Path) -> None:
        super().__init__("cameras")
        self.network = ""
        self.classified = dict.fromkeys(names, 0)
        self.pictures = PictureFiles(folder, _RATE)
        self._clips = dict(zip(names, clips, strict=True))
        self._columns = math.ceil(math.sqrt(len(names)))
        width, height = _TILE
        self._mosaic = np.zeros((height * math.ceil(len(names) / self._columns), width * self._columns, 3), np.uint8)
        self._tops = dict.fromkeys(names, "")
        self._image_topics = {name: self.create_publisher(Image, f"/{name}/image", 5) for name in names}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(VisionInfo, "/actionnet/vision_info", self._on_vision_info, latched)
        for place, name in enumerate(names):
            on_classified, on_annotated = partial(self._on_classified, name), partial(self._on_annotated, place)
            self.create_subscription(Classification, f"/actionnet/{name}/classification", on_classified, 50)
            self.create_subscription(Image, f"/actionnet/{name}/annotated", on_annotated, 10)

    @property
    def is_heard(self) -> bool:
        """True if the node has subscribed to every camera."""
        return all(publisher.get_subscription_count() for publisher in self._image_topics.values())

    def publish(self, number: int) -> None:
        """Publish the next image of each camera."""
        header = FrameHeader.at(self.get_clock().now().nanoseconds, "camera")
        for name, clip in self._clips.items():
            self._image_topics[name].publish(image_message(clip[number % len(clip)], "bgr8", header))

    def _on_vision_info(self, info: VisionInfo) -> None:
        self.network = info.method

    def _on_classified(self, name: str, message: Classification) -> None:
        self.classified[name] += 1
        top = message.results[0].class_id if message.results else "none"
        if top != self._tops[name]:
            self._tops[name] = top
            print(
                "   ".join(f"{camera}: {printable(label, 30):<22}" for camera, label in self._tops.items()), flush=True
            )

    def _on_annotated(self, place: int, message: Image) -> None:
        width, height = _TILE
        top, left = place // self._columns * height, place % self._columns * width
        self._mosaic[top : top + height, left : left + width] = cv2.resize(pixels_of(message), _TILE)
        if place == 0:
            self.pictures.write(self._mosaic, keep=all(self.classified.values()))


def run(clips: list[list[Frame]], network: str, folder: Path, seconds: float) -> dict[str, int]:
    """Play `clips` to one node for `seconds`; return the number of classifications of each camera.

    Raises ActionNetError, saying what to look at, if the node does not get ready or a camera gets no result.
    """
    names = [f"camera{number}" for number in range(1, len(clips) + 1)]
    cameras = Cameras(clips, names, folder)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        parameters = ["-p", f"cameras:=[{', '.join(names)}]", "-p", f"network:={network}"]
        node = start_process(["ros2_actionnet.ros.main", "--ros-args", "--log-level", "warn", *parameters], processes)
        spin_until_ready(cameras, node)
        while not cameras.is_heard:
            rclpy.spin_once(cameras, timeout_sec=0.1)
        print(f"{printable(cameras.network)} is ready; {len(names)} cameras play", flush=True)
        _play(cameras, seconds)
    finally:
        for process in processes:
            stop_process(process)
        cameras.pictures.close()
        cameras.destroy_node()
    without = [name for name, count in cameras.classified.items() if not count]
    if without:
        raise ActionNetError(f"no classification came of {', '.join(without)}; see what is printed above")
    counts = ", ".join(f"{name} {count}" for name, count in cameras.classified.items())
    print(f"classifications in {seconds:g} s: {counts}\n  {cameras.pictures.video}\n  {cameras.pictures.picture}")
    return cameras.classified


def _play(cameras: Cameras, seconds: float) -> None:
    began = time.monotonic()
    for number in range(round(seconds * _RATE)):
        cameras.publish(number)
        while (left := began + (number + 1) / _RATE - time.monotonic()) > 0:
            rclpy.spin_once(cameras, timeout_sec=left)
        rclpy.spin_once(cameras, timeout_sec=0.0)
    until = time.monotonic() + _DRAIN
    while (left := until - time.monotonic()) > 0:
        rclpy.spin_once(cameras, timeout_sec=left)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="many_cameras_demo", description=__doc__)
    parser.add_argument("videos", type=Path, nargs="*", help="a video for each camera (default: parts of the demo's)")
    parser.add_argument("--cameras", type=int, default=4, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--network", default="camera_motion", help="network (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="how long they play (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the results")
    options = parser.parse_args(arguments)
    rclpy.init()
    try:
        run(_clips(options.videos, options.cameras), options.network, options.output, options.seconds)
    except ActionNetError as error:
        print(f"demo: {printable(error, LIMIT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


def _clips(videos: list[Path], count: int) -> list[list[Frame]]:
    if videos:
        return [read_clip(video) for video in videos]
    frames = read_clip(shared_folder("media") / "camera_motion_demo.mp4")
    starts = [len(frames) * number // count for number in range(count)]
    return [frames[begin:] + frames[:begin] for begin in starts]
