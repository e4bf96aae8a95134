"""A child's answer is whole whatever it prints, and no child outlives the interest in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ros2_actionnet.errors import LoadCancelled, NetworkError
from ros2_actionnet.system.child_process import Ended, run_module

# PyDLL keeps the GIL, as a library does that is stuck in one call.
STUCK = "ctypes.PyDLL(None).sleep(100)"
Run = Callable[..., Ended]


@pytest.fixture(name="environment")
def environment_fixture(tmp_path: Path) -> dict[str, str]:
    """Of a child that finds the modules that a test writes."""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def write(tmp_path: Path, work: str) -> None:
    (tmp_path / "errand.py").write_text(
        "import ctypes, os, sys\n"
        "from ros2_actionnet.errors import NetworkError\n"
        "from ros2_actionnet.system.child_process import answer_parent\n"
        "def work(question):\n"
        f"    {work}\n"
        "answer_parent(work)\n"
    )


def ignore(elapsed: float) -> None:
    pass


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_what_a_library_prints_does_not_get_into_the_answer(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path, "print('noise'); os.write(2, b'more'); return repr(question).encode()")
    ended = run_module("errand", (1, "two"), ignore, environment=environment)
    assert (ended.code, ended.answer) == (0, b"(1, 'two')")
    assert sorted(ended.printed) == ["morenoise"] or set(ended.printed) == {"noise", "more"}


def test_its_error_is_raised_here_with_its_type_and_words(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path, "raise NetworkError('no such layer') from ValueError('inner')")
    with pytest.raises(NetworkError, match=r"^no such layer$"):
        run_module("errand", None, ignore, environment=environment)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("print('out of luck', flush=True); os._exit(7)", "ended with 7: out of luck"),
    ],
)
def test_how_it_ended_is_told_with_its_last_words(
    tmp_path: Path, environment: dict[str, str], work: str, reason: str
) -> None:
    write(tmp_path, work)
    ended = run_module("errand", None, ignore, environment=environment)
    assert (ended.answer, ended.reason) == (b"", reason)


def test_one_that_is_not_wanted_any_more_is_killed_even_inside_a_library(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    write(tmp_path, f"open(question, 'w').write(str(os.getpid())); {STUCK}")
    note = tmp_path / "pid"

    def cancel_once_stuck(elapsed: float) -> None:
        if note.exists() and note.read_text():
            raise LoadCancelled("not wanted")

    with pytest.raises(LoadCancelled):
        run_module("errand", str(note), cancel_once_stuck, environment=environment)
    assert not psutil.pid_exists(int(note.read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent_however_that_ends(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    write(tmp_path, f"open(question, 'w').write(str(os.getpid())); {STUCK}")
    note = tmp_path / "pid"
    program = (
        "import sys\n"
        "from ros2_actionnet.system.child_process import run_module\n"
        "run_module('errand', sys.argv[1], lambda elapsed: None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(note)], env=environment) as parent:
        wait_until(lambda: note.exists() and bool(note.read_text()), "the child is at work")
        parent.send_signal(number)
        parent.wait(20)
    child = int(note.read_text())
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", "the child ended")
