"""`actionnet-networks quantize`, from clips to a model that `auto` takes, or does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from ros2_actionnet.backends.ring import HostRing
from ros2_actionnet.cli.clips import WindowStore, find_clips
from ros2_actionnet.cli.networks import main
from ros2_actionnet.errors import MediaError
from ros2_actionnet.networks import NetworkRequest, has_accepted_int8, resolve
from ros2_actionnet.networks.int8 import int8_file, read_record, record_file
from ros2_actionnet.recognition.sampling import FrameSampler
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.files import sha256_of
from support.int8 import prepared
from support.networks import save_brightness_network

Run = Callable[..., tuple[int, str, str]]
LABELS = ("dark", "dim", "bright")
QUICK = ("--skip-frames", "0", "--windows", "60")


@pytest.fixture(name="run")
def run_fixture(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["quantize", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "net", LABELS)


def save_images(folder: Path, levels: range) -> Path:
    folder.mkdir(parents=True)
    for index, level in enumerate(levels):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((12, 16, 3), level, np.uint8))
    return folder


@pytest.fixture(name="clips")
def clips_fixture(tmp_path: Path) -> Path:
    """Four folders of images: windows of every brightness, each away from the borders between the classes."""
    for name, start in {"dark": 20, "dim": 110, "bright": 200, "again": 22}.items():
        save_images(tmp_path / "clips" / name, range(start, start + 40))
    return tmp_path / "clips"


def test_one_that_auto_takes(run: Run, model: Path, clips: Path) -> None:
    code, out, _ = run(model, "--clips", clips, *QUICK)
    assert code == 0
    assert "all layers: 100.0% with the best class of fp32" in out
    assert "20 windows to calibrate on, and 20 others to judge on, of 4 clips" in out
    assert has_accepted_int8(resolve(NetworkRequest(model=str(model))))
    record = read_record(model)
    assert record is not None
    assert (record.model_sha256, record.int8_sha256) == (sha256_of(model), sha256_of(int8_file(model)))
    assert record.clips == {"again": 10, "bright": 10, "dark": 10, "dim": 10}
    assert set(record.milliseconds) >= {"int8"}
    assert prepared(model, "int8").labels == LABELS
    assert sorted(path.name for path in model.parent.iterdir()) == [
        "labels.txt", "model.int8.json", "model.int8.onnx", "model.onnx",
    ]  # fmt: skip


def test_one_that_auto_does_not_take(run: Run, model: Path, tmp_path: Path) -> None:
    """Between two classes, int8 decides otherwise now and then."""
    for index in range(4):
        save_images(tmp_path / "clips" / str(index), range(84, 88))
        for number in range(10):
            shutil.copytree(tmp_path / "clips" / str(index), tmp_path / "clips" / f"{index}-{number}")
    code, out, _ = run(model, "--clips", tmp_path / "clips", *QUICK, "--agreement", "1")
    record = read_record(model)
    assert record is not None
    assert record.is_accepted == (code == 0) == (record.agreement == 1)
    assert ("precision auto does not take it" in out) == (code == 1)


def test_nothing_is_replaced_unasked(run: Run, model: Path, clips: Path) -> None:
    int8_file(model).write_bytes(b"mine")
    code, _, err = run(model, "--clips", clips, *QUICK)
    assert (code, int8_file(model).read_bytes()) == (1, b"mine")
    assert "is there already; replace it with --again, or give --out FOLDER" in err
    assert run(model, "--clips", clips, *QUICK, "--again")[0] == 0
    assert int8_file(model).read_bytes() != b"mine"


def test_another_folder(run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    code, out, _ = run(model, "--clips", clips, *QUICK, "--out", tmp_path / "out")
    assert code == 0
    assert f"copy both to {model.parent} to use them" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.int8.onnx", "model.int8.json"}
    assert not record_file(model).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--leave-out", "middle"), "--leave-out middle is no layer; give first, last, or some of slope"),
        (("--leave-out", "first"), "the network has no layer that can be quantized"),
    ],
)
def test_layers_that_cannot_be_left_out(
    run: Run, model: Path, clips: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = run(model, "--clips", clips, *QUICK, *arguments)
    assert code == 1
    assert words in err
    assert sorted(path.name for path in model.parent.iterdir()) == ["labels.txt", "model.onnx"]


def test_too_few_windows(run: Run, model: Path, tmp_path: Path) -> None:
    code, _, err = run(model, "--clips", save_images(tmp_path / "short", range(70, 90)), "--skip-frames", "0")
    assert code == 1
    assert "the clips have 5 windows of 4 sampled frames; at least 20 are needed" in err


def test_ctrl_c_leaves_nothing(run: Run, model: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(store: WindowStore, place: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WindowStore, "read", interrupted)
    assert run(model, "--clips", clips, *QUICK)[0] not in (0, 1)
    assert sorted(path.name for path in model.parent.iterdir()) == ["labels.txt", "model.onnx"]


class TestClips:
    def test_a_folder_of_several_kinds(self, tmp_path: Path) -> None:
        save_images(tmp_path / "a", range(3))
        for name in ("b.mp4", "c.mcap", ".hidden.mp4", "notes.txt"):
            (tmp_path / name).write_bytes(b"")
        assert find_clips(tmp_path) == [tmp_path / "a", tmp_path / "b.mp4", tmp_path / "c.mcap"]
        assert find_clips(tmp_path / "b.mp4") == [tmp_path / "b.mp4"]

    def test_a_folder_without_any(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"there is no clip in .*; give a folder with videos"):
            find_clips(tmp_path)

    def test_one_that_cannot_be_read_is_left_out(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        store, said = WindowStore(prepared(model), Settings(), tmp_path / "store", most=4), list[str]()
        assert store.add(tmp_path / "broken.mp4", said.append) == 0
        assert len(said) == 1
        assert "is left out: " in said[0]
        assert store.clips == {}
        store.close()

    @pytest.mark.parametrize(("skip", "most", "expected"), [(0, 100, 10), (1, 100, 5), (0, 3, 3)])
    def test_windows_are_those_that_the_node_would_have(
        self, model: Path, tmp_path: Path, skip: int, most: int, expected: int
    ) -> None:
        """Every window has consecutive sampled frames of its own, in the order of time."""
        network, settings = prepared(model), Settings(skip_frames=skip)
        clip = save_images(tmp_path / "clip", range(0, 120, 3))
        sampler, ring = FrameSampler(settings), HostRing(4, 8, 8)
        buffer = TemporalBuffer(ring, infer_every=4, repeat_first=False)
        usual = []
        for index in range(40):
            sample = sampler.offer(index * 40_000_000)
            if sample is not None:
                buffer.push(np.full((8, 8, 3), 3 * index, np.uint8), sample)
                if buffer.due:
                    usual.append(buffer.take_window().copy())
        store = WindowStore(network, settings, tmp_path / "store", most)
        assert store.add(clip, pytest.fail) == expected
        calibration, held_out = store.parts()
        assert len(calibration) - len(held_out) in (0, 1)
        found = [store.read(place) for pair in zip(calibration, held_out, strict=False) for place in pair]
        found += [store.read(place) for place in calibration[len(held_out) :]]
        levels = [window[:, 0, 0, 0].tolist() for window in found]
        assert levels == sorted(levels)
        assert all(level in [window[:, 0, 0, 0].tolist() for window in usual] for level in levels)
        store.close()


def test_the_written_model_is_symmetric(run: Run, model: Path, clips: Path) -> None:
    run(model, "--clips", clips, *QUICK)
    graph = onnx.load(str(int8_file(model))).graph
    zeros = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros
    assert all(not onnx.numpy_helper.to_array(t).any() for t in graph.initializer if t.name in zeros)
