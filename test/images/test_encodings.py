from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from ros2_actionnet.images.encodings import ENCODINGS, find_encoding
from ros2_actionnet.images.raw_image import RawImage, to_bgr, to_rgb

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photograph() -> Pixels:
    """RGB [240, 320, 3], smooth enough to survive a mosaic."""
    return np.array(cv2.resize(load_sample_image("flower.jpg"), (320, 240), interpolation=cv2.INTER_AREA), np.uint8)


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def mosaic(rgb: Pixels, pattern: str) -> Pixels:
    """What a sensor with this filter over its top left 2x2 pixels sees."""
    rows, columns = np.indices(rgb.shape[:2]) % 2
    channel = np.array(["RGB".index(color) for color in pattern])[2 * rows + columns]
    return np.take_along_axis(rgb, channel[..., None], axis=2)[..., 0]


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize(
    ("encoding", "channels", "code"),
    [
        ("bgr8", 3, cv2.COLOR_BGR2RGB),
        ("8UC3", 3, cv2.COLOR_BGR2RGB),
        ("bgra8", 4, cv2.COLOR_BGRA2RGB),
        ("8UC4", 4, cv2.COLOR_BGRA2RGB),
        ("rgba8", 4, cv2.COLOR_RGBA2RGB),
        ("mono8", 1, cv2.COLOR_GRAY2RGB),
        ("8UC1", 1, cv2.COLOR_GRAY2RGB),
        ("uyvy", 2, cv2.COLOR_YUV2RGB_UYVY),
        ("yuv422", 2, cv2.COLOR_YUV2RGB_UYVY),
        ("yuyv", 2, cv2.COLOR_YUV2RGB_YUYV),
        ("yuv422_yuy2", 2, cv2.COLOR_YUV2RGB_YUYV),
    ],
)
def test_packed_pixels_are_what_opencv_makes_of_them(encoding: str, channels: int, code: int) -> None:
    frame = noise(12, 16, channels)
    image = RawImage.from_array(frame, encoding)
    assert np.array_equal(to_rgb(image), cv2.cvtColor(frame, code))
    assert np.array_equal(to_bgr(image), to_rgb(image)[..., ::-1])


@pytest.mark.parametrize(("encoding", "code"), [("nv12", cv2.COLOR_YUV2RGB_NV12), ("nv21", cv2.COLOR_YUV2RGB_NV21)])
def test_semi_planar_420_is_what_opencv_makes_of_it(encoding: str, code: int) -> None:
    frame = noise(18, 16)
    image = RawImage.from_array(frame, encoding)
    assert (image.height, image.width) == (12, 16)
    assert np.array_equal(to_rgb(image), cv2.cvtColor(frame, code))
    assert np.array_equal(to_bgr(image), to_rgb(image)[..., ::-1])


def test_nv24_has_chroma_for_every_pixel() -> None:
    luma, chroma = noise(6, 8), noise(6, 8, 2) // 4 + 96  # without the extremes that are clipped
    luma = luma // 2 + 64
    image = RawImage(luma.tobytes() + chroma.tobytes(), 6, 8, 8, "nv24")
    doubled = [np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (luma, chroma)]
    expected = cv2.cvtColorTwoPlane(doubled[0], chroma, cv2.COLOR_YUV2RGB_NV12)[::2, ::2]
    assert np.abs(to_rgb(image).astype(int) - expected).max() <= 1
    assert np.array_equal(to_bgr(image), to_rgb(image)[..., ::-1])


def test_nv24_honours_step() -> None:
    luma, chroma = noise(6, 8), noise(6, 16)
    padded = np.full((18, 10), 7, np.uint8)
    padded[:6, :8] = luma
    padded[6:].reshape(6, 20)[:, :16] = chroma  # two steps a row
    packed = RawImage(luma.tobytes() + chroma.tobytes(), 6, 8, 8, "nv24")
    assert np.array_equal(to_rgb(RawImage(padded.tobytes(), 6, 8, 10, "nv24")), to_rgb(packed))


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GBRG", "GRBG"])
def test_bayer_gives_the_photograph_back(photograph: Pixels, pattern: str) -> None:
    sensor = mosaic(photograph, pattern)
    rgb = to_rgb(RawImage.from_array(sensor, f"bayer_{pattern.lower()}8"))
    right = difference(rgb, photograph)
    assert right < 3
    assert difference(rgb[..., ::-1], photograph) > 4 * right  # the mistake that OpenCV's names invite
    assert difference(rgb[0], photograph[0]) < 6
    assert difference(rgb[:, -1], photograph[:, -1]) < 6


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GBRG", "GRBG"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_bayer_of_16_bits_is_what_opencv_makes_of_it(pattern: str, byte_order: str) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (22, 31)).astype(np.uint16)
    code = getattr(cv2, f"COLOR_Bayer{pattern[3]}{pattern[2]}2RGB")
    expected = cv2.cvtColor(deep, code).astype(float) / 257
    sensor = deep.astype(f"{byte_order}u2")
    image = RawImage(sensor.tobytes(), 22, 31, 0, f"bayer_{pattern.lower()}16", is_bigendian=byte_order == ">")
    inner = np.s_[2:-2, 2:-2]  # OpenCV copies its border
    assert np.abs(to_rgb(image)[inner] - expected[inner]).max() < 1.3
    assert np.array_equal(to_rgb(RawImage.from_array(sensor, image.encoding)), to_rgb(image))


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GBRG", "GRBG"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 2), (3, 5), (4, 4)])
def test_bayer_of_one_color_is_that_color_to_the_edges(pattern: str, height: int, width: int) -> None:
    color = np.array([200, 100, 50], np.uint8)
    sensor = mosaic(np.broadcast_to(color, (height, width, 3)), pattern)
    rgb = to_rgb(RawImage.from_array(sensor, f"bayer_{pattern.lower()}8"))
    assert np.array_equal(rgb, np.broadcast_to(color, (height, width, 3)))


