"""The file of JSON lines, against predictions of a real network on a real clip."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.action_net import ActionNet
from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.media.json_lines import ResultsFile
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.prediction import Prediction
from support.clips import library_clip
from support.random_network import save_random_network

FRAMES = 8
LABELS = ("gehen", "rennen", "Fahrrad fahren", "日本語", '"quoted"', "<b>")


def frame_at(index: int, time: float = 0.0, stamp: float = 0.0) -> MediaFrame:
    return MediaFrame(index, time, nanoseconds(stamp), RawImage(b"\0\0\0", 1, 1, 3, "bgr8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("settings", [{}, {"skip_frames": 2, "infer_every": 2}, {"warmup": "repeat"}])
def test_lines_say_what_the_network_saw_and_where(tmp_path: Path, settings: dict[str, Any]) -> None:
    skip = settings.get("skip_frames", 1)
    sink, expected = ResultsFile(tmp_path / "results.jsonl"), []
    model = save_random_network(tmp_path, LABELS, frames=FRAMES, size=32)
    with ActionNet(model=str(model), precision="fp32", top_k=3, threshold=0.001, **settings) as net:
        newest = -1
        for index, picture in enumerate(library_clip("bikes.mp4", 60)):
            prediction = net.classify(picture, "bgr8", stamp=1e9 + index / 25)
            is_new = prediction is not None and prediction.frame > newest
            sink.write(ClassifiedFrame(frame_at(index, index / 25, 1e9 + index / 25), prediction, is_new))
            if prediction is not None and is_new:
                newest = prediction.frame
                expected.append((index, prediction))
    sink.close()
    found = lines(tmp_path / "results.jsonl")
    assert len(found) == len(expected) > 5
    for line, (index, prediction) in zip(found, expected, strict=True):
        assert list(line) == ["frame", "time", "stamp", "window", "results"]
        assert line["frame"] == index
        assert line["time"] == pytest.approx(index / 25, abs=1e-6)
        assert line["stamp"] == pytest.approx(1e9 + index / 25, abs=1e-6)
        assert line["window"] == [max(0, index - (FRAMES - 1) * (skip + 1)), index]
        ranking = [i for i in np.argsort(-prediction.scores)[:3] if prediction.scores[i] >= 0.001]
        assert [result["index"] for result in line["results"]] == ranking
        assert [result["label"] for result in line["results"]] == [LABELS[i] for i in ranking]
        assert [result["score"] for result in line["results"]] == pytest.approx(prediction.scores[ranking], abs=1e-6)
    assert sum(len(line["results"]) for line in found) > len(found)


def test_only_new_predictions_are_written_and_none_is_an_empty_list(tmp_path: Path) -> None:
    sink = ResultsFile(tmp_path / "results.jsonl")
    prediction = Prediction(np.array([0.25, 0.75], np.float32), ("a", "b"), 7, threshold=0.9, first_frame=1)
    sink.write(ClassifiedFrame(frame_at(6), None, False))
    sink.write(ClassifiedFrame(frame_at(7), prediction, True))
    sink.write(ClassifiedFrame(frame_at(8), prediction, False))
    sink.close()
    assert lines(tmp_path / "results.jsonl") == [
        {"frame": 7, "time": 0.0, "stamp": 0.0, "window": [1, 7], "results": []}
    ]


def test_every_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    sink = ResultsFile(tmp_path / "results.jsonl")
    for index in range(3):
        prediction = Prediction(np.array([0.25, 0.75], np.float32), ("a", "b"), index)
        sink.write(ClassifiedFrame(frame_at(index), prediction, True))
        assert len(lines(tmp_path / "results.jsonl")) == index + 1
    sink.close()
    sink.close()


def test_an_earlier_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("old")
    ResultsFile(tmp_path / "results.jsonl").close()
    assert (tmp_path / "results.jsonl").read_text() == ""


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"results file '.*nowhere/x.jsonl' cannot be written: No such file"):
        ResultsFile(tmp_path / "nowhere" / "x.jsonl")


@pytest.fixture(name="full_disk")
def full_disk_fixture() -> Iterator[Path]:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full here")
    yield Path("/dev/full")


def test_a_full_disk_is_told(full_disk: Path) -> None:
    sink = ResultsFile(full_disk)
    prediction = Prediction(np.array([0.25, 0.75], np.float32), ("a", "b"), 0)
    with pytest.raises(MediaError, match="'/dev/full' cannot be written: No space left"):
        sink.write(ClassifiedFrame(frame_at(0), prediction, True))


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    sink = ResultsFile(tmp_path / "results.jsonl")
    result = ClassifiedFrame(frame_at(0), Prediction(np.array([0.25, 0.75], np.float32), ("a", "b"), 0), True)
    sink.write(result)
    size = (tmp_path / "results.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + 10, limits[1]))
    try:
        sink.write(result)
        with pytest.raises(MediaError, match="cannot be written: File too large"):
            sink.write(result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.write(result)  # of another camera, when there is room again
    sink.close()
    content = (tmp_path / "results.jsonl").read_text()
    assert content == 3 * content[:size]
