"""Locks between real processes, files and folders that are whole or as they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ros2_actionnet.system import files
from ros2_actionnet.system.files import file_lock, replace_folder, scratch_folder, sha256_of, write_atomically

HOLDER = """
import sys
from pathlib import Path
from ros2_actionnet.system.files import file_lock
with file_lock(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(lock: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_checksum_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"a" * 1_000_000)  # appendix B.3, within one block of reading
    assert sha256_of(file) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"


class TestLock:
    @pytest.fixture(autouse=True)
    def _impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "_POLL", 0.005)

    def test_another_process_is_not_waited_for_unless_asked(self, tmp_path: Path) -> None:
        lock = tmp_path / "new" / "lock"
        with held_by_another_process(lock), file_lock(lock) as is_ours:
            assert not is_ours
        with file_lock(lock) as is_ours:
            assert is_ours

    def test_another_process_is_waited_for_until_it_is_done(self, tmp_path: Path) -> None:
        waited: list[float] = []
        with held_by_another_process(tmp_path / "lock") as process:

            def wait(seconds: float) -> None:
                waited.append(seconds)
                if len(waited) == 3:
                    assert process.stdin is not None
                    process.stdin.close()

            with file_lock(tmp_path / "lock", wait) as is_ours:
                assert is_ours
                assert len(waited) >= 3
        assert waited == sorted(waited)
        assert waited[0] < 1

    def test_waiting_can_be_ended(self, tmp_path: Path) -> None:
        def end(seconds: float) -> None:
            raise KeyError

        with held_by_another_process(tmp_path / "lock"), pytest.raises(KeyError), file_lock(tmp_path / "lock", end):
            raise AssertionError("it was entered")

    def test_a_killed_process_holds_nothing(self, tmp_path: Path) -> None:
        with held_by_another_process(tmp_path / "lock") as process:
            process.kill()
            process.wait()
            with file_lock(tmp_path / "lock") as is_ours:
                assert is_ours

    def test_the_holder_may_remove_the_file(self, tmp_path: Path) -> None:
        with file_lock(tmp_path / "lock") as first, file_lock(tmp_path / "lock") as second:
            assert (first, second) == (True, False)
            (tmp_path / "lock").unlink()
        with held_by_another_process(tmp_path / "lock"), file_lock(tmp_path / "lock") as is_ours:
            assert not is_ours

    def test_without_locks_everybody_continues(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        with file_lock(tmp_path / "file" / "lock") as first, file_lock(tmp_path / "file" / "lock") as second:
            assert first
            assert second


class TestWriting:
    def test_a_reader_of_the_old_file_keeps_it(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"old content")
        with file.open("rb") as old:
            write_atomically(file, b"new")
            assert old.read() == b"old content"
        assert file.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [file]

    def test_a_failure_leaves_everything_as_it_was(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(OSError, match="Is a directory"):
            write_atomically(folder, b"content")
        assert list(tmp_path.iterdir()) == [folder]

    def test_mode_and_links_of_a_file_stay(self, tmp_path: Path) -> None:
        (tmp_path / "real").touch(mode=0o640)
        (tmp_path / "link").symlink_to("real")
        write_atomically(tmp_path / "link", b"content")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"content"
        assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640

    def test_a_name_may_be_as_long_as_the_file_system_has_it(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / ("x" * 255), b"content")
        assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


class TestFolders:
    def test_a_folder_takes_the_place_of_another(self, tmp_path: Path) -> None:
        target = tmp_path / "network"
        for content in ("first", "second"):
            with scratch_folder(target) as scratch:
                (scratch / content).touch()
                replace_folder(target, scratch)
            assert [path.name for path in target.iterdir()] == [content]
        assert list(tmp_path.iterdir()) == [target]

    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        target = tmp_path / "network"
        with scratch_folder(target) as scratch:
            name = scratch.name
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").touch()
        with scratch_folder(target) as scratch:
            assert list(scratch.iterdir()) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_everything_as_it_was(self, tmp_path: Path) -> None:
        target = tmp_path / "network"
        target.mkdir()
        (target / "file").touch()
        with pytest.raises(FileNotFoundError):
            replace_folder(target, tmp_path / "missing")
        assert (target / "file").exists()
        assert list(tmp_path.iterdir()) == [target]


def test_a_picture_that_cannot_be_replaced_is_written_to(tmp_path: Path) -> None:
    """As a file that is mounted into a container, or in a folder in which nothing may be made."""
    shown = tmp_path / "shown.jpg"
    shown.write_bytes(b"before")
    program = (
        "import sys\nfrom pathlib import Path\nfrom ros2_actionnet.system import files\n"
        "def busy(self, other):\n    raise OSError(16, 'Device or resource busy')\n"
        "Path.replace = busy\n"
        "files.replace_file(Path(sys.argv[1]), b'after')\n"
        "try:\n    files.write_atomically(Path(sys.argv[1]), b'no')\nexcept OSError as error:\n    print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(shown)], capture_output=True, text=True, check=True)
    assert shown.read_bytes() == b"after"
    assert done.stdout == "16\n", "what must be whole is not written to"
    assert [path.name for path in tmp_path.iterdir()] == ["shown.jpg"]
