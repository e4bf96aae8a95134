"""What is drawn on a frame: the top results on a dark glass panel in the top left corner.

Every length is a multiple of the capitals' height, which follows the image's smaller side, so that the panel looks the
same at 720p and at 4K and stays legible under that. The background is blurred and darkened rather than covered: light
text reads on it whatever the picture is, and the scene still shows through.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError

_Image = NDArray[np.uint8]

_ACCENT = (0, 210, 130)  # BGR: the leading result and the progress of filling the window
_BAR = (190, 190, 190)
_TRACK = (86, 86, 86)
_BRIGHT, _SOFT = 248, 205  # grey levels of the leading row's text and of the others'

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_CAPITALS = 21.0  # height of its capitals at scale 1, in pixels (the same in OpenCV 4 and 5)
_SUPERSAMPLING = 2  # text is drawn this much larger and scaled down: smoother than LINE_AA, and cheaper in OpenCV 4

_SMALLEST_CAPITALS = 7  # pixels; smaller ones cannot be read
_ELLIPSIS = "..."  # OpenCV 4's fonts are ASCII only
# What NFKD does not take apart: letters, then typographic quotes and dashes.
_TO_ASCII = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"}
)


@dataclass(frozen=True)
class OverlayLine:
    """One result: its label and its score in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True)
class _Row:
    """One row of the panel: text on the left, figure on the right and, where there is a value in [0, 1], a bar."""

    text: str
    figure: str = ""
    value: float | None = None
    color: tuple[int, int, int] = _BAR
    leading: bool = False


@dataclass(frozen=True)
class _Layout:
    """The panel's measures in pixels; row by row from the top, the first one being larger."""

    capitals: int
    margin: int
    padding: int
    bar: int
    width: int

    @classmethod
    def of(cls, height: int, width: int) -> _Layout:
        capitals = max(_SMALLEST_CAPITALS, round(min(height, width) / 64))
        margin = round(1.2 * capitals)
        return cls(
            capitals=capitals,
            margin=margin,
            padding=round(1.4 * capitals),
            bar=max(2, round(0.3 * capitals)),
            width=min(32 * capitals, width - 2 * margin),
        )

    @property
    def inner_width(self) -> int:
        return self.width - 2 * self.padding

    def text_height(self, row: _Row) -> int:
        return round(1.25 * self.capitals) if row.leading else self.capitals

    def row_height(self, row: _Row) -> int:
        below = round(0.8 * self.capitals) + self.bar if row.value is not None else 0
        return self.text_height(row) + below

    @property
    def row_gap(self) -> int:
        return round(1.1 * self.capitals)

    def panel_height(self, rows: Sequence[_Row]) -> int:
        return 2 * self.padding + sum(map(self.row_height, rows)) + self.row_gap * (len(rows) - 1)


