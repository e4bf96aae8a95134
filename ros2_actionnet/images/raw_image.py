"""Images as received: bytes with an encoding, and their conversion to RGB and BGR."""

from __future__ import annotations

import sys
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from ros2_actionnet.errors import ImageError, SettingsError
from ros2_actionnet.images.encodings import ENCODINGS, Buffer, Bytes, ColorOrder, Encoding, Interleaved, find_encoding
from ros2_actionnet.system.text import printable

SUPPORTED_ENCODINGS: tuple[str, ...] = tuple(ENCODINGS)


@dataclass(frozen=True, eq=False)
class RawImage:
    """An image as received: bytes and the fields that describe them (sensor_msgs/Image without ROS).

    Attributes:
        data: `step` bytes per row; the last row may lack its padding. Viewed, never copied. Excess bytes are ignored,
            unless they show that the pixels are larger than the encoding's.
        height: Pixels.
        width: Pixels.
        step: Bytes from one row to the next; 0 means that rows are packed.
        encoding: A name of sensor_msgs/image_encodings, see `SUPPORTED_ENCODINGS`.
        is_bigendian: Byte order of 16-bit samples.
    """

    data: Buffer = field(repr=False)
    height: int
    width: int
    step: int
    encoding: str
    is_bigendian: bool = False

    @classmethod
    def from_array(cls, frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]], encoding: str) -> RawImage:
        """Create an image over an array's memory.

        Args:
            frame: uint8 or uint16 [rows, W] or [rows, W, C]; viewed where each row is contiguous (rows may be padded),
                else copied. There are as many rows as the image is high; 3/2 as many in nv12 and nv21, 3 times in nv24.
            encoding: Meaning of the numbers; uint16 requires a 16-bit encoding.

        Raises:
            ImageError: The array's type or shape does not match the encoding.
        """
        if frame.ndim not in (2, 3) or frame.size == 0 or frame.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
            raise ImageError(
                f"an image is a uint8 or uint16 array [H, W] or [H, W, C], not {frame.dtype} {list(frame.shape)}"
            )
        rows, width = frame.shape[:2]
        row_bytes = frame[0].nbytes
        record = find_encoding(encoding)
        if record is not None and record.row_bytes(width) != row_bytes:
            raise ImageError(
                f"a {frame.dtype} array {list(frame.shape)} does not match encoding {printable(encoding, 40)}: "
                f"a row of {width} pixels has {record.row_bytes(width)} bytes, not {row_bytes}"
            )
        if not frame[0].flags.c_contiguous or frame.strides[0] < row_bytes:
            frame = np.ascontiguousarray(frame)
        step = frame.strides[0] if rows > 1 else row_bytes
        first_row = frame[0].reshape(-1).view(np.uint8)
        memory = np.lib.stride_tricks.as_strided(first_row, ((rows - 1) * step + row_bytes,), (1,), writeable=False)
        big_endian = frame.dtype.byteorder == ">" or (frame.dtype.byteorder == "=" and sys.byteorder == "big")
        height = (
            rows if record is None else bisect_right(range(rows + 1), rows, key=record.rows) - 1
        )  # tallest that fits
        return cls(memory, height, width, step, encoding, big_endian)


def to_rgb(image: RawImage, out: Bytes | None = None) -> Bytes:
    """Convert the whole frame, at full size, to RGB.

    Returns:
        uint8 [H, W, 3]: `out` if it is given; else a new array, or for rgb8 a read-only view of the image.

    Raises:
        ImageError: The image's data does not match its fields, or its encoding is not supported.
        SettingsError: `out` is not a uint8 array of the image's size.
    """
    return _convert(image, "RGB", out)


def to_bgr(image: RawImage, out: Bytes | None = None) -> Bytes:
    """Convert the whole frame, at full size, to BGR, for OpenCV's drawing and encoders.

    Returns:
        uint8 [H, W, 3]: `out` if it is given; else a new array, or for bgr8 and 8UC3 a read-only view of the image
        (pass an `out` to draw on it).

    Raises:
        ImageError: The image's data does not match its fields, or its encoding is not supported.
        SettingsError: `out` is not a uint8 array of the image's size.
    """
    return _convert(image, "BGR", out)


def _check_out(out: Bytes, height: int, width: int) -> None:
    if out.shape != (height, width, 3) or out.dtype != np.uint8:
        raise SettingsError(f"out is {out.dtype} {list(out.shape)}: give a uint8 array [{height}, {width}, 3]")


