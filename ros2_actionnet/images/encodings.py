"""Image encodings of sensor_msgs: the memory layout of their samples, and the conversion to color."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Buffer: TypeAlias = "bytes | bytearray | memoryview | array[int] | Bytes"
ColorOrder: TypeAlias = Literal["RGB", "BGR"]
SampleType: TypeAlias = Literal["u1", "<u2", ">u2"]

# Contribution of one sample of each kind to (R, G, B), and its zero. YUV is BT.601 with luma in 16..235, as in OpenCV.
_COLORS = {
    "Y": ((1.164, 1.164, 1.164), 16),
    "U": ((0.0, -0.391, 2.018), 128),
    "V": ((1.596, -0.813, 0.0), 128),
    "R": ((1.0, 0.0, 0.0), 0),
    "G": ((0.0, 1.0, 0.0), 0),
    "B": ((0.0, 0.0, 1.0), 0),
}


@dataclass(frozen=True)
class Encoding(ABC):
    """A memory layout of pixels.

    An image is a tuple of planes: read-only uint8 views [rows, columns] or [rows, columns, samples] of its memory.
    Planes can be resized as they are, and converted to color when they are small.
    """

    subsampling: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1),)
    """Pixels (down, across) covered by one element of each plane."""

    @property
    def cell(self) -> int:
        """Side in pixels of the block that shares samples: a region must begin on a multiple of it."""
        return max(max(factors) for factors in self.subsampling)

    @abstractmethod
    def row_bytes(self, width: int) -> int:
        """Return the bytes of a row of `width` pixels, without padding."""

    def rows(self, height: int) -> int:
        """Return the number of rows of `step` bytes in an image of `height` pixels."""
        return height

    @abstractmethod
    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:
        """Return views of the whole image's samples; `data` has been checked to be large enough."""

    @abstractmethod
    def merge(self, planes: Sequence[Bytes]) -> Bytes:
        """Convert planes that were resized to one size [H, W] to RGB uint8 [H, W, 3]."""

    @abstractmethod
    def convert(
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        """Convert to color uint8 [height, width, 3] at full size; uses `out` if OpenCV can, else a new array."""


@dataclass(frozen=True)
class Interleaved(Encoding):
    """Whole pixels one after the other, of 8 or 16 bits per sample.

    16-bit samples are resized as two separate bytes (resizing is linear) and then scaled to 8 bits, so that neither
    byte order needs a copy of the frame.
    """

    channels: str  # as in OpenCV's COLOR_* names
    sample: SampleType = "u1"

    def row_bytes(self, width: int) -> int:  # noqa: D102
        return width * self._pixel_bytes

    @property
    def _pixel_bytes(self) -> int:
        return (1 if self.channels == "GRAY" else len(self.channels)) * np.dtype(self.sample).itemsize

    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:  # noqa: D102
        return (_view(data, 0, height, self.row_bytes(width), step, self._pixel_bytes),)

    def merge(self, planes: Sequence[Bytes]) -> Bytes:  # noqa: D102
        height, width = planes[0].shape[:2]
        return self.convert(planes, height, width, "RGB")

    def convert(  # noqa: D102
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        pixels = _to_8_bits(planes[0], self.sample)
        return pixels if self.channels == order else _color(pixels, f"{self.channels}2{order}", out)


@dataclass(frozen=True)
class Mixed(Encoding):
    """Planes whose samples, once of one size, are linear combinations of red, green and blue."""

    samples: str  # contents of the planes, in order, e.g. "UYVY"; a repeated letter is averaged

    def merge(self, planes: Sequence[Bytes]) -> Bytes:  # noqa: D102
        return self._mix(planes, "RGB")

    def _mix(self, planes: Sequence[Bytes], order: ColorOrder) -> Bytes:
        columns = [np.divide(_COLORS[s][0], self.samples.count(s)) for s in self.samples]
        offset = -sum(column * _COLORS[s][1] for column, s in zip(columns, self.samples, strict=True))
        matrix = np.stack([*columns, offset], axis=1)
        stacked = planes[0] if len(planes) == 1 else cv2.merge(list(planes))
        return cast(Bytes, cv2.transform(stacked, matrix if order == "RGB" else matrix[::-1].copy()))


@dataclass(frozen=True)
class PackedYuv422(Mixed):
    """Pairs of pixels that share their chroma, in four bytes: half as many columns of four samples."""

    subsampling = ((1, 2),)

    def row_bytes(self, width: int) -> int:  # noqa: D102
        return 2 * width

    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:  # noqa: D102
        return (_view(data, 0, height, 2 * width, step, 4),)

    def convert(  # noqa: D102
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        pixels = planes[0].reshape(height, -1, 2)
        return _color(pixels, f"YUV2{order}_{self.samples}", out if width % 2 == 0 else None)[:, :width]


@dataclass(frozen=True)
class SemiPlanarYuv420(Mixed):
    """A luma plane, then a plane of interleaved chroma with one pair for every 2x2 pixels (NV12, NV21)."""

    subsampling = ((1, 1), (2, 2))

    def row_bytes(self, width: int) -> int:  # noqa: D102
        return width

    def rows(self, height: int) -> int:  # noqa: D102
        return height + (height + 1) // 2

    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:  # noqa: D102
        luma = _view(data, 0, height, width, step, 1)
        return luma, _view(data, height * step, (height + 1) // 2, width, step, 2)

    def convert(  # noqa: D102
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        luma, chroma = planes
        odd = (height % 2, width % 2)
        if any(odd):  # OpenCV requires whole blocks
            luma = cast(Bytes, cv2.copyMakeBorder(luma, 0, odd[0], 0, odd[1], cv2.BORDER_REPLICATE))
        code = _code(f"YUV2{order}_{'NV12' if self.samples == 'YUV' else 'NV21'}")
        color = cv2.cvtColorTwoPlane(luma, chroma, code, dst=None if any(odd) else out)
        return cast(Bytes, color)[:height, :width]


@dataclass(frozen=True)
class SemiPlanarYuv444(Mixed):
    """A luma plane, then a plane of interleaved chroma with a pair for every pixel, so two steps per row (NV24)."""

    subsampling = ((1, 1), (1, 1))

    def row_bytes(self, width: int) -> int:  # noqa: D102
        return width

    def rows(self, height: int) -> int:  # noqa: D102
        return 3 * height

    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:  # noqa: D102
        luma = _view(data, 0, height, width, step, 1)
        return luma, _view(data, height * step, height, 2 * width, 2 * step, 2)

    def convert(  # noqa: D102
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        return self._mix(planes, order)


@dataclass(frozen=True)
class Bayer(Mixed):
    """One color per pixel, in a 2x2 pattern named by its rows from the top left ("RGGB").

    Its planes are the even and the odd rows, viewed as half as many columns of two samples: resizing them bins the
    mosaic. 16-bit samples are resized as their bytes, as in `Interleaved`.
    """

    sample: SampleType = "u1"

    subsampling = ((2, 2), (2, 2))

    def row_bytes(self, width: int) -> int:  # noqa: D102
        return width * np.dtype(self.sample).itemsize

    def planes(self, data: Buffer, height: int, width: int, step: int) -> tuple[Bytes, ...]:  # noqa: D102
        row_bytes, pair = self.row_bytes(width), self.row_bytes(2)
        even = _view(data, 0, (height + 1) // 2, row_bytes, 2 * step, pair)
        return even, _view(data, min(step, step * (height // 2)), height // 2, row_bytes, 2 * step, pair)

    def merge(self, planes: Sequence[Bytes]) -> Bytes:  # noqa: D102
        return super().merge([_to_8_bits(plane, self.sample) for plane in planes])

    def convert(  # noqa: D102
        self, planes: Sequence[Bytes], height: int, width: int, order: ColorOrder, out: Bytes | None = None
    ) -> Bytes:
        planes = [_to_8_bits(plane, self.sample) for plane in planes]
        rows = sum(len(plane) for plane in planes)
        mosaic = np.empty((rows, 2 * planes[0].shape[1]), np.uint8)
        for first, plane in enumerate(planes):
            mosaic[first::2] = plane.reshape(len(plane), mosaic.shape[1])
        # Mirrored about its outermost pixels the pattern continues in phase; OpenCV's own border would be a copied
        # pixel of the neighbor's color, and black where there are fewer than three rows or columns.
        mosaic = cast(Bytes, cv2.copyMakeBorder(mosaic[:height, :width], 2, 2, 2, 2, cv2.BORDER_REFLECT_101))
        # OpenCV names the pattern by the second and third pixel of the second row: RGGB is "BG" in OpenCV.
        return _color(mosaic, f"Bayer{self.samples[3]}{self.samples[2]}2{order}")[2:-2, 2:-2]


def _view(data: Buffer, offset: int, rows: int, row_bytes: int, stride: int, group: int) -> Bytes:
    """View rows of `data`, read-only, in byte groups: uint8 [rows, groups, group]; [rows, row_bytes] for groups of 1.

    The result is a copy only if a row ends in an incomplete group (an odd width whose chroma is shared by two pixels):
    the missing bytes are then those of the group before or, if there is none, 128 (no color).
    """
    view: Bytes = np.ndarray((rows, row_bytes), np.uint8, data, offset, (stride, 1))
    missing = -row_bytes % group
    if missing:
        whole = np.full((rows, row_bytes + missing), 128, np.uint8)
        whole[:, :row_bytes] = view
        if row_bytes > group:
            whole[:, row_bytes:] = whole[:, row_bytes - group : row_bytes - group + missing]
        view = whole
    view.flags.writeable = False
    return view if group == 1 else view.reshape(rows, (row_bytes + missing) // group, group)


def _to_8_bits(pixels: Bytes, sample: SampleType) -> Bytes:
    """Scale 16-bit samples, given as bytes [..., 2 * samples], to uint8 [..., samples]; uint8 stay as they are."""
    if sample == "u1" or pixels.size == 0:
        return pixels
    deep = np.ascontiguousarray(pixels).view(sample).astype(np.uint16, copy=False)
    return cast(Bytes, cv2.convertScaleAbs(deep, alpha=1 / 257))  # 65535 -> 255, rounded


def _code(name: str) -> int:
    return int(getattr(cv2, f"COLOR_{name}"))


def _color(pixels: Bytes, name: str, out: Bytes | None = None) -> Bytes:
    return cast(Bytes, cv2.cvtColor(pixels, _code(name), dst=out))


_UYVY, _YUYV = PackedYuv422("UYVY"), PackedYuv422("YUYV")

ENCODINGS: dict[str, Encoding] = {
    "bgr8": Interleaved("BGR"),
    "rgb8": Interleaved("RGB"),
    "bgra8": Interleaved("BGRA"),
    "rgba8": Interleaved("RGBA"),
    "mono8": Interleaved("GRAY"),
    "8UC1": Interleaved("GRAY"),  # untyped channels have the meaning that they have in OpenCV and cv_bridge
    "8UC3": Interleaved("BGR"),
    "8UC4": Interleaved("BGRA"),
    "bgr16": Interleaved("BGR", "<u2"),
    "rgb16": Interleaved("RGB", "<u2"),
    "bgra16": Interleaved("BGRA", "<u2"),
    "rgba16": Interleaved("RGBA", "<u2"),
    "mono16": Interleaved("GRAY", "<u2"),
    "16UC1": Interleaved("GRAY", "<u2"),
    "16UC3": Interleaved("BGR", "<u2"),
    "16UC4": Interleaved("BGRA", "<u2"),
    "yuv422": _UYVY,  # Humble's name
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,  # Humble's name
    "yuyv": _YUYV,
    "nv12": SemiPlanarYuv420("YUV"),
    "nv21": SemiPlanarYuv420("YVU"),
    "nv24": SemiPlanarYuv444("YUV"),
    "bayer_rggb8": Bayer("RGGB"),
    "bayer_bggr8": Bayer("BGGR"),
    "bayer_gbrg8": Bayer("GBRG"),
    "bayer_grbg8": Bayer("GRBG"),
    "bayer_rggb16": Bayer("RGGB", "<u2"),
    "bayer_bggr16": Bayer("BGGR", "<u2"),
    "bayer_gbrg16": Bayer("GBRG", "<u2"),
    "bayer_grbg16": Bayer("GRBG", "<u2"),
}


def find_encoding(name: str, big_endian: bool = False) -> Encoding | None:
    """Return the encoding called `name`, for the byte order of the image; None if it is not supported."""
    encoding = ENCODINGS.get(name)
    if big_endian and isinstance(encoding, (Interleaved, Bayer)) and encoding.sample == "<u2":
        return replace(encoding, sample=">u2")
    return encoding
