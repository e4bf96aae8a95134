"""The install lines of the pages, resolved by pip for the systems that they are for."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INDEX = "https://pypi.org/simple"
LINE = re.compile(r"^(?:PIP_\w+=1 )?pip install .*$|`((?:PIP_\w+=1 )?pip install [^`]+)`", re.MULTILINE)
# Compiled where they are installed, so pip's resolver has nothing to choose.
COMPILED = {"pycuda"}
# From NVIDIA, for machines with its GPUs; and PyTorch, of which pip would download gigabytes.
LEFT_OUT = ("tensorrt", "torch")
GLIBC = {"3.10": 35, "3.12": 39}  # Ubuntu 22.04 and 24.04


def lines() -> list[tuple[str, str, tuple[str, ...]]]:
    """Page, line and requirements of every `pip install` in the pages; extras of the package as what they stand for."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in LINE.finditer(text):
            line = " ".join((match[1] or match[0]).split())
            words = shlex.split(line, comments=True)
            packages = [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]
            packages = [word for word in packages if not word.startswith((*COMPILED, *LEFT_OUT))]
            if requirements := tuple(part for word in packages for part in expanded(word)):
                found.append((page.name, line, requirements))
    return found


def expanded(word: str) -> list[str]:
    match = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word)
    if match is None:
        return [word]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (match[1] or "").split(",")
    optional = [line for extra in extras if extra for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *optional]


def is_for_the_system(line: str) -> bool:
    """Return True for a line that is for the Python of the system, beside what apt has installed."""
    return line.startswith("PIP_BREAK_SYSTEM_PACKAGES=1")


# Who types one line types the others, too: all for the system's Python must fit together, and all for an environment.
CASES = {
    kind: sorted({part for _, line, parts in lines() for part in parts if is_for_the_system(line) == of_system})
    for kind, of_system in (("system", True), ("environment", False))
}


def test_lines_for_the_systems_python_keep_numpy_1_and_work_on_ubuntu_24_04() -> None:
    system = [line for page, line, _ in lines() if page in ("README.md", "jetson.md") and "'.[" not in line]
    assert len(system) >= 4, "the pages are not understood any more"
    for line in system:
        assert line.startswith('PIP_BREAK_SYSTEM_PACKAGES=1 pip install "numpy<2"'), line


@pytest.fixture(name="index", scope="module")
def index_fixture() -> str:
    try:
        urllib.request.urlopen(f"{INDEX}/pip/", timeout=10).close()
    except OSError as error:
        pytest.skip(f"no package index can be reached, so the install lines are not resolved: {error}")
    return INDEX


@pytest.mark.slow
@pytest.mark.timeout(600)  # of the index's answers
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", list(GLIBC))
@pytest.mark.parametrize("kind", list(CASES))
def test_pip_resolves_them(kind: str, python: str, machine: str, index: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    glibc = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC[python], 16, -1)]
    platforms = [*glibc, f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--isolated", "--index-url", index]
    command += ["--retries", "0"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--target", str(tmp_path)]
    command += [f"--platform={platform}" for platform in platforms]
    command += ["--report", str(report), *CASES[kind]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to establish a new connection" in done.stderr:
        pytest.skip("the package index cannot be reached from here, so the install lines are not resolved")
    assert done.returncode == 0, done.stderr
    installed = {
        package["metadata"]["name"].lower(): package["metadata"]["version"]
        for package in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    assert set(installed) >= {re.split(r"[<>=[]", package)[0].lower() for package in CASES[kind]}
    if kind == "system":
        assert installed["numpy"].startswith("1."), "apt's OpenCV and cv_bridge could not be imported any more"
