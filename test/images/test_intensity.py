"""16-bit images stretched to 8 bits: values against NumPy, in every 16-bit encoding, and an automatic range's calm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError, SettingsError
from ros2_actionnet.images.encodings import ENCODINGS
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.raw_image import RawImage, to_bgr

SIXTEEN = [name for name in ENCODINGS if "16" in name]


def scene(low: int, high: int, seed: int = 0) -> NDArray[np.uint16]:
    """An image [120, 160] whose samples are evenly spread over a range."""
    samples = np.linspace(low, high, 120 * 160)
    return np.random.default_rng(seed).permutation(samples).reshape(120, 160).astype(np.uint16)


def stretched(intensity: IntensityRange, samples: NDArray[Any], encoding: str = "mono16") -> NDArray[np.uint8]:
    image = intensity.stretch(RawImage.from_array(samples, encoding))
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_a_fixed_range_is_black_to_white_and_clips_what_lies_outside(byte_order: str) -> None:
    samples = np.array([[0, 6999, 7000, 7500, 8000, 9000, 9001, 65535]], f"{byte_order}u2")
    image = IntensityRange("7000,9000").stretch(RawImage.from_array(samples, "16UC1"))
    assert image.encoding == "8UC1"
    assert list(bytes(image.data)) == [0, 0, 0, 64, 128, 255, 255, 255]


@pytest.mark.parametrize("encoding", SIXTEEN)
def test_every_encoding_of_16_bits_is_stretched_with_padded_rows_too(encoding: str) -> None:
    row_bytes = ENCODINGS[encoding].row_bytes(30)
    samples = np.random.default_rng(1).integers(0, 4096, (20, row_bytes // 2 + 3)).astype(np.uint16)
    data = samples.tobytes()[:-6]  # the last row may lack its padding
    image = IntensityRange("0,4095").stretch(RawImage(data, 20, 30, row_bytes + 6, encoding))
    assert image.encoding == encoding.replace("16", "8")
    full = RawImage(
        (samples.astype(np.uint32) * 65535 // 4095).astype(np.uint16).tobytes(), 20, 30, row_bytes + 6, encoding
    )
    assert np.abs(to_bgr(image).astype(int) - to_bgr(full)).max() <= 2


@pytest.mark.parametrize(
    ("setting", "encoding"),
    [("full", "mono16"), ("auto", "mono8"), ("0,9", "rgb8"), ("auto", "nv12"), ("auto", "32FC1")],
)
def test_what_needs_no_stretching_stays_the_same_object(setting: str, encoding: str) -> None:
    image = RawImage(bytes(64), 4, 4, 0, encoding)
    assert IntensityRange(setting).stretch(image) is image


def test_data_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="31 bytes received and 32 needed"):
        IntensityRange("auto").stretch(RawImage(bytes(31), 4, 4, 0, "mono16"))


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (7000, 9000), (2900, 3200), (0, 65535), (65000, 65535)])
def test_an_automatic_range_uses_all_levels(low: int, high: int) -> None:
    samples = scene(low, high)
    pixels = stretched(IntensityRange("auto"), samples)
    bounds = np.percentile(samples, [0.5, 99.5])
    expected = np.clip((samples - bounds[0]) / (bounds[1] - bounds[0]), 0, 1) * 255
    assert np.abs(pixels - expected).max() < 6
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_few_dead_pixels_do_not_darken_the_rest() -> None:
    samples = scene(7000, 7500)
    samples[3, 5], samples[60, 60] = 65535, 0
    assert 110 < np.median(stretched(IntensityRange("auto"), samples)) < 145


@pytest.mark.parametrize("level", [0, 8000, 65535])
def test_the_noise_of_an_even_scene_is_not_stretched_to_the_full(level: int) -> None:
    noise = np.random.default_rng(2).integers(-4, 5, (120, 160))
    samples = np.clip(level + noise, 0, 65535).astype(np.uint16)
    assert stretched(IntensityRange("auto"), samples).std() < 16


def test_alpha_does_not_count() -> None:
    samples = np.dstack([scene(7000, 7500, seed) for seed in range(3)] + [np.full((120, 160), 65535, np.uint16)])
    image = IntensityRange("auto").stretch(RawImage.from_array(samples, "bgra16"))
    assert to_bgr(image).std() > 60


def test_a_warm_body_that_comes_and_goes_does_not_make_the_background_flicker() -> None:
    intensity, background = IntensityRange("auto"), scene(7000, 7400)
    levels = []
    for index in range(200):
        samples = background.copy()
        if index >= 50 and (index // 3) % 2:
            samples[20:80, 30:80] = 9000
        pixels = stretched(intensity, samples)
        levels.append(float(pixels[100:].mean()))
    assert np.abs(np.diff(levels)).max() < 9
    alone = [float(stretched(IntensityRange("auto"), background)[100:].mean())]
    assert abs(levels[49] - alone[0]) < 1


def test_it_follows_a_drift_within_a_few_windows() -> None:
    intensity = IntensityRange("auto")
    for _ in range(100):
        stretched(intensity, scene(7000, 8000))
    for _ in range(100):
        pixels = stretched(intensity, scene(7500, 8500))
    assert abs(float(pixels.mean()) - 127.5) < 5


def test_it_begins_anew_with_an_image_that_has_nothing_in_common() -> None:
    intensity = IntensityRange("auto")
    stretched(intensity, scene(1000, 2000))
    assert abs(float(stretched(intensity, scene(50000, 60000)).mean()) - 127.5) < 5


def test_it_begins_anew_after_a_closed_shutter() -> None:
    intensity = IntensityRange("auto")
    stretched(intensity, np.full((120, 160), 8000, np.uint16))
    assert abs(float(stretched(intensity, scene(7000, 9000)).std()) - 255 / 12**0.5) < 5


def test_another_setting_acts_on_the_next_image_and_a_wrong_one_changes_nothing() -> None:
    intensity, samples = IntensityRange("0,100"), np.full((4, 4), 50, np.uint16)
    assert stretched(intensity, samples)[0, 0] == 128
    with pytest.raises(SettingsError):
        intensity.configure("100,0")
    assert stretched(intensity, samples)[0, 0] == 128
    intensity.configure("0,200")
    assert stretched(intensity, samples)[0, 0] == 64


def test_tiny_images_are_stretched() -> None:
    for shape in ((1, 1), (1, 2), (2, 1), (3, 200)):
        assert stretched(IntensityRange("auto"), np.full(shape, 9000, np.uint16)).shape == shape
