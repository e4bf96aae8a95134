"""docs/python-api.md does what it says: its code is run in order, and prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet import ActionNet
from ros2_actionnet.settings import SETTINGS

ROOT = Path(__file__).absolute().parents[2]
PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")


def test_the_code_prints_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = list(re.finditer(r"^```(python|text)\n(.*?)^```$", PAGE, re.M | re.S))
    assert len(blocks) > 15
    names: dict[str, Any] = {}
    printed, shown = "", ""
    for block in blocks:
        language, text = block.groups()
        if language == "text":
            shown += text
            assert printed == shown, f"line {PAGE.count(chr(10), 0, block.start()) + 1}"
            continue
        assert printed == shown, "what is printed is shown"
        line = PAGE.count("\n", 0, block.start(2))
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile("\n" * line + text, "docs/python-api.md", "exec"), names)
        printed += output.getvalue()
    assert printed == shown


def test_every_new_name_is_there() -> None:
    rows = [
        line.split("|") for line in PAGE.split("## From `jetson_inference")[1].splitlines() if line.startswith("| `")
    ]
    new = " ".join(row[2] for row in rows)
    for attribute in re.findall(r"`net\.(\w+)", new):
        assert hasattr(ActionNet, attribute), attribute
    keywords = re.findall(r"(\w+)=", new + " ".join(row[1] for row in rows[1:2]))
    assert set(keywords) - {"argv"} <= {setting.name for setting in SETTINGS}


def test_every_old_name_is_in_the_table() -> None:
    """The methods that jetson-inference's Python class adds to its base class."""
    methods = "Classify GetNetworkName GetNumClasses GetClassLabel GetClassDesc GetThreshold SetThreshold GetSkipFrames"
    for name in [*methods.split(), "SetSkipFrames", "Usage"]:
        assert f"`{name}(" in PAGE, name


def test_links_lead_somewhere() -> None:
    for page in ("python-api", "actionnet", "custom-networks", "training"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert target.startswith("https://") or (ROOT / "docs" / target).exists(), f"{page}.md: {target}"
