"""The main job, end to end: a video plays into an image topic, the node recognizes what happens, a recorder writes it.

The publisher and the node run as processes of their own, as on a robot; the recorder is this process.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.ros.demo"))

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Protocol, TextIO

import av
import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, VisionInfo

from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.media.opencv_capture import open_capture
from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.ros.messages import to_frame_header
from ros2_actionnet.system.logs import LIMIT
from ros2_actionnet.system.resources import shared_folder
from ros2_actionnet.system.text import printable

_TOPIC = "/camera/image_raw"
_READY_TIMEOUT = 60.0  # s, for a network that must be compiled first
_DRAIN = 1.0  # s without a message after which nothing more is on its way


class PictureFiles:
    """A video of the pictures that come, and a file with the newest of each second."""

    def __init__(self, folder: Path, rate: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.video, self.picture = folder / "annotated.mp4", folder / "annotated.jpg"
        self.count = 0
        self._rate = round(rate)
        self._open: Any = None

    def write(self, pixels: NDArray[np.uint8], *, keep: bool = True) -> None:
        """Add a picture, uint8 [H, W, 3] BGR; it may be the one that is kept as a file."""
        # H.264 in the usual color format has no odd sides.
        pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        if self._open is None:
            container = av.open(str(self.video), "w")
            stream = container.add_stream("libx264", rate=self._rate, options={"preset": "veryfast", "crf": "20"})
            stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
            self._open = (container, stream)
        container, stream = self._open
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="bgr24")))
        self.count += 1
        if keep and self.count % self._rate == 0:
            cv2.imwrite(str(self.picture), pixels)

    def close(self) -> None:
        """Finish the video."""
        if self._open is not None:
            container, stream = self._open
            container.mux(stream.encode(None))
            container.close()


def pixels_of(message: Image) -> NDArray[np.uint8]:
    """Return the pixels of a bgr8 image, uint8 [H, W, 3]."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step // 3, 3)
    return rows[:, : message.width]


class Recorder(Node):
    """Writes classifications and annotated images down, and says when the top class changes."""

    def __init__(self, folder: Path, rate: float) -> None:
        super().__init__("recorder")
        self.pictures = PictureFiles(folder, rate)
        self.jsonl_path = folder / "classifications.jsonl"
        self.network = ""
        self.classified = 0
        self.latencies: list[float] = []  # s, from an image's stamp to its classification's arrival
        self.stamps: list[float] = []
        self.newest_message = time.monotonic()
        self._jsonl: TextIO = self.jsonl_path.open("w")
        self._top = ""
        self._start = math.inf  # stamp of the first frame, s
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(VisionInfo, "/actionnet/vision_info", self._on_vision_info, latched)
        self.create_subscription(Classification, "/actionnet/classification", self._on_classification, 50)
        self.create_subscription(Image, "/actionnet/annotated", self._on_annotated, 50)

    def _on_vision_info(self, info: VisionInfo) -> None:
        self.network = info.method

    def _note(self, message: Any) -> float:
        """Takes note that something came; the stamp (s) of its frame."""
        self.newest_message = time.monotonic()
        stamp = to_frame_header(message.header).stamp / NANOSECONDS
        self._start = min(self._start, stamp)
        return stamp

    def _on_classification(self, message: Classification) -> None:
        stamp = self._note(message)
        self.classified += 1
        self.stamps.append(stamp)
        self.latencies.append(self.get_clock().now().nanoseconds * 1e-9 - stamp)
        results = [{"class_id": result.class_id, "score": round(result.score, 4)} for result in message.results]
        self._jsonl.write(json.dumps({"stamp": stamp, "frame_id": message.header.frame_id, "results": results}) + "\n")
        top, score = (message.results[0].class_id, message.results[0].score) if message.results else ("none", 0.0)
        if top != self._top:
            self._top = top
            print(f"  {stamp - self._start:6.2f} s   {printable(top, 60):<24} {score:.2f}", flush=True)

    def _on_annotated(self, message: Image) -> None:
        self._note(message)
        self.pictures.write(pixels_of(message), keep=self.classified > 0)

    def close(self) -> None:
        """Finishes the files."""
        self._jsonl.close()
        self.pictures.close()


