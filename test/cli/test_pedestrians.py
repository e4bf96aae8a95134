"""The command with boxes of real pedestrians: those who move in a film of a street that Debian's opencv-doc ships."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.cli.actionnet import main
from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.detections import Detection, FrameDetections
from ros2_actionnet.recognition.subjects.tracker import Tracker
from support.clips import read_clip
from support.networks import save_brightness_network

FILM = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
RATE = 10.0  # Hz
FIRST, COUNT = 60, 100  # of the film's frames
SIZE = 32  # of the network's input, pixels
CLASSES = 8
MARGIN = 0.25  # of the larger side of a box
BRIDGED = 3  # frames, within --max-gap 0.35

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILM.exists(), reason=f"needs {FILM}: apt install opencv-doc"),
]

Boxes = dict[str, dict[int, Box]]
"""By track and frame."""


@dataclass(frozen=True)
class Street:
    """What was put into the command: the frames as they are in the video, BGR, and the boxes; and where it is."""

    frames: list[NDArray[np.uint8]]
    boxes: Boxes
    video: Path
    detections: Path


def moving_people(frames: list[NDArray[np.uint8]]) -> list[list[Box]]:
    """Return the boxes of what differs from the median of all frames and has the shape of a person, for each frame."""
    grays = [cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (5, 5), 0) for frame in frames]
    background = np.median(grays[::5], axis=0).astype(np.uint8)
    found = []
    for gray in grays:
        differs = (cv2.absdiff(gray, background) > 25).astype(np.uint8)
        whole = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((15, 7), np.uint8))
        _, _, parts, _ = cv2.connectedComponentsWithStats(whole)
        people = [part for part in parts[1:] if part[4] > 600 and part[3] > 45 and 1.3 < part[3] / part[2] < 4.5]
        found.append([Box.of_corner(*map(float, part[:4])) for part in people])
    return found


@pytest.fixture(name="street", scope="module")
def street_fixture(tmp_path_factory: pytest.TempPathFactory) -> Street:
    folder = tmp_path_factory.mktemp("street")
    film, size = cv2.VideoCapture(str(FILM)), (768, 576)
    video = cv2.VideoWriter(str(folder / "street.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, size)
    for number in range(FIRST + COUNT):
        _, frame = film.read()
        if number >= FIRST:
            video.write(frame)
    video.release()
    frames = [np.asarray(frame, np.uint8) for frame in read_clip(folder / "street.avi")]
    assert len(frames) == COUNT
    tracker, boxes, lines = Tracker(max_gap=1.0), defaultdict[str, dict[int, Box]](dict), list[str]()
    for number, people in enumerate(moving_people(frames)):
        seen = tuple(Detection("", "person", 1.0, box) for box in people)
        for one in tracker.track(FrameDetections(round(number * 1e9 / RATE), seen)).detections:
            boxes[one.track_id][number] = one.box
            place = f"{one.box.left:g},{one.box.top:g},{one.box.width:g},{one.box.height:g}"
            lines.append(f"{number + 1},{one.track_id},{place},1,-1,-1,-1")
    (folder / "boxes.txt").write_text("\n".join(lines))
    assert sum(len(places) >= 20 for places in boxes.values()) >= 5, "no pedestrians were found"
    return Street(frames, dict(boxes), folder / "street.avi", folder / "boxes.txt")


def run(street: Street, folder: Path, window: int) -> list[dict[str, Any]]:
    """Return the lines of the results about people, made with windows of so many frames."""
    model = save_brightness_network(folder, tuple(f"level{i}" for i in range(CLASSES)), frames=window, size=SIZE)
    arguments = [str(street.video), str(folder / "annotated.mp4"), "--headless", "--model", str(model)]
    arguments += ["--skip-frames=0", "--max-gap=0.35", "--max-subjects=64", f"--top-k={CLASSES}", "--smoothing=1"]
    arguments += ["--detections", str(street.detections), "--results", str(folder / "results.jsonl")]
    assert main(arguments) == 0
    assert len(read_clip(folder / "annotated.mp4")) == COUNT
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [row for row in rows if "subject" in row and row.get("results")]


def brightness(results: list[dict[str, Any]]) -> float:
    """Return the mean level of the window, 0 to 255, that the network must have seen to give these scores."""
    scores = sorted((int(one["label"].removeprefix("level")), one["score"]) for one in results)
    best = max(range(len(scores) - 1), key=lambda place: scores[place][1] * scores[place + 1][1])
    (low, low_score), (high, high_score) = scores[best], scores[best + 1]
    assert high == low + 1
    # The logit of a class at c is 60 (2 c x - c^2).
    return float(255 * ((np.log(high_score / low_score) / 60 * CLASSES + (low + high + 1) / CLASSES) / 2))


def crop_level(frame: NDArray[np.uint8], box: Box) -> float:
    """Return the mean level of the square around a box, with its margin, as OpenCV cuts and shrinks it."""
    side = max(box.width, box.height) * (1 + MARGIN)
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    right, bottom = round(box.x + side / 2), round(box.y + side / 2)
    crop = frame[max(0, top) : bottom, max(0, left) : right]
    return float(cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA).mean())


def test_each_pedestrian_has_the_windows_that_the_boxes_say(street: Street, tmp_path: Path) -> None:
    window = 4
    counted = defaultdict[str, int](int)
    for row in run(street, tmp_path, window):
        counted[row["subject"]] += 1
    expected = dict[str, int]()
    for track, places in street.boxes.items():
        # A track that was lost for longer than it is bridged begins anew.
        breaks = [one for one, other in pairwise(sorted(places)) if other - one > BRIDGED]
        starts = [min(places), *(min(number for number in places if number > one) for one in breaks)]
        ends = [min(one + BRIDGED, COUNT - 1) for one in (*breaks, max(places))]
        expected[track] = sum(max(0, end - start + 2 - window) for start, end in zip(starts, ends, strict=True))
    assert counted == {track: count for track, count in expected.items() if count}
    assert sum(expected.values()) > 200


def test_a_pedestrians_view_has_the_pixels_of_the_widened_box(street: Street, tmp_path: Path) -> None:
    seen, true, first = list[float](), list[float](), list[float]()
    for row in run(street, tmp_path, 1):
        box = street.boxes[row["subject"]].get(row["frame"])
        if box is None:  # bridged
            continue
        seen.append(brightness(row["results"]))
        true.append(crop_level(street.frames[row["frame"]], box))
        if row["frame"] == min(street.boxes[row["subject"]]):
            first.append(seen[-1] - true[-1])
    assert len(first) == len(street.boxes) > 10
    # The first view of a track is the box itself; later ones are steadied, and may lag behind a box that jumps.
    assert np.abs(first).max() < 2
    assert np.median(np.abs(np.subtract(seen, true))) < 2
    assert np.std(true) > 8, "the crops are all alike"
