"""Every camera: whatever it sends, however it sends it and whenever, over real DDS."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import get_rmw_implementation_identifier
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from ros2_actionnet.images.encodings import Interleaved, find_encoding
from ros2_actionnet.images.raw_image import SUPPORTED_ENCODINGS, RawImage
from ros2_actionnet.ros.fastdds import image_profile
from ros2_actionnet.system.resources import shared_folder
from support.networks import save_brightness_network
from support.packets import decoded, encode, grey_frame
from support.ros import IMAGE_TOPIC, Probe, running_node, stamp_of, unused_domain

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")
GREYS = {"dark": 20, "dim": 128, "bright": 240}
COMPRESSED_TOPIC = f"{IMAGE_TOPIC}/compressed"
COMPRESSED_REMAPPING = ("-r", f"image/compressed:={COMPRESSED_TOPIC}")


class Camera:
    """Sends an image once the one before has been classified; with warm-up `repeat` every image is."""

    def __init__(self, probe: Probe, publisher: Any = None, rate: float = 30.0, stamp: float = 100.0) -> None:
        self.probe = probe
        self.publisher = publisher or probe.publisher()
        self.period = 1 / rate
        self.stamp = stamp

    def send(self, message: Any) -> Any:
        """The classification of the window that `message` completes."""
        count = len(self.probe.classifications)
        self.transmit(message)
        self.probe.wait_for(lambda: len(self.probe.classifications) > count, "classification of the image sent")
        classification = self.probe.classifications[-1]
        assert classification.header == message.header
        return classification

    def transmit_until_heard(self, message: Any) -> None:
        """Sends `message` again and again: what goes out before both sides know of each other is lost."""
        count = len(self.probe.classifications)
        while len(self.probe.classifications) == count:
            self.transmit(message)
            self.probe.spin(0.02)
        self.probe.spin(0.2)

    def transmit(self, message: Any) -> None:
        """Sends `message`, and waits for nothing."""
        self.stamp += self.period
        message.header.stamp = to_time(self.stamp)
        message.header.frame_id = "lens"
        self.publisher.publish(message)


def to_time(seconds: float) -> Time:
    sec, nanosec = divmod(round(seconds * 1e9), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def message_of(image: RawImage) -> Image:
    message = Image(height=image.height, width=image.width, step=image.step, encoding=image.encoding)
    message.is_bigendian = image.is_bigendian
    message.data = array("B", bytes(image.data))
    return message


def grey_image(grey: int, height: int = 6, width: int = 10, encoding: str = "bgr8", padding: int = 0) -> RawImage:
    """An image of one grey level; what pads its rows is of another."""
    record = find_encoding(encoding)
    assert record is not None
    row_bytes, rows = record.row_bytes(width), record.rows(height)
    memory = np.full((rows, row_bytes + padding), 255 - grey, np.uint8)
    samples = memory[:, :row_bytes]
    if isinstance(record, Interleaved) or encoding.startswith("bayer"):
        samples[...] = grey  # in 16 bits both bytes are the same, so that 240 is 240 * 257
    else:
        luma = round(16 + 219 * grey / 255)
        if encoding.startswith("nv"):
            samples[:height] = luma
            memory[height:] = 128
        else:
            first = 1 if encoding in ("yuv422", "uyvy") else 0
            samples[:, first::2] = luma
            samples[:, 1 - first :: 2] = 128
    return RawImage(memory.tobytes(), height, width, row_bytes + padding, encoding)


def grey_message(grey: int, height: int = 6, width: int = 10, encoding: str = "bgr8", padding: int = 0) -> Image:
    return message_of(grey_image(grey, height, width, encoding, padding))


def best(classification: Any) -> str:
    return str(classification.results[0].class_id)


def brightness(classification: Any) -> float:
    """The mean grey level (0 to 1) of a window, from the scores that `save_brightness_network` gives it."""
    scores = {result.class_id: result.score for result in classification.results}
    # log(s_i / s_j) = 120 (c_i - c_j) x - 60 (c_i^2 - c_j^2), with x the grey level and c the classes' levels.
    low, high = ("dark", "dim") if scores["dark"] > scores["bright"] else ("dim", "bright")
    centers = {label: (index + 0.5) / len(LABELS) for index, label in enumerate(LABELS)}
    ratio = math.log(scores[high] / scores[low])
    return (ratio + 60 * (centers[high] ** 2 - centers[low] ** 2)) / (120 * (centers[high] - centers[low]))


@pytest.fixture(name="parameters", scope="module")
def parameters_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = save_brightness_network(tmp_path_factory.mktemp("network"), LABELS)
    return {"model": model, "skip_frames": 0, "warmup": "repeat", "threshold": 0.0, "precision": "fp32"}


@pytest.fixture(name="camera", scope="module")
def camera_fixture(parameters: dict[str, Any]) -> Iterator[Camera]:
    with running_node(parameters) as (_, probe):
        probe.wait_until_ready()
        yield Camera(probe)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 12)], ids=str)
@pytest.mark.parametrize("encoding", SUPPORTED_ENCODINGS)
def test_every_encoding_of_any_size_with_padded_rows(camera: Camera, encoding: str, size: tuple[int, int]) -> None:
    for label, grey in GREYS.items():
        for _ in range(4):
            last = camera.send(grey_message(grey, *size, encoding, padding=5))
        assert best(last) == label
        assert brightness(last) == pytest.approx(grey / 255, abs=0.005)


def test_16_bits_in_either_byte_order(camera: Camera) -> None:
    for big_endian in (False, True):
        level = np.full((6, 10), 240 * 256, ">u2" if big_endian else "<u2")
        image = RawImage(level.tobytes(), 6, 10, 20, "mono16", big_endian)
        for _ in range(4):
            last = camera.send(message_of(image))
        assert brightness(last) == pytest.approx(240 * 256 / 65535, abs=0.005)


def test_4k(camera: Camera) -> None:
    for label, grey in GREYS.items():
        for _ in range(4):
            last = camera.send(grey_message(grey, 2160, 3840))
        assert best(last) == label


BAD = {
    "needed": lambda good: replace(good, data=bytes(good.data)[:-1]),
    "a row needs 30": lambda good: replace(good, step=29),
    "height 0": lambda good: replace(good, height=0),
    "width 4000000000": lambda good: replace(good, width=4_000_000_000),
    "0 bytes received": lambda good: replace(good, data=b""),
    "'32FC1' is not supported": lambda good: replace(good, encoding="32FC1"),
    "'' is not supported": lambda good: replace(good, encoding=""),
}


@pytest.mark.parametrize("words", BAD)
def test_a_message_that_cannot_be_is_counted_and_the_window_stays_right(camera: Camera, words: str) -> None:
    probe = camera.probe
    before = int(probe.diagnosis(lambda *_: True, "at all")["frames rejected"])
    for grey in (240, 240, 240, 60):
        camera.send(grey_message(grey))
    camera.transmit(message_of(BAD[words](grey_image(240))))
    # The image before it stands in for the bad one, so that the window keeps its length in time.
    window = (240, 60, 60, 200)
    assert brightness(camera.send(grey_message(200))) == pytest.approx(np.mean(window) / 255, abs=0.005)
    values = probe.diagnosis(lambda _, v: int(v["frames rejected"]) > before, "with another frame rejected")
    assert int(values["frames rejected"]) == before + 1
    assert words in values["last error"]


def test_what_is_rejected_is_in_the_log_but_not_each_time(parameters: dict[str, Any]) -> None:
    with running_node(parameters) as (process, probe):
        probe.wait_until_ready()
        camera = Camera(probe)
        for _ in range(5):  # with the good ones between, none is overwritten in the queues
            for _ in range(4):
                camera.transmit(message_of(replace(grey_image(20), step=29)))
            assert best(camera.send(grey_message(240))) == "bright"
        probe.diagnosis(lambda _, v: v["frames rejected"] == "20", "with 20 frames rejected")
        assert process.stop() == 0
        lines = [line for line in process.log.splitlines() if "image rejected" in line]
        assert len(lines) == 1
        for word in ("bgr8", "height 6", "width 10", "step 29", "a row needs 30"):
            assert word in lines[0]


def test_a_pause_of_ten_seconds_and_a_bag_that_loops_empty_the_window(camera: Camera) -> None:
    probe = camera.probe
    restarts = int(probe.diagnosis(lambda *_: True, "at all")["windows restarted"])
    for jump, reason in ((10.0, "gap of 10.033 s, above max_gap 1 s"), (-50.0, "time ran backwards by 49.967 s")):
        for _ in range(4):
            camera.send(grey_message(240))
        camera.stamp += jump
        camera.transmit(grey_message(20))  # a jump is believed once the next image goes on from it
        # All of the new window is from after the jump; three quarters would be bright otherwise.
        assert brightness(camera.send(grey_message(20))) == pytest.approx(20 / 255, abs=0.005)
        values = probe.diagnosis(lambda _, v: reason in v["last restart"], f"with the reason {reason}")  # noqa: B023
        restarts += 1
        assert int(values["windows restarted"]) == restarts


def test_a_driver_that_leaves_stamps_empty(camera: Camera) -> None:
    probe = camera.probe
    before = camera.stamp
    camera.stamp, camera.period = 0.0, 0.0
    restarts = int(probe.diagnosis(lambda *_: True, "at all")["windows restarted"])
    camera.transmit(grey_message(240))  # a jump of time, which is believed once the next image goes on from it
    for _ in range(12):
        last = camera.send(grey_message(240))
    assert last.header.stamp == Time()
    assert best(last) == "bright"
    values = probe.diagnosis(lambda _, v: int(v["windows restarted"]) > restarts, "with another restart")
    assert int(values["windows restarted"]) == restarts + 1
    camera.stamp, camera.period = before, 1 / 30
    camera.transmit(grey_message(240))  # the jump back to stamps


def test_two_publishers_on_the_topic_are_reported(parameters: dict[str, Any]) -> None:
    with running_node(parameters) as (process, probe):
        probe.wait_until_ready()
        first = Camera(probe)
        second = Camera(probe, probe.node.create_publisher(Image, IMAGE_TOPIC, 10), stamp=first.stamp - 0.5)
        probe.wait_for(lambda: second.publisher.get_subscription_count() == 1, "subscription to the second publisher")
        for _ in range(5):
            first.send(grey_message(240))
            second.transmit(grey_message(20))
        values = probe.diagnosis(lambda message, _: "2 publishers mix" in message, "about two publishers")
        assert values["level"] == "1"
        assert values["image publishers"] == "/probe (reliable), /probe (reliable)"
        assert int(values["frames late"]) >= 4
        assert values["windows restarted"] == "0"
        probe.node.destroy_publisher(second.publisher)
        probe.diagnosis(lambda message, _: message.startswith("classifying"), "that all is well again")
        process.stop()
        assert process.log.count("2 publishers mix their frames on /camera/image_raw") == 1


def test_simulated_time_that_stands_still_and_then_runs(parameters: dict[str, Any]) -> None:
    with running_node(parameters | {"use_sim_time": True}) as (_, probe):
        probe.wait_until_ready()
        camera = Camera(probe, stamp=3.0)
        for _ in range(4):
            last = camera.send(grey_message(240))
        assert best(last) == "bright"
        probe.diagnosis(lambda message, _: message.startswith("classifying"), "without a clock")
        clock = probe.node.create_publisher(Clock, "/clock", 10)
        for _ in range(4):
            clock.publish(Clock(clock=to_time(camera.stamp)))
            last = camera.send(grey_message(20))
        assert best(last) == "dark"
        assert stamp_of(last) == pytest.approx(3.0 + 8 / 30, abs=1e-6)


@pytest.mark.parametrize(
    ("sampling", "lag_at_5_hz"),
    [({"sample_rate": 10.0}, 0.2), ({"skip_frames": 2}, 0.9)],
    ids=["by stamps", "by count"],
)
def test_a_camera_that_slows_from_30_to_5_hz(
    parameters: dict[str, Any], sampling: dict[str, Any], lag_at_5_hz: float
) -> None:
    """Pictures that grow brighter with time tell the mean age of a window's frames: 0.15 s for four at 10 Hz."""
    with running_node(parameters | sampling | {"warmup": "wait"}) as (_, probe):
        probe.wait_until_ready()
        start = 1000.0

        def lags(first: float, rate: float, count: int) -> NDArray[np.float64]:
            """Mean age of the windows (s) of `count` frames from `first` (s) on."""
            probe.classifications.clear()
            for index in range(count):
                seconds = first + index / rate
                probe.publish(np.full((8, 8, 3), round(40 * seconds), np.uint8), start + seconds)
                probe.spin(0.02)
            wanted = start + first + (count - 1) / rate - 0.35
            probe.wait_for(
                lambda: probe.classifications and stamp_of(probe.classifications[-1]) > wanted, "last classification"
            )
            ages = [stamp_of(c) - start - brightness(c) * 255 / 40 for c in probe.classifications]
            return np.array(ages)

        assert lags(0.0, 30, 60)[-10:] == pytest.approx(0.15, abs=0.03)
        assert lags(2.0, 5, 20)[-3:] == pytest.approx(lag_at_5_hz, abs=0.03)


