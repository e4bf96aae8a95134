"""Writes CHANGELOG.rst, which ROS's tools (catkin_generate_changelog, bloom, rosindex) read, from CHANGELOG.md.

python tools/generate_changelog_rst.py            # after a change of CHANGELOG.md
python tools/generate_changelog_rst.py --check    # only says whether it is up to date
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
PACKAGE = "ros2_actionnet"

_RELEASE = re.compile(r"## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)")
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
# What has a meaning in reStructuredText and none in Markdown: a word's last underscore, and bars around one.
_SPECIAL = re.compile(r"([|\\]|(?<=\w)_(?!\w))")


def converted(markdown: str) -> str:
    """Return the text of CHANGELOG.rst (REP 132) for that of CHANGELOG.md."""
    title = f"Changelog for package {PACKAGE}"
    rule = "^" * len(title)
    lines = [rule, title, rule]
    releases = markdown.split("\n## ")[1:]
    for release in releases:
        head, _, body = release.partition("\n")
        found = _RELEASE.match(f"## {head}")
        heading = f"{found[1]} ({found[2]})" if found else "Forthcoming"
        lines += ["", heading, "-" * len(heading)]
        for line in body.rstrip().splitlines():
            if line.startswith("### "):
                lines.append(f"**{line[4:]}**")
            elif line.startswith("- "):
                lines.append(f"* {line[2:]}")
            else:
                lines.append(line)
    head_lines, body_lines = lines[:3], lines[3:]
    return "\n".join([*head_lines, _inline("\n".join(body_lines)), ""])


def _inline(text: str) -> str:
    """Return Markdown's code and links in reStructuredText's spelling."""
    pieces = _CODE.split(text)
    for index, piece in enumerate(pieces):
        is_code = index % 2 == 1
        pieces[index] = f"``{piece}``" if is_code else _LINK.sub(r"`\1 <\2>`__", _SPECIAL.sub(r"\\\1", piece))
    return "".join(pieces)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description="Writes CHANGELOG.rst from CHANGELOG.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it is out of date")
    options = parser.parse_args(arguments)
    text = converted((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    path = ROOT / "CHANGELOG.rst"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if options.check:
        print("CHANGELOG.rst is out of date: run python tools/generate_changelog_rst.py", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
