"""A rectangle in the pixels of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle by its center and size in pixels, as in vision_msgs; it may reach beyond the image.

    Pixel 0 covers 0 to 1, so that a box of a whole image of W x H pixels is Box(W / 2, H / 2, W, H).
    """

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of_corner(cls, left: float, top: float, width: float, height: float) -> Box:
        """Return the box with this top left corner and size."""
        return cls(left + width / 2, top + height / 2, width, height)

    @property
    def left(self) -> float:
        """The left edge."""
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        """The top edge."""
        return self.y - self.height / 2

    @property
    def area(self) -> float:
        """Its area in square pixels."""
        return self.width * self.height

    @property
    def is_valid(self) -> bool:
        """True if all numbers are finite and the size is above 0; what a detector sends need not be."""
        return all(map(math.isfinite, (self.x, self.y, self.width, self.height))) and min(self.width, self.height) > 0

    def scaled(self, factor: float) -> Box:
        """Return the box in an image that is `factor` times as large."""
        return Box(factor * self.x, factor * self.y, factor * self.width, factor * self.height)

    def overlap(self, other: Box) -> float:
        """Return the intersection of both over their union, 0 to 1."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.area + other.area - width * height)