def test_best_effort_then_reliable_publishers_are_followed(parameters: dict[str, Any]) -> None:
    with running_node(parameters) as (_, probe):
        publisher = probe.publisher(reliability="best_effort")
        probe.wait_for(lambda: publisher.get_subscription_count() == 1, "a subscription that takes best effort")
        probe.diagnosis(lambda _, v: v["image QoS"] == "best_effort", "of best effort")
        camera = Camera(probe, publisher)
        probe.wait_for(lambda: probe.infos, "vision_info")
        camera.transmit_until_heard(grey_message(20))
        assert best(camera.send(grey_message(20))) == "dark"

        camera.publisher = probe.publisher(reliability="reliable")
        probe.node.destroy_publisher(publisher)
        probe.diagnosis(lambda _, v: v["image QoS"] == "reliable", "of reliable")
        probe.wait_for(lambda: camera.publisher.get_subscription_count() == 1, "a reliable subscription")
        camera.transmit_until_heard(grey_message(240))
        for _ in range(4):
            last = camera.send(grey_message(240))
        assert best(last) == "bright"

        # One that offers less joins: both must be served.
        probe.node.create_publisher(Image, IMAGE_TOPIC, qos_profile_sensor_data)
        values = probe.diagnosis(lambda _, v: v["image QoS"] == "best_effort", "of best effort again")
        assert sorted(values["image publishers"].split(", ")) == ["/probe (best_effort)", "/probe (reliable)"]


