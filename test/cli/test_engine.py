from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from ros2_actionnet.backends import BACKENDS, LoadOptions
from ros2_actionnet.backends.tensorrt import profile
from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache, EngineIdentity
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.cli import engine
from ros2_actionnet.cli.engine import main
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import LoadMonitor
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from support.networks import save_brightness_network

LABELS = ("dark", "dim", "bright")
NO_GPU = "there is no GPU in this test"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "network", LABELS, name="brightness")


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    return tmp_path / "engines"


@pytest.fixture(name="command")
def command_fixture(capsys: pytest.CaptureFixture[str], folder: Path) -> Command:
    """Runs the command over `folder`: its exit code, and what it printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--cache", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


class Backend:
    """In place of the TensorRT backend."""

    loaded: list[tuple[str, LoadOptions]]

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        self.loaded = []
        self.closed = 0

    def __call__(self) -> Backend:
        return self

    def unavailable(self, device: str) -> str | None:
        return self.reason

    def unsupported(self, device: str, precision: str) -> str | None:
        return None

    def load(self, network: PreparedNetwork, options: LoadOptions, monitor: LoadMonitor) -> Any:
        monitor.progress("building engine, 5 s so far")
        self.loaded.append((network.name, options))
        self.precision, self.device = "fp16", "0: Orin"
        return self

    def close(self) -> None:
        self.closed += 1


def keep(folder: Path, number: int, version: str = "", network: str = "resnet-18") -> str:
    """Keeps an engine; its key."""
    version = version or find_tensorrt().name
    identity = EngineIdentity(f"{number:064d}", "fp16", 1, 1 << 30, version, "Orin", "8.7", "8 multiprocessors")
    EngineCache(folder).store(identity, bytes(1_500_000), network=network)
    used = time.mktime((2026, 11, 1 + number, 12, 0, 0, 0, 0, -1))
    os.utime(folder / f"{identity.key}.json", (used, used))
    return identity.key


class TestBuild:
    def test_it_loads_the_network_as_the_node_would(
        self, command: Command, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = Backend(None)
        monkeypatch.setitem(BACKENDS, "tensorrt", backend)
        code, out, err = command("build", "--model", model, "--max_batch=2", "--device", 1)
        assert code == 0
        assert backend.loaded == [("brightness", LoadOptions("1", "auto", 2, str(folder)))]
        assert backend.closed == 1
        assert "the engine of brightness is ready after" in out
        assert "fp16, GPU 0: Orin" in out
        assert "building engine, 5 s so far\n" in err

    def test_without_a_gpu_rtx_builds_for_all_cards(
        self, command: Command, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not find_tensorrt().has_portable_engines:
            pytest.skip("the TensorRT of this machine builds on a GPU alone")
        monkeypatch.setitem(BACKENDS, "tensorrt", Backend(NO_GPU))
        code, out, err = command("build", "--model", model)
        assert code == 0
        assert "fp16, any GPU that TensorRT for RTX supports" in out
        assert NO_GPU in err
        (kept,) = EngineCache(folder).engines()
        assert kept.size > 1000
        assert kept.description["network"] == "brightness"

    def test_without_a_gpu_tensorrt_itself_says_why_not(
        self, command: Command, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(BACKENDS, "tensorrt", Backend(NO_GPU))
        monkeypatch.setattr(engine, "find_tensorrt", lambda: TensorRT(None, "10.3.0.30"))
        code, _, err = command("build", "--model", model)
        assert code == 1
        assert f"engines of TensorRT 10.3.0.30 are built on the GPU that they are for, and {NO_GPU}" in err

    def test_what_is_wrong_is_said_in_a_line(self, command: Command) -> None:
        code, _, err = command("build", "--model", "/nowhere/my.onnx")
        assert code == 1
        assert err.startswith("actionnet-engine: the model /nowhere/my.onnx does not exist")


class TestOnnxOnly:
    @pytest.fixture(autouse=True)
    def _without_tensorrt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> TensorRT:
            raise BackendError("TensorRT is not installed")

        monkeypatch.setattr(engine, "find_tensorrt", missing)

    def test_it_is_the_prepared_model_with_a_line_for_trtexec(
        self, command: Command, model: Path, tmp_path: Path
    ) -> None:
        written = tmp_path / "out.onnx"
        code, out, _ = command("build", "--model", model, "--onnx-only", written, "--max-batch", 3)
        assert code == 0
        assert written.read_bytes() == prepare(resolve(NetworkRequest(model=str(model)))).model
        line = out.splitlines()[-1]
        assert line.startswith(f"trtexec --onnx={written} --saveEngine={tmp_path}/out.engine ")
        assert "--minShapes=frames:1x4x8x8x3 --optShapes=frames:3x4x8x8x3 --maxShapes=frames:3x4x8x8x3 --noTF32" in line

    def test_in_fp16_it_has_fp16_weights(self, command: Command, model: Path, tmp_path: Path) -> None:
        written = tmp_path / "out.onnx"
        code, out, _ = command("build", "--model", model, "--onnx-only", written, "--precision", "fp16")
        assert code == 0
        types = {tensor.name: tensor.data_type for tensor in onnx.load_model(str(written)).graph.initializer}
        assert types["half/weight"] == TensorProto.FLOAT16
        assert out.splitlines()[0] == f"wrote {written}, for TensorRT 10 and later; build an engine from it with"
        assert out.splitlines()[-1].endswith("--stronglyTyped")
        frames = np.full((1, 4, 8, 8, 3), 250, np.uint8)
        session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
        assert LABELS[session.run(None, {"frames": frames})[0].argmax()] == "bright"

    def test_for_an_installed_tensorrt_8_it_is_fp32_and_a_flag(
        self, command: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "find_tensorrt", lambda: TensorRT(None, "8.6.2.3"))
        written = tmp_path / "out.onnx"
        _, out, _ = command("build", "--model", model, "--onnx-only", written, "--precision", "fp16")
        assert "for TensorRT 8; build" in out
        assert out.splitlines()[-1].endswith("--fp16")
        assert TensorProto.FLOAT16 not in {t.data_type for t in onnx.load_model(str(written)).graph.initializer}


class TestList:
    def test_an_empty_cache(self, command: Command, folder: Path) -> None:
        assert command("list") == (0, f"there are no engines in {folder}\n", "")

    def test_one_line_each_the_last_used_first(self, command: Command, folder: Path) -> None:
        old = keep(folder, 1, "TensorRT 8.5.2.2")
        new = keep(folder, 2, "TensorRT 10.3.0.30", "camera_motion")
        code, out, _ = command("list")
        rows = [re.split(r" {2,}", line) for line in out.splitlines()]
        assert code == 0
        assert rows[0] == ["KEY", "NETWORK", "PRECISION", "BATCH", "MB", "TENSORRT", "GPU", "LAST USED"]
        assert rows[1] == [new[:12], "camera_motion", "fp16", "1", "1.5", "10.3.0.30", "Orin", "2026-11-03 12:00"]
        assert rows[2] == [old[:12], "resnet-18", "fp16", "1", "1.5", "8.5.2.2", "Orin", "2026-11-02 12:00"]
        assert rows[3] == [f"3 MB in {folder}"]

    def test_one_whose_sidecar_is_gone_is_listed_too(self, command: Command, folder: Path) -> None:
        key = keep(folder, 1)
        (folder / f"{key}.json").unlink()
        assert f"{key[:12]}  ?" in command("list")[1]


class TestVerify:
    def test_whole_engines(self, command: Command, folder: Path) -> None:
        key = keep(folder, 1)
        used = EngineCache(folder).engines()[0].used
        assert command("verify") == (0, f"{key[:12]}  resnet-18  intact\n", "")
        assert EngineCache(folder).engines()[0].used == used

    def test_a_damaged_one(self, command: Command, folder: Path) -> None:
        keep(folder, 1)
        key = keep(folder, 2)
        (folder / f"{key}.engine").write_bytes(b"half")
        code, out, _ = command("verify")
        assert code == 1
        assert "damaged: it has 4 bytes instead of 1500000" in out
        assert out.count("intact") == 1


class TestRemove:
    @pytest.fixture(name="keys")
    def keys_fixture(self, folder: Path) -> list[str]:
        return [
            keep(folder, 0, "TensorRT 8.5.2.2"),
            keep(folder, 1),
            keep(folder, 2, network="camera_motion"),
        ]

    def left(self, folder: Path, keys: list[str]) -> list[int]:
        there = {kept.key for kept in EngineCache(folder).engines()}
        return [number for number, key in enumerate(keys) if key in there]

    def test_by_the_first_digits_of_a_key(self, command: Command, folder: Path, keys: list[str]) -> None:
        code, out, _ = command("remove", keys[1][:12])
        assert (code, out) == (0, f"{keys[1][:12]}  resnet-18  removed\n")
        assert self.left(folder, keys) == [0, 2]

    def test_by_the_name_of_a_network(self, command: Command, folder: Path, keys: list[str]) -> None:
        assert command("remove", "resnet-18")[0] == 0
        assert self.left(folder, keys) == [2]

    def test_all_of_them_with_what_was_measured(self, command: Command, folder: Path, keys: list[str]) -> None:
        (folder / "TensorRT_10_3_0_30-Orin.timing").write_bytes(b"measured")
        assert command("remove", "--all")[0] == 0
        assert list(folder.iterdir()) == []

    def test_the_damaged_and_those_of_another_tensorrt(self, command: Command, folder: Path, keys: list[str]) -> None:
        (folder / f"{keys[2]}.engine").write_bytes(b"half")
        assert command("remove", "--stale")[0] == 0
        assert self.left(folder, keys) == [1]
        assert command("remove", "--stale") == (0, "nothing to remove\n", "")

    def test_without_tensorrt_none_is_of_another(
        self, command: Command, folder: Path, keys: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing() -> TensorRT:
            raise BackendError("TensorRT is not installed")

        monkeypatch.setattr(engine, "find_tensorrt", missing)
        assert command("remove", "--stale")[1] == "nothing to remove\n"
        assert self.left(folder, keys) == [0, 1, 2]

    def test_one_that_is_in_use_stays(self, command: Command, folder: Path, keys: list[str]) -> None:
        with EngineCache(folder).lock(keys[0]):
            code, out, _ = command("remove", "--all")
        assert code == 1
        assert f"{keys[0][:12]}  resnet-18  kept: another process is using it" in out
        assert self.left(folder, keys) == [0]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "no engines given"),
            (["resnet-34"], "has a key that begins with 'resnet-34' or is of such a network"),
            ([""], "has a key that begins with ''"),
            (["0"], "give at least 4 digits"),
        ],
    )
    def test_nothing_is_removed_by_mistake(
        self, command: Command, folder: Path, keys: list[str], arguments: list[str], words: str
    ) -> None:
        code, _, err = command("remove", *arguments)
        assert code == 1
        assert words in err
        assert self.left(folder, keys) == [0, 1, 2]


def test_profile_prints_the_table(command: Command, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, LoadOptions]] = []

    def profile_network(network: PreparedNetwork, options: LoadOptions) -> str:
        asked.append((network.name, options))
        return "conv1  1.2 ms"

    monkeypatch.setattr(profile, "profile_network", profile_network)
    code, out, _ = command("profile", "--model", model, "--precision", "fp32")
    assert (code, out) == (0, "conv1  1.2 ms\n")
    assert asked == [("brightness", LoadOptions("", "fp32", 1, str(folder)))]


@pytest.mark.parametrize("arguments", [[], ["build", "--max-batch", "many"], ["no_such_command"]])
def test_flags_that_are_none_end_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: actionnet-engine" in capsys.readouterr().err