def run(video: Path, network: str, folder: Path, device: str = "") -> None:
    """Plays `video` to a node with `network`, on the server at `device` if given, and records into `folder`.

    Raises ActionNetError, saying what to look at, if the node does not get ready or nothing is classified.
    """
    with closing(open_capture(str(video))) as capture:
        recorder = Recorder(folder, capture.rate)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        remaps = ["--ros-args", "--log-level", "warn", "-r", f"image:={_TOPIC}", "-p", f"network:={network}"]
        if device:
            remaps += ["-p", "backend:=triton", "-p", f"device:={device}"]
        node = start_process(["ros2_actionnet.ros.main", *remaps], processes)
        spin_until_ready(recorder, node)
        print(f"{printable(recorder.network)} is ready; playing {printable(video.name)}", flush=True)
        arguments = [str(video), "--topic", _TOPIC, "--wait-for", "1", "--ros-args", "--log-level", "warn"]
        publisher = start_process(["ros2_actionnet.ros.video_publisher", *arguments], processes)
        _spin_until_over(recorder, node, publisher)
    finally:
        for process in processes:
            stop_process(process)
        recorder.close()
        recorder.destroy_node()
    _summarize(recorder)


class Introduced(Protocol):
    """A node that hears which network runs."""

    network: str


def start_process(module: list[str], processes: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a module in a process of its own, which is added to `processes`."""
    process = subprocess.Popen([sys.executable, "-m", *module])
    processes.append(process)
    return process


def spin_until_ready(recorder: Introduced, node: subprocess.Popen[bytes]) -> None:
    """Wait until the node has said which network it runs. Raises ActionNetError if it does not."""
    deadline = time.monotonic() + _READY_TIMEOUT
    while not recorder.network:
        rclpy.spin_once(recorder, timeout_sec=0.1)
        if node.poll() is not None:
            raise ActionNetError(f"the node ended with exit code {node.returncode}; what it printed above says why")
        if time.monotonic() > deadline:
            raise ActionNetError(f"the node was not ready after {_READY_TIMEOUT:.0f} s; what it printed above says why")


def _spin_until_over(recorder: Recorder, node: subprocess.Popen[bytes], publisher: subprocess.Popen[bytes]) -> None:
    while publisher.poll() is None or time.monotonic() - recorder.newest_message < _DRAIN:
        rclpy.spin_once(recorder, timeout_sec=0.1)
        if node.poll() is not None:
            raise ActionNetError(f"the node ended with exit code {node.returncode}; what it printed above says why")
    if publisher.returncode:
        raise ActionNetError("the video could not be played; what video_publisher printed above says why")


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End a process as Ctrl-C does."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def _summarize(recorder: Recorder) -> None:
    if recorder.classified == 0:
        raise ActionNetError(
            "no classification came; run with a video of at least 2 seconds, and see what is printed above"
        )
    seconds = max(recorder.stamps[-1] - recorder.stamps[0], 1e-6)
    print(
        f"{recorder.classified} classifications, {(recorder.classified - 1) / seconds:.1f} a second, "
        f"{median(recorder.latencies) * 1e3:.0f} ms (median) from an image's stamp to its classification"
    )
    for path in (recorder.pictures.video, recorder.jsonl_path, recorder.pictures.picture):
        if path.exists():
            print(f"  {path}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--video", type=Path, help="a video file (default: the clip that comes with the package)")
    parser.add_argument("--network", default="camera_motion", help="network (default: %(default)s)")
    parser.add_argument("--device", default="", metavar="HOST:PORT", help="a Triton server that runs the network")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the results")
    options = parser.parse_args(arguments)
    rclpy.init()
    try:
        video = options.video or shared_folder("media") / "camera_motion_demo.mp4"
        if not video.is_file():
            raise SettingsError(f"there is no video '{video}'; give the path of one")
        run(video, options.network, options.output, options.device)
    except ActionNetError as error:
        print(f"demo: {printable(error, LIMIT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0
