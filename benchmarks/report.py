"""What the benchmarks print and write: tables, and the machine that they were measured on."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import psutil

Cell = str | float | int | None

_LIBRARIES = ("ros-jazzy-rclpy", "ros-kilted-rclpy", "openvino", "onnxruntime", "opencv-python-headless", "numpy")
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "asimd")


@dataclass(frozen=True)
class Table:
    """A table with a title; `notes` say how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table as Markdown that can be read as it stands."""
        cells = [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        lines = [
            " | ".join(_aligned(text, width, i) for i, (text, width) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        rule = " | ".join("-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths))
        body = "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])
        return "\n\n".join([f"### {self.title}", body, *self.notes])


class Report:
    """Tables as they come: each is printed at once, and all are written at the end where the options say so."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._json: Path | None = options.json
        self._markdown: Path | None = options.markdown
        self._load = os.getloadavg()[0]
        self._tables: list[Table] = []

    def add(self, table: Table) -> None:
        """Takes in a table and prints it."""
        self._tables.append(table)
        print(f"\n{table.markdown()}", flush=True)

    def close(self) -> None:
        """Prints the machine, and writes the files that were asked for."""
        machine = describe_machine() | {"load average before and after": f"{self._load:.1f}, {os.getloadavg()[0]:.1f}"}
        print("\n" + "\n".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
        if self._json is not None:
            tables = [asdict(table) for table in self._tables]
            self._json.write_text(json.dumps({"machine": machine, "tables": tables}, indent=2) + "\n", encoding="utf-8")
        if self._markdown is not None:
            lines = "\n".join(f"- {key}: {value}" for key, value in machine.items())
            parts = [lines, *(table.markdown() for table in self._tables)]
            self._markdown.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has; `description` is the module's docstring."""
    result = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the tables and the machine to this file")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="the same as Markdown")
    return result


def frame_size(text: str) -> tuple[int, int]:
    """Width and height in `text`, such as 1280x720: the type of an option."""
    try:
        width, height = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1280x720") from None
    return width, height


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The percentile of `values`, None where there are none."""
    return float(np.percentile(values, percent)) if len(values) else None


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as milliseconds."""
    return None if seconds is None else seconds * 1e3


def megabytes(count: int) -> float:
    """Bytes as MB."""
    return count / 1e6


def describe_machine() -> dict[str, str]:
    """The processor, the memory and the versions that the numbers depend on."""
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {psutil.virtual_memory().total >> 30} GiB",
        "system": f"{platform.platform()}, Python {platform.python_version()}, ROS {os.environ.get('ROS_DISTRO', '')}",
        "libraries": ", ".join(versions),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split("\t", 1) for line in info.splitlines() if "\t" in line)
    name = fields.get("model name", platform.machine()).strip(" :\t")
    flags = " ".join(fields.get(key, "") for key in ("flags", "Features")).split()
    return f"{name} ({', '.join(flag for flag in _INSTRUCTIONS if flag in flags)})"


def _aligned(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}" if abs(cell) < 1 else f"{cell:.1f}"
    return str(cell)
