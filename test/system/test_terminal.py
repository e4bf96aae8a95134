"""Standard streams that were closed at the start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, subprocess, sys
from ros2_actionnet.system.terminal import open_standard_streams
open_standard_streams()
print("said")
child = "import os; [os.fstat(number) for number in (0, 1, 2)]"
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    file.write(str(subprocess.run([sys.executable, "-c", child]).returncode))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_open_here_and_in_child_processes(closed: str, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    subprocess.run(["bash", "-c", f'"$0" -c "$1" "$2" {closed}', sys.executable, PROGRAM, answer], check=True)
    assert answer.read_text() == "0"
