import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from ros2_actionnet.errors import ImageError, SettingsError
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.encodings import find_encoding
from ros2_actionnet.images.raw_image import SUPPORTED_ENCODINGS, RawImage, to_bgr, to_rgb
from ros2_actionnet.images.thumbnails import Preprocessor, ResizeMode

Pixels = NDArray[np.uint8]

RESIZE_MODES: tuple[ResizeMode, ...] = ("stretch", "crop", "letterbox")

PHOTOGRAPHS: dict[str, Callable[[], Pixels]] = {
    "china": lambda: load_sample_image("china.jpg"),  # fine detail
    "flower": lambda: load_sample_image("flower.jpg"),
    "astronaut": data.astronaut,
    "coffee": data.coffee,
}


def photograph(name: str, width: int, height: int) -> Pixels:
    """RGB [height, width, 3]: cut from the photograph, which is enlarged first where it is too small."""
    source = Image.fromarray(PHOTOGRAPHS[name]())
    scale = max(1.0, width / source.width, height / source.height)
    whole = source.resize((round(source.width * scale), round(source.height * scale)), Image.Resampling.BICUBIC)
    return np.array(whole.crop((0, 0, width, height)), np.uint8)


def encode(rgb: Pixels, encoding: str) -> RawImage:
    """The photograph as a camera of that encoding would send it; sides must be even."""
    height, width = rgb.shape[:2]
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    y = 0.257 * red + 0.504 * green + 0.098 * blue + 16
    u = -0.148 * red - 0.291 * green + 0.439 * blue + 128
    v = 0.439 * red - 0.368 * green - 0.071 * blue + 128
    frame: NDArray[Any]
    if encoding in ("yuyv", "uyvy"):
        u, v = ((chroma[:, ::2] + chroma[:, 1::2]) / 2 for chroma in (u, v))
        samples = [y[:, ::2], u, y[:, 1::2], v] if encoding == "yuyv" else [u, y[:, ::2], v, y[:, 1::2]]
        frame = np.stack(samples, axis=2).reshape(height, width, 2)
    elif encoding in ("nv12", "nv21"):
        u, v = (chroma.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for chroma in (u, v))
        pairs = np.stack([u, v] if encoding == "nv12" else [v, u], axis=2)
        frame = np.concatenate([y, pairs.reshape(height // 2, width)])
    elif encoding.startswith("bayer"):
        rows, columns = np.indices((height, width)) % 2
        channel = np.array(["rgb".index(color) for color in encoding[6:10]])[2 * rows + columns]
        frame = np.take_along_axis(rgb, channel[..., None], axis=2)[..., 0]
    else:
        alpha = np.zeros((height, width))
        channels = {"r": red, "g": green, "b": blue, "a": alpha, "m": green}
        frame = np.stack([channels[letter] for letter in encoding.rstrip("816").replace("mono", "m")], axis=2)
    if encoding.endswith("16"):
        return RawImage.from_array((frame.astype(float) * 257).astype(np.uint16), encoding)
    return RawImage.from_array(np.clip(np.round(frame), 0, 255).astype(np.uint8), encoding)


def pil_resize(rgb: Pixels, width: int, height: int) -> Pixels:
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR), np.uint8)


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


class TestThumbnailAgainstPil:
    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    @pytest.mark.parametrize(
        ("width", "height"), [(3840, 2160), (1920, 1080), (640, 426), (400, 300), (300, 300), (200, 180), (120, 130)]
    )
    def test_of_any_size(self, name: str, width: int, height: int) -> None:
        rgb = photograph(name, width, height)
        thumbnail = Preprocessor(112, 112).thumbnail(RawImage.from_array(rgb, "rgb8"))
        limit = 3 if 112 < height < 336 else 2  # the filter follows PIL's more coarsely under a factor of 3
        assert difference(thumbnail, pil_resize(rgb, 112, 112)) < limit

    @pytest.mark.parametrize("encoding", ["bgr8", "bgra8", "rgba8", "rgb16", "bgr16", "uyvy", "yuyv", "nv12", "nv21"])
    @pytest.mark.parametrize(("width", "height"), [(1280, 720), (400, 300)])  # apart and as one image
    def test_in_color(self, encoding: str, width: int, height: int) -> None:
        rgb = photograph("coffee", width, height)
        thumbnail = Preprocessor(112, 112).thumbnail(encode(rgb, encoding))
        assert difference(thumbnail, pil_resize(rgb, 112, 112)) < 1.6

    @pytest.mark.parametrize("encoding", [name for name in SUPPORTED_ENCODINGS if name.startswith("bayer")])
    @pytest.mark.parametrize(("width", "height"), [(1280, 720), (1279, 719), (400, 300)])
    def test_bayer(self, encoding: str, width: int, height: int) -> None:
        rgb = photograph("coffee", width, height)
        thumbnail = Preprocessor(112, 112).thumbnail(encode(rgb, encoding))
        assert difference(thumbnail, pil_resize(rgb, 112, 112)) < 1.6

    @pytest.mark.parametrize("encoding", ["mono8", "mono16"])
    def test_grey(self, encoding: str) -> None:
        rgb = photograph("astronaut", 512, 512)
        thumbnail = Preprocessor(112, 112).thumbnail(encode(rgb, encoding))
        assert difference(thumbnail, pil_resize(np.repeat(rgb[..., 1:2], 3, axis=2), 112, 112)) < 1.6

    def test_enlarged(self) -> None:
        rgb = photograph("flower", 60, 40)
        assert difference(Preprocessor(112, 112).thumbnail(encode(rgb, "bgr8")), pil_resize(rgb, 112, 112)) < 0.5

    def test_of_the_networks_size_is_the_image(self) -> None:
        rgb = noise(112, 112, 3)
        assert np.array_equal(Preprocessor(112, 112).thumbnail(encode(rgb, "bgr8")), rgb)

    @pytest.mark.parametrize("encoding", ["bgr8", "nv12", "yuyv"])
    def test_of_a_region(self, encoding: str) -> None:
        rgb = photograph("china", 640, 420)
        thumbnail = Preprocessor(64, 96, roi=(0.25, 0.1, 0.5, 0.8)).thumbnail(encode(rgb, encoding))
        assert difference(thumbnail, pil_resize(rgb[42:378, 160:480], 96, 64)) < 3


@st.composite
def raw_images(draw: st.DrawFn) -> tuple[RawImage, RawImage]:
    """An image of any encoding with packed rows, and the same image with padded ones and data after them."""
    encoding = draw(st.sampled_from(SUPPORTED_ENCODINGS))
    record = find_encoding(encoding)
    assert record is not None
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    row_bytes, rows = record.row_bytes(width), record.rows(height)
    packed = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (rows, row_bytes), dtype=np.uint8)
    big = draw(st.booleans())
    # nv24 counts its chroma's padding in pairs of rows: test_encodings has its step.
    step = row_bytes if encoding == "nv24" else row_bytes + draw(st.integers(0, 9))
    padded = np.full((rows, step), 77, np.uint8)
    padded[:, :row_bytes] = packed
    octets = padded.tobytes()[: (rows - 1) * step + row_bytes] + bytes(draw(st.integers(0, 20)))
    view = draw(
        st.sampled_from([bytes, memoryview, bytearray, lambda b: array("B", b), lambda b: np.frombuffer(b, "u1")])
    )
    return RawImage(packed.tobytes(), height, width, 0, encoding, big), RawImage(
        view(octets), height, width, step, encoding, big
    )


