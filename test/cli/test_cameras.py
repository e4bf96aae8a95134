"""Several live inputs at once: the command as a process, over cameras that this one serves over HTTP."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ros2_actionnet.cli.actionnet import main
from ros2_actionnet.cli.cameras import Camera, cameras_of, common_outputs, outputs_of
from ros2_actionnet.cli.outputs import Outputs
from ros2_actionnet.media import uris as opening
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource
from support.clips import read_clip
from support.networks import save_brightness_network

LEVELS = {"dark": 20, "dim": 128, "bright": 240, "dies": 128, "stalls": 240}
SHORT = 60  # frames of a camera that dies or stalls
TIMEOUT = 90.0  # s


class _Cameras(http.server.BaseHTTPRequestHandler):
    """Motion JPEG at 25 Hz, a grey level for each name; one ends for good, one falls silent."""

    seen: set[str]
    ended: threading.Event

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name not in LEVELS or (name == "dies" and name in self.seen):
            self.send_error(404)
            return
        self.seen.add(name)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), LEVELS[name], np.uint8))[1].tobytes()
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
        for number in range(10**6):
            if name == "dies" and number == SHORT:
                return
            if name == "stalls" and number == SHORT:
                self.ended.wait(TIMEOUT)
                return
            try:
                self.wfile.write(part)
            except OSError:
                return
            if self.ended.wait(0.04):
                return

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture(name="server")
def server_fixture() -> Iterator[str]:
    """The address of the cameras."""
    handler = type("Handler", (_Cameras,), {"seen": set(), "ended": threading.Event()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        handler.ended.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "network", ("dark", "dim", "bright"), frames=4)


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ros2_actionnet.cli.actionnet", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_windows(process: subprocess.Popen[str], path: Path, names: list[str], count: int) -> None:
    """Wait until each of the cameras has `count` more lines than now."""
    goal = {name: count + sum(row["stream"] == name for row in rows_of(path)) for name in names}
    until = time.monotonic() + TIMEOUT
    while any(sum(row["stream"] == name for row in rows_of(path)) < number for name, number in goal.items()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, rows_of(path)[-5:]
        time.sleep(0.1)


@pytest.mark.slow
def test_each_camera_is_recognized_whatever_becomes_of_the_others(server: str, model: Path, tmp_path: Path) -> None:
    names, results = ["dark", "bright", "dies", "stalls"], tmp_path / "results.jsonl"
    cameras = [part for name in [*names, "nowhere"] for part in ("--camera", f"{name}={server}/{name}")]
    files = [tmp_path / "out_{name}.mp4", "--results", results, "--report", tmp_path / "{name}.html"]
    process = start(*cameras, *files, "--model", model, "--headless")
    wait_for_windows(process, results, names, 5)
    assert process.stderr is not None
    lines = list[str]()
    while not {"dies: 'http", "stalls: 'http", "nowhere has failed"} <= {
        key for key in ("dies: 'http", "stalls: 'http", "nowhere has failed") if any(key in line for line in lines)
    }:
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
    wait_for_windows(process, results, ["dark", "bright"], 10)  # after the others were lost
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, error
    assert "Traceback" not in "".join(lines) + error
    expected = {"dark": "dark", "bright": "bright", "dies": "dim", "stalls": "bright"}
    rows = rows_of(results)
    assert {row["stream"] for row in rows} == set(names)
    assert all(row["results"][0]["label"] == expected[row["stream"]] for row in rows)
    for name in names:
        frames = [row["frame"] for row in rows if row["stream"] == name]
        assert frames == sorted(set(frames))
        pictures = read_clip(tmp_path / f"out_{name}.mp4")
        assert abs(float(pictures[-1][-4:, -4:].mean()) - LEVELS[name]) < 12
        assert "</html>" in (tmp_path / f"{name}.html").read_text()
    assert not (tmp_path / "out_nowhere.mp4").exists()


@pytest.mark.slow
def test_a_common_output_has_a_tile_for_each_camera(server: str, model: Path, tmp_path: Path) -> None:
    results, output = tmp_path / "results.jsonl", tmp_path / "all.mp4"
    cameras = [part for name in ("dark", "bright", "dim") for part in ("--camera", f"{server}/{name}")]
    process = start(*cameras, output, "--results", results, "--model", model)
    names = ["camera1", "camera2", "camera3"]
    wait_for_windows(process, results, names, 30)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, error
    picture = read_clip(output)[-1]
    assert picture.shape == (96, 128, 3)
    # The lower right corner of each tile, free of the results and the name.
    corners = {(0, 0): 20, (0, 1): 240, (1, 0): 128, (1, 1): 0}
    for (row, column), level in corners.items():
        corner = picture[48 * row + 40 : 48 * row + 47, 64 * column + 58 : 64 * column + 63]
        assert abs(float(corner.mean()) - level) < 20, (row, column)


@pytest.mark.slow
def test_a_reader_that_needs_no_more_ends_all_without_a_word(server: str, model: Path) -> None:
    command = [sys.executable, "-m", "ros2_actionnet.cli.actionnet", "--verbose", "--headless", "--model", str(model)]
    cameras = [part for name in ("dark", "bright") for part in ("--camera", f"{name}={server}/{name}")]
    with subprocess.Popen([*command, *cameras], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(TIMEOUT) == 141, error
    assert "has failed" not in error
    assert "Traceback" not in error


def test_closing_the_window_is_no_interruption(
    server: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.jsonl"

    class Window:
        """Is closed, as with Escape, once there are results of both cameras."""

        wants_pictures = True

        def __init__(self, source: FrameSource) -> None:
            self._source, self._until = source, time.monotonic() + TIMEOUT

        def write(self, result: ClassifiedFrame) -> None:
            if len({row["stream"] for row in rows_of(results)}) == 2 or time.monotonic() > self._until:
                self._source.close()

        def close(self) -> None:
            """Do nothing."""

    monkeypatch.setattr(opening, "DisplaySink", Window)
    cameras = [part for name in ("dark", "bright") for part in ("--camera", f"{name}={server}/{name}")]
    assert main([*cameras, "display://0", "--model", str(model), "--results", str(results)]) == 0
    error = capsys.readouterr().err
    assert "has ended" not in error
    assert "has failed" not in error
    assert {row["stream"] for row in rows_of(results)} == {"dark", "bright"}


def test_if_no_camera_can_be_opened_it_ends(server: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--camera", f"a={server}/none", "--camera", f"b={server}/nil", "--model", str(model)]) == 1
    error = capsys.readouterr().err
    assert "a has failed" in error
    assert "b has failed" in error


def test_names() -> None:
    assert cameras_of(["/dev/video0", "rear=rtsp://h/s?a=b", "http://h/x?name=y"]) == (
        Camera("camera1", "/dev/video0"),
        Camera("rear", "rtsp://h/s?a=b"),
        Camera("camera3", "http://h/x?name=y"),
    )


def test_outputs_of_one_and_of_all() -> None:
    outputs = Outputs("out_{name}.mp4", True, Path("all.jsonl"), Path("{name}.html"), input_save="in_{name}.mkv")
    assert common_outputs(outputs) == Outputs(results=Path("all.jsonl"))
    own = Outputs("out_rear.mp4", report=Path("rear.html"), input_save="in_rear.mkv")
    assert outputs_of(Camera("rear", "/dev/video0"), outputs) == own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--camera", "a=/dev/video0", "--camera", "a=/dev/video1"], "a is there twice"),
        (["--camera", "clip.mp4"], "'clip.mp4' is a file; --camera takes live inputs"),
        (["--camera", "0", "--batch", "out", "a.mp4"], "omit --batch and --detections"),
        (["--camera", "0", "/dev/video1", "out.mp4"], "one output is expected, not /dev/video1 out.mp4"),
        (["/dev/video0", "/dev/video1", "out.mp4"], "--camera before each of several live inputs"),
    ],
)
def test_what_cannot_be_understood(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "better"), [("--report", "r_{name}.html"), ("", "r_{name}.mcap")])
def test_what_is_of_one_camera_needs_its_name(flag: str, better: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = better.replace("_{name}", "")
    assert main(["--camera", "0", "--camera", "1", *([flag] if flag else []), path]) == 1
    assert f"give one for each, as '{better}'" in capsys.readouterr().err
