"""Signals: the first ends in order, the second at once; while modules are imported there is nothing to put in order."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from ros2_actionnet.system.termination import on_termination
on_termination(lambda: print("ending", flush=True), at_once=float(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""
STARTING = """
import sys
sys.path.insert(0, sys.argv[1])
from ros2_actionnet.system.start import run
sys.exit(run("slow"))
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(*command: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-c", *command)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts tests in the background has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_ends_with_130(first: signal.Signals, second: signal.Signals) -> None:
    process = start(PROGRAM, "0")
    assert process.stdout is not None
    process.send_signal(first)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(second)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize("second", SIGNALS)
def test_a_signal_that_comes_twice_at_once_is_one(second: signal.Signals) -> None:
    """As from `timeout`, which would leave an unreadable video otherwise."""
    process = start(PROGRAM.replace("time.sleep(60)", "sys.stdin.readline()"), "60")
    assert process.stdout is not None
    process.send_signal(second)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(second)
    assert process.communicate("end\n", timeout=20) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize(("at_once", "code"), [("60", 0), ("0", 130)])
def test_the_time_of_a_second_signal_is_that_of_its_arrival(at_once: str, code: int) -> None:
    """What ends a run may take longer than signals that belong together are apart, or hang."""
    ending = 'lambda: (print("ending", flush=True), ended.wait())'
    program = "import threading; ended = threading.Event()\n" + PROGRAM.replace(
        'lambda: print("ending", flush=True)', ending
    )
    process = start(program.replace("time.sleep(60)", "sys.stdin.readline()"), at_once)
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate("end\n" if code == 0 else None, timeout=20) == ("", "")
    assert process.returncode == code


def test_with_nohup_a_closed_terminal_ends_nothing() -> None:
    process = start("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM, "0")
    assert process.stdout is not None
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.kill()
    assert process.communicate()[0] == "", "it was ended once"


def test_ctrl_c_while_modules_are_imported_gives_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    process = start(STARTING, str(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


# A stand-in for NumPy, which all programs import, and during which the signal comes.
@pytest.mark.parametrize("module", ["cli.actionnet", "cli.engine", "cli.networks"])
def test_ctrl_c_while_a_program_starts_gives_no_traceback(tmp_path: Path, module: str) -> None:
    (tmp_path / "numpy.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    process = start(
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['program']\n"
        f"runpy.run_module('ros2_actionnet.{module}', run_name='__main__', alter_sys=True)"
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_while_the_interpreter_ends_does_not_change_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, threading\ndef main():\n    print('ready', flush=True)\n"
        "    threading.Thread(target=lambda: os.read(0, 1)).start()\n    return 7\n"
    )
    end = "import signal, threading\njoin = threading._shutdown\n"
    end += "def late():\n    print('late', flush=True)\n    join()\nthreading._shutdown = late\n"
    process = start(end + STARTING, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "late\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate("end", timeout=20) == ("", "")
    assert process.returncode == 7


def test_then_ctrl_c_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import signal\ndef main():\n    print('ready', flush=True)\n"
        "    return 7 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1\n"
    )
    assert start(STARTING, str(tmp_path)).wait(20) == 7
