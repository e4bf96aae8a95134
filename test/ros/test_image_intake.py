"""From serialized images to the worker and the annotator: what is sampled, what is owed, what is rejected."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from rclpy.serialization import serialize_message

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images import video_decoder
from ros2_actionnet.images.compressed import MaxDownscale
from ros2_actionnet.images.raw_image import RawImage, to_bgr, to_rgb
from ros2_actionnet.live.stream import Stream
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.ros import image_intake, image_types
from ros2_actionnet.ros.image_intake import ImageIntake
from ros2_actionnet.ros.image_types import COMPRESSED
from ros2_actionnet.ros.messages import compressed_message, image_message
from ros2_actionnet.settings import Settings
from support.bags import START, video_message
from support.packets import B_FRAMES, Packet, encode, grey_frame

pytestmark = pytest.mark.ros


@dataclass
class FakeStream:
    """Takes what it is given, as the real one does: an image that cannot be understood is refused."""

    taken: list[tuple[int, Sample, FrameHeader, int]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    resets: int = 0
    enough: float = 4.0

    def max_downscale(self, height: int, width: int) -> float:
        return self.enough

    def submit(self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int) -> None:
        self.times.append(taken_at)
        self.taken.append((int(to_rgb(image)[0, 0, 0]), sample, header, index))

    def reset(self) -> None:
        self.resets += 1


class Rig:
    """An intake with a worker and an annotator that record."""

    def __init__(self, settings: Settings) -> None:
        self.stream = FakeStream()
        self.annotated: list[tuple[RawImage, FrameHeader]] = []
        self.wanted = False
        self.errors: list[ImageError] = []
        self.intake = ImageIntake(
            cast(Stream, self.stream),
            settings,
            lambda image, header: self.annotated.append((image, header)),
            lambda: self.wanted,
            self.errors.append,
        )

    def take(self, value: int, stamp: float, *, good: bool = True) -> None:
        pixels = np.full((2, 2, 3), value, np.uint8)
        message = image_message(pixels, "rgb8", FrameHeader(*divmod(round(stamp * 1e9), 1_000_000_000), "camera"))
        if not good:
            message.step = 100
        self.intake.take(serialize_message(message))

    @property
    def values(self) -> list[int]:
        return [value for value, _, _, _ in self.stream.taken]

    @property
    def samples(self) -> list[Sample]:
        return [sample for _, sample, _, _ in self.stream.taken]


@pytest.fixture(name="every_frame")
def every_frame_fixture() -> Rig:
    return Rig(Settings(skip_frames=0))


def test_sampled_frames_go_to_the_worker_with_their_headers_and_numbers() -> None:
    rig = Rig(Settings(skip_frames=2))
    for index in range(7):
        rig.take(index, 100 + index / 30)
    assert rig.values == [0, 3, 6]
    assert [index for _, _, _, index in rig.stream.taken] == [0, 3, 6]
    assert rig.stream.taken[1][2] == FrameHeader(100, 100_000_000, "camera")
    assert [sample.restart for sample in rig.samples] == [True, False, False]
    assert (rig.intake.received, rig.intake.rejected, rig.intake.restarts) == (7, 0, 0)


def test_a_frame_that_nobody_wants_is_not_looked_at_beyond_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(Settings(skip_frames=1))
    rig.take(0, 1.0)
    monkeypatch.setattr(image_types, "read_image", None)
    rig.take(1, 1.1)
    assert rig.intake.received == 2
    assert rig.annotated == []


def test_every_frame_is_annotated_while_that_is_wanted_sampled_or_not() -> None:
    rig = Rig(Settings(skip_frames=1))
    rig.take(0, 1.0)
    rig.wanted = True
    for index in (1, 2, 3):
        rig.take(index, 1 + index / 10)
    rig.wanted = False
    rig.take(4, 1.4)
    assert [to_rgb(image)[1, 1, 2] for image, _ in rig.annotated] == [1, 2, 3]
    assert [header.nanosec for _, header in rig.annotated] == [100_000_000, 200_000_000, 300_000_000]
    assert rig.values == [0, 2, 4]


def test_the_network_and_the_annotated_image_get_the_same_intensity_range(every_frame: Rig) -> None:
    every_frame.wanted = True
    every_frame.intake.configure(Settings(skip_frames=0, intensity_range="7000,9000"))
    message = image_message(np.zeros((2, 2), np.uint8), "mono16", FrameHeader(1, 0, "camera"))
    message.step, message.data = 4, array("B", np.full((2, 2), 8000, np.uint16).tobytes())
    every_frame.intake.take(serialize_message(message))
    assert every_frame.values == [128]
    assert (to_bgr(every_frame.annotated[0][0]) == 128).all()


class TestRejected:
    def test_it_is_counted_and_told_with_the_numbers(self, every_frame: Rig) -> None:
        every_frame.take(0, 1.0)
        every_frame.take(1, 1.1, good=False)
        every_frame.intake.take(b"garbage")
        every_frame.take(2, 1.2)
        assert every_frame.intake.rejected == len(every_frame.errors) == 2
        assert "step 100" in str(every_frame.errors[0])
        assert "not plain CDR" in str(every_frame.errors[1])
        assert every_frame.values == [0, 2]
        assert every_frame.intake.received == 4

    def test_the_next_sampled_frame_takes_its_place_in_the_window(self, every_frame: Rig) -> None:
        every_frame.take(0, 1.0)
        every_frame.take(1, 1.1, good=False)
        every_frame.take(2, 1.2, good=False)
        every_frame.take(3, 1.3)
        every_frame.take(4, 1.4)
        assert every_frame.samples[1:] == [Sample(steps=3), Sample(steps=1)]

    def test_the_restart_that_came_with_it_is_not_lost(self, every_frame: Rig) -> None:
        every_frame.take(0, 1.0)
        every_frame.take(1, 50.0, good=False)
        every_frame.take(2, 50.1)
        assert every_frame.samples[-1].restart
        assert every_frame.intake.restarts == 1
        assert "gap of 49.000 s" in every_frame.intake.restart_reason

    def test_it_is_not_annotated(self, every_frame: Rig) -> None:
        every_frame.wanted = True
        every_frame.take(0, 1.0, good=False)
        assert every_frame.annotated == []

    def test_garbage_before_the_first_image_is_no_restart(self, every_frame: Rig) -> None:
        every_frame.intake.take(b"garbage")
        every_frame.take(0, 1.0)
        assert every_frame.samples == [Sample(restart=True, reason="first frame")]
        assert (every_frame.intake.restarts, every_frame.intake.restart_reason) == (0, "")


class TestTime:
    def test_gaps_and_time_that_runs_backwards_are_counted_with_their_reason(self, every_frame: Rig) -> None:
        for stamp in (100.0, 100.1, 200.0, 200.1, 50.0, 50.1):
            every_frame.take(0, stamp)
        assert [sample.restart for sample in every_frame.samples] == [True, False, True, True]
        assert every_frame.intake.restarts == 2
        assert "backwards by 150.100 s" in every_frame.intake.restart_reason

    def test_images_without_a_stamp_are_taken_at_the_time_of_their_arrival(
        self, every_frame: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = SimpleNamespace(now=500.0)
        monkeypatch.setattr(image_intake, "time", SimpleNamespace(monotonic=lambda: clock.now))
        for now in (500.0, 500.5, 510.0, 510.1, 510.2):
            clock.now = now
            every_frame.take(0, 0.0)
        assert [sample.restart for sample in every_frame.samples] == [True, False, True, False]
        assert "gap of 9.500 s" in every_frame.intake.restart_reason
        assert every_frame.stream.taken[-1][2] == FrameHeader(0, 0, "camera"), "the header goes on as it came"
        assert every_frame.intake.last_arrival == 510.2
        # What follows by time (events) follows by the same one.
        first, *later = every_frame.stream.times
        assert [round((time - first) / 1e9, 6) for time in later] == [0.5, 10.1, 10.2]

    def test_stamps_that_never_change_are_treated_as_empty_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(now=500.0)
        rig = Rig(Settings(sample_rate=10))
        monkeypatch.setattr(image_intake, "time", SimpleNamespace(monotonic=lambda: clock.now))
        for _ in range(90):
            clock.now += 1 / 30
            rig.take(0, 123.0)
        assert rig.intake.clock.is_stuck
        assert sum(sample.steps for sample in rig.samples) == pytest.approx(30, abs=3)
        assert rig.stream.times[-1] - rig.stream.times[2] == pytest.approx(2.7e9, abs=2e8)
        assert rig.stream.taken[-1][2] == FrameHeader(123, 0, "camera"), "the header goes on as it came"

    def test_a_late_image_a_second_costs_itself_and_nothing_else(self) -> None:
        rig = Rig(Settings(skip_frames=1))
        for index in range(120):
            rig.take(index, 100 + index / 30)
            if index % 30 == 29:
                rig.take(255, 100 + (index - 2) / 30)
        assert rig.values == list(range(0, 120, 2))
        assert (rig.intake.sampler.late, rig.intake.restarts) == (4, 0)

    def test_stamped_images_are_taken_at_their_stamp(self, every_frame: Rig) -> None:
        for stamp in (100.0, 100.25):
            every_frame.take(0, stamp)
        assert every_frame.stream.times == [100_000_000_000, 100_250_000_000]

    def test_the_policy_can_be_changed_on_the_way(self, every_frame: Rig) -> None:
        for index in range(3):
            every_frame.take(index, 100 + index / 30)
        every_frame.intake.sampler.configure(Settings(skip_frames=2))
        for index in range(3, 9):
            every_frame.take(index, 100 + index / 30)
        assert every_frame.values == [0, 1, 2, 5, 8]


class TestReset:
    def test_the_next_frame_is_sampled_and_begins_a_window(self) -> None:
        rig = Rig(Settings(skip_frames=3))
        rig.take(0, 1.0)
        rig.intake.reset()
        rig.take(1, 1.1)
        assert rig.stream.resets == 1
        assert rig.values == [0, 1]
        assert rig.samples[1].restart

    def test_a_window_that_was_emptied_by_request_is_not_counted_as_emptied_by_time(self, every_frame: Rig) -> None:
        every_frame.take(0, 1.0)
        every_frame.intake.reset()
        every_frame.take(1, 1.1)
        assert (every_frame.intake.restarts, every_frame.intake.restart_reason) == (0, "")
        every_frame.take(2, 9.0)
        assert every_frame.intake.restarts == 1

    def test_what_was_owed_before_it_is_forgotten(self, every_frame: Rig) -> None:
        every_frame.take(0, 1.0)
        every_frame.take(1, 1.1, good=False)
        every_frame.intake.reset()
        every_frame.take(2, 1.2)
        assert every_frame.samples[-1].steps == 1


def test_the_image_given_to_the_annotator_is_a_view_of_the_message(every_frame: Rig) -> None:
    every_frame.wanted = True
    message = serialize_message(image_message(np.zeros((2, 2, 3), np.uint8), "rgb8", FrameHeader(1, 0)))
    every_frame.intake.take(message)
    data: Any = every_frame.annotated[0][0].data
    assert np.shares_memory(np.frombuffer(data, np.uint8), np.frombuffer(message, np.uint8))


class TestCompressed:
    """How much smaller than the camera's image the reader may make it."""

    def factors(self, rig: Rig, annotated_width: int, *, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> float:
        asked: list[float] = []

        def read(data: object, format_: str, max_downscale: MaxDownscale) -> RawImage:
            asked.append(max_downscale(480, 640))
            return RawImage(bytes(12), 2, 2, 6, "rgb8")

        monkeypatch.setattr(image_types, "decode", read)
        rig.intake = ImageIntake(
            cast(Stream, rig.stream),
            Settings(skip_frames=0),
            lambda image, header: None,
            lambda: wanted,
            rig.errors.append,
            lambda: annotated_width,
        )
        message = compressed_message(np.zeros(9, np.uint8), "jpeg", FrameHeader(1, 0))
        rig.intake.take(serialize_message(message), COMPRESSED)
        assert rig.errors == []
        (factor,) = asked
        return factor

    def test_for_the_network_alone_as_small_as_that_needs(
        self, every_frame: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.factors(every_frame, 320, wanted=False, monkeypatch=monkeypatch) == 4.0

    def test_for_an_annotated_image_no_smaller_than_that(
        self, every_frame: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.factors(every_frame, 320, wanted=True, monkeypatch=monkeypatch) == 2.0
        assert self.factors(every_frame, 0, wanted=True, monkeypatch=monkeypatch) == 1.0
        every_frame.stream.enough = 1.5
        assert self.factors(every_frame, 320, wanted=True, monkeypatch=monkeypatch) == 1.5

    def test_jpeg_and_png_reach_the_worker(self, every_frame: Rig) -> None:
        for index, kind in enumerate(("png", "jpeg")):
            _, data = cv2.imencode(f".{kind}", np.full((64, 64, 3), 40 * (index + 1), np.uint8))
            message = compressed_message(np.asarray(data, np.uint8).reshape(-1), kind, FrameHeader(1, index))
            every_frame.intake.take(serialize_message(message), COMPRESSED)
        message = compressed_message(np.zeros(10, np.uint8), "jpeg", FrameHeader(1, 5))
        every_frame.intake.take(serialize_message(message), COMPRESSED)
        assert every_frame.values == pytest.approx([40, 80], abs=1)
        assert every_frame.intake.rejected == 1


class TestVideo:
    """Packets that depend on each other: all are decoded, those that are wanted are converted."""

    def rig_and_messages(self, settings: Settings, **options: Any) -> tuple[Rig, list[bytes]]:
        packets = encode([grey_frame(10 * number) for number in range(20)], **options)
        messages = [video_message(START + packet.shown * 40_000_000, packet, COMPRESSED, "h264") for packet in packets]
        return Rig(settings), messages

    def test_sampled_frames_reach_the_worker_as_they_were_filmed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        converted: list[object] = []
        convert = video_decoder._Converter.__call__

        def count(converter: video_decoder._Converter, frame: object) -> RawImage:
            converted.append(frame)
            return convert(converter, frame)

        monkeypatch.setattr(video_decoder._Converter, "__call__", count)
        rig, messages = self.rig_and_messages(Settings(skip_frames=2))
        for message in messages:
            rig.intake.take(message, COMPRESSED)
        assert rig.values == pytest.approx([30 * number for number in range(7)], abs=4)
        assert [index for _, _, _, index in rig.stream.taken] == [0, 3, 6, 9, 12, 15, 18]
        assert rig.stream.taken[1][2] == FrameHeader(1_700_000_000, 120_000_000, "camera")
        assert len(converted) == 7
        assert (rig.intake.received, rig.intake.rejected) == (20, 0)

    def test_reordered_frames_go_by_their_own_headers(self) -> None:
        rig, messages = self.rig_and_messages(Settings(skip_frames=0), options=B_FRAMES)
        for message in messages:
            rig.intake.take(message, COMPRESSED)
        assert len(rig.values) >= 16, "the others are still in the decoder"
        assert rig.values == pytest.approx([10 * number for number in range(len(rig.values))], abs=4)
        stamps = [header.stamp for _, _, header, _ in rig.stream.taken]
        assert stamps == [START + number * 40_000_000 for number in range(len(rig.values))]
        assert (rig.intake.sampler.late, rig.intake.restarts) == (0, 0)

    def test_a_damaged_packet_is_counted_and_told_even_if_nobody_wanted_it(self) -> None:
        rig, messages = self.rig_and_messages(Settings(skip_frames=9))
        damaged = video_message(START + 40_000_000, Packet(b"garbage" * 9, 1), COMPRESSED, "h264")
        for message in [messages[0], damaged, *messages[2:]]:
            rig.intake.take(message, COMPRESSED)
        assert rig.intake.rejected == len(rig.errors) == 1
        assert "a packet of H.264 of 63 bytes is damaged" in str(rig.errors[0])

    def test_after_a_pause_it_begins_at_a_key_frame(self) -> None:
        rig, messages = self.rig_and_messages(Settings(skip_frames=0))
        for message in messages[:5]:
            rig.intake.take(message, COMPRESSED)
        rig.intake.restart()
        for message in messages[7:12]:
            rig.intake.take(message, COMPRESSED)
        assert rig.values == pytest.approx([0, 10, 20, 30, 40, 100, 110], abs=4)
        assert rig.intake.rejected == 0