def draw_overlay(frame: _Image, lines: Sequence[OverlayLine], *, fill: float = 1.0, status: str = "") -> None:
    """Draw the top results onto a frame, in place; only the panel's pixels change.

    Rows that do not fit into the image are left out, and nothing is drawn where not even one row fits. Labels that are
    too long are cut with an ellipsis; characters outside ASCII become their nearest ASCII letters or `?`.

    Args:
        frame: uint8 [H, W, 3] in BGR, C-contiguous and writable, of any size.
        lines: The results, best first, with scores in [0, 1] (others are drawn as the nearest bound); if there are
            none and the window is full, the panel says so.
        fill: How full the window is, in [0, 1]; under 1 a progress bar is added.
        status: A short text under the results, or over the progress bar ("filling window 7/16").

    Raises:
        ImageError: The frame is not such an array.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.flags.carray:
        order = "C-contiguous" if frame.flags.c_contiguous else "not C-contiguous"
        access = "writable" if frame.flags.writeable else "read-only"
        raise ImageError(
            f"the frame to draw on is {frame.dtype} {list(frame.shape)}, {order}, {access}; it must be "
            "uint8 [H, W, 3], C-contiguous, writable: pass frame.copy() of a BGR image"
        )
    height, width = frame.shape[:2]
    layout = _Layout.of(height, width)
    rows = list(_rows(lines, fill, status))
    while rows and layout.panel_height(rows) > height - 2 * layout.margin:
        rows.pop()
    if not rows or layout.inner_width < 8 * layout.capitals:
        return

    top = layout.margin
    # A view: what is drawn on it is cut at its edges, so nothing can reach the rest of the frame.
    panel = frame[top : top + layout.panel_height(rows), layout.margin : layout.margin + layout.width]
    _frost(panel, layout)
    _draw_texts(panel, rows, layout)
    _draw_bars(panel, rows, layout)


def _rows(lines: Sequence[OverlayLine], fill: float, status: str) -> Iterator[_Row]:
    for i, line in enumerate(lines):
        score = min(max(line.score, 0.0), 1.0)
        color = _ACCENT if i == 0 else _BAR
        yield _Row(_ascii(line.label), f"{100 * score:.0f}%", score, color, leading=i == 0)
    if fill < 1.0:
        yield _Row(_ascii(status) or "filling window", value=max(fill, 0.0), color=_BAR if lines else _ACCENT)
        return
    if not lines:
        yield _Row("no action")
    if status:
        yield _Row(_ascii(status))


def _ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", " ".join(text.translate(_TO_ASCII).split()))
    letters = "".join(c for c in decomposed if c.isprintable() and not unicodedata.combining(c))
    return letters.encode("ascii", "replace").decode("ascii")


def _frost(panel: _Image, layout: _Layout) -> None:
    """Blur and darken the panel like tinted glass with round corners, in place."""
    height, width = panel.shape[:2]
    # Blurred at a fraction of the size, which costs a tenth; the finest detail is what has to go anyway.
    step = max(1, layout.capitals // 4)
    glass = cv2.blur(np.ascontiguousarray(panel[::step, ::step]), (9, 9))
    glass = cv2.resize(cv2.convertScaleAbs(glass, alpha=0.22, beta=12), (width, height))

    radius = layout.capitals
    distance = radius - 0.5 - np.arange(radius)
    covered = np.clip(radius + 0.5 - np.hypot(distance[:, None], distance), 0, 1)[..., None]  # of the top left corner
    for vertical in (slice(None, radius), slice(None, -radius - 1, -1)):
        for horizontal in (slice(None, radius), slice(None, -radius - 1, -1)):
            corner = glass[vertical, horizontal]
            corner[:] = corner * covered + panel[vertical, horizontal] * (1 - covered)
    panel[:] = glass


def _draw_texts(panel: _Image, rows: Sequence[_Row], layout: _Layout) -> None:
    height, width = panel.shape[:2]
    ink = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
    top = layout.padding
    for row in rows:
        size = layout.text_height(row) * _SUPERSAMPLING
        scale, thickness = size / _FONT_CAPITALS, max(2, round(size / (8 if row.leading else 10)))
        level = _BRIGHT if row.leading else _SOFT
        left, right = layout.padding * _SUPERSAMPLING, (width - layout.padding) * _SUPERSAMPLING
        baseline = top * _SUPERSAMPLING + size
        if row.figure:
            figure_width = _text_width(row.figure, scale, thickness)
            cv2.putText(ink, row.figure, (right - figure_width, baseline), _FONT, scale, level, thickness)
            # The label's room does not depend on the figure, or its cut would jump from frame to frame.
            right -= _text_width("100%", scale, thickness) + size
        cv2.putText(
            ink, _cut(row.text, right - left, scale, thickness), (left, baseline), _FONT, scale, level, thickness
        )
        top += layout.row_height(row) + layout.row_gap
    ink = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA)
    cv2.max(panel, cv2.cvtColor(ink, cv2.COLOR_GRAY2BGR), dst=panel)


def _draw_bars(panel: _Image, rows: Sequence[_Row], layout: _Layout) -> None:
    left, bottom = layout.padding, layout.padding
    for row in rows:
        bottom += layout.row_height(row)
        if row.value is not None:
            length = round(row.value * layout.inner_width)
            cv2.rectangle(panel, (left, bottom - layout.bar, layout.inner_width, layout.bar), _TRACK, cv2.FILLED)
            cv2.rectangle(panel, (left, bottom - layout.bar, length, layout.bar), row.color, cv2.FILLED)
        bottom += layout.row_gap


def _cut(text: str, room: int, scale: float, thickness: int) -> str:
    """`text`, or as much of its beginning as fits into `room` pixels with an ellipsis."""
    if _text_width(text, scale, thickness) <= room:
        return text

    def width_of_first(letters: int) -> int:
        return _text_width(text[:letters].rstrip() + _ELLIPSIS, scale, thickness)

    letters = bisect_right(range(1, len(text)), room, key=width_of_first)
    return text[:letters].rstrip() + _ELLIPSIS


def _text_width(text: str, scale: float, thickness: int) -> int:
    size, _ = cv2.getTextSize(text, _FONT, scale, thickness)
    return int(size[0])


@dataclass(frozen=True)
class Annotation:
    """What is drawn: the results best first, and how full the window is."""

    lines: tuple[OverlayLine, ...] = ()
    fill: float = 1.0  # 0 to 1
    status: str = ""
