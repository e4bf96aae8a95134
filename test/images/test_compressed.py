from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.compressed import completed_jpeg, decode
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.images.thumbnails import Preprocessor, ResizeMode

Pixels = NDArray[np.uint8]

CHINA: Pixels = load_sample_image("china.jpg")  # RGB [427, 640, 3]
JPEG_FORMATS = ("jpeg", "jpg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8", "")


def in_full(height: int, width: int) -> float:
    return 1.0


def pixels_of(image: RawImage) -> Pixels:
    assert image.encoding == "bgr8"
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)


def jpeg(rgb: Pixels, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def png(samples: NDArray[np.uint8 | np.uint16]) -> bytes:
    return bytes(cv2.imencode(".png", samples)[1])


def with_segment(file: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG with another segment before all others."""
    return file[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + file[2:]


@pytest.mark.parametrize("format_", JPEG_FORMATS)
def test_a_jpeg_is_decoded_whatever_it_is_called(format_: str) -> None:
    file = jpeg(CHINA)
    expected = np.array(Image.open(io.BytesIO(file)))[..., ::-1]
    pixels = pixels_of(decode(file, format_, in_full))
    assert np.abs(pixels.astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize(
    ("factor", "divisor"), [(0.3, 1), (1, 1), (1.99, 1), (2, 2), (3.9, 2), (4, 4), (7.9, 4), (8, 8), (math.inf, 8)]
)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (64, 48), (427, 639)])
def test_a_jpeg_comes_at_the_largest_reduction_that_is_enough(
    height: int, width: int, factor: float, divisor: int
) -> None:
    asked: list[tuple[int, int]] = []

    def max_downscale(height: int, width: int) -> float:
        asked.append((height, width))
        return factor

    image = decode(jpeg(CHINA[:height, :width]), "jpeg", max_downscale)
    assert asked == [(height, width)]
    assert (image.height, image.width) == (-(-height // divisor), -(-width // divisor))
    whole = Image.fromarray(CHINA[:height, :width]).reduce(divisor)
    if min(height, width) > 8:
        assert np.abs(pixels_of(image).astype(int) - np.array(whole)[..., ::-1]).mean() < 4


def test_the_size_is_found_behind_other_segments_and_padding() -> None:
    file = jpeg(CHINA, progressive=True, exif=b"Exif\0\0" + b"\xff\xc0" * 100)
    file = with_segment(file, 0xFE, b"comment")
    file = file[:2] + b"\xff\xff\xff" + file[2:]
    file = with_segment(file, 0xE1, jpeg(CHINA[:60, :80]))  # a small picture within, as cameras put there
    image = decode(file + bytes(500), "jpeg", lambda height, width: 8.0 * (height == 427 and width == 640))
    assert (image.height, image.width) == (54, 80)


def test_a_grey_jpeg_is_grey() -> None:
    pixels = pixels_of(decode(jpeg(CHINA[..., 1]), "mono8; jpeg compressed mono8", in_full))
    assert (pixels.min(axis=2) == pixels.max(axis=2)).all()
    assert np.abs(pixels[..., 0].astype(int) - CHINA[..., 1]).mean() < 3


def test_how_the_camera_was_held_does_not_turn_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    image = decode(jpeg(CHINA, exif=exif.tobytes()), "jpeg", lambda *_: 4)
    assert (image.height, image.width) == (107, 160)


@pytest.mark.parametrize("mode", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("roi", [(0.0, 0.0, 1.0, 1.0), (0.2, 0.1, 0.5, 0.6)])
@pytest.mark.parametrize("size", [90, 112, 128, 160, 224])
@pytest.mark.parametrize("picture", ["china", "coffee", "enlarged"])
def test_a_thumbnail_from_the_reduced_image_is_as_good_as_from_the_whole(
    picture: str, size: int, roi: tuple[float, float, float, float], mode: ResizeMode
) -> None:
    rgb: Pixels = data.coffee() if picture == "coffee" else CHINA
    if picture == "enlarged":
        rgb = np.array(Image.fromarray(rgb).resize((1920, 1080), Image.Resampling.BICUBIC))
    file = jpeg(rgb)
    preprocessor = Preprocessor(size, size, roi, mode)
    reduced = preprocessor.thumbnail(decode(file, "jpeg", preprocessor.max_downscale)).astype(int)
    whole = preprocessor.thumbnail(decode(file, "jpeg", in_full)).astype(int)
    # Another region, or points left out, would differ by 10 and more; letterbox may round to one more row.
    assert np.abs(reduced - whole).mean() < (8 if mode == "letterbox" else 3.5)
    if mode == "stretch":
        x, y, width, height = roi
        box = (x * rgb.shape[1], y * rgb.shape[0], (x + width) * rgb.shape[1], (y + height) * rgb.shape[0])
        ideal = np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.BILINEAR, box)).astype(int)
        assert np.abs(reduced - ideal).mean() < np.abs(whole - ideal).mean() + 1.2


@pytest.mark.parametrize(
    ("roi", "mode", "factor"),
    [
        ((0.0, 0.0, 1.0, 1.0), "stretch", 1080 / 112 / 1.5),
        ((0.0, 0.0, 1.0, 0.5), "stretch", 540 / 112 / 1.5),
        ((0.5, 0.5, 0.25, 0.5), "stretch", 480 / 112 / 1.5),
        ((0.0, 0.0, 1.0, 1.0), "crop", 1080 / 112 / 1.5),
        ((0.0, 0.0, 1.0, 1.0), "letterbox", 1920 / 112 / 1.5),
        ((0.0, 0.0, 0.01, 0.01), "stretch", 11 / 112 / 1.5),
    ],
)
def test_the_region_of_interest_decides_on_the_reduction(
    roi: tuple[float, float, float, float], mode: ResizeMode, factor: float
) -> None:
    assert Preprocessor(112, 112, roi, mode).max_downscale(1080, 1920) == pytest.approx(factor, rel=0.02)


@pytest.mark.parametrize("format_", ["png", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8"])
def test_a_png_comes_exactly_and_in_full(format_: str) -> None:
    bgr = np.ascontiguousarray(CHINA[:101, :77, ::-1])
    assert np.array_equal(pixels_of(decode(png(bgr), format_, lambda *_: 8)), bgr)


def test_a_png_with_alpha_or_grey_becomes_bgr8() -> None:
    random = np.random.default_rng(5)
    bgra = random.integers(0, 256, (5, 7, 4), np.uint8)
    assert np.array_equal(pixels_of(decode(png(bgra), "bgra8; png compressed bgr8", in_full)), bgra[..., :3])
    grey = random.integers(0, 256, (5, 7), np.uint8)
    assert np.array_equal(pixels_of(decode(png(grey), "mono8; png compressed ", in_full)), np.dstack([grey] * 3))


@pytest.mark.parametrize(("channels", "encoding"), [(1, "mono16"), (3, "bgr16"), (4, "bgra16")])
def test_a_png_of_16_bits_keeps_them(channels: int, encoding: str) -> None:
    deep = np.random.default_rng(5).integers(0, 65536, (5, 7, channels), np.uint16)
    image = decode(png(deep), "16UC1; png compressed ", in_full)
    assert image.encoding == encoding
    assert np.array_equal(np.frombuffer(bytes(image.data), np.uint16).reshape(deep.shape), deep)
    assert np.abs(to_bgr(image) - deep[..., :3] / 257).max() <= 0.5


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("kind", "bits"), [("jpeg", 8), ("png", 8), ("png", 16)])
def test_a_compressed_mosaic_is_demosaiced(pattern: str, kind: str, bits: int) -> None:
    rows, columns = np.indices(CHINA.shape[:2]) % 2
    channel = np.array(["rgb".index(color) for color in pattern])[2 * rows + columns]
    mosaic: Pixels = np.take_along_axis(CHINA, channel[..., None], axis=2)[..., 0]
    format_ = f"bayer_{pattern}{bits}; {kind} compressed "
    file = jpeg(mosaic, quality=98) if kind == "jpeg" else png(mosaic if bits == 8 else mosaic.astype(np.uint16) * 257)
    image = decode(file, format_, lambda *_: 8)
    assert (image.encoding, image.height, image.width) == (f"bayer_{pattern}{bits}", *CHINA.shape[:2])
    raw = to_bgr(RawImage.from_array(mosaic, f"bayer_{pattern}8")).astype(int)
    assert np.abs(to_bgr(image) - raw).mean() <= (2.5 if kind == "jpeg" else 0)
    thumbnail = Preprocessor(112, 112).thumbnail(image).astype(int)
    assert np.abs(thumbnail - Preprocessor(112, 112).thumbnail(RawImage.from_array(CHINA, "rgb8"))).mean() < 3


@pytest.mark.parametrize("kind", [jpeg, lambda rgb: png(np.ascontiguousarray(rgb[..., ::-1]))])
def test_a_compressed_image_in_color_is_no_mosaic_whatever_its_format_says(kind: Callable[[Pixels], bytes]) -> None:
    image = decode(kind(CHINA), "bayer_rggb8; jpeg compressed bgr8", in_full)
    assert np.abs(pixels_of(image)[..., ::-1].astype(int) - CHINA).mean() < 4


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview, lambda file: np.frombuffer(file, np.uint8)])
def test_any_buffer_will_do(view: type[bytes]) -> None:
    assert decode(view(jpeg(CHINA)), "jpeg", in_full).height == 427


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["0 bytes", "neither JPEG nor PNG"]),
        (b"GIF89a" + bytes(50), ["56 bytes", "neither JPEG nor PNG", "GIF89a"]),
        (bytes(12) + png(np.zeros((4, 4), np.uint16)), ["neither"]),  # what compressedDepth sends
        (b"\xff\xd8\xff", ["3 bytes", "damaged or truncated"]),
        (b"\xff\xd8\xff\xd9", ["damaged"]),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), ["damaged"]),
        (b"\x89PNG\r\n\x1a\n", ["8 bytes", "damaged"]),
    ],
)
def test_what_is_no_image_is_refused_with_its_size_and_format(content: bytes, words: list[str]) -> None:
    with pytest.raises(ImageError) as refusal:
        decode(content, "what; it says", in_full)
    for word in [*words, "format 'what; it says'"]:
        assert word in str(refusal.value)


@pytest.mark.parametrize("file", [jpeg(CHINA[:64, :64]), png(CHINA[:64, :64])], ids=["jpeg", "png"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(file: bytes) -> None:
    for end in range(0, len(file) - 12, 97):
        with pytest.raises(ImageError):
            decode(file[:end], "jpeg", in_full)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}], ids=str
)
@pytest.mark.parametrize("size", [(64, 64), (61, 83)])
def test_a_jpeg_without_its_end_marker_is_decoded_and_one_without_pixels_refused(
    size: tuple[int, int], options: dict[str, object]
) -> None:
    file = jpeg(CHINA[: size[0], : size[1]], **options)
    whole = pixels_of(decode(file, "jpeg", in_full))
    for end in (file[:-2], file[:-1], file[:-2] + b"\xff\xff"):
        assert np.array_equal(pixels_of(decode(end, "jpeg", in_full)), whole)
    for missing in range(3, 40):
        try:
            pixels = pixels_of(decode(file[:-missing], "jpeg", in_full))
        except ImageError:
            continue
        assert np.abs(pixels.astype(int) - whole).max() <= 8, f"{missing} bytes are missing"
    assert completed_jpeg(file[:-2]) == file
    assert completed_jpeg(file[: len(file) * 3 // 4]) is None


@pytest.mark.timeout(20)
def test_a_damaged_size_is_refused_without_decoding_that_many_pixels() -> None:
    content = bytearray(jpeg(data.astronaut()[:48, :64]))
    place = content.index(b"\xff\xc0") + 5
    for height, width in ((32767, 32767), (65535, 64), (48, 65000)):
        content[place : place + 4] = struct.pack(">HH", height, width)
        with pytest.raises(ImageError, match="is damaged or truncated"):
            decode(content, "jpeg", in_full)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_emptiest_picture_is_not_taken_for_damaged(progressive: bool) -> None:
    grey = Image.fromarray(np.full((4096, 4096), 128, np.uint8))
    file = io.BytesIO()
    grey.save(file, "JPEG", progressive=progressive, optimize=True)
    image = decode(file.getvalue(), "jpeg", lambda height, width: 8.0)
    assert (image.height, image.width) == (512, 512)
    assert np.array_equal(to_bgr(image), np.full((512, 512, 3), 128))


@given(st.data())
def test_a_damaged_file_is_refused_or_still_an_image_of_some_size(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from([jpeg(CHINA[:40, :40]), png(CHINA[:40, :40])])))
    for _ in range(data.draw(st.integers(1, 5))):
        # Not the size: a damaged one could ask for gigabytes.
        file[data.draw(st.integers(200, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(file), "jpeg", in_full)
    except ImageError:
        return
    assert pixels_of(image).shape[2] == 3
