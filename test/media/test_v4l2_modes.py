"""When a camera is asked for MJPEG, by what the kernel says of it."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ros2_actionnet.media.v4l2_modes import GET_FORMAT, LIST_FORMATS, LIST_INTERVALS, prefers_jpeg

HD, VGA = (1280, 720), (640, 480)
Rates = dict[tuple[bytes, tuple[int, int]], list[tuple[int, int]]]

WEBCAM: Rates = {
    (b"YUYV", VGA): [(1, 30), (1, 15)],
    (b"YUYV", HD): [(1, 10), (1, 5)],
    (b"MJPG", VGA): [(1, 30)],
    (b"MJPG", HD): [(1, 30), (1, 15)],
}


@dataclass
class FakeKernel:
    """Answers as the kernel does, in the structs of linux/videodev2.h."""

    rates: Rates
    size: tuple[int, int] = VGA
    stepwise: bool = False
    formats: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.formats = list(dict.fromkeys(fourcc for fourcc, _ in self.rates))

    def __call__(self, device: int, request: int, buffer: bytearray) -> object:
        if request == GET_FORMAT:
            struct.pack_into("=II", buffer, 8, *self.size)
            return 0
        (index,) = struct.unpack_from("=I", buffer)
        if request == LIST_FORMATS:
            if index >= len(self.formats):
                raise OSError(errno.EINVAL, "Invalid argument")
            fourcc = self.formats[index]
            struct.pack_into("=I", buffer, 8, int(fourcc != b"YUYV"))
            struct.pack_into("=4s", buffer, 44, fourcc)
            return 0
        assert request == LIST_INTERVALS
        fourcc, width, height = struct.unpack_from("=4sII", buffer, 4)
        found = self.rates.get((fourcc, (width, height)), [])
        if index >= len(found):
            raise OSError(errno.EINVAL, "Invalid argument")
        struct.pack_into("=III", buffer, 16, 3 if self.stepwise else 1, *found[index])
        return 0


@pytest.fixture(name="device")
def device_fixture(tmp_path: Path) -> Path:
    device = tmp_path / "video0"
    device.touch()
    return device


def test_the_requests_are_those_of_the_kernel() -> None:
    assert (LIST_FORMATS, LIST_INTERVALS) == (0xC0405602, 0xC034564B)
    assert (0xC0D05604 if struct.calcsize("P") == 8 else 0xC0CC5604) == GET_FORMAT


@pytest.mark.parametrize(
    ("size", "rate", "expected"),
    [
        (HD, 0.0, True),
        (VGA, 0.0, False),  # fast enough, and small
        (HD, 10.0, False),  # no more is wanted
        (HD, 60.0, True),
        ((1920, 1080), 0.0, False),  # it does not have that size, which FFmpeg says
    ],
)
def test_a_large_picture_that_comes_slowly_is_asked_for_in_jpeg(
    size: tuple[int, int], rate: float, expected: bool, device: Path
) -> None:
    assert prefers_jpeg(device, size, rate, FakeKernel(WEBCAM)) is expected


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_size_that_is_not_given_is_the_one_that_is_set(stepwise: bool, device: Path) -> None:
    assert prefers_jpeg(device, ioctl=FakeKernel(WEBCAM, HD, stepwise))
    assert not prefers_jpeg(device, ioctl=FakeKernel(WEBCAM, VGA, stepwise))


def test_fast_uncompressed_pictures_are_preferred(device: Path) -> None:
    usb3 = {(b"YUYV", HD): [(1, 60)], (b"MJPG", HD): [(1, 60)]}
    assert not prefers_jpeg(device, HD, ioctl=FakeKernel(usb3))


def test_jpeg_that_is_no_faster_or_not_there_is_not_asked_for(device: Path) -> None:
    assert not prefers_jpeg(device, HD, ioctl=FakeKernel({(b"YUYV", HD): [(1, 10)], (b"MJPG", HD): [(1, 10)]}))
    assert not prefers_jpeg(device, HD, ioctl=FakeKernel({(b"YUYV", HD): [(1, 10)], (b"H264", HD): [(1, 30)]}))
    assert prefers_jpeg(device, HD, ioctl=FakeKernel({(b"MJPG", HD): [(1, 30)]}))


def test_what_cannot_be_asked_is_left_as_it_is(device: Path) -> None:
    assert not prefers_jpeg(device, HD)  # an ordinary file
    assert not prefers_jpeg(device.with_name("video9"), HD)
