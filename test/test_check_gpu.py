"""scripts/check-gpu: its report, whatever ends the run, and the facts about the machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

CHECKS = """
import logging, os, signal, time
import pytest

def test_one_that_is_right(record_property):
    record_property("a frame | into the ring", "12.3 us")
    logging.getLogger("x").warning("TensorRT: a warning of its own")

def test_one_that_is_not_done():
    pytest.skip("there is no GPU")

def test_one_that_fails():
    logging.getLogger("x").error("TensorRT: Error Code 2")
    text = "many words " * 1000
    assert not text, text

@pytest.fixture
def broken():
    yield
    raise ValueError("not freed")

def test_whose_end_fails(broken): pass

def test_the_last_one():
    {last}
"""


def run_checks(folder: Path, last: str, *options: str) -> tuple[int, str, str]:
    """Run CHECKS with the report's plugin: the exit code, the report and stderr."""
    checks, report = folder / "test_checks.py", folder / "report.md"
    checks.write_text(CHECKS.replace("{last}", last))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p support.gpu_report\n")
    report.write_text("## TensorRT check\n\n- machine: Orin\n")
    command = [sys.executable, "-m", "pytest", "-c", str(folder / "pytest.ini"), "--report", str(report), *options]
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "test"), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    done = subprocess.run(
        [*command, str(checks)], env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, report.read_text(), done.stderr


def test_the_report_has_results_reasons_measurements_failures_and_the_words_of_tensorrt(tmp_path: Path) -> None:
    code, report, errors = run_checks(tmp_path, "pass")
    assert code == 1
    assert report.startswith(
        "## TensorRT check\n\n- machine: Orin\n\n| check | |\n|---|---|\n| one that is right | ok |\n"
    )
    assert "| one that is not done | not done (1) |\n| one that fails | **failed** (2) |" in report
    assert "| whose end fails | ok |\n| whose end fails | **failed** (3) |\n| the last one | ok |" in report
    assert "\n1. there is no GPU\n2. AssertionError: many words" in report
    assert "| a frame \\| into the ring | 12.3 us |" in report
    assert "running" not in report
    failure = report.partition("### Failed: one that fails\n\n```text\n")[2].partition("\n```")[0]
    assert len(failure) == 4000
    assert "test_checks.py:15: AssertionError" in failure
    assert report.count("TensorRT: a warning of its own") == report.count("TensorRT: Error Code 2") == 1
    assert errors.count("running: one that fails\n") == 1


def test_a_check_in_which_the_process_dies_is_named(tmp_path: Path) -> None:
    code, report, errors = run_checks(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -9
    assert "| one that is right | ok |" in report
    assert "| the last one | **running** |" in report
    assert errors.endswith("running: the last one\n")


def test_a_check_that_hangs_is_ended_and_named_with_the_line_that_hangs(tmp_path: Path) -> None:
    code, report, errors = run_checks(tmp_path, "time.sleep(50)", "--check-timeout=1")
    assert code == 1
    assert "| the last one | **running** |" in report
    assert "Timeout (0:00:01)!" in errors
    assert 'test_checks.py", line 25 in test_the_last_one' in errors


PYTHON = """#!/bin/bash
case "$*" in
  *machine_facts.py) echo "- machine: Orin"; [[ $1 != *crash* ]] ;;
  *--missing) ;;
  *--report*)
    while [[ $1 != --report ]]; do shift; done
    echo "what TensorRT printed" >&2
    printf '%s\\n' "| one | ok |" "| building the engine | **running** |" >>"$2"
    kill -KILL $$ ;;
esac
"""


def test_the_script_reports_where_and_how_the_run_died_and_keeps_all_that_was_printed(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHON": str(python)}
    command = [str(ROOT / "scripts" / "check-gpu")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    report = (tmp_path / "gpu_report.md").read_text()
    assert done.returncode == 1, done.stderr
    assert report.startswith("## TensorRT check\n\n- machine: Orin\n")
    assert "| building the engine | **running** |" in report
    assert "The run ended with code 137 in the check that is marked as running" in report
    assert "```text\nwhat TensorRT printed\n```" in report
    assert (tmp_path / "gpu_report.log").read_text() == "what TensorRT printed\n"
    assert report in done.stdout


# ---- the facts -------------------------------------------------------------------------------------------------------


@pytest.fixture(name="machine_facts", scope="module")
def machine_facts_fixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("machine_facts", ROOT / "scripts" / "machine_facts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (b@x)\n", "540.4.0"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n", "580.95.05"),
        ("NVRM version: NVIDIA UNIX aarch64 Kernel Module  470.223.02  Sat Oct 7\nGCC version: 11.4.0\n", "470.223.02"),
        ("something else\n", None),
    ],
)
def test_the_version_of_the_driver(machine_facts: ModuleType, text: str, version: str | None) -> None:
    assert machine_facts.kernel_module(text) == version


COMMANDS = {
    "nvpmodel": 'echo "NV Power Mode: MAXN"; echo 0',
    "id": "echo robot dialout video render",
    "dpkg-query": 'case "$*" in *nvinfer*) printf "%s\\n" "libnvinfer10 10.3.0.30-1" "python3-libnvinfer 10.3.0.30-1" '
    '"libnvinfer8 " "libnvinfer-plugin10 10.3.0.26-1";; *) printf 6.2+b77;; esac',
    "nvcc": 'echo "Cuda compilation tools, release 12.6, V12.6.68"',
}
PYCUDA = """
class device_attribute:
    INTEGRATED, MULTIPROCESSOR_COUNT = 18, 16
class Device:
    def __init__(self, number): pass
    @staticmethod
    def count(): return 1
    def name(self): return "Orin"
    def compute_capability(self): return (8, 7)
    def get_attribute(self, attribute): return {18: 1, 16: 14}[attribute]
def init(): pass
def get_version(): return (12, 6, 0)
"""


def test_the_facts_that_programs_and_pycuda_tell(tmp_path: Path) -> None:
    for name, program in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("VERSION_TEXT = '2025.1'\n")
    (tmp_path / "pycuda" / "driver.py").write_text(PYCUDA)
    environment = dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(tmp_path))
    command = [sys.executable, str(ROOT / "scripts" / "machine_facts.py")]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    facts = dict(line.removeprefix("- ").split(": ", 1) for line in output.splitlines())
    assert facts["power mode"] == "NV Power Mode: MAXN 0"
    assert facts["groups of this user"] == "robot dialout video render"
    assert facts["CUDA toolkit"] == "12.6.68"
    assert facts["TensorRT's packages"] == (
        "10.3.0.30-1 (libnvinfer10, python3-libnvinfer); 10.3.0.26-1 (libnvinfer-plugin10)"
    )
    assert facts["GPUs"] == "0: Orin, SM 8.7, 14 multiprocessors, integrated"
    assert facts["pycuda"] == "2025.1, built for CUDA 12.6.0"
    assert facts["memory available"].endswith(" GiB of swap")
