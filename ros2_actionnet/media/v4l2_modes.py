"""What a V4L2 camera sends: its formats and their highest rates, from the kernel."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Ioctl = Callable[[int, int, bytearray], object]
"""Performs a request on an open device; the kernel writes its answer into the buffer. Raises OSError."""

_FAST_ENOUGH = 20.0  # Hz
_LARGE = 1280 * 720  # pixels, from which USB 2 is too slow for uncompressed pictures
_JPEG = frozenset({b"MJPG", b"JPEG"})

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_COMPRESSED = 1  # V4L2_FMT_FLAG_COMPRESSED
_DISCRETE = 1  # V4L2_FRMIVAL_TYPE_DISCRETE

# The structs v4l2_fmtdesc, v4l2_frmivalenum and the beginning of v4l2_format, whose union is aligned to a pointer.
_DESCRIPTION = struct.Struct("=III32s4s16x")
_INTERVAL = struct.Struct("=I4sIII24s8x")
_POINTER = struct.calcsize("P")
_FORMAT_SIZE = _POINTER + 200


def _request(number: int, size: int) -> int:
    """Return the number of a request that reads and writes a struct of `size` bytes: _IOWR('V', number, size)."""
    return 3 << 30 | size << 16 | ord("V") << 8 | number


GET_FORMAT = _request(4, _FORMAT_SIZE)
LIST_FORMATS = _request(2, _DESCRIPTION.size)
LIST_INTERVALS = _request(75, _INTERVAL.size)


@dataclass(frozen=True)
class Mode:
    """A format of a camera at some size.

    Attributes:
        fourcc: The format's four characters.
        is_compressed: True for MJPEG, H.264 and the like.
        rate: Highest rate in Hz.
    """

    fourcc: bytes
    is_compressed: bool
    rate: float


def prefers_jpeg(path: Path, size: tuple[int, int] = (0, 0), rate: float = 0.0, ioctl: Ioctl | None = None) -> bool:
    """Return True if a camera should be asked for MJPEG, as its uncompressed pictures come at less than 20 Hz.

    Only from 1280x720 on; False if the camera has no faster MJPEG or cannot be asked.

    Args:
        path: The device.
        size: Width and height in pixels; (0, 0): those that it is set to.
        rate: Hz that are enough; 0: 20.
        ioctl: Performs the requests; None: the kernel.
    """
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return False
    ask = ioctl or fcntl.ioctl
    try:
        width, height = size if all(size) else _current_size(device, ask)
        if width * height < _LARGE:
            return False
        modes = list(_modes(device, (width, height), ask))
    except OSError:
        return False
    finally:
        os.close(device)
    raw = max((mode.rate for mode in modes if not mode.is_compressed), default=0.0)
    jpeg = max((mode.rate for mode in modes if mode.fourcc in _JPEG), default=0.0)
    return raw < min(rate or _FAST_ENOUGH, _FAST_ENOUGH) and jpeg > raw


def _current_size(device: int, ask: Ioctl) -> tuple[int, int]:
    buffer = bytearray(_FORMAT_SIZE)
    struct.pack_into("=I", buffer, 0, _CAPTURE)
    ask(device, GET_FORMAT, buffer)
    width, height = struct.unpack_from("=II", buffer, _POINTER)
    return width, height


def _modes(device: int, size: tuple[int, int], ask: Ioctl) -> Iterator[Mode]:
    """Yield the formats that the camera has at a size."""
    for answer in _listed(device, LIST_FORMATS, lambda index: _DESCRIPTION.pack(index, _CAPTURE, 0, b"", b""), ask):
        _, _, flags, _, fourcc = _DESCRIPTION.unpack(answer)
        rates = [_rate(found) for found in _intervals(device, fourcc, size, ask)]
        if rates:
            yield Mode(fourcc, bool(flags & _COMPRESSED), max(rates))


def _intervals(device: int, fourcc: bytes, size: tuple[int, int], ask: Ioctl) -> Iterator[bytes]:
    """Yield the answers on a format's intervals at a size: each of them, or one on their range."""
    for answer in _listed(device, LIST_INTERVALS, lambda index: _INTERVAL.pack(index, fourcc, *size, 0, b""), ask):
        yield answer
        if _INTERVAL.unpack(answer)[4] != _DISCRETE:
            return


def _rate(answer: bytes) -> float:
    """Return the rate (Hz) of an interval, or the highest of a range of intervals, which begins with the shortest."""
    numerator, denominator = struct.unpack_from("=II", _INTERVAL.unpack(answer)[5])
    return denominator / numerator if numerator else 0.0


def _listed(device: int, request: int, question: Callable[[int], bytes], ask: Ioctl) -> Iterator[bytes]:
    """Yield the answers to a request for index 0, 1 and so on, until the kernel has no more."""
    for index in range(1000):
        buffer = bytearray(question(index))
        try:
            ask(device, request, buffer)
        except OSError:
            return
        yield bytes(buffer)
