"""The names that users import: all of them, no others, each where the package says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

import ros2_actionnet
from ros2_actionnet import action_net, errors
from ros2_actionnet.settings import SETTINGS, Scope, Settings

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "ActionNet",
    "ActionNetError",
    "ActionStream",
    "BackendError",
    "ClassScore",
    "ImageError",
    "LoadCancelled",
    "MediaError",
    "NetworkError",
    "NetworkNotFetched",
    "Prediction",
    "RawImage",
    "ServerError",
    "Settings",
    "SettingsError",
    "__version__",
}


def test_the_exported_names_are_these() -> None:
    assert set(ros2_actionnet.__all__) == PUBLIC
    for name in PUBLIC - {"__version__"}:
        assert getattr(ros2_actionnet, name).__name__ == name


def test_every_error_is_exported() -> None:
    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert ours < PUBLIC


def test_any_other_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ActionNett'"):
        ros2_actionnet.__getattr__("ActionNett")


def test_importing_the_package_loads_nothing_of_the_core() -> None:
    program = "import json, sys, ros2_actionnet; print(json.dumps([m for m in sys.modules if 'actionnet' in m]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == ["ros2_actionnet"]


def test_the_version_is_the_package_s() -> None:
    for file, pattern in (("pyproject.toml", r'(?m)^version = "(.+)"'), ("package.xml", "<version>(.+)</version>")):
        found = re.search(pattern, (ROOT / file).read_text())
        assert found is not None
        assert found[1] == ros2_actionnet.__version__, file


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(action_net.__file__).with_name("py.typed").is_file()


def test_the_docs_import_nothing_deeper() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    deeper = re.compile(r"^\s*(?:from|import) ros2_actionnet\.(?!msg\b)\S+", re.M)
    assert [(page.name, deeper.findall(page.read_text())) for page in pages if deeper.search(page.read_text())] == []


def test_an_editor_knows_the_keywords_of_the_class() -> None:
    hints = get_type_hints(action_net.Keywords)
    named = {setting.name for setting in SETTINGS if setting.scope is Scope.EVERYWHERE} - {"network"}
    assert set(hints) == named
    types = get_type_hints(Settings)
    for name in named:
        if types[name] in (bool, int, float, str):
            # A device is text, but 0 may be a number.
            assert hints[name] == (str | int if name == "device" else types[name]), name
    assert {field.name for field in fields(Settings)} > named