@st.composite
def preprocessors(draw: st.DrawFn) -> Preprocessor:
    x, y = draw(st.floats(0, 1, exclude_max=True)), draw(st.floats(0, 1, exclude_max=True))
    roi = (x, y, draw(st.floats(1e-6, 1)) * (1 - x) or 1e-12, draw(st.floats(1e-6, 1)) * (1 - y) or 1e-12)
    mode = draw(st.sampled_from(["stretch", "crop", "letterbox"]))
    return Preprocessor(draw(st.integers(1, 20)), draw(st.integers(1, 20)), roi, cast(ResizeMode, mode))


SIX_CHANNELS = RawImage(bytes(range(66)), 1, 11, 0, "bgr16")  # of a byte each, made smaller by a fraction


class TestEveryImage:
    @example((SIX_CHANNELS, replace(SIX_CHANNELS, step=66)), Preprocessor(1, 5, (0.0, 0.0, 0.5, 1.0)))
    @given(raw_images(), preprocessors())
    def test_thumbnail_has_the_networks_size_whatever_the_padding(
        self, images: tuple[RawImage, RawImage], preprocessor: Preprocessor
    ) -> None:
        packed, padded = images
        out = np.full((preprocessor.height, preprocessor.width, 3), 3, np.uint8)
        thumbnail = preprocessor.thumbnail(packed)
        assert thumbnail.shape == out.shape
        assert thumbnail.dtype == np.uint8
        assert preprocessor.thumbnail(padded, out=out) is out
        assert np.array_equal(out, thumbnail)

    @given(raw_images())
    def test_whole_frame_is_the_same_whatever_the_padding(self, images: tuple[RawImage, RawImage]) -> None:
        packed, padded = images
        out = np.full((packed.height, packed.width, 3), 3, np.uint8)
        assert to_rgb(padded, out=out) is out
        assert np.array_equal(out, to_rgb(packed))
        assert to_bgr(padded, out=out) is out
        assert np.array_equal(out, to_rgb(packed)[..., ::-1])

    @given(raw_images(), st.data())
    def test_too_little_data_is_refused(self, images: tuple[RawImage, RawImage], draws: st.DataObject) -> None:
        packed, _ = images
        data = bytes(packed.data)
        short = data[: draws.draw(st.integers(0, len(data) - 1))]
        with pytest.raises(ImageError, match=f"{len(short)} bytes received and {len(data)} needed"):
            Preprocessor(4, 4).thumbnail(RawImage(short, packed.height, packed.width, 0, packed.encoding))


