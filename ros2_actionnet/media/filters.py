"""Filters for the frames of any source: rotation, mirroring and rate reduction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import cv2

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.media.base import FrameSource, MediaFrame, Picture, SeekableSource

Flip = Callable[[Picture], Picture]

_TURNS: dict[str, Flip] = {
    "counterclockwise": lambda picture: cast(Picture, cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE)),
    "clockwise": lambda picture: cast(Picture, cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)),
    "upper-right-diagonal": lambda picture: cast(Picture, cv2.rotate(cv2.transpose(picture), cv2.ROTATE_180)),
    "upper-left-diagonal": lambda picture: cast(Picture, cv2.transpose(picture)),
}

FLIPS: dict[str, Flip] = {
    "none": lambda picture: picture,
    "rotate-180": lambda picture: cast(Picture, cv2.rotate(picture, cv2.ROTATE_180)),
    "horizontal": lambda picture: cast(Picture, cv2.flip(picture, 1)),
    "vertical": lambda picture: cast(Picture, cv2.flip(picture, 0)),
    **_TURNS,
}
"""Rotations and mirrorings of a picture, by their names in jetson-utils.

`horizontal` exchanges left and right, `vertical` top and bottom; the diagonals mirror at the diagonal that begins in
that corner. jetson-utils also has the spellings `horizontal-flip` and `vertical-flip`.
"""


def images_from(source: FrameSource, position: int) -> Iterator[tuple[int, RawImage]]:
    """Return the images of a source from a position on. Raises MediaError if it cannot be read from there."""
    if not isinstance(source, SeekableSource):
        raise MediaError(f"'{source.name}' cannot be read from a later frame on; give a file")
    return source.images_from(position)


class Flipped:
    """A source whose frames are rotated or mirrored. Raises MediaError if there is no such flip.

    Attributes:
        source: The source of the frames.
    """

    def __init__(self, source: FrameSource, flip: str) -> None:
        """Flip the frames of `source`; `flip` is a name of `FLIPS`."""
        name = flip.lower().removesuffix("-flip")
        if name not in FLIPS:
            raise MediaError(f"there is no flip '{flip}'; use one of {', '.join(FLIPS)}")
        self.source, self._flip, self._turns = source, FLIPS[name], name in _TURNS
        self.name, self.rate, self.length, self.is_live = source.name, source.rate, source.length, source.is_live

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.source.size
        return (height, width) if self._turns else (width, height)

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the source's frames, flipped."""
        for frame in self.source.frames():
            yield replace(frame, image=self._flipped(frame.image))

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield the source's images from a position on, flipped."""
        for found, image in images_from(self.source, position):
            yield found, self._flipped(image)

    def _flipped(self, image: RawImage) -> RawImage:
        return RawImage.from_array(self._flip(to_bgr(image)), "bgr8")

    def close(self) -> None:
        """Close the source."""
        self.source.close()


class Thinned:
    """A source that skips frames to limit its rate to `rate` frames per second.

    Attributes:
        source: The source of the frames.
    """

    def __init__(self, source: FrameSource, rate: float) -> None:
        self.source, self._highest = source, rate
        self.name, self.is_live = source.name, source.is_live
        self.rate = min(rate, source.rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.source.size

    @property
    def length(self) -> int | None:
        """Approximate number of frames that are kept; None if unknown."""
        length = self.source.length
        return None if length is None else round(length * self.rate / self.source.rate)

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the source's frames that are due, with new indices."""
        due, left_out, period = 0.0, 0, 1 / self._highest
        for frame in self.source.frames():
            # Times are rounded, in some containers to milliseconds.
            if frame.time < due - 0.002:
                left_out += 1
                continue
            due += period
            if due <= frame.time:  # there was a gap
                due = frame.time + period
            yield replace(frame, index=frame.index - left_out)

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield all of the source's images from a position on."""
        yield from images_from(self.source, position)

    def close(self) -> None:
        """Close the source."""
        self.source.close()
