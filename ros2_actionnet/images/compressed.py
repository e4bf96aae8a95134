"""Decodes JPEG and PNG, at the resolution that the caller needs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.encodings import ENCODINGS, Bayer, Buffer, Bytes
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.system.text import printable

MaxDownscale: TypeAlias = Callable[[int, int], float]
"""Returns the factor by which an image's height and width (pixels) may be divided without loss."""

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_HEADER = b"\x89PNG\r\n\x1a\n", struct.Struct(">IIBB")  # at 16: width, height, bits, color type
_PNG_GRAY = 0
# Scales at which a JPEG can be decoded: its blocks of 8x8 pixels become blocks of 4x4, 2x2 or one pixel.
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
# Markers of the segment that holds a JPEG's size: C0 to CF, except the tables C4, C8 and CC.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_MOST_PIXELS_A_BYTE = 1024  # a block of 64 takes 1 bit at least; OpenCV would fill a damaged size with gray for seconds
_FILLING = b"\x55" * 32  # decodes to something in place of pixels that are missing


def decode(data: Buffer, format_: str, max_downscale: MaxDownscale) -> RawImage:
    """Decode a JPEG or PNG, with the pixels as stored in the file: an orientation tag (EXIF) is ignored.

    The bytes determine the format, not `format_`, which every driver fills in differently. Only a Bayer pattern is
    taken from it, where the file has one channel: image_transport compresses the mosaic as it is.

    Args:
        data: The file's bytes.
        format_: The field of sensor_msgs/CompressedImage, such as "bayer_rggb8; jpeg compressed ".
        max_downscale: Called for a JPEG in color, which is decoded at 1/2, 1/4 or 1/8 of its size if that suffices.

    Returns:
        bgr8, of the file's size divided by 1, 2, 4 or 8 and rounded up; of a 16-bit PNG mono16, bgr16 or bgra16; of a
        mosaic bayer_*8 or bayer_*16.

    Raises:
        ImageError: The data is neither JPEG nor PNG, or is damaged or truncated.
    """
    content = bytes(data)
    what = f"a compressed image of {len(content)} bytes with format '{printable(format_, 80)}'"
    mosaic = _bayer_pattern(format_)
    if content.startswith(_JPEG):
        image = _decode_jpeg(content, mosaic, max_downscale)
    elif content.startswith(_PNG):
        image = _decode_png(content, mosaic)
    else:
        begins = f", it begins with {content[:8]!r}" if content else ""
        raise ImageError(f"{what} is neither JPEG nor PNG{begins}; have the camera publish one of these, or raw images")
    if image is None:
        raise ImageError(f"{what} is damaged or truncated; check the camera's driver and the connection")
    return image


def completed_jpeg(content: bytes) -> bytes | None:
    """Return a JPEG with its end marker, which some cameras leave out; None if pixels are missing too, or all is.

    OpenCV fills the rest of a truncated one with gray. Whether pixels are missing shows in that what follows the data
    then makes a difference.
    """
    header = _read_jpeg_header(content)
    if header is None or header.height * header.width > _MOST_PIXELS_A_BYTE * len(content):
        return None
    if content.rfind(_JPEG_END) >= header.offset:
        return content
    data = content.rstrip(b"\xff")  # the beginning of a marker
    whole = data + _JPEG_END
    picture, other = _decode(whole, cv2.IMREAD_COLOR), _decode(data + _FILLING + _JPEG_END, cv2.IMREAD_COLOR)
    return whole if picture is not None and other is not None and np.array_equal(picture, other) else None


def _bayer_pattern(format_: str) -> str | None:
    """Return "bayer_rggb" for "bayer_rggb8; jpeg compressed "; None for a format that names no mosaic."""
    encoding = format_.partition(";")[0].strip()
    return encoding.rstrip("0123456789") if isinstance(ENCODINGS.get(encoding), Bayer) else None


def _decode_jpeg(content: bytes, mosaic: str | None, max_downscale: MaxDownscale) -> RawImage | None:
    header, whole = _read_jpeg_header(content), completed_jpeg(content)
    if header is None or whole is None:
        return None
    if mosaic is not None and header.channels == 1:
        return _image(_decode(whole, cv2.IMREAD_GRAYSCALE), f"{mosaic}8")
    enough = max_downscale(header.height, header.width)
    flag = next((flag for divisor, flag in _REDUCED.items() if divisor <= enough), cv2.IMREAD_COLOR)
    return _image(_decode(whole, flag), "bgr8")


def _decode_png(content: bytes, mosaic: str | None) -> RawImage | None:
    if len(content) < 16 + _PNG_HEADER.size:
        return None
    # OpenCV would "reduce" a PNG by decoding all of it and skipping pixels.
    _, _, bits, color_type = _PNG_HEADER.unpack_from(content, 16)
    if mosaic is not None and color_type == _PNG_GRAY and bits in (8, 16):
        return _image(_decode(content, cv2.IMREAD_UNCHANGED), f"{mosaic}{bits}")
    if bits != 16:
        return _image(_decode(content, cv2.IMREAD_COLOR), "bgr8")
    pixels = _decode(content, cv2.IMREAD_UNCHANGED)
    channels = 1 if pixels is None or pixels.ndim == 2 else pixels.shape[2]
    return _image(pixels, {1: "mono16", 3: "bgr16", 4: "bgra16"}[channels])


def _image(pixels: Bytes | None, encoding: str) -> RawImage | None:
    return None if pixels is None else RawImage.from_array(pixels, encoding)


class _JpegHeader(NamedTuple):
    """A JPEG's height and width (pixels), its number of channels, and the offset of these fields."""

    height: int
    width: int
    channels: int
    offset: int


def _read_jpeg_header(content: bytes) -> _JpegHeader | None:
    """Return the header, None if there is none."""
    position = 2
    while position + 10 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # markers may be preceded by any number of fill bytes
            position += 1
            continue
        if marker == _START_OF_SCAN:
            return None
        length, height, width, channels = struct.unpack_from(">HxHHB", content, position + 2)
        if marker in _FRAME_HEADERS:
            return _JpegHeader(height, width, channels, position)
        position += 2 + length
    return None


def _decode(content: bytes, flag: int) -> Bytes | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # raised by older versions instead of returning None
        return None
    return cast("Bytes | None", pixels)
