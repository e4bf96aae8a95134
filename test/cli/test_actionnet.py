from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros2_actionnet.cli.actionnet import main, parse_options
from ros2_actionnet.settings import Settings
from support.networks import save_brightness_network

LABELS = ("dark", "dim", "bright")


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "network", LABELS, frames=4)


@pytest.fixture(name="video")
def video_fixture(tmp_path: Path) -> Path:
    """Two seconds at 10 Hz: the first dark, the second bright."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 24))
    for grey in [20] * 10 + [240] * 10:
        writer.write(np.full((24, 32, 3), grey, np.uint8))
    writer.release()
    return path


def test_the_defaults_are_those_of_the_settings() -> None:
    options = parse_options(["clip.mp4"])
    assert (options.threshold, options.skip_frames, options.top_k) == (
        Settings.threshold,
        Settings.skip_frames,
        Settings.top_k,
    )


@pytest.mark.parametrize("flag", ["--skip-frames", "--skip_frames"])
def test_flags_are_taken_with_dashes_and_with_underscores(flag: str) -> None:
    assert parse_options(["clip.mp4", flag, "3"]).skip_frames == 3


def test_a_line_whenever_the_best_class_changes(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", str(model), "--skip-frames", "0"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["dark", "dim", "bright"]
    # The first window of four frames ends with frame 3, at 0.3 s; the last class holds from the window of bright ones.
    assert float(lines[0][0]) == pytest.approx(0.3)
    assert 1.0 < float(lines[2][0]) <= 1.3


def test_results_hold_every_prediction(model: Path, video: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert main([str(video), "--model", str(model), "--skip-frames", "1", "--results", str(results)]) == 0
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(6, 20, 2))
    assert [row["time"] for row in rows] == pytest.approx([frame / 10 for frame in range(6, 20, 2)])
    assert rows[-1]["results"][0]["label"] == "bright"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/clip.mp4"], "/nowhere/clip.mp4"),
        (["{video}", "--model", "/nowhere/my.onnx"], "/nowhere/my.onnx"),
        (["{video}", "--model", "{model}", "--threshold", "7"], "threshold 7.0 is out of range"),
        (["{video}", "--model", "{model}", "--skip-frames", "9"], "too short for one window"),
        (["{model}", "--model", "{model}"], "cannot be opened as a video"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    model: Path, video: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main([argument.format(model=model, video=video) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("actionnet: ")
    assert words in error
