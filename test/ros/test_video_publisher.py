"""The video publisher: its options, and what comes out on the topic."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from ros2_actionnet.errors import MediaError
from ros2_actionnet.ros import video_publisher
from ros2_actionnet.ros.video_publisher import VideoPublisher, frames, main, parse_options
from support.own_domain import Domain
from support.ros import TIMEOUT

pytestmark = pytest.mark.ros

COUNT, RATE = 12, 20.0


def level(index: int) -> int:
    """The grey level of the clip's frame `index`."""
    return 20 * index + 10


@pytest.fixture(name="clip", scope="module")
def clip_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of grey frames that tell their number, 64x48, 20 Hz."""
    path = tmp_path_factory.mktemp("clip") / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (64, 48))
    for index in range(COUNT):
        writer.write(np.full((48, 64, 3), level(index), np.uint8))
    writer.release()
    return str(path)


class TestOptions:
    def test_defaults(self) -> None:
        options = parse_options(["clip.mp4"])
        assert (options.input, options.topic, options.rate, options.loop) == ("clip.mp4", "image_raw", 0.0, False)
        assert (options.reliability, options.frame_id, options.size, options.wait_for) == (
            "reliable",
            "camera",
            None,
            0,
        )

    def test_all_of_them(self) -> None:
        options = parse_options(
            [
                "0",
                "--topic",
                "/cam",
                "--rate",
                "15.5",
                "--loop",
                "--reliability",
                "best_effort",
                "--frame-id",
                "eye",
                "--size",
                "1280X720",
                "--wait-for",
                "2",
            ]
        )
        assert (options.input, options.topic, options.rate, options.loop) == ("0", "/cam", 15.5, True)
        assert (options.reliability, options.frame_id, options.size, options.wait_for) == (
            "best_effort",
            "eye",
            (1280, 720),
            2,
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--size", "big"], "'big' is not a size such as 1280x720"),
            (["--size", "0x10"], "'0x10' has a side under 1 pixel"),
            (["--size", "1x2x3"], "'1x2x3' is not a size"),
            (["--rate", "fast"], "fast"),
            (["--rate", "-5"], "-5"),
            (["--rate", "nan"], "nan"),
            (["--reliability", "perfect"], "perfect"),
        ],
    )
    def test_what_makes_no_sense_is_refused_and_named(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            parse_options(["clip.mp4", *arguments])
        assert caught.value.code == 2
        assert words in capsys.readouterr().err


class TestFrames:
    def test_they_come_in_their_order_and_size(self, clip: str) -> None:
        read = list(frames(clip, False, None))
        assert [frame.shape for frame in read] == [(48, 64, 3)] * COUNT
        assert [round(float(frame.mean())) for frame in read] == pytest.approx(
            [level(index) for index in range(COUNT)], abs=2
        )

    def test_they_are_resized(self, clip: str) -> None:
        assert next(frames(clip, False, (30, 20))).shape == (20, 30, 3)

    def test_a_loop_begins_again(self, clip: str) -> None:
        looped = itertools.islice(frames(clip, True, None), 2 * COUNT + 1)
        read = [round(float(frame.mean())) for frame in looped]
        assert read == read[:COUNT] * 2 + read[:1]

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with pytest.raises(MediaError, match=r"no file or device '/nowhere/clip\.mp4'"):
            next(frames("/nowhere/clip.mp4", False, None))

    def test_a_file_that_is_no_video_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "letter.mp4"
        path.write_text("dear robot")
        with pytest.raises(MediaError, match=r"letter\.mp4"):
            list(frames(str(path), False, None))


class Playing:
    """A publisher that plays in a thread, and what a subscriber received of it."""

    def __init__(self, domain: Domain, arguments: list[str], simulated: bool = False) -> None:
        self.images: list[Image] = []
        self.compressed: list[CompressedImage] = []
        options = parse_options(arguments)
        listener = domain.node("listener")
        qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy[options.reliability.upper()])
        listener.create_subscription(Image, options.topic, self.images.append, qos)
        listener.create_subscription(CompressedImage, f"{options.topic}/compressed", self.compressed.append, qos)
        self.ended = threading.Event()
        self.publisher = VideoPublisher(options, self.ended)
        self.publisher.set_parameters([Parameter("use_sim_time", value=simulated)])
        self.thread = threading.Thread(target=self.publisher.play)
        self.thread.start()


@pytest.fixture(name="domain")
def domain_fixture() -> Iterator[Domain]:
    """A domain whose context is also the default one, as the publisher uses that."""
    domain = Domain()
    rclpy.init(domain_id=domain.context.get_domain_id())
    yield domain
    rclpy.try_shutdown()
    domain.close()


def play(domain: Domain, *arguments: str, count: int = COUNT) -> list[Image]:
    """The first `count` images that a subscriber receives."""
    playing = Playing(domain, [*arguments, "--wait-for", "1"])
    try:
        domain.spin_until(lambda: len(playing.images) >= count, f"{count} images")
    finally:
        if "--loop" in arguments:
            rclpy.try_shutdown()
        playing.thread.join(TIMEOUT)
    assert not playing.thread.is_alive()
    if "--loop" not in arguments:
        assert playing.publisher.published == count
    return playing.images[:count]


def stamps(images: list[Image]) -> list[int]:
    return [image.header.stamp.sec * 1_000_000_000 + image.header.stamp.nanosec for image in images]


class TestPlaying:
    def test_every_frame_comes_once_in_its_order_with_pixels_and_frame_id(self, domain: Domain, clip: str) -> None:
        images = play(domain, clip, "--rate", "200", "--topic", "/cam", "--frame-id", "eye")
        means = [round(float(np.frombuffer(image.data, np.uint8).mean())) for image in images]
        assert means == pytest.approx([level(index) for index in range(COUNT)], abs=2)
        assert {(image.height, image.width, image.step, image.encoding) for image in images} == {(48, 64, 192, "bgr8")}
        assert {image.header.frame_id for image in images} == {"eye"}

    def test_stamps_are_evenly_spaced_to_the_nanosecond(self, domain: Domain, clip: str) -> None:
        before = domain.node("clock").get_clock().now().nanoseconds
        images = play(domain, clip, "--rate", "160")
        assert set(np.diff(stamps(images))) == {6_250_000}
        assert 0 <= stamps(images)[0] - before < 60e9

    def test_the_rate_is_the_files_own_unless_said(self, domain: Domain, clip: str) -> None:
        images = play(domain, clip)
        assert set(np.diff(stamps(images))) == {50_000_000}

    def test_frames_are_published_when_they_are_due_and_not_before(
        self, domain: Domain, clip: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        slept: list[float] = []

        class Clock:
            @staticmethod
            def monotonic() -> float:
                return now

            @staticmethod
            def sleep(seconds: float) -> None:
                nonlocal now
                slept.append(seconds)
                now += seconds

        monkeypatch.setattr(video_publisher, "time", Clock)
        publisher = VideoPublisher(parse_options([clip, "--rate", "10"]))
        publisher.play()
        assert publisher.published == COUNT
        assert slept == pytest.approx([0.1] * (COUNT - 1))

    def test_a_loop_goes_on_with_even_stamps(self, domain: Domain, clip: str) -> None:
        images = play(domain, clip, "--rate", "200", "--loop", count=2 * COUNT + 3)
        assert set(np.diff(stamps(images))) == {5_000_000}
        means = [round(float(np.frombuffer(image.data, np.uint8).mean())) for image in images]
        assert means == means[:COUNT] * 2 + means[:3]

    def test_jpeg_goes_beside_the_raw_images_under_the_same_headers(self, domain: Domain, clip: str) -> None:
        playing = Playing(domain, [clip, "--rate", "200", "--transport", "both", "--wait-for", "2"])
        domain.spin_until(lambda: len(playing.images) == len(playing.compressed) == COUNT, "all images")
        playing.thread.join(TIMEOUT)
        for raw, compressed in zip(playing.images, playing.compressed, strict=True):
            assert compressed.header == raw.header
            pixels = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)
            assert pixels is not None
            assert np.abs(pixels.reshape(-1).astype(int) - np.frombuffer(raw.data, np.uint8)).max() <= 3
        assert "jpeg" in playing.compressed[0].format

    def test_simulated_time_is_kept(self, domain: Domain, clip: str) -> None:
        playing = Playing(domain, [clip, "--rate", "10", "--wait-for", "1"], simulated=True)
        clock = domain.node("clock").create_publisher(Clock, "/clock", 10)
        domain.spin_until(clock.get_subscription_count, "subscription to the clock")
        now = 500 * 10**9

        def images_after(step: int) -> int:
            nonlocal now
            now += step
            clock.publish(Clock(clock=Time(sec=now // 10**9, nanosec=now % 10**9)))
            return len(playing.images)

        domain.spin_until(lambda: images_after(0) > 0, "first image")
        for _ in range(5):  # time stands still: no other image is due
            images_after(0)
            domain.executor.spin_once(timeout_sec=0.1)
        assert len(playing.images) == 1
        domain.spin_until(lambda: images_after(20_000_000) == COUNT, "last image")
        playing.thread.join(TIMEOUT)
        assert stamps(playing.images)[0] == 500 * 10**9
        assert set(np.diff(stamps(playing.images))) == {100_000_000}

    def test_it_ends_at_once_when_told_to_in_a_long_pause(self, domain: Domain, clip: str) -> None:
        playing = Playing(domain, [clip, "--rate", "0.01", "--wait-for", "1"])
        domain.spin_until(lambda: playing.images, "first image")
        playing.ended.set()
        playing.thread.join(TIMEOUT)
        assert not playing.thread.is_alive()
        assert len(playing.images) == 1

    def test_images_are_of_the_size_asked_for(self, domain: Domain, clip: str) -> None:
        images = play(domain, clip, "--rate", "200", "--size", "30x20")
        assert {(image.height, image.width, image.step) for image in images} == {(20, 30, 90)}


def test_a_missing_file_ends_the_command_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere/clip.mp4"]) == 1
    assert "video_publisher: there is no file or device '/nowhere/clip.mp4'" in capsys.readouterr().err
    assert not rclpy.ok()
