"""The streams of the tracks: when they begin and end, and what they are given."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.recognition.subjects.subjects import SampledImage, Subjects
from ros2_actionnet.settings import Settings

INTERVAL = 33_333_333  # ns
IMAGE = RawImage.from_array(np.zeros((8, 8, 3), np.uint8), "rgb8")


@dataclass(eq=False)
class Stream:
    """A stream that records what it is given."""

    track_id: str
    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    configured: list[Settings] = field(default_factory=list)
    is_closed: bool = False
    is_broken: bool = False

    def submit(
        self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int, box: Box | None = None
    ) -> None:
        assert not self.is_closed
        assert box is not None
        if self.is_broken:
            raise ImageError("broken")
        self.frames.append(index)
        self.boxes.append(box)
        self.steps.append(sample.steps)

    def configure(self, settings: Settings) -> None:
        self.configured.append(settings)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class Rig:
    """A camera of 30 Hz."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings.from_values({"skip_frames": 0, **settings})
        self.opened: list[Stream] = []
        self.subjects = Subjects(self.settings, self._open)
        self.frame = 0

    def _open(self, track_id: str) -> Stream:
        self.opened.append(Stream(track_id))
        return self.opened[-1]

    def show(self, *people: Detection, without: bool = False) -> None:
        """The next frame with its detections, or `without` any."""
        stamp = self.frame * INTERVAL
        sample = self.subjects.sample(stamp)
        if sample is not None:
            image = SampledImage(IMAGE, sample, FrameHeader.at(stamp), self.frame, stamp)
            self.frame += 1
            self.subjects.show(image, None if without else FrameDetections(stamp, people))
            return
        self.frame += 1

    @property
    def running(self) -> list[str]:
        return [stream.track_id for stream in self.opened if not stream.is_closed]


def person(track_id: str, x: float = 100.0, side: float = 50.0, label: str = "person") -> Detection:
    return Detection(track_id, label, 0.9, Box(x, 100, side, side))


def test_every_track_has_a_stream_of_its_own_with_its_view() -> None:
    rig = Rig()
    for _ in range(5):
        rig.show(person("a", 100), person("b", 400, 80))
    assert rig.running == ["b", "a"], "the largest comes first"
    assert [stream.frames for stream in rig.opened] == [[0, 1, 2, 3, 4]] * 2
    assert rig.opened[0].boxes[-1].width == pytest.approx(100)
    assert rig.opened[1].boxes[-1].width == pytest.approx(62.5)
    assert set(rig.subjects.detections) == set(rig.subjects.views) == {"a", "b"}


def test_a_missed_detection_is_bridged_and_a_lost_track_ends() -> None:
    rig = Rig(max_gap=1.0)
    rig.show(person("a"))
    for _ in range(30):
        rig.show()
    assert rig.running == ["a"]
    assert rig.opened[0].frames == list(range(31))
    rig.show()
    assert rig.running == []
    assert rig.subjects.status().lost == 1


def test_images_without_detections_are_bridged_too() -> None:
    rig = Rig()
    rig.show(person("a"))
    rig.show(without=True)
    rig.show(person("a"))
    assert rig.opened[0].frames == [0, 1, 2]


def test_an_id_that_returns_late_begins_anew() -> None:
    rig = Rig(max_gap=0.5)
    rig.show(person("a"))
    for _ in range(20):
        rig.show()
    rig.show(person("a"))
    assert [stream.is_closed for stream in rig.opened] == [True, False]
    assert rig.opened[1].frames == [21]


@pytest.mark.parametrize(
    ("classes", "running"), [(["person"], ["a"]), (["dog"], ["b"]), (["dog", "person"], ["a", "b"]), ([], ["a", "b"])]
)
def test_only_the_chosen_classes_are_subjects(classes: list[str], running: list[str]) -> None:
    rig = Rig(subject_classes=classes)
    rig.show(person("a"), person("b", 300, label="dog"))
    assert sorted(rig.running) == running


def test_there_are_never_more_streams_than_max_subjects_and_the_rest_is_counted() -> None:
    rig = Rig(max_subjects=2)
    rig.show(*[person(str(number), 200 * number, 50 + number) for number in range(5)])
    assert sorted(rig.running) == ["3", "4"]
    assert rig.subjects.status().left_out == 3
    rig.show(person("9", 100, 200), person("4", 800, 54))  # 3 is missed
    assert sorted(rig.running) == ["4", "9"]
    assert [stream.is_closed for stream in rig.opened].count(False) == 2


def test_boxes_that_are_none_are_left_out() -> None:
    rig = Rig()
    rig.show(person("a", float("nan")), person("b", side=0.0), person("c", side=-1.0), person("d", float("inf")))
    assert rig.running == []


def test_frames_that_are_not_sampled_cost_no_stream_anything() -> None:
    rig = Rig(skip_frames=2)
    for _ in range(9):
        rig.show(person("a"))
    assert rig.opened[0].frames == [0, 3, 6]


def test_a_gap_of_the_camera_ends_all_subjects() -> None:
    rig = Rig(max_gap=1.0)
    rig.show(person("a"))
    rig.frame += 60
    rig.show(person("a"))
    assert [stream.is_closed for stream in rig.opened] == [True, False]


def test_an_image_that_cannot_be_understood_is_a_step_of_the_next_one() -> None:
    rig = Rig()
    rig.show(person("a"))
    rig.opened[0].is_broken = True
    with pytest.raises(ImageError):
        rig.show(person("a"))
    rig.opened[0].is_broken = False
    rig.show(person("a"))
    assert rig.opened[0].steps == [1, 2]


def test_settings_reach_the_streams_that_are_there() -> None:
    rig = Rig()
    rig.show(person("a"))
    changed = Settings(box_margin=1.0, skip_frames=0)
    rig.subjects.configure(changed)
    rig.show(person("a"))
    assert rig.opened[0].configured == [changed]
    assert rig.opened[0].boxes[-1].width == pytest.approx(100)


def test_close_and_reset_end_all_streams() -> None:
    rig = Rig()
    rig.show(person("a"))
    rig.subjects.reset()
    assert rig.running == []
    rig.show(person("a"))
    rig.subjects.close()
    assert rig.running == []
    assert len(rig.opened) == 2