class TestRegion:
    def colors(self, width: int, height: int) -> Pixels:
        """An image whose every pixel says where it is."""
        rows, columns = np.indices((height, width))
        return np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8)

    def test_is_exact(self) -> None:
        rgb = self.colors(100, 50)
        thumbnail = Preprocessor(10, 20, roi=(0.3, 0.4, 0.2, 0.2)).thumbnail(RawImage.from_array(rgb, "rgb8"))
        assert np.array_equal(thumbnail, rgb[20:30, 30:50])

    @pytest.mark.parametrize("encoding", ["yuyv", "nv12", "bayer_rggb8"])
    def test_begins_on_an_even_pixel_where_pixels_share_samples(self, encoding: str) -> None:
        image = encode(photograph("coffee", 100, 60), encoding)
        thumbnail = Preprocessor(20, 20, roi=(0.31, 0.35, 0.19, 0.32)).thumbnail(image)  # 31..50, 21..40
        assert np.array_equal(thumbnail, Preprocessor(20, 20, roi=(0.3, 1 / 3, 0.2, 1 / 3)).thumbnail(image))

    @pytest.mark.parametrize(
        ("roi", "pixel"),
        [
            ((0, 0, 1e-9, 1e-9), (0, 0)),
            ((1 - 1e-9, 1 - 1e-9, 1e-9, 1e-9), (49, 99)),
            ((0.5, 0.5, 1e-6, 1e-6), (25, 50)),
        ],
    )
    def test_is_one_pixel_at_least(self, roi: tuple[float, float, float, float], pixel: tuple[int, int]) -> None:
        rgb = self.colors(100, 50)
        thumbnail = Preprocessor(3, 3, roi=roi).thumbnail(RawImage.from_array(rgb, "rgb8"))
        assert np.array_equal(thumbnail, np.broadcast_to(rgb[pixel], (3, 3, 3)))

    @pytest.mark.parametrize(
        ("width", "height", "part"),
        [(100, 50, np.s_[:, 25:75]), (50, 100, np.s_[25:75, :]), (50, 50, np.s_[:, :])],
    )
    def test_crop_takes_the_middle(self, width: int, height: int, part: Any) -> None:
        rgb = self.colors(width, height)
        thumbnail = Preprocessor(50, 50, resize_mode="crop").thumbnail(RawImage.from_array(rgb, "rgb8"))
        assert np.array_equal(thumbnail, rgb[part])

    def test_crop_has_the_networks_aspect(self) -> None:
        rgb = self.colors(200, 60)
        thumbnail = Preprocessor(60, 90, resize_mode="crop").thumbnail(RawImage.from_array(rgb, "rgb8"))
        assert np.array_equal(thumbnail, rgb[:, 55:145])

    @pytest.mark.parametrize("encoding", ["bgr8", "mono16", "nv12"])
    def test_letterbox_has_black_bars_around_the_whole_region(self, encoding: str) -> None:
        image = encode(np.full((60, 120, 3), 200, np.uint8), encoding)
        out = np.full((40, 40, 3), 9, np.uint8)
        Preprocessor(40, 40, resize_mode="letterbox").thumbnail(image, out)
        assert not out[:10].any()
        assert not out[30:].any()
        assert np.abs(out[10:30].astype(int) - 200).max() <= 2

    def test_letterbox_keeps_the_picture(self) -> None:
        rgb = photograph("coffee", 300, 400)
        image = RawImage.from_array(rgb, "rgb8")
        boxed = Preprocessor(40, 41, resize_mode="letterbox").thumbnail(image)
        assert np.array_equal(boxed[:, 5:35], Preprocessor(40, 30).thumbnail(image))
        assert not boxed[:, :5].any()
        assert not boxed[:, 35:].any()

    def test_letterbox_of_a_line_is_a_line(self) -> None:
        boxed = Preprocessor(9, 9, resize_mode="letterbox").thumbnail(
            RawImage.from_array(np.full((1, 4000), 50, np.uint8), "mono8")
        )
        assert np.array_equal(boxed[4], np.full((9, 3), 50))
        assert boxed.sum() == 9 * 3 * 50


