"""Names the orders of dimensions in which networks take a window of frames.

N is the batch, M the clips of a video (always one here), C red, green and blue, T the frames, H and W a frame's height
and width. Letters in parentheses share one dimension, as in einops: `N(CT)HW` is [1, 3*T, H, W], colors outermost.
"""

from __future__ import annotations

import math
import re
from typing import Literal

Layout = Literal["NCTHW", "NTCHW", "NTHWC", "N(CT)HW", "N(TC)HW", "NHW(CT)", "NHW(TC)", "NMCTHW", "NMTCHW"]

DESCRIPTIONS: dict[Layout, str] = {
    "NCTHW": "[1, 3, T, H, W]",
    "NTCHW": "[1, T, 3, H, W]",
    "NTHWC": "[1, T, H, W, 3]",
    "N(CT)HW": "[1, 3*T, H, W]: the reds of all frames, then all greens, then all blues",
    "N(TC)HW": "[1, 3*T, H, W]: frame by frame, each as red, green, blue",
    "NHW(CT)": "[1, H, W, 3*T]: the reds of all frames, then all greens, then all blues",
    "NHW(TC)": "[1, H, W, 3*T]: frame by frame, each as red, green, blue",
    "NMCTHW": "[1, 1, 3, T, H, W]: one clip",
    "NMTCHW": "[1, 1, T, 3, H, W]: one clip",
}
LAYOUTS = tuple(DESCRIPTIONS)


def axes_of(layout: Layout) -> tuple[str, ...]:
    """Return the letters of each dimension: ("N", "CT", "H", "W") for "N(CT)HW"."""
    return tuple(axis.strip("()") for axis in re.findall(r"\(\w+\)|\w", layout))


def shape_in(layout: Layout, *, batch: int, frames: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of a network's input in this layout, for one clip."""
    sizes = {"N": batch, "M": 1, "C": 3, "T": frames, "H": height, "W": width}
    return tuple(math.prod(sizes[letter] for letter in axis) for axis in axes_of(layout))