@pytest.mark.parametrize(
    "parameter", ["image_reliability", f"qos_overrides.{IMAGE_TOPIC}.subscription.reliability"], ids=["own", "override"]
)
def test_a_fixed_reliability_is_kept(parameters: dict[str, Any], parameter: str) -> None:
    with running_node(parameters | {parameter: "best_effort"}) as (_, probe):
        probe.wait_until_ready()
        values = probe.diagnosis(lambda _, v: v["image publishers"] == "/probe (reliable)", "of the publisher")
        assert values["image QoS"] == "best_effort"


def test_a_camera_that_is_not_there_is_missed_once_and_by_name(parameters: dict[str, Any]) -> None:
    with running_node(parameters) as (process, probe):
        values = probe.diagnosis(lambda message, _: "no image on" in message, "about the silence")
        assert values["level"] == "1"
        assert values["message"].startswith(f"no image on {IMAGE_TOPIC} for ")
        assert "nobody publishes there, and no node" in values["message"]
        probe.publisher()
        text = f"no image on {IMAGE_TOPIC} for "
        values = probe.diagnosis(lambda message, _: text in message and "/probe (reliable)" in message, "of the silent")
        assert f"subscribed reliable; see whether the camera runs (ros2 topic hz {IMAGE_TOPIC})" in values["message"]
        camera = Camera(probe)
        assert best(camera.send(grey_message(240))) == "bright"
        process.stop()
        assert process.log.count("no image on") == 1