class TestThumbnailOfABox:
    """The reference is the frame with black around it, cut by NumPy and resized by PIL."""

    FRAME = photograph("coffee", 360, 240)

    @pytest.mark.parametrize(
        ("left", "top", "side"),
        [(40, 20, 192), (-60, 20, 192), (200, 100, 240), (-100, -120, 480), (100, -128, 256)],
        ids=["inside", "left", "bottom right", "all around", "top"],
    )
    @pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "rgb16", "nv12", "yuyv", "bayer_rggb8"])
    def test_what_lies_outside_the_image_is_black_under_letterbox(
        self, encoding: str, left: int, top: int, side: int
    ) -> None:
        box = Box.of_corner(left, top, side, side)
        thumbnail = Preprocessor(64, 64, resize_mode="letterbox").thumbnail_of(encode(self.FRAME, encoding), box)
        padded = np.pad(self.FRAME, ((500, 500), (500, 500), (0, 0)))
        reference = pil_resize(padded[top + 500 : top + 500 + side, left + 500 : left + 500 + side], 64, 64)
        is_black = self.outside(left, top, side)
        assert not thumbnail[is_black].any()
        subsampled = encoding.startswith(("bayer", "nv12", "yuyv"))
        assert difference(thumbnail, reference) < (9 if subsampled else 3)

    def outside(self, left: int, top: int, side: int) -> NDArray[np.bool_]:
        """bool [64, 64]: the pixels that are more than half their size beyond the image."""
        scale = side / 64
        rows, columns = top + np.arange(65) * scale, left + np.arange(65) * scale
        beyond_rows = (rows[1:] < -scale / 2) | (rows[:-1] > 240 + scale / 2)
        beyond_columns = (columns[1:] < -scale / 2) | (columns[:-1] > 360 + scale / 2)
        return np.asarray(beyond_rows[:, None] | beyond_columns)

    @given(st.integers(0, 359), st.integers(0, 239), st.integers(1, 360), st.integers(1, 240))
    def test_a_box_within_the_image_is_the_same_as_that_region(self, x: int, y: int, width: int, height: int) -> None:
        width, height = min(width, 360 - x), min(height, 240 - y)
        image, box = RawImage.from_array(self.FRAME, "rgb8"), Box.of_corner(x, y, width, height)
        for mode in RESIZE_MODES:
            found = Preprocessor(16, 16, resize_mode=mode).thumbnail_of(image, box)
            region = (x / 360, y / 240, width / 360, height / 240)
            assert np.array_equal(found, Preprocessor(16, 16, region, mode).thumbnail(image))

    def test_stretch_uses_the_part_within_the_image(self) -> None:
        image = RawImage.from_array(self.FRAME, "rgb8")
        found = Preprocessor(16, 16).thumbnail_of(image, Box.of_corner(-50, -70, 150, 150))
        assert np.array_equal(found, Preprocessor(16, 16).thumbnail_of(image, Box.of_corner(0, 0, 100, 80)))

    def test_crop_uses_the_middle_of_the_part_within_the_image(self) -> None:
        image = RawImage.from_array(self.FRAME, "rgb8")
        found = Preprocessor(16, 16, resize_mode="crop").thumbnail_of(image, Box.of_corner(-50, -70, 150, 150))
        assert np.array_equal(found, Preprocessor(16, 16).thumbnail_of(image, Box.of_corner(10, 0, 80, 80)))

    @pytest.mark.parametrize("mode", RESIZE_MODES)
    @pytest.mark.parametrize("box", [Box(-100, 100, 50, 50), Box(1e12, 0, 10, 10), Box(100, 500, 99, 99)], ids=str)
    def test_a_box_outside_the_image_is_black(self, mode: ResizeMode, box: Box) -> None:
        out = np.full((16, 16, 3), 9, np.uint8)
        Preprocessor(16, 16, resize_mode=mode).thumbnail_of(RawImage.from_array(self.FRAME, "rgb8"), box, out)
        assert not out.any()

    @given(
        st.sampled_from(SUPPORTED_ENCODINGS),
        st.sampled_from(RESIZE_MODES),
        st.builds(Box, st.floats(-80, 80), st.floats(-80, 80), st.floats(0.01, 200), st.floats(0.01, 200)),
    )
    def test_any_box_of_any_encoding_is_understood(self, encoding: str, mode: ResizeMode, box: Box) -> None:
        record = find_encoding(encoding)
        assert record is not None
        step = record.row_bytes(37)
        image = RawImage(noise(record.rows(23) * step), 23, 37, step, encoding)
        assert Preprocessor(9, 7, resize_mode=mode).thumbnail_of(image, box).shape == (9, 7, 3)

    def test_only_the_pixels_of_the_box_are_read(self) -> None:
        frame = self.FRAME.copy()
        box = Box(100, 100, 60, 60)
        before = Preprocessor(16, 16).thumbnail_of(RawImage.from_array(frame, "rgb8"), box)
        frame[:70], frame[130:], frame[:, :70], frame[:, 130:] = 0, 0, 255, 255
        assert np.array_equal(Preprocessor(16, 16).thumbnail_of(RawImage.from_array(frame, "rgb8"), box), before)


