"""What scripts/setup installs: the demo gets what it needs and no more, the tests the same in the same versions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parents[1]
PINS = ROOT / "ros_from_wheels"
DISTRIBUTIONS = ("jazzy", "kilted")


def pins(name: str) -> set[str]:
    return set((PINS / f"requirements-{name}.txt").read_text(encoding="utf-8").splitlines())


def names(lines: set[str] | list[str]) -> set[str]:
    return {re.split(r"[\[<>=!; ]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def extras(*chosen: str) -> list[str]:
    return [line for extra in chosen for line in project()["optional-dependencies"][extra]]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_demo_has_the_versions_of_the_tests(distribution: str) -> None:
    assert pins(distribution) < pins(f"{distribution}-dev")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_demo_has_what_the_command_needs_and_nothing_of_the_tests_alone(distribution: str) -> None:
    demo = names(pins(distribution))
    assert demo >= names([*project()["dependencies"], *extras("openvino", "media")])
    assert not demo & {"mypy", "ruff", "hypothesis", "onnxruntime", "scipy", "scikit-image", "scikit-learn", "torch"}
    assert names(pins(f"{distribution}-dev")) >= names(extras("dev"))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_package_is_pinned(distribution: str) -> None:
    for line in pins(f"{distribution}-dev"):
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line), line


def test_beside_an_installed_ros_only_what_is_missing_is_asked_for() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "missing_requirements.py")]
    for arguments in ([], ["--dev"]):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=True)
        # All is there; NumPy keeps its major version.
        assert done.stdout.split() == [f"numpy<{int(np.__version__.partition('.')[0]) + 1}"]