def test_images_lost_in_shared_memory_are_counted_and_explained_once(parameters: dict[str, Any]) -> None:
    if "fastrtps" not in get_rmw_implementation_identifier():
        pytest.skip("only Fast DDS loses large images in this way")
    with running_node(parameters) as (process, probe):
        camera = Camera(probe, probe.publisher(reliability="best_effort"))
        probe.wait_for(lambda: camera.publisher.get_subscription_count() == 1, "a best-effort subscription")
        message = grey_message(20, 1080, 1920)
        found: list[Any] = []
        while len(found) < 2:
            camera.transmit(message)
            probe.spin(0.03)
            found = [s for s in probe.diagnostics if "were lost on their way here (best_effort QoS)" in s.message]
        assert f"FASTRTPS_DEFAULT_PROFILES_FILE={image_profile()}" in found[0].message
        assert "reliable QoS" in found[0].message
        values = {pair.key: pair.value for pair in found[0].values}
        assert int(values["frames lost by the middleware"]) >= 10
        process.stop()
        assert process.log.count("were lost on their way here") == 1


def compressed(kind: str, pixels: NDArray[np.uint8], format_: str | None = None) -> CompressedImage:
    message = CompressedImage(format=kind if format_ is None else format_)
    message.data = array("B", bytes(cv2.imencode(f".{kind}", pixels)[1]))
    return message


