"""The cost of drawing the results on a frame, beside that of an earlier commit, in turns.

    benchmarks/run overlay --against HEAD~1

`first` is the first time that a text is drawn, `again` every later one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from benchmarks.report import Report, Table, milliseconds, parser, percentile
from ros2_actionnet.images import overlay

LABELS = ("roll_counterclockwise", "putting the groceries into the refrigerator", "pan_left", "still", "walking")
SIZES = ((320, 240), (1280, 720), (1920, 1080), (3840, 2160))
Draw = Callable[[Any, int], None]


def drawing(module: Any) -> Draw:
    """Return a function that draws the results of the frame of a number, whose scores differ from those before it."""

    def draw(frame: Any, number: int) -> None:
        lines = [module.OverlayLine(label, (number * 7 + 13 * i) % 100 / 100) for i, label in enumerate(LABELS)]
        module.draw_overlay(frame, lines)

    return draw


def at_commit(reference: str) -> ModuleType:
    """Return the overlay's module as it was at a commit."""
    path = "ros2_actionnet/images/overlay.py"
    root = Path(__file__).parents[1]
    source = subprocess.run(
        ["git", "-C", str(root), "show", f"{reference}:{path}"], capture_output=True, text=True, check=True
    ).stdout
    module = sys.modules["earlier_overlay"] = ModuleType("earlier_overlay")
    exec(compile(source, f"{reference}:{path}", "exec"), module.__dict__)
    return module


def measure(draws: Sequence[Draw], size: tuple[int, int], repetitions: int) -> list[list[float]]:
    """Return the seconds that each of the functions takes for each frame, in turns."""
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    times: list[list[float]] = [[] for _ in draws]
    for number in range(repetitions):
        for draw, taken in zip(draws, times, strict=True):
            frame = picture.copy()
            started = time.perf_counter()
            draw(frame, number)
            taken.append(time.perf_counter() - started)
    return times


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--against", metavar="COMMIT", help="of git, to compare with")
    arguments.add_argument("--repetitions", type=int, default=300, help="frames of each size (default: %(default)s)")
    options = arguments.parse_args()
    report = Report(options)
    cv2.setNumThreads(1)
    variants = {"now": drawing(overlay)}
    if options.against:
        variants[options.against] = drawing(at_commit(options.against))
    table = Table(f"{len(LABELS)} results drawn on a frame", ("size, commit", "first ms", "again, median ms", "p95 ms"))
    for size in SIZES:
        for name, times in zip(variants, measure(list(variants.values()), size, options.repetitions), strict=True):
            later = times[1:]
            row = (milliseconds(t) for t in (times[0], percentile(later, 50), percentile(later, 95)))
            table.rows.append((f"{size[0]}x{size[1]}, {name}", *row))
    report.add(table)
    report.close()


if __name__ == "__main__":
    main()