class TestPreprocessor:
    def test_is_a_value(self) -> None:
        assert Preprocessor(4, 4) == Preprocessor(4, 4, (0, 0, 1, 1), "stretch")
        assert len({Preprocessor(4, 4), Preprocessor(4, 4), Preprocessor(4, 5)}) == 2

    def test_takes_a_list_as_parameters_give_it(self) -> None:
        listed = cast(tuple[float, float, float, float], [0.0, 0.0, 0.5, 0.5])
        assert hash(Preprocessor(4, 4, roi=listed)) == hash(Preprocessor(4, 4, roi=(0, 0, 0.5, 0.5)))

    @pytest.mark.parametrize(
        "roi",
        [
            (-0.1, 0, 1, 1),
            (0, -0.1, 1, 1),
            (0, 0, 0, 1),
            (0, 0, 1, -0.5),
            (0.5, 0, 0.6, 1),
            (0, 0.5, 1, 0.6),
            (0, 0, float("nan"), 1),
            (0, 0, 1),
        ],
    )
    def test_refuses_a_region_outside_the_image(self, roi: Any) -> None:
        with pytest.raises(SettingsError, match=r"roi is \[.*\]: give x, y, width, height as fractions"):
            Preprocessor(4, 4, roi=roi)

    def test_allows_for_rounding(self) -> None:
        Preprocessor(4, 4, roi=(0.7, 0.1 + 0.2, 0.3, 0.7))

    def test_refuses_other_values(self) -> None:
        with pytest.raises(SettingsError, match="resize_mode is 'squash': use one of stretch, crop, letterbox"):
            Preprocessor(4, 4, resize_mode=cast(ResizeMode, "squash"))
        with pytest.raises(SettingsError, match="size is 0x4 pixels"):
            Preprocessor(0, 4)

    def test_refuses_an_out_that_does_not_fit(self) -> None:
        image = RawImage.from_array(noise(4, 4, 3), "rgb8")
        with pytest.raises(SettingsError, match=r"out is uint8 \[4, 5, 3\]: give a uint8 array \[4, 4, 3\]"):
            Preprocessor(4, 4).thumbnail(image, np.empty((4, 5, 3), np.uint8))
        with pytest.raises(SettingsError, match="out is float32"):
            to_bgr(image, np.empty((4, 4, 3), np.float32))


