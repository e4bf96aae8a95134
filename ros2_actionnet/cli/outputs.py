"""Outputs of the command `actionnet`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.networks.resolve import resolve
from ros2_actionnet.recognition.loading import network_request
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.addresses import without_password

_SUFFIXES_OF_NETWORKS = (".onnx", ".xml", ".bin", ".data", ".onnx_data", ".weights", ".engine", ".plan", ".trt")
"""Of models, and of the files in which they store tensors."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of one input; "" and None disable an output.

    Attributes:
        output: URI for `open_sink`.
        window: True to open a window if there is no output and a window can be opened.
        results, report: Paths of these files.
        save: Path of a video file written in addition to the output or the window.
        input_save: Path of a file that keeps the input.
    """

    output: str = ""
    window: bool = False
    results: Path | None = None
    report: Path | None = None
    save: str = ""
    input_save: str = ""

    @property
    def files(self) -> list[Path]:
        """The files and folders that exist now."""
        paths = [Path(self.output), self.results, self.report, Path(self.save), Path(self.input_save)]
        return [path for path in paths if path is not None and path.name and path.exists()]

    @property
    def uris(self) -> list[str]:
        """All of them."""
        save = "" if self.save == self.output else self.save  # the same picture twice is written once
        return [str(uri) for uri in (self.output, self.results, self.report, save, self.input_save) if uri]


_LONGEST_STEM = 240  # bytes; file systems take names of 255, suffix and number included


def outputs_of_batch(uris: Sequence[str], folder: Path, kinds: Sequence[str]) -> Iterator[Outputs]:
    """Yield the outputs of each of `uris`: in `folder`, under its name, with a number if that name is taken.

    `kinds` are any of video, results and report.
    """
    taken = set[str]()
    for uri in uris:
        stem = re.sub(r"[^\w.-]+", "_", Path(uri).stem if Path(uri).exists() else without_password(uri)).strip("_")
        stem = os.fsencode(stem)[:_LONGEST_STEM].decode(errors="ignore")
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


def files_of_network(settings: Settings) -> list[Path]:
    """Return the files of the network that `settings` select; none if there is no such network on this machine."""
    try:
        spec = resolve(network_request(settings))
        folder = spec.model.parent
        weights = [file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES_OF_NETWORKS]
    except (ActionNetError, OSError):  # which the load reports
        return []
    return [spec.model, folder / "network.yaml", *filter(None, [spec.labels]), *weights]


def has_display() -> bool:
    """Return True if the environment variables name a display."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
