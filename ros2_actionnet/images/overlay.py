"""What is drawn on a frame: the top results on a dark glass panel in the top left corner, and labels at any place.

Every length is a multiple of the capitals' height, which follows the image's smaller side, so that the panel looks the
same at 720p and at 4K and stays legible under that. The background is blurred and darkened rather than covered: light
text reads on it whatever the picture is, and the scene still shows through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.lettering import Lettering

_Image = NDArray[np.uint8]

_ACCENT = (0, 210, 130)  # BGR: the leading result and the progress of filling the window
_BAR = (190, 190, 190)
_TRACK = (86, 86, 86)
_BRIGHT, _SOFT = 248, 205  # gray levels of the leading row's text and of the others'

_SMALLEST_CAPITALS = 7  # pixels; smaller ones cannot be read
_SMALLEST_IMAGE = 4  # pixels; a smaller one has no room for a bar
_NARROWEST, _USUAL = 8, 32  # width of a panel in heights of capitals: inside, at least; and unless a label is longer

_lettering = Lettering()


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
    def of(cls, height: int, width: int, rows: Sequence[_Row]) -> _Layout:
        capitals = _capitals(height, width)
        margin, padding = round(1.2 * capitals), round(1.4 * capitals)
        usual = cls(capitals, margin, padding, max(2, round(0.3 * capitals)), _USUAL * capitals)
        longest = max((usual.text_width(row) for row in rows), default=0) + 2 * padding
        # In large steps: the panel would change its width with every label otherwise.
        wider = _USUAL // 4 * capitals
        return replace(usual, width=min(max(usual.width, -(-longest // wider) * wider), width - 2 * margin))

    def text_width(self, row: _Row) -> int:
        return _lettering.width(row.text, self.text_height(row)) + self.figure_room(row)

    def figure_room(self, row: _Row) -> int:
        """Return the room for the figure, whatever it is: the label's cut would jump from frame to frame otherwise."""
        size = self.text_height(row)
        return _lettering.width("100%", size) + size if row.figure else 0

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

    Labels may be in any script; those that are longer than the image are cut with an ellipsis. Rows that do not fit
    into the image are left out. Where not even one row fits, a bar alone shows the first score or how full the window
    is; an image under 4 pixels is left as it is.

    Args:
        frame: uint8 [H, W, 3] in BGR, C-contiguous and writable, of any size.
        lines: The results, best first, with scores in [0, 1] (others are drawn as the nearest bound); if there are
            none and the window is full, the panel says so.
        fill: How full the window is, in [0, 1]; under 1 a progress bar is added.
        status: A short text under the results, or over the progress bar ("filling window 7/16").

    Raises:
        ImageError: The frame is not such an array.
    """
    _check(frame)
    height, width = frame.shape[:2]
    rows = list(_rows(lines, fill, status))
    first, layout = rows[0], _Layout.of(height, width, rows)
    while rows and layout.panel_height(rows) > height - 2 * layout.margin:
        rows.pop()
    if not rows or layout.inner_width < _NARROWEST * layout.capitals:
        _draw_bar_alone(frame, first)
        return

    top = layout.margin
    # A view: what is drawn on it is cut at its edges, so nothing can reach the rest of the frame.
    panel = frame[top : top + layout.panel_height(rows), layout.margin : layout.margin + layout.width]
    _frost(panel, layout.capitals, layout.capitals)
    _draw_texts(panel, rows, layout)
    _draw_bars(panel, rows, layout)


def draw_label(frame: _Image, text: str, left: int, bottom: int, *, capitals: int = 0) -> tuple[int, int, int, int]:
    """Draw a label on dark glass, in place, such as the name over a box; it is moved so that it lies in the image.

    Args:
        frame: uint8 [H, W, 3] in BGR, C-contiguous and writable, of any size.
        text: Of any script and length; what does not fit into the image's width is cut with an ellipsis.
        left: Of the glass, pixels.
        bottom: First row under the glass, pixels.
        capitals: Height of the capitals, pixels; 0: as in `draw_overlay`.

    Returns:
        Top, bottom, left and right of the glass; an empty area where the image is too low for it.

    Raises:
        ImageError: The frame is not such an array.
    """
    _check(frame)
    height, width = frame.shape[:2]
    capitals = capitals or _capitals(height, width)
    padding = round(0.6 * capitals)
    ink = _lettering.ink(text, capitals, _BRIGHT, width - 2 * padding)
    glass_height, glass_width = capitals + 2 * padding, ink.width + 2 * padding
    left, top = (max(0, min(left, width - glass_width)), max(0, min(bottom - glass_height, height - glass_height)))
    if glass_height > height or glass_width > width:
        return top, top, left, left
    glass = frame[top : top + glass_height, left : left + glass_width]
    _frost(glass, capitals, padding)
    ink.draw(glass, padding, padding + capitals)
    return top, top + glass_height, left, left + glass_width


def label_size(text: str, capitals: int, widest: int) -> tuple[int, int]:
    """Return the width and height (pixels) of what `draw_label` draws on a frame `widest` pixels wide."""
    padding = round(0.6 * capitals)
    return _lettering.ink(text, capitals, _BRIGHT, widest - 2 * padding).width + 2 * padding, capitals + 2 * padding


def _capitals(height: int, width: int) -> int:
    return max(_SMALLEST_CAPITALS, round(min(height, width) / 64))


def _check(frame: _Image) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.flags.carray:
        order = "C-contiguous" if frame.flags.c_contiguous else "not C-contiguous"
        access = "writable" if frame.flags.writeable else "read-only"
        raise ImageError(
            f"the frame to draw on is {frame.dtype} {list(frame.shape)}, {order}, {access}; it must be "
            "uint8 [H, W, 3], C-contiguous, writable: pass frame.copy() of a BGR image"
        )


def _rows(lines: Sequence[OverlayLine], fill: float, status: str) -> Iterator[_Row]:
    for i, line in enumerate(lines):
        score = min(max(line.score, 0.0), 1.0)
        color = _ACCENT if i == 0 else _BAR
        yield _Row(line.label, f"{100 * score:.0f}%", score, color, leading=i == 0)
    if fill < 1.0:
        yield _Row(status or "filling window", value=max(fill, 0.0), color=_BAR if lines else _ACCENT)
        return
    if not lines:
        yield _Row("no action")
    if status:
        yield _Row(status)


def _frost(panel: _Image, capitals: int, radius: int) -> None:
    """Blur and darken the panel like tinted glass with round corners of `radius` pixels, in place."""
    height, width = panel.shape[:2]
    # Blurred at a fraction of the size, which costs a tenth; the finest detail is what has to go anyway.
    step = max(1, capitals // 4)
    glass = cv2.blur(np.ascontiguousarray(panel[::step, ::step]), (9, 9))
    glass = cv2.resize(cv2.convertScaleAbs(glass, alpha=0.22, beta=12), (width, height))

    distance = radius - 0.5 - np.arange(radius)
    covered = np.clip(radius + 0.5 - np.hypot(distance[:, None], distance), 0, 1)[..., None]  # of the top left corner
    for vertical in (slice(None, radius), slice(None, -radius - 1, -1)):
        for horizontal in (slice(None, radius), slice(None, -radius - 1, -1)):
            corner = glass[vertical, horizontal]
            corner[:] = corner * covered + panel[vertical, horizontal] * (1 - covered)
    panel[:] = glass


def _draw_texts(panel: _Image, rows: Sequence[_Row], layout: _Layout) -> None:
    top, left, right = layout.padding, layout.padding, layout.padding + layout.inner_width
    for row in rows:
        size, level = layout.text_height(row), _BRIGHT if row.leading else _SOFT
        room = layout.inner_width - layout.figure_room(row)
        _lettering.ink(row.text, size, level, room).draw(panel, left, top + size)
        if row.figure:
            figure = _lettering.ink(row.figure, size, level, layout.inner_width)
            figure.draw(panel, right - figure.width, top + size)
        top += layout.row_height(row) + layout.row_gap


def _draw_bar_alone(frame: _Image, row: _Row) -> None:
    """Draw the value of a row as a bar along the upper edge of an image that is too small for text."""
    height, width = frame.shape[:2]
    margin = max(1, min(height, width) // 16)
    bar = frame[margin : 2 * margin, margin : width - margin]
    if min(height, width) >= _SMALLEST_IMAGE:
        bar[:] = _TRACK
        bar[:, : round((row.value or 0.0) * bar.shape[1])] = row.color


def _draw_bars(panel: _Image, rows: Sequence[_Row], layout: _Layout) -> None:
    left, bottom = layout.padding, layout.padding
    for row in rows:
        bottom += layout.row_height(row)
        if row.value is not None:
            length = round(row.value * layout.inner_width)
            cv2.rectangle(panel, (left, bottom - layout.bar, layout.inner_width, layout.bar), _TRACK, cv2.FILLED)
            cv2.rectangle(panel, (left, bottom - layout.bar, length, layout.bar), row.color, cv2.FILLED)
        bottom += layout.row_gap


@dataclass(frozen=True)
class Annotation:
    """What is drawn: the results best first, and how full the window is."""

    lines: tuple[OverlayLine, ...] = ()
    fill: float = 1.0  # 0 to 1
    status: str = ""