@pytest.fixture(name="compressed_camera", scope="module")
def compressed_camera_fixture(parameters: dict[str, Any]) -> Iterator[Camera]:
    settings = parameters | {"image_transport": "compressed", "annotated_width": 160}
    with running_node(settings, *COMPRESSED_REMAPPING) as (_, probe):
        publisher = probe.publisher(COMPRESSED_TOPIC, CompressedImage)
        probe.wait_for(lambda: probe.infos, "vision_info")
        probe.wait_for(lambda: publisher.get_subscription_count() == 1, "subscription to the compressed images")
        yield Camera(probe, publisher)


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (1080, 1920)], ids=str)
@pytest.mark.parametrize(
    ("kind", "format_"),
    [
        ("jpeg", "jpeg"),
        ("jpeg", "bgr8; jpeg compressed bgr8"),
        ("png", "png"),
        ("png", "rgb8; png compressed bgr8"),
    ],
)
def test_compressed_images(compressed_camera: Camera, kind: str, format_: str, size: tuple[int, int]) -> None:
    for label, grey in GREYS.items():
        for _ in range(4):
            last = compressed_camera.send(compressed(kind, np.full((*size, 3), grey, np.uint8), format_))
        assert best(last) == label
        assert brightness(last) == pytest.approx(grey / 255, abs=0.005)


