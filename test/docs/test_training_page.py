"""docs/training.md: its commands are understood and its table is the command's; test/tools/test_finetune.py runs it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.system.resources import shared_folder

pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
from support import torch_networks  # noqa: F401 - which makes tools importable
from tools.custom_networks import finetune
from tools.custom_networks.clips import SUFFIXES

PAGE = (Path(__file__).absolute().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_commands_are_understood() -> None:
    commands = re.findall(r"^python -m custom_networks\.finetune (.*)$", PAGE, re.M)
    assert len(commands) == 5
    for command in commands:
        assert finetune.parser().parse_args(shlex.split(command, comments=True)).clips == Path("clips")


def test_the_table_has_every_option() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `--")]
    named = [option for row in rows for option in re.findall(r"`(--[a-z-]+)`", row[1])]
    actions = [action for action in finetune.parser()._actions if action.option_strings and action.dest != "help"]
    assert sorted(named) == sorted(action.option_strings[0] for action in actions)
    defaults = {action.option_strings[0]: action.default for action in actions}
    for row in rows:
        numbers = [float(x) for x in re.findall(r"\b\d+(?:\.\d+)?\b", row[3])]
        for option, number in zip(re.findall(r"`(--[a-z-]+)`", row[1]), numbers, strict=False):
            if isinstance(defaults[option], int | float) and option != "--width":
                assert number == defaults[option], option


def test_the_formats_are_those_that_are_read() -> None:
    assert ", ".join(suffix.removeprefix(".") for suffix in SUFFIXES) in PAGE


def test_the_python_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_network").symlink_to(shared_folder("networks") / "camera_motion")
    names: dict[str, Any] = {"frames": np.zeros((40, 9, 16, 3), np.uint8)}
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    exec(compile(block, "docs/training.md", "exec"), names)
    assert names["prediction"].frame == 38
