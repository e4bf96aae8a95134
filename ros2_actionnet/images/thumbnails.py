"""Network inputs: raw pixels of any encoding become a uint8 RGB thumbnail of the network's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import cv2
import numpy as np

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.encodings import Bytes, Encoding
from ros2_actionnet.images.raw_image import RawImage, _check_out, _open

ResizeMode = Literal["stretch", "crop", "letterbox"]


@dataclass(frozen=True)
class Preprocessor:
    """Cuts a region out of the image and fits it to the network's size.

    Attributes:
        height: Height of the network's input, pixels.
        width: Width of the network's input, pixels.
        roi: x, y, width and height of the region as fractions of the image. At least one pixel is used; where pixels
            share samples (YUV, Bayer) a region begins on an even pixel.
        resize_mode: `stretch` ignores the region's aspect ratio, `crop` uses the central part in the network's ratio,
            `letterbox` keeps the whole region between black bars.

    Raises:
        SettingsError: A value is out of its range.
    """

    height: int
    width: int
    roi: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    resize_mode: ResizeMode = "stretch"

    def __post_init__(self) -> None:
        """Check every value, so that none has to be checked again for each frame."""
        if self.height < 1 or self.width < 1:
            raise SettingsError(f"the network's size is {self.height}x{self.width} pixels: both must be at least 1")
        if self.resize_mode not in get_args(ResizeMode):
            raise SettingsError(f"resize_mode is '{self.resize_mode}': use one of {', '.join(get_args(ResizeMode))}")
        if len(self.roi) != 4 or not _inside(*self.roi):
            raise SettingsError(
                f"roi is {list(self.roi)}: give x, y, width, height as fractions of the image, "
                "with x, y >= 0, width, height > 0, x + width <= 1 and y + height <= 1"
            )
        object.__setattr__(self, "roi", tuple(float(value) for value in self.roi))  # a list would not be hashable

    def thumbnail(self, image: RawImage, out: Bytes | None = None) -> Bytes:
        """Return the region of the image at the network's size.

        Args:
            image: Of any supported encoding.
            out: uint8 [height, width, 3], to write into.

        Returns:
            RGB uint8 [height, width, 3]: `out`, or a new array if none is given.

        Raises:
            ImageError: The image's data does not match its fields, or its encoding is not supported.
            SettingsError: `out` is not such an array.
        """
        encoding, planes = _open(image)
        region = self._box(image.height, image.width, encoding.cell)
        return self._draw(encoding, planes, region, region, out)

    def thumbnail_of(self, image: RawImage, box: Box, out: Bytes | None = None) -> Bytes:
        """Return what is in `box` at the network's size; the `roi` does not count.

        The box may reach beyond the image: under `stretch` and `crop` the part within the image is used, under
        `letterbox` what lies outside is black, so that the scale does not change where the image ends. A box that is
        wholly outside is black. The arguments, the result and the errors are those of `thumbnail`; the box is valid.
        """
        encoding, planes = _open(image)
        whole = _Box.around(box, encoding.cell)
        inside = whole.clipped(image.height, image.width)
        if inside.height <= 0 or inside.width <= 0:
            return self._draw(encoding, planes, whole, None, out)
        if self.resize_mode != "letterbox":
            whole = inside = self._fitted(inside, encoding.cell)
        return self._draw(encoding, planes, whole, inside, out)

    def _draw(
        self, encoding: Encoding, planes: Sequence[Bytes], whole: _Box, inside: _Box | None, out: Bytes | None
    ) -> Bytes:
        """Draw the part of the region `whole` that is `inside` the image, None for no part; the rest is black."""
        if out is None:
            out = np.empty((self.height, self.width, 3), np.uint8)
        _check_out(out, self.height, self.width)
        height, width = self._inner(whole)
        if inside != whole or (height, width) != (self.height, self.width):
            out[...] = 0
        if inside is not None:
            rows = _scaled(inside.top - whole.top, inside.height, height, whole.height)
            columns = _scaled(inside.left - whole.left, inside.width, width, whole.width)
            part = out[(self.height - height) // 2 :, (self.width - width) // 2 :][rows, columns]
            part[...] = _look(encoding, planes, inside, *part.shape[:2])
        return out

    def max_downscale(self, height: int, width: int) -> float:
        """Return how much smaller an image of [height, width] may be with an equally good thumbnail; under 1 for none.

        One and a half times the thumbnail's size is enough: from JPEGs of photographs decoded at such a scale (1.5 to
        2.7 times the thumbnail), thumbnails differ from PIL's of the original by 1.1 to 1.9 gray levels, compared with
        0.9 to 1.8 at full scale, and 1.7 to 3.2 at a scale of 1.0 to 1.5 times.
        """
        box = self._box(height, width, 1)
        inner_height, inner_width = self._inner(box)
        return min(box.height / inner_height, box.width / inner_width) / 1.5

    def _inner(self, box: _Box) -> tuple[int, int]:
        """Return the height and width of the part of the thumbnail that the region fills."""
        if self.resize_mode != "letterbox":
            return self.height, self.width
        scale = min(self.height / box.height, self.width / box.width)
        return max(1, round(box.height * scale)), max(1, round(box.width * scale))

    def _box(self, image_height: int, image_width: int, cell: int) -> _Box:
        x, y, width, height = self.roi
        top, bottom = _span(y, height, image_height)
        left, right = _span(x, width, image_width)
        return self._fitted(_Box(top, left, bottom, right), cell)

    def _fitted(self, region: _Box, cell: int) -> _Box:
        """Return the part of a region that is used, which begins on a multiple of `cell`."""
        top, left, bottom, right = region
        if self.resize_mode == "crop":
            crop_height = min(region.height, max(1, round(region.width * self.height / self.width)))
            crop_width = min(region.width, max(1, round(region.height * self.width / self.height)))
            top, left = top + (region.height - crop_height) // 2, left + (region.width - crop_width) // 2
            bottom, right = top + crop_height, left + crop_width
        return _Box(top - top % cell, left - left % cell, bottom, right)


class _Box(NamedTuple):
    """A region in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(cls, box: Box, cell: int) -> _Box:
        """Return the box in whole pixels, at least one; it begins on a multiple of `cell`."""
        top, left = round(box.top), round(box.left)
        bottom, right = max(top + 1, round(box.top + box.height)), max(left + 1, round(box.left + box.width))
        return cls(top - top % cell, left - left % cell, bottom, right)

    def clipped(self, height: int, width: int) -> _Box:
        """Return the part within an image of this size; it has no height or width if there is none."""
        return _Box(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def cut(self, planes: Sequence[Bytes], encoding: Encoding) -> list[Bytes]:
        """Return the region's part of each plane."""
        return [
            plane[self.top // down : -(-self.bottom // down), self.left // across : -(-self.right // across)]
            for plane, (down, across) in zip(planes, encoding.subsampling, strict=True)
        ]


def _inside(x: float, y: float, width: float, height: float) -> bool:
    most = 1 + 1e-9  # 0.9 + 0.1 may be rounded up
    return x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= most and y + height <= most


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    """Return the first and one past the last of the pixels in [start, start + length] of the image: at least one."""
    first = min(round(start * pixels), pixels - 1)
    return first, min(max(first + 1, round((start + length) * pixels)), pixels)


def _scaled(start: int, length: int, to: int, of: int) -> slice:
    """Return where `length` of `of` pixels, from `start`, lie among `to`: at least one."""
    first = min(round(start * to / of), to - 1)
    return slice(first, max(first + 1, round((start + length) * to / of)))


def _look(encoding: Encoding, planes: Sequence[Bytes], box: _Box, height: int, width: int) -> Bytes:
    """Return RGB uint8 [height, width, 3] of the region."""
    planes = box.cut(planes, encoding)
    if encoding.cell > 1 and (box.height < 4 * height or box.width < 4 * width):
        # Such planes have half the image's resolution, too little here; and so few pixels are cheap to convert.
        return _shrink(encoding.convert(planes, box.height, box.width, "RGB"), height, width)
    return encoding.merge([_shrink(plane, height, width) for plane in planes])


def _shrink(plane: Bytes, height: int, width: int) -> Bytes:
    """Resize a plane to [height, width] similarly to PIL's antialiased bilinear filter, used to train networks.

    That filter is a triangle two output pixels wide. Point-like bilinear to four times the size, averaging to twice the
    size, a [1 2 1] blur and averaging to the size approximate it and read few of the source's pixels. Under a factor of
    3 twice the size is enough; under 1.5 the blur is too much. Measured on 1080p bgr8 to 112x112, one thread, with the
    mean difference from PIL in gray levels on a mosaic of photographs and on an enlarged one:

    ======================  =======  ===  ===
    `INTER_LINEAR`          0.05 ms  11.  11.
    `INTER_AREA`            8.5 ms   2.7  2.3
    linear x4, then area    0.70 ms  3.3  2.6
    this                    0.57 ms  1.5  1.1
    the same from x8        2.0 ms   1.3  1.1
    ======================  =======  ===  ===
    """
    rows, columns = plane.shape[:2]
    if (rows, columns) == (height, width):
        return plane
    factor = max(rows / height, columns / width)
    if factor >= 1.5:
        if factor >= 3:
            plane = _resize(plane, 4 * height, 4 * width, cv2.INTER_LINEAR)
        # When halving exactly, INTER_LINEAR averages 2x2 pixels too.
        plane = _resize(plane, 2 * height, 2 * width, cv2.INTER_LINEAR)
        plane = cast(Bytes, cv2.GaussianBlur(plane, (3, 3), 0, borderType=cv2.BORDER_REPLICATE))
        return _resize(plane, height, width, cv2.INTER_AREA)
    enlarged = rows < height or columns < width
    # By a fraction, OpenCV averages areas of at most four channels; 16-bit color has six or eight, of a byte each.
    too_many_channels = plane[0, 0].size > 4
    return _resize(plane, height, width, cv2.INTER_LINEAR if enlarged or too_many_channels else cv2.INTER_AREA)


def _resize(plane: Bytes, height: int, width: int, interpolation: int) -> Bytes:
    return cast(Bytes, cv2.resize(plane, (width, height), interpolation=interpolation))