@pytest.mark.parametrize(("encoder", "decoder", "format_"), [("libx264", "h264", "h264"), ("libx265", "hevc", "hevc")])
def test_video_in_compressed_images(compressed_camera: Camera, encoder: str, decoder: str, format_: str) -> None:
    packets = encode([grey_frame(255 * number // 19) for number in range(20)], encoder)
    expected = decoded(packets, decoder)
    levels = [float(expected[number].mean()) / 255 for number in range(20)]
    for number, packet in enumerate(packets):
        last = compressed_camera.send(CompressedImage(format=format_, data=array("B", packet.data)))
        if number >= 4:  # the window holds the newest four frames alone
            assert brightness(last) == pytest.approx(sum(levels[number - 3 : number + 1]) / 4, abs=0.01)


def test_a_broken_compressed_image_is_counted_and_skipped(compressed_camera: Camera) -> None:
    probe = compressed_camera.probe
    before = int(probe.diagnosis(lambda *_: True, "at all")["frames rejected"])
    good = np.full((64, 64, 3), 240, np.uint8)
    cut = compressed("jpeg", good)
    cut.data = cut.data[: len(cut.data) // 2]
    bad = (CompressedImage(format="jpeg"), cut, CompressedImage(format="h264", data=array("B", bytes(100))))
    for _ in range(4):
        compressed_camera.send(compressed("jpeg", good))
    for message in bad:
        compressed_camera.transmit(message)
    assert best(compressed_camera.send(compressed("jpeg", good))) == "bright"
    values = probe.diagnosis(lambda _, v: int(v["frames rejected"]) == before + 3, "with three more frames rejected")
    assert "a packet of H.264 of 100 bytes has no start code" in values["last error"]


def test_a_compressed_image_is_annotated_at_the_width_asked_for(compressed_camera: Camera) -> None:
    probe = compressed_camera.probe
    probe.subscribe_annotated()
    ramp = np.repeat(np.linspace(0, 255, 640, dtype=np.uint8)[None, :, None], 480, axis=0).repeat(3, axis=2)
    while not probe.annotated:
        compressed_camera.send(compressed("jpeg", ramp))
        probe.spin(0.05)
    image = probe.annotated[-1]
    assert (image.height, image.width, image.encoding) == (120, 160, "bgr8")
    pixels = np.frombuffer(image.data, np.uint8).reshape(120, 160, 3)
    expected = cv2.resize(ramp, (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(pixels[100:].astype(int) - expected[100:]).max() < 4  # under what is drawn


def test_the_annotated_image_also_comes_as_jpeg(camera: Camera) -> None:
    probe = camera.probe
    jpegs: list[CompressedImage] = []
    probe.subscribe_annotated()
    topic = f"{probe.target}/annotated/compressed"
    subscription = probe.node.create_subscription(CompressedImage, topic, jpegs.append, 10)
    probe.wait_for(lambda: subscription.get_publisher_count() == 1, "publisher of compressed annotated images")
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (220, 120), 60, (40, 180, 240), -1)
    message = Image(height=240, width=320, step=960, encoding="bgr8", data=array("B", picture.tobytes()))

    def pair() -> tuple[Image, CompressedImage] | None:
        raws = {stamp_of(raw): raw for raw in probe.annotated}
        return next(((raws[stamp_of(j)], j) for j in jpegs if stamp_of(j) in raws), None)

    while (both := pair()) is None:
        camera.send(message)
        probe.spin(0.05)
    raw, jpeg = both
    assert jpeg.format == "jpeg"
    assert jpeg.header == raw.header
    assert jpeg.header.frame_id == "lens"
    decoded = np.asarray(cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR))
    pixels = np.frombuffer(raw.data, np.uint8).reshape(240, 320, 3)
    assert (pixels != picture).any()
    assert np.abs(decoded.astype(int) - pixels).mean() < 2


def test_video_publisher_sends_raw_images_and_jpegs_with_the_same_headers() -> None:
    domain = unused_domain()
    probe = Probe(domain)
    try:
        raws: list[Image] = []
        jpegs: list[CompressedImage] = []
        probe.node.create_subscription(Image, IMAGE_TOPIC, raws.append, 10)
        probe.node.create_subscription(CompressedImage, COMPRESSED_TOPIC, jpegs.append, 10)
        clip = shared_folder("media") / "camera_motion_demo.mp4"
        options = ["--topic", IMAGE_TOPIC, "--transport", "both", "--rate", "10", "--wait-for", "2"]
        publisher = subprocess.Popen(
            [sys.executable, "-m", "ros2_actionnet.ros.video_publisher", str(clip), *options],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )
        probe.wait_for(lambda: len(raws) >= 3 and len(jpegs) >= 3, "three images of each kind")
        publisher.send_signal(signal.SIGINT)
        assert publisher.wait(10) == 0
    finally:
        probe.close()
    headers = {stamp_of(raw): raw for raw in raws}
    for jpeg in jpegs[:3]:
        raw = headers[stamp_of(jpeg)]
        assert jpeg.header == raw.header
        assert jpeg.format == "bgr8; jpeg compressed bgr8"
        decoded = np.asarray(cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR))
        pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, 3)
        assert np.abs(decoded.astype(int) - pixels).mean() < 3