@pytest.mark.parametrize(
    ("encoding", "shape", "order"),
    [
        ("mono16", (5, 7), [0, 0, 0]),
        ("16UC1", (5, 7), [0, 0, 0]),
        ("rgb16", (5, 7, 3), [0, 1, 2]),
        ("bgr16", (5, 7, 3), [2, 1, 0]),
        ("16UC3", (5, 7, 3), [2, 1, 0]),
        ("rgba16", (5, 7, 4), [0, 1, 2]),
        ("bgra16", (5, 7, 4), [2, 1, 0]),
        ("16UC4", (5, 7, 4), [2, 1, 0]),
    ],
)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bits_become_eight(encoding: str, shape: tuple[int, ...], order: list[int], byte_order: str) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, shape).astype(f"{byte_order}u2")
    deep.flat[:2] = 0, 65535
    image = RawImage(deep.tobytes(), 5, 7, 0, encoding, is_bigendian=byte_order == ">")
    expected = np.round(deep.reshape(5, 7, -1)[..., order] / 257)
    assert np.array_equal(to_rgb(image), expected)
    assert np.array_equal(to_bgr(image), expected[..., ::-1])
    assert np.array_equal(to_rgb(RawImage.from_array(deep, encoding)), expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (3, 3), (5, 4), (4, 5), (7, 9)])
def test_odd_and_tiny_sizes_have_a_grey_level_where_the_image_is_grey(encoding: str, height: int, width: int) -> None:
    record = find_encoding(encoding)
    assert record is not None
    # 128 is a grey in every encoding; in YUV it is (128 - 16) * 1.164.
    data = bytes([128]) * (record.rows(height) * record.row_bytes(width))
    grey = 130 if encoding in ("uyvy", "yuyv", "yuv422", "yuv422_yuy2") or encoding.startswith("nv") else 128
    rgb = to_rgb(RawImage(data, height, width, 0, encoding))
    assert rgb.shape == (height, width, 3)
    assert np.array_equal(rgb, np.full((height, width, 3), grey))


@pytest.mark.parametrize(("encoding", "channels"), [("uyvy", 2), ("yuyv", 2)])
def test_the_odd_last_pixel_of_422_borrows_its_missing_chroma(encoding: str, channels: int) -> None:
    yuv = np.empty((4, 6, channels), np.uint8)
    yuv.reshape(4, 3, 4)[...] = [90, 200, 160, 200] if encoding == "uyvy" else [200, 90, 200, 160]
    whole = to_rgb(RawImage.from_array(yuv, encoding))
    assert np.array_equal(to_rgb(RawImage.from_array(yuv[:, :5], encoding)), whole[:, :5])


def test_odd_420_is_the_corner_of_the_even_image() -> None:
    even = np.full((9, 6), 150, np.uint8)
    even[:6] = noise(6, 6)
    even[6:] = np.tile([90, 170], 3)
    rows = np.concatenate([even[:5], even[6:]])  # 5 rows of luma, 3 of chroma
    odd = RawImage.from_array(rows[:, :5], "nv12")
    assert (odd.height, odd.width) == (5, 5)
    assert np.array_equal(to_rgb(odd), to_rgb(RawImage.from_array(even, "nv12"))[:5, :5])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_planes_are_read_only_views(encoding: str) -> None:
    record = find_encoding(encoding)
    assert record is not None
    data = np.zeros(record.rows(8) * record.row_bytes(8), np.uint8)
    for plane in record.planes(data, 8, 8, record.row_bytes(8)):
        assert np.shares_memory(plane, data)
        assert not plane.flags.writeable


def test_find_encoding_knows_no_other_names() -> None:
    assert find_encoding("32FC1") is None
    assert find_encoding("BGR8") is None