def _convert(image: RawImage, order: ColorOrder, out: Bytes | None) -> Bytes:
    encoding, planes = _open(image)
    if out is not None:
        _check_out(out, image.height, image.width)
    pixels = encoding.convert(planes, image.height, image.width, order, out)
    if out is None or pixels is out:
        return pixels
    out[...] = pixels
    return out


def _open(image: RawImage) -> tuple[Encoding, tuple[Bytes, ...]]:
    """Return an image's encoding and planes, after checking its fields against its data."""
    encoding = find_encoding(image.encoding, image.is_bigendian)
    if encoding is None:
        return Interleaved("RGB"), (_ask_cv_bridge(image),)
    return encoding, encoding.planes(image.data, image.height, image.width, checked_step(image, encoding))


def checked_step(image: RawImage, encoding: Encoding) -> int:
    """Return the bytes from one row to the next. Raises ImageError if the image's data does not match its fields."""
    row_bytes = encoding.row_bytes(image.width)
    step = image.step or row_bytes
    needed = (encoding.rows(image.height) - 1) * step + row_bytes
    received = image.data.nbytes if isinstance(image.data, np.ndarray) else memoryview(image.data).nbytes
    fits = image.height >= 1 and image.width >= 1 and step >= row_bytes and received >= needed
    if not fits or _has_larger_pixels(image, encoding, received):
        raise ImageError(
            f"the image's data does not match its fields: {printable(image.encoding, 40)}, height {image.height}, "
            f"width {image.width}, step {image.step} (a row needs {row_bytes}), "
            f"{received} bytes received and {needed} needed{_likely_encoding(image, received)}"
        )
    return step


_PADDING = 256
"""Bytes by which drivers align rows at most: a row that is padded by as many or more is none of this encoding."""

_WIDE_ENOUGH = 16
"""Pixels; every fourth byte of a narrower image may be the same by chance."""


def _has_larger_pixels(image: RawImage, encoding: Encoding, received: int) -> bool:
    """Return True if the data is of an encoding with more bytes per pixel, as where bgra8 is published as bgr8.

    Rows that are a whole number of bytes per pixel long may be padded by chance: then they count as padded, unless the
    padding is larger than any alignment, or every fourth byte is the same as alpha is.
    """
    row_bytes, height, width = encoding.row_bytes(image.width), image.height, image.width
    if not image.step:
        return received - encoding.rows(height) * row_bytes >= height * width
    if image.step == row_bytes or image.step % width or received < encoding.rows(height) * image.step:
        return False
    return image.step - row_bytes >= _PADDING or (
        width >= _WIDE_ENOUGH and (row_bytes, image.step) == (3 * width, 4 * width) and _has_constant_alpha(image)
    )


def _has_constant_alpha(image: RawImage) -> bool:
    """Return True if every fourth byte is 255, or every one 0, and the others are not."""
    pixels: Bytes = np.ndarray((image.height, image.width, 4), np.uint8, image.data)
    alpha = int(pixels[0, 0, 3])
    return alpha in (0, 255) and bool((pixels[..., 3] == alpha).all()) and bool((pixels[..., :3] != alpha).any())


def _likely_encoding(image: RawImage, received: int) -> str:
    """Return a hint at the encoding whose pixels are as large as the image's are, empty where none fits."""
    pixels = image.height * image.width
    if image.height < 1 or image.width < 1:
        return ""
    size = image.step / image.width if image.step > 0 else received / pixels
    has_red_first = image.encoding.startswith("rgb")
    likely = {
        1: "mono8",
        1.5: "nv12",
        2: "mono16 or yuv422",
        3: "rgb8" if has_red_first else "bgr8",
        4: "rgba8" if has_red_first else "bgra8",
        6: "rgb16" if has_red_first else "bgr16",
        8: "rgba16" if has_red_first else "bgra16",
    }.get(size)
    if likely is None or image.encoding in likely or received < size * pixels:
        return ""
    return (
        f"; it has {size:g} byte{'s' * (size != 1)} a pixel, as {likely} has: have the driver publish it as what it is"
    )


def _ask_cv_bridge(image: RawImage) -> Bytes:
    """Convert to RGB with cv_bridge, which reads the fields that RawImage shares with sensor_msgs/Image."""
    try:
        from cv_bridge import CvBridge

        return cast(Bytes, CvBridge().imgmsg_to_cv2(image, desired_encoding="rgb8"))
    except Exception as error:  # anything raised by a cv_bridge built for another NumPy or OpenCV
        raise ImageError(
            f"image encoding '{printable(image.encoding, 40)}' is not supported; use one of "
            f"{', '.join(SUPPORTED_ENCODINGS)} "
            f"(cv_bridge was tried too: {type(error).__name__}: {printable(error)})"
        ) from error
