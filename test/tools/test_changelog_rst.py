"""ROS's own parser finds every entry of CHANGELOG.md in CHANGELOG.rst."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.generate_changelog_rst import converted, main

changelog = pytest.importorskip("catkin_pkg.changelog", reason="needs catkin_pkg and docutils")

ROOT = Path(__file__).parents[2]
MARKDOWN = """# Changelog

What changes.

## [Unreleased]

### Added

- The command `a | b`, see [its page](docs/a.md), and `network_` beside network_ and a|b:
  on a second line.
- Another.

### Fixed

- A crash.

## [0.1.0] - 2026-02-01

### Added

- Everything.
"""


def words(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip()


def releases(markdown: str) -> list[tuple[str, str, list[str]]]:
    """Version, date and entries of every release, as ROS's tools read them (an unreleased one is skipped)."""
    parsed = changelog.populate_changelog_from_rst(changelog.Changelog("ros2_actionnet"), converted(markdown))
    return [
        (
            version,
            f"{date:%Y-%m-%d}",
            [words(str(entry)) for part in content for entry in getattr(part, "bullets", [part])],
        )
        for version, date, content in parsed.foreach_version()
    ]


def released(markdown: str) -> str:
    return markdown.replace("## [Unreleased]", "## [9.9.9] - 2026-11-01")


def test_releases_and_entries_are_understood() -> None:
    old = ("0.1.0", "2026-02-01", ["Added", "Everything"])
    assert releases(MARKDOWN) == [old]
    new, before = sorted(releases(released(MARKDOWN)), reverse=True)
    assert before == old
    assert new[:2] == ("9.9.9", "2026-11-01")
    assert [entry[:25] for entry in new[2]] == ["Added", "The command a b see its p", "Another", "Fixed", "A crash"]


def test_it_is_valid_restructuredtext(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    docutils = pytest.importorskip("docutils.core")
    docutils.publish_doctree(text, settings_overrides={"report_level": 1})
    assert capsys.readouterr().err == ""


def test_it_holds_every_entry() -> None:
    markdown = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [entry for _, _, content in releases(released(markdown)) for entry in content]
    assert len(entries) == len(re.findall(r"^(?:- |### )", markdown, re.MULTILINE))


def test_it_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err
