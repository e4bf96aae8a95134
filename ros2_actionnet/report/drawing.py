"""Shapes of columns of scores, and formatting of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ros2_actionnet.report.occurrences import Occurrence
from ros2_actionnet.report.timeline import Column, runs

WIDTH, HEIGHT = 1000, 100
"""Units of the drawings, which are stretched to fit: the whole duration, and a score of 1."""

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS = 9


@dataclass(frozen=True)
class Segment:
    """A section of the ribbon with one best class; both ends are in units of the drawing."""

    left: float
    right: float
    best: int


def area(columns: Sequence[Column], class_index: int, duration: float, peaks: bool = False) -> str:
    """Return the SVG path of the area under a class's mean scores, or its peaks; gaps are left open."""
    scale = WIDTH / duration
    pieces = []
    for run in runs(columns):
        scores = [float((column.peaks if peaks else column.scores)[class_index]) for column in run]
        heights = [HEIGHT * (1 - min(score, 1.0)) for score in scores]
        middles = [scale * (column.start + column.end) / 2 for column in run]
        left, right = scale * run[0].start, min(scale * run[-1].end, WIDTH)
        points = [(left, heights[0]), *zip(middles, heights, strict=True), (right, heights[-1])]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        pieces.append(f"M{left:.1f} {HEIGHT}L{line}L{right:.1f} {HEIGHT}Z")
    return "".join(pieces)


def ribbon(columns: Sequence[Column], duration: float) -> list[Segment]:
    """Return the best class over time; consecutive columns with the same one are merged into a segment."""
    scale = WIDTH / duration
    segments: list[Segment] = []
    for run in runs(columns):
        first = len(segments)
        for column in run:
            left, right = scale * column.start, min(scale * column.end, WIDTH)
            if len(segments) > first and segments[-1].best == column.best:
                segments[-1] = Segment(segments[-1].left, right, column.best)
            else:
                segments.append(Segment(segments[-1].right if len(segments) > first else left, right, column.best))
    return segments


def bars(occurrences: Sequence[Occurrence], duration: float) -> list[tuple[float, float]]:
    """Return the left end and width, in percent, of the occurrences of a class in order; near neighbors are merged."""
    drawn: list[tuple[float, float]] = []
    for occurrence in occurrences:
        left, right = 100 * occurrence.start / duration, 100 * min(occurrence.end / duration, 1.0)
        if drawn and left - sum(drawn[-1]) < 0.1:
            left = drawn.pop()[0]
        drawn.append((left, right - left))
    return drawn


def ticks(duration: float) -> list[float]:
    """Return the round times (s) to mark on an axis of `duration`, including the beginning."""
    step = next((step for step in _STEPS if duration / step < _MOST_TICKS), duration)
    return [number * step for number in range(ceil(duration / step))]


def clock(seconds: float, digits: int = 1) -> str:
    """Format a time as 0:03.2, 12:05.0 or 1:02:03.0, with `digits` decimals of a second."""
    units = 10**digits
    total = round(seconds * units)
    minutes, rest = divmod(total, 60 * units)
    hours, minutes = divmod(minutes, 60)
    width = 2 + (digits + 1 if digits else 0)
    tail = f"{rest / units:0{width}.{digits}f}"
    return f"{hours}:{minutes:02}:{tail}" if hours else f"{minutes}:{tail}"