class TestRawImage:
    @pytest.mark.parametrize(
        ("height", "width", "step", "received"),
        [
            (4, 6, 18, 71),
            (4, 6, 17, 100),
            (4, 6, -18, 100),
            (0, 6, 18, 72),
            (4, 0, 0, 72),
            (-4, 6, 18, 72),
            (4, 6, 20, 77),
        ],
    )
    def test_refuses_data_that_does_not_fit(self, height: int, width: int, step: int, received: int) -> None:
        image = RawImage(bytes(received), height, width, step, "bgr8")
        numbers = f"bgr8, height {height}, width {width}, step {step} .*, {received} bytes received and .* needed"
        for use in (to_rgb, to_bgr, Preprocessor(4, 4).thumbnail):
            with pytest.raises(ImageError, match=numbers):
                use(image)

    @pytest.mark.parametrize(
        ("encoding", "step", "size", "likely"),
        [
            ("bgr8", 0, 4, "4 bytes a pixel, as bgra8 has"),  # Webots
            ("bgr8", 4 * 640, 4, "4 bytes a pixel, as bgra8 has"),
            ("rgb8", 0, 4, "as rgba8 has"),
            ("8UC3", 0, 4, "as bgra8 has"),
            ("bgr8", 640, 1, "1 byte a pixel, as mono8 has"),
            ("bgr8", 0, 2, "as mono16 or yuv422 has"),
            ("mono8", 0, 3, "as bgr8 has"),
            ("mono8", 3 * 640, 3, "as bgr8 has"),
            ("mono8", 2 * 640, 2, "as mono16 or yuv422 has"),
            ("bayer_rggb8", 2 * 640, 2, "as mono16 or yuv422 has"),
            ("rgb8", 6 * 640, 6, "as rgb16 has"),
            ("nv12", 0, 3, "as bgr8 has"),
            ("bgr8", 0, 1.5, "as nv12 has"),
        ],
    )
    def test_data_of_another_encoding_is_refused_with_the_likely_one(
        self, encoding: str, step: int, size: float, likely: str
    ) -> None:
        received = round(480 * 640 * size)
        image = RawImage(bytes(received), 480, 640, step, encoding)
        for use in (to_rgb, to_bgr, Preprocessor(4, 4).thumbnail):
            with pytest.raises(ImageError, match=f"step {step} .* {received} bytes received .*{likely}"):
                use(image)

    @pytest.mark.parametrize("alpha", [0, 255])
    def test_four_bytes_a_pixel_are_told_from_padding_by_their_alpha(self, alpha: int) -> None:
        bgra = noise(8, 64, 4)
        bgra[..., 3] = alpha
        with pytest.raises(ImageError, match="as bgra8 has"):
            to_bgr(RawImage(bgra.tobytes(), 8, 64, 256, "bgr8"))
        padded = noise(8, 256)  # rows of 64 pixels, aligned as on a GPU
        padded[:, 192:] = alpha
        assert np.array_equal(to_bgr(RawImage(padded.tobytes(), 8, 64, 256, "bgr8")).reshape(8, 192), padded[:, :192])

    @pytest.mark.parametrize("level", [0, 255])
    def test_an_image_of_one_level_with_padded_rows_is_taken(self, level: int) -> None:
        image = RawImage(bytes([level]) * 8 * 256, 8, 64, 256, "bgr8")
        assert (to_bgr(image) == level).all()

    def test_a_part_of_an_image_is_taken_whatever_its_step(self) -> None:
        frame = noise(20, 640, 3)
        assert np.array_equal(to_bgr(RawImage.from_array(frame[:, :480], "bgr8")), frame[:, :480])

    def test_from_array_views_padded_rows(self) -> None:
        frame = noise(6, 10, 3)
        image = RawImage.from_array(frame[1:, 2:8], "rgb8")
        assert (image.height, image.width, image.step) == (5, 6, 30)
        assert np.shares_memory(cast(Pixels, image.data), frame)
        assert np.array_equal(to_rgb(image), frame[1:, 2:8])

    @pytest.mark.parametrize("part", [np.s_[::-1], np.s_[:, ::2], np.s_[..., ::-1], np.s_[:1], np.s_[:, :1]])
    def test_from_array_takes_any_strides(self, part: Any) -> None:
        frame = noise(6, 10, 3)[part]
        assert np.array_equal(to_rgb(RawImage.from_array(frame, "rgb8")), frame)

    def test_from_array_takes_a_read_only_array(self) -> None:
        frame = noise(6, 10, 3)
        frame.flags.writeable = False
        assert np.array_equal(to_bgr(RawImage.from_array(frame, "bgr8")), frame)

    @pytest.mark.parametrize(
        "frame",
        [
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4), np.uint8),
            np.zeros(4, np.uint8),
            np.zeros((4, 4, 3, 1), np.uint8),
        ],
    )
    def test_from_array_refuses_what_is_no_image(self, frame: Any) -> None:
        with pytest.raises(ImageError, match="an image is a uint8 or uint16 array"):
            RawImage.from_array(frame, "rgb8")

    def test_from_array_refuses_another_encodings_shape(self) -> None:
        with pytest.raises(ImageError, match="does not match encoding mono8: a row of 6 pixels has 6 bytes, not 18"):
            RawImage.from_array(noise(4, 6, 3), "mono8")

    def test_whole_frames_are_views_where_nothing_changes(self) -> None:
        frame = noise(6, 10, 3)
        for view in (to_rgb(RawImage.from_array(frame, "rgb8")), to_bgr(RawImage.from_array(frame, "bgr8"))):
            assert np.shares_memory(view, frame)
            assert not view.flags.writeable
            cv2.resize(view, (3, 3))  # OpenCV reads it all the same


