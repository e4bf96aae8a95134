"""A 1080p scene of four panels, each playing one camera motion inside a box that drifts and changes its size.

The boxes come as from a nervous detector: they jitter, some are missed, and ids switch. Everything is computed from the
number of the frame, so that the scene is the same wherever it is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from skimage import data

from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.system.resources import shared_folder
from support.clips import Clip, demo_clip

Picture = NDArray[np.uint8]

RATE = 30  # Hz
INTERVAL = 1_000_000_000 // RATE  # ns
START = 1_700_000_000_000_000_000  # ns, stamp of frame 0
WIDTH, HEIGHT = 1920, 1080
SOME_LABELS = ("pan_right", "tilt_up", "zoom_in", "still")
OTHER_LABELS = ("pan_left", "tilt_down", "zoom_out", "roll_clockwise")


@dataclass(frozen=True)
class Nervousness:
    """What is wrong with the boxes.

    Attributes:
        jitter: Standard deviation of each edge, as a fraction of the box's side.
        missed: Fraction of the boxes that are missed.
        switch_at: Number of the frame from which all ids are other ones; 0: never.
    """

    jitter: float = 0.01
    missed: float = 0.1
    switch_at: int = 0


@dataclass(frozen=True)
class Panel:
    """One panel, which plays `label`; it is half as large again as its box, as what is around a person moves too."""

    number: int
    label: str

    def box(self, frame: int) -> Box:
        """The middle of it in `frame`, drifting, growing and shrinking within its quarter of the scene."""
        time, phase = frame / RATE, 1.7 * self.number
        side = 290 * (1 + 0.15 * math.sin(2 * math.pi * time / 10 + phase))
        x = WIDTH / 4 * (1 + 2 * (self.number % 2)) + 120 * math.sin(2 * math.pi * time / 12 + phase)
        y = HEIGHT / 4 * (1 + 2 * (self.number // 2)) + 25 * math.sin(2 * math.pi * time / 8 + 2 * phase)
        return Box(x, y, side, side)


class SubjectScene:
    """Frames of the scene with their detections; `frames` of them are there."""

    def __init__(self, labels: tuple[str, ...] = SOME_LABELS, nervousness: Nervousness = Nervousness()) -> None:
        self.panels = [Panel(number, label) for number, label in enumerate(labels)]
        self.frames = min(len(_segment(panel.label)) for panel in self.panels)
        self.nervousness = nervousness
        self._random = [np.random.default_rng(1000 + number) for number in range(len(labels))]
        self._noise = [random.standard_normal((self.frames, 4)) for random in self._random]
        self._chance = [random.uniform(size=self.frames) for random in self._random]

    def stamp(self, frame: int) -> int:
        """When `frame` was taken, ns."""
        return START + frame * INTERVAL

    def picture(self, frame: int) -> Picture:
        """uint8 [1080, 1920, 3], BGR."""
        picture = _background().copy()
        for panel in self.panels:
            box = panel.box(frame)
            _paste(picture, _segment(panel.label)[frame], replace(box, width=1.5 * box.width, height=1.5 * box.height))
        return picture

    def track_id(self, panel: Panel, frame: int) -> str:
        """The id that the detector gives to `panel` in `frame`."""
        switched = 0 < self.nervousness.switch_at <= frame
        return str(panel.number + 1 + 100 * switched)

    def detections(self, frame: int) -> FrameDetections:
        """What the detector sees in `frame`."""
        found = [
            Detection(self.track_id(panel, frame), "person", 0.9, self._jittered(panel, frame))
            for panel in self.panels
            if frame == 0 or self._chance[panel.number][frame] >= self.nervousness.missed
        ]
        return FrameDetections(self.stamp(frame), tuple(found))

    def _jittered(self, panel: Panel, frame: int) -> Box:
        box, noise = panel.box(frame), self.nervousness.jitter * self._noise[panel.number][frame]
        left, top = box.left + noise[0] * box.width, box.top + noise[1] * box.height
        right, bottom = box.left + box.width * (1 + noise[2]), box.top + box.height * (1 + noise[3])
        return Box.of_corner(left, top, right - left, bottom - top)


@cache
def _background() -> Picture:
    photograph = cast(Any, data).astronaut()[:288, :, ::-1]
    return np.ascontiguousarray(cv2.resize(np.ascontiguousarray(photograph), (WIDTH, HEIGHT)), np.uint8)


@cache
def _segment(label: str) -> Clip:
    """The frames of the bundled clip in which the camera does `label`, cut to squares."""
    segments = yaml.safe_load((shared_folder("media") / "camera_motion_demo.yaml").read_text())["segments"]
    (segment,) = (segment for segment in segments if segment["label"] == label)
    first, last = round(segment["start"] * RATE), round(segment["end"] * RATE)
    return [np.ascontiguousarray(frame[:, 140:500]) for frame in demo_clip()[first:last]]


def _paste(picture: Picture, content: Picture, box: Box) -> None:
    """Draw `content` where `box` is, to a fraction of a pixel."""
    scale = box.width / content.shape[1]
    matrix = np.array([[scale, 0, box.left + (scale - 1) / 2], [0, scale, box.top + (scale - 1) / 2]])
    cv2.warpAffine(
        content,
        matrix,
        (picture.shape[1], picture.shape[0]),
        dst=picture,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
