"""Where the command `actionnet` writes what it makes of an input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ros2_actionnet.errors import MediaError


@dataclass(frozen=True)
class Outputs:
    """Where what is made of one input goes; "" and None: nowhere.

    Attributes:
        output: a URI for `open_sink`.
        window: whether to open a window where there is no output, if one can be opened.
        results, report: files.
        save: a video file beside the output or the window.
        input_save: a file in which the input is kept.
    """

    output: str = ""
    window: bool = False
    results: Path | None = None
    report: Path | None = None
    save: str = ""
    input_save: str = ""

    @property
    def files(self) -> list[Path]:
        """The files and folders that are there now."""
        paths = [Path(self.output), self.results, self.report, Path(self.save), Path(self.input_save)]
        return [path for path in paths if path is not None and path.name and path.exists()]

    def check(self, uri: str) -> None:
        """Raises MediaError if the input `uri` would be written over."""
        for path in self.files:
            if Path(uri).exists() and path.samefile(uri):
                raise MediaError(f"'{path}' is the input, which would be overwritten; give another output")


def outputs_of_batch(uris: Sequence[str], folder: Path, kinds: Sequence[str]) -> Iterator[Outputs]:
    """Where what is made of each of `uris` goes: into `folder`, under its name, or that with a number if it is taken.

    `kinds` are some of video, results and report.
    """
    taken = set[str]()
    for uri in uris:
        stem = re.sub(r"[^\w.-]+", "_", Path(uri).stem if Path(uri).exists() else uri).strip("_")
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        yield Outputs(
            output=str(folder / f"{name}.mp4") if "video" in kinds else "",
            results=folder / f"{name}.jsonl" if "results" in kinds else None,
            report=folder / f"{name}.html" if "report" in kinds else None,
        )


def has_display() -> bool:
    """Whether there is a display, as far as the environment says."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
