"""Engines on disk: whole or not there, built once by many processes, and never in the way."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.backends.tensorrt import engine_cache
from ros2_actionnet.backends.tensorrt.builder import Gpu
from ros2_actionnet.backends.tensorrt.engine_cache import (
    DamagedEngine,
    EngineCache,
    EngineIdentity,
    NotCached,
    default_folder,
)
from ros2_actionnet.errors import LoadCancelled
from ros2_actionnet.load_monitor import Unmonitored
from ros2_actionnet.system import files

IDENTITY = EngineIdentity(
    onnx_sha256="0" * 64,
    precision="fp16",
    max_batch=4,
    workspace=1 << 30,
    tensorrt="TensorRT 10.3.0.30",
    gpu="Orin",
    compute_capability="8.7",
    hardware="8 multiprocessors",
)
KEY = IDENTITY.key
PLAN = bytes(range(256)) * 40
TIMEOUT = 20.0


@pytest.fixture(name="cache")
def cache_fixture(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def store(cache: EngineCache, number: int, size: int = len(PLAN), used: float = 0.0) -> str:
    """Keeps an engine of `size` bytes that was last used at `used`; its key."""
    identity = replace(IDENTITY, max_batch=number)
    cache.store(identity, bytes(size), network=f"network {number}")
    os.utime(cache.folder / f"{identity.key}.json", (used, used))
    return identity.key


class TestKey:
    def test_it_is_the_same_in_every_process(self) -> None:
        program = f"from ros2_actionnet.backends.tensorrt.engine_cache import *\nprint({IDENTITY!r}.key)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == KEY
        assert re.fullmatch("[0-9a-f]{32}", KEY)

    @pytest.mark.parametrize("name", [field.name for field in fields(EngineIdentity)])
    def test_all_that_an_engine_depends_on_is_in_it(self, name: str) -> None:
        value = getattr(IDENTITY, name)
        changed: Any = value + 1 if isinstance(value, int) else f"{value}x"
        other = replace(IDENTITY, **{name: changed})
        assert other.key != KEY


class TestFolder:
    def test_an_argument_comes_before_the_environment_and_that_before_the_users_cache(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.delenv("ACTIONNET_ENGINE_CACHE", raising=False)
        assert default_folder() == Path("/home/somebody/.cache/ros2_actionnet/engines")
        monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
        assert default_folder() == Path("/caches/ros2_actionnet/engines")
        monkeypatch.setenv("ACTIONNET_ENGINE_CACHE", "~/mine")
        assert EngineCache().folder == Path("/home/somebody/mine")
        assert EngineCache("~/other").folder == Path("/home/somebody/other")

    def test_it_is_not_made_to_look_into_it(self, cache: EngineCache) -> None:
        assert cache.engines() == []
        with pytest.raises(NotCached, match=f"there is none in {cache.folder} yet") as absence:
            cache.read(KEY)
        assert not isinstance(absence.value, DamagedEngine)
        assert not cache.folder.exists()


class TestReading:
    def test_what_was_kept_comes_back(self, cache: EngineCache) -> None:
        cache.store(IDENTITY, PLAN)
        assert cache.read(KEY) == PLAN

    def test_the_sidecar_says_what_it_is_to_a_person(self, cache: EngineCache) -> None:
        cache.store(IDENTITY, PLAN, network="resnet-18", build_seconds=41.5)
        text = (cache.folder / f"{KEY}.json").read_text()
        assert text.count("\n") > 10  # a line for each value
        said = json.loads(text)
        assert (said["network"], said["build_seconds"], said["gpu"]) == ("resnet-18", 41.5, "Orin")
        assert (said["tensorrt"], said["size"]) == ("TensorRT 10.3.0.30", len(PLAN))
        assert said["built"].endswith("+00:00")

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda plan, _: plan.write_bytes(PLAN[:-1]), "damaged: it has 10239 bytes instead of 10240"),
            (lambda plan, _: plan.write_bytes(PLAN[:-1] + b"!"), "damaged: its sha256 is not what it was"),
            (lambda plan, _: plan.unlink(), r"the file .*\.engine is missing"),
            (lambda _, sidecar: sidecar.unlink(), r"the file .*\.json is missing"),
            (lambda _, sidecar: sidecar.write_text("{"), "cannot be read: "),
            (lambda _, sidecar: sidecar.write_text("{}"), "cannot be read: 'sha256'"),
            (lambda _, sidecar: sidecar.write_text("[]"), "cannot be read: "),
        ],
        ids=["truncated", "altered", "no engine", "no sidecar", "half a sidecar", "empty sidecar", "another sidecar"],
    )
    def test_an_engine_that_is_not_whole_is_not_there_and_it_says_why(
        self, cache: EngineCache, damage: Callable[[Path, Path], object], reason: str
    ) -> None:
        cache.store(IDENTITY, PLAN)
        damage(cache.folder / f"{KEY}.engine", cache.folder / f"{KEY}.json")
        with pytest.raises(DamagedEngine, match=reason):
            cache.read(KEY)
        cache.store(IDENTITY, PLAN)
        assert cache.read(KEY) == PLAN

    def test_it_counts_as_used_unless_it_is_only_checked(self, cache: EngineCache) -> None:
        key = store(cache, 1, used=1000.0)
        cache.read(key, touch=False)
        assert cache.engines()[0].used == 1000.0
        cache.read(key)
        assert cache.engines()[0].used > 1e9


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Lets the system refuse to write more: with EFBIG, where a full disk has ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestWriting:
    def test_a_folder_that_cannot_be_is_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "file").write_text("not a folder")
        cache = EngineCache(tmp_path / "file" / "engines")
        with cache.lock(KEY):
            cache.store(IDENTITY, PLAN)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert f"cannot be kept in {cache.folder}: " in caplog.text
        assert "It works, but will be built again next time" in caplog.text
        with pytest.raises(NotCached):
            cache.read(KEY)

    def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(
        self, cache: EngineCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        with no_file_longer_than(5000), cache.lock(KEY):
            cache.store(IDENTITY, PLAN)
        assert "File too large" in caplog.text
        assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
        cache.store(IDENTITY, PLAN)
        assert cache.read(KEY) == PLAN

    def test_an_engine_in_a_folder_that_is_only_read_is_used(self, cache: EngineCache) -> None:
        cache.store(IDENTITY, PLAN)
        program = (
            "import os, sys\n"
            "from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache\n"
            "os.setuid(65534) if os.getuid() == 0 else None\n"
            f"cache = EngineCache({str(cache.folder)!r})\n"
            f"with cache.lock({KEY!r}): sys.stdout.write(str(len(cache.read({KEY!r}))))\n"
        )
        (cache.folder / f"{KEY}.lock").unlink(missing_ok=True)
        for folder in (cache.folder, *list(cache.folder.parents)[:3]):
            folder.chmod(0o755)
        cache.folder.chmod(0o555)
        try:
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        finally:
            cache.folder.chmod(0o755)
        assert done.stdout == str(len(PLAN)), done.stderr

    def test_a_reader_never_sees_half_an_engine(self, cache: EngineCache) -> None:
        versions = [bytes([number]) * 100_000 for number in range(8)]
        cache.store(IDENTITY, versions[0])
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                for version in versions:
                    files.write_atomically(cache.folder / f"{KEY}.engine", version)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = [(cache.folder / f"{KEY}.engine").read_bytes() for _ in range(200)]
        finally:
            stop.set()
            writer.join()
        assert set(seen) <= set(versions)


HOLDER = """
import sys
from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache
with EngineCache(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(cache: EngineCache, key: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(cache.folder), key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


class Monitor(Unmonitored):
    """Hears, and cancels after `patience` words."""

    def __init__(self, patience: int | None = None) -> None:
        self.words: list[str] = []
        self.patience = patience
        self.heard = threading.Event()

    def progress(self, what: str) -> None:
        self.words.append(what)
        self.heard.set()

    def downloaded(self, name: str, done: int, total: int) -> None:
        pass

    def cancelled(self) -> bool:
        return self.patience is not None and len(self.words) >= self.patience


class TestLock:
    @pytest.fixture(autouse=True)
    def _impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "_POLL", 0.005)
        monkeypatch.setattr(engine_cache, "PROGRESS_PERIOD", 0.01)

    def test_who_waits_says_so_and_goes_on_when_the_other_is_done(self, cache: EngineCache) -> None:
        monitor, entered = Monitor(), threading.Event()

        def wait() -> None:
            with cache.lock(KEY, monitor):
                entered.set()

        with held_by_another_process(cache, KEY) as process:
            waiter = threading.Thread(target=wait)
            waiter.start()
            assert monitor.heard.wait(TIMEOUT)
            assert not entered.is_set()
            assert re.fullmatch(r"waiting for another process to build the engine, \d+ s so far", monitor.words[0])
            assert process.stdin is not None
            process.stdin.close()
            assert entered.wait(TIMEOUT)
            waiter.join()

    def test_who_waits_can_be_cancelled(self, cache: EngineCache) -> None:
        with (
            held_by_another_process(cache, KEY),
            pytest.raises(LoadCancelled),
            cache.lock(KEY, Monitor(patience=2)),
        ):
            raise AssertionError("it was entered")

    def test_a_killed_process_holds_nothing(self, cache: EngineCache) -> None:
        with held_by_another_process(cache, KEY) as process:
            process.kill()
            process.wait()
            with cache.lock(KEY, Monitor(patience=1)):
                pass

    def test_other_keys_are_free(self, cache: EngineCache) -> None:
        with held_by_another_process(cache, KEY), cache.lock("another", Monitor(patience=1)):
            pass

    def test_threads_of_one_process_exclude_each_other_too(self, cache: EngineCache) -> None:
        inside: list[int] = []

        def enter(number: int) -> None:
            with cache.lock(KEY):
                inside.append(number)
                assert len(inside) == 1
                inside.remove(number)

        threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert not inside

    def test_a_lock_that_was_removed_with_its_engine_while_it_was_waited_for_is_taken_anew(
        self, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.store(IDENTITY, PLAN)
        import fcntl

        flock = fcntl.flock

        def remove_first(descriptor: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", flock)
            (cache.folder / f"{KEY}.lock").unlink()
            flock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", remove_first)
        with cache.lock(KEY):
            # Were it the lock of the removed file, another process could take that of the new one.
            monkeypatch.setattr(engine_cache, "PROGRESS_PERIOD", 0.0)
            with pytest.raises(LoadCancelled), cache.lock(KEY, Monitor(patience=1)):
                pass


class TestRoom:
    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_the_longest_unused_go_first(self, tmp_path: Path, order: tuple[int, ...]) -> None:
        cache = EngineCache(tmp_path, size_limit=3000)
        keys = {number: store(cache, number, 1000, used=1000.0 + place) for place, number in enumerate(order)}
        used_again, oldest, other = (keys[number] for number in order)
        cache.read(used_again)
        newest = store(cache, 3, 1000)
        assert {engine.key for engine in cache.engines()} == {used_again, other, newest}
        assert not (tmp_path / f"{oldest}.json").exists()
        assert not (tmp_path / f"{oldest}.lock").exists()

    def test_one_that_is_built_again_takes_its_own_place(self, tmp_path: Path) -> None:
        cache = EngineCache(tmp_path, size_limit=3000)
        keys = {store(cache, number, 1000) for number in range(3)}
        store(cache, 0, 1000)
        assert {engine.key for engine in cache.engines()} == keys

    def test_an_engine_larger_than_the_limit_is_kept_alone(self, tmp_path: Path) -> None:
        cache = EngineCache(tmp_path, size_limit=3000)
        store(cache, 1, 1000)
        large = store(cache, 2, 5000)
        assert [engine.key for engine in cache.engines()] == [large]

    def test_one_that_another_process_builds_or_loads_stays(self, tmp_path: Path) -> None:
        cache = EngineCache(tmp_path, size_limit=3000)
        keys = [store(cache, number, 1000, used=1000.0 + number) for number in range(3)]
        with held_by_another_process(cache, keys[0]):
            newest = store(cache, 3, 1000)
            assert {engine.key for engine in cache.engines()} == {keys[0], keys[2], newest}
            assert not cache.remove(keys[0])
        assert cache.remove(keys[0])

    def test_what_killed_processes_left_is_removed_and_what_is_being_written_is_not(self, cache: EngineCache) -> None:
        cache.store(IDENTITY, PLAN)
        left = [cache.folder / f"{key}.1234.part" for key in (KEY, "gone")]
        written = cache.folder / "written.1234.part"
        for path in (*left, written):
            path.write_bytes(PLAN)
        with held_by_another_process(cache, "written"):
            store(cache, 7)
            assert written.exists()
        assert not any(path.exists() for path in left)
        assert not (cache.folder / "gone.lock").exists()
        assert cache.read(KEY) == PLAN

    def test_an_engine_that_cannot_be_removed_is_told_and_the_new_one_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = EngineCache(tmp_path, size_limit=1000)
        store(cache, 1, 1000)

        def refuse(key: str) -> bool:
            raise PermissionError(13, "Permission denied", key)

        monkeypatch.setattr(cache, "remove", refuse)
        new = store(cache, 2, 1000)
        assert "cannot be removed to make room" in caplog.text
        assert cache.read(new)


class TestRuntimeCaches:
    def test_each_gpu_has_its_own_and_they_go_with_the_engine(self, cache: EngineCache) -> None:
        key, other = store(cache, 1), store(cache, 2)
        gpus = [Gpu("RTX 4090", (8, 9)), Gpu("RTX 4090", (8, 9), hardware="72 MiB"), Gpu("RTX 3060", (8, 6))]
        paths = {cache.runtime_cache(engine, gpu) for engine in (key, other) for gpu in gpus}
        for path in paths:
            path.write_bytes(b"kernels")
        cache.remove(key)
        assert set(cache.folder.glob("*.runtime")) == {cache.runtime_cache(other, gpu) for gpu in gpus}
        assert len(paths) == 6


class TestTimingCaches:
    def test_each_tensorrt_and_gpu_has_its_own_and_all_go_at_once(self, cache: EngineCache) -> None:
        paths = {
            cache.timing_cache(replace(IDENTITY, tensorrt=version, gpu=gpu, hardware=hardware))
            for version in ("TensorRT 10.3.0.30", "TensorRT 8.5.2.2")
            for gpu in ("Orin", "NVIDIA GeForce RTX 4090 / 24GB")
            for hardware in ("8 multiprocessors, integrated", "16 multiprocessors, integrated")
        }
        assert len(paths) == 8
        assert cache.folder / "TensorRT_10_3_0_30-Orin-8_multiprocessors_integrated.timing" in paths
        cache.folder.mkdir()
        for path in paths:
            files.write_atomically(path, b"measured")
        cache.remove_timing_caches()
        assert not list(cache.folder.iterdir())


def test_nothing_is_logged_where_nothing_is_wrong(cache: EngineCache, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), cache.lock(KEY):
        cache.store(IDENTITY, PLAN)
        cache.read(KEY)
    assert not caplog.records
