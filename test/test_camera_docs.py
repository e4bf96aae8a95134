"""docs/cameras.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from ros2_actionnet.images.raw_image import SUPPORTED_ENCODINGS

PAGE = (Path(__file__).parents[1] / "docs" / "cameras.md").read_text()


def test_the_table_of_encodings_is_that_of_the_code() -> None:
    section = PAGE.split("## Encodings")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(SUPPORTED_ENCODINGS)


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (Path(__file__).parents[1] / "docs" / target).exists(), target
