"""What Ctrl-C does while a program is imported, and after that."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ros2_actionnet.system import start

ROOT = Path(__file__).parents[2]


def installed(folder: Path, module: str) -> Path:
    """Return the executable that the build installs for `module`."""
    path = folder / "executable"
    path.write_text((ROOT / "cmake" / "executable.in").read_text().replace("@module@", module))
    return path


def test_ctrl_c_before_anything_of_ours_is_imported_leaves_no_traceback(tmp_path: Path) -> None:
    # A package of our name that tells when its import began, and never ends it.
    package = tmp_path / "ros2_actionnet"
    package.mkdir()
    (package / "__init__.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, str(installed(tmp_path, "ros2_actionnet.nothing"))]
    environment = {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (-signal.SIGINT, "")


PROGRAM = """
import signal
seen = signal.getsignal(signal.SIGINT)
def main():
    print(seen, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    return 3
"""


@pytest.mark.parametrize(("ignored", "expected"), [(False, "0 True"), (True, "1 False")])
def test_the_program_itself_has_the_handling_that_it_would_have_without_us(
    tmp_path: Path, ignored: bool, expected: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("print(seen", "print(int(seen)"))
    command = [sys.executable, str(installed(tmp_path, "program"))]
    done = subprocess.run(
        ["sh", "-c", ("trap '' INT; " if ignored else "") + 'exec "$@"', "sh", *command],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (3, expected, "")


def test_a_handler_of_the_callers_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_program.py").write_text("def main():\n    return 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = lambda number, frame: None  # noqa: E731
    before = signal.signal(signal.SIGINT, own)
    try:
        assert start.run("own_program") == 0
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