class TestUnknownEncoding:
    def test_is_named_with_what_is_understood(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv_bridge", None)
        image = RawImage(bytes(16), 2, 2, 8, "32FC1")
        with pytest.raises(
            ImageError, match=r"'32FC1' is not supported.*bgr8.*nv12.*cv_bridge was tried too: \w+Error"
        ):
            to_rgb(image)

    def test_is_given_to_cv_bridge(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rgb = noise(2, 2, 3)

        class CvBridge:
            def imgmsg_to_cv2(self, message: RawImage, desired_encoding: str) -> Pixels:
                assert (message.encoding, message.height, desired_encoding) == ("32FC1", 2, "rgb8")
                return rgb

        module = ModuleType("cv_bridge")
        monkeypatch.setattr(module, "CvBridge", CvBridge, raising=False)
        monkeypatch.setitem(sys.modules, "cv_bridge", module)
        image = RawImage(bytes(16), 2, 2, 8, "32FC1")
        assert np.array_equal(to_rgb(image), rgb)
        assert np.array_equal(Preprocessor(2, 2).thumbnail(image), rgb)

    def test_survives_a_cv_bridge_that_breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv_bridge", ModuleType("cv_bridge"))  # has no CvBridge
        with pytest.raises(ImageError, match="cv_bridge was tried too: ImportError"):
            to_rgb(RawImage(bytes(16), 2, 2, 8, "32FC1"))
