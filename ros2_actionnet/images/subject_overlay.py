"""Boxes around the people in a frame, each with what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.images.box import Box
from ros2_actionnet.images.overlay import draw_label, label_size

_Image = NDArray[np.uint8]
_Color = tuple[int, int, int]


class Labels(Protocol):
    """Writes the texts on the boxes."""

    def size(self, text: str, capitals: int, widest: int) -> tuple[int, int]:
        """Return the width and height (pixels) of a text on a frame `widest` pixels wide, capitals so high."""

    def draw(self, frame: _Image, text: str, left: int, bottom: int, capitals: int, color: _Color) -> None:
        """Draw a text with its lower left corner at (left, bottom), and a mark of its box's color (BGR)."""


class _Glass:
    """Texts on dark glass, as those of the overlay, with a stripe on the left."""

    def size(self, text: str, capitals: int, widest: int) -> tuple[int, int]:
        return label_size(text, capitals, widest)

    def draw(self, frame: _Image, text: str, left: int, bottom: int, capitals: int, color: _Color) -> None:
        glass_top, glass_bottom, glass_left, _ = draw_label(frame, text, left, bottom, capitals=capitals)
        mark = max(1, round(capitals / 4))  # pixels; the text is 0.6 capitals from the edge
        frame[glass_top + mark : glass_bottom - mark, glass_left : glass_left + mark] = color


_GLASS = _Glass()

# BGR, one for each of up to eight people side by side: told apart on dark and on light pictures.
_COLORS = (
    (0, 210, 130),
    (255, 170, 60),
    (60, 160, 255),
    (220, 120, 255),
    (0, 220, 240),
    (255, 220, 120),
    (140, 140, 255),
    (170, 230, 170),
)
_WAITING = (150, 150, 150)  # nothing is known of it yet
_SMALLEST_CAPITALS = 7  # pixels; smaller ones cannot be read


@dataclass(frozen=True)
class SubjectLabel:
    """A box with what is written on it.

    Attributes:
        track_id: The same id has the same color in every frame.
        box: Where it is, pixels.
        text: What it does, such as "walking 87%"; empty while that is not known.
    """

    track_id: str
    box: Box
    text: str = ""


def draw_subjects(frame: _Image, subjects: Sequence[SubjectLabel], labels: Labels = _GLASS) -> None:
    """Draw a box around each of `subjects` onto a frame, in place, with its text above it or, without room, below.

    Smaller boxes are drawn later, so that a person in front of another can be seen; a text that would cover another one
    moves up or down, by as little as it can, and the color of its mark tells whose it is. `frame` is uint8 [H, W, 3],
    BGR, C-contiguous and writable.
    """
    height, width = frame.shape[:2]
    capitals = max(_SMALLEST_CAPITALS, round(min(height, width) / 64))
    thickness = max(1, round(capitals / 6))
    taken: list[tuple[int, int, int, int]] = []
    largest_first = sorted(subjects, key=lambda subject: -subject.box.area)
    for subject in largest_first:
        cv2.rectangle(frame, *_corners(subject.box, height, width), _color(subject), thickness, cv2.LINE_AA)
    for subject in largest_first:
        text = f"{subject.track_id}: {subject.text}" if subject.text else subject.track_id
        (left, top), (_, bottom) = _corners(subject.box, height, width)
        label_width, label_height = labels.size(text, capitals, width)
        left = max(0, min(left, width - label_width))
        line = top if top >= label_height else min(bottom + label_height, height)
        line = _free_line(taken, left, line, label_width, label_height, height)
        taken.append((left, line - label_height, left + label_width, line))
        labels.draw(frame, text, left, line, capitals, _color(subject))


def _color(subject: SubjectLabel) -> _Color:
    if not subject.text:
        return _WAITING
    name = subject.track_id
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else sum(name.encode())
    return _COLORS[number % len(_COLORS)]


def _corners(box: Box, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the corners within an image of this size, top left and bottom right."""
    left, top = round(min(max(box.left, 0), width - 1)), round(min(max(box.top, 0), height - 1))
    right = round(min(max(box.left + box.width, 0), width - 1))
    return (left, top), (right, round(min(max(box.top + box.height, 0), height - 1)))


def _free_line(
    taken: Sequence[tuple[int, int, int, int]], left: int, line: int, width: int, height: int, image_height: int
) -> int:
    """Return the lower edge nearest to `line` at which a label of this size covers none of `taken`, if there is one."""
    beside = sorted((top, bottom) for start, top, end, bottom in taken if left < end and start < left + width)
    lines, free_from = list[int](), 0
    for top, bottom in [*beside, (image_height, image_height)]:
        if top - free_from >= height:
            lines.append(min(max(line, free_from + height), top))
        free_from = max(free_from, bottom)
    return min(lines, key=lambda one: abs(one - line), default=line)
