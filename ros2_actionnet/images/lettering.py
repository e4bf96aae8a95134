"""Text as pixels, shaped and drawn by Pillow, once for each text."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ros2_actionnet.images.fonts import FontSet

_Pixels = NDArray[np.uint8]

_CAPITALS = 0.729  # height of the capitals of the package's font, in ems
_ABOVE, _BELOW = 1.0, 0.3  # room over and under the baseline, in ems; higher piles of marks are cut
_LONGEST = 200  # characters
_ELLIPSIS = "\u2026"
_JOINERS = "\u200c\u200d"
_REMEMBERED = 512  # texts


@dataclass(frozen=True, eq=False)
class Ink:
    """A drawn text: BGR uint8 [H, W, 3], light on black, with the baseline under row `baseline`."""

    pixels: _Pixels
    baseline: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def draw(self, image: _Pixels, left: int, baseline: int) -> None:
        """Lay the text over an image, in place, where it is brighter; what reaches beyond the image is cut."""
        top = baseline - self.baseline
        height, width = image.shape[:2]
        y, x = max(0, -top), max(0, -left)
        rows, columns = min(self.pixels.shape[0], height - top), min(self.width, width - left)
        if y < rows and x < columns:
            under = image[top + y : top + rows, left + x : left + columns]
            cv2.max(under, self.pixels[y:rows, x:columns], dst=under)


class Lettering:
    """Draws texts in the fonts of a FontSet and remembers them. Thread-safe."""

    def __init__(self, fonts: FontSet | None = None) -> None:
        self._fonts = fonts or FontSet()
        self.ink = lru_cache(maxsize=_REMEMBERED)(self._draw)
        """Returns the Ink of a text, its capitals so many pixels high, in a gray level, in so many pixels of room."""
        self.width = lru_cache(maxsize=_REMEMBERED)(self._measure)
        """Returns the width in pixels of a text with capitals of a height in pixels."""

    def _draw(self, text: str, capitals: int, level: int, room: int) -> Ink:
        em = round(capitals / _CAPITALS)
        text = self._cut(_one_line(text), capitals, room)
        above, height = round(_ABOVE * em), round((_ABOVE + _BELOW) * em)
        ink = np.zeros((height, min(self._measure(text, capitals), max(room, 0)), 3), np.uint8)
        left = 0.0
        for font, run in self._fonts.runs(text):
            sized = self._fonts.sized(font, em)
            run_width = sized.font.getlength(run)
            size = round(run_width) + 2, round(height / sized.scale)
            canvas = Image.new("RGB", size)
            place = 0, round(above / sized.scale)  # Pillow 9 takes whole numbers only
            ImageDraw.Draw(canvas).text(
                place, run, font=sized.font, fill=(level,) * 3, anchor="ls", embedded_color=True
            )
            pixels = np.asarray(canvas)[..., ::-1]
            if sized.scale != 1:
                shown = max(1, round(size[0] * sized.scale)), height
                pixels = np.asarray(cv2.resize(pixels, shown, interpolation=cv2.INTER_AREA), np.uint8)
            Ink(np.ascontiguousarray(pixels), above).draw(ink, round(left), above)
            left += run_width * sized.scale
        ink.flags.writeable = False
        return Ink(ink, above)

    def _measure(self, text: str, capitals: int) -> int:
        em = round(capitals / _CAPITALS)
        length = 0.0
        for font, run in self._fonts.runs(_one_line(text)):
            sized = self._fonts.sized(font, em)
            length += sized.font.getlength(run) * sized.scale
        return int(np.ceil(length))

    def _cut(self, text: str, capitals: int, room: int) -> str:
        """Return `text`, or as much of its beginning as fits into `room` pixels with an ellipsis."""
        if self._measure(text, capitals) <= room:
            return text

        def width_of_first(letters: int) -> int:
            return self._measure(text[:letters].rstrip() + _ELLIPSIS, capitals)

        letters = bisect_right(range(1, len(text)), room, key=width_of_first)
        return text[:letters].rstrip() + _ELLIPSIS


def _one_line(text: str) -> str:
    """Return `text` without line ends and control characters, and no longer than can be read."""
    letters = " ".join(text[: 2 * _LONGEST].split())
    kept = "".join(c for c in letters if c.isprintable() or c in _JOINERS)
    return kept if len(text) <= 2 * _LONGEST and len(kept) <= _LONGEST else kept[:_LONGEST].rstrip() + _ELLIPSIS
