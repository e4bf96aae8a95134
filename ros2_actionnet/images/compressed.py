"""Decodes JPEG and PNG, at the resolution that the caller needs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias, cast

import cv2
import numpy as np

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.encodings import Buffer, Bytes
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.system.text import printable

MaxDownscale: TypeAlias = Callable[[int, int], float]
"""Returns the factor by which an image's height and width (pixels) may be divided without loss."""

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
# Scales at which a JPEG can be decoded: its blocks of 8x8 pixels become blocks of 4x4, 2x2 or one pixel.
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
# Markers of the segment that holds a JPEG's size: C0 to CF, except the tables C4, C8 and CC.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA


def decode(data: Buffer, format_: str, max_downscale: MaxDownscale) -> RawImage:
    """Decode a JPEG or PNG, with the pixels as stored in the file: an orientation tag (EXIF) is ignored.

    The bytes determine the format, not `format_`, which every driver fills in differently.

    Args:
        data: The file's bytes.
        format_: The field of sensor_msgs/CompressedImage, for the error message.
        max_downscale: Called for a JPEG, which is decoded at 1/2, 1/4 or 1/8 of its size if that suffices.

    Returns:
        bgr8, of the file's size divided by 1, 2, 4 or 8 and rounded up.

    Raises:
        ImageError: The data is neither JPEG nor PNG, or is damaged or truncated.
    """
    content = bytes(data)
    what = f"a compressed image of {len(content)} bytes with format '{printable(format_, 80)}'"
    if content.startswith(_JPEG):
        pixels = _decode_jpeg(content, max_downscale)
    elif content.startswith(_PNG):
        # OpenCV would "reduce" a PNG by decoding all of it and skipping pixels.
        pixels = _decode(content, cv2.IMREAD_COLOR)
    else:
        begins = f", it begins with {content[:8]!r}" if content else ""
        raise ImageError(f"{what} is neither JPEG nor PNG{begins}; have the camera publish one of these, or raw images")
    if pixels is None:
        raise ImageError(f"{what} is damaged or truncated; check the camera's driver and the connection")
    return RawImage.from_array(pixels, "bgr8")


def is_whole_jpeg(content: bytes) -> bool:
    """Return True if a JPEG is complete: OpenCV 4 would fill the rest of a truncated one with gray."""
    found = _find_jpeg_size(content)
    return found is not None and content.rfind(_JPEG_END) >= found[2]


def _decode_jpeg(content: bytes, max_downscale: MaxDownscale) -> Bytes | None:
    found = _find_jpeg_size(content)
    if found is None or not is_whole_jpeg(content):
        return None
    height, width, _ = found
    enough = max_downscale(height, width)
    flag = next((flag for divisor, flag in _REDUCED.items() if divisor <= enough), cv2.IMREAD_COLOR)
    return _decode(content, flag)


def _find_jpeg_size(content: bytes) -> tuple[int, int, int] | None:
    """Return a JPEG's height and width (pixels), and the offset of these fields; None if there are none."""
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # markers may be preceded by any number of fill bytes
            position += 1
            continue
        if marker == _START_OF_SCAN:
            return None
        length, height, width = struct.unpack_from(">HxHH", content, position + 2)
        if marker in _FRAME_HEADERS:
            return height, width, position
        position += 2 + length
    return None


def _decode(content: bytes, flag: int) -> Bytes | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # raised by older versions instead of returning None
        return None
    return cast("Bytes | None", pixels)
