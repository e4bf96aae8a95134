from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.frame_types import array_and_encoding
from ros2_actionnet.images.raw_image import RawImage, to_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def rgb(frame: object, encoding: str = "rgb8") -> Any:
    return to_rgb(RawImage.from_array(*array_and_encoding(frame, encoding)))


def test_an_array_keeps_its_encoding() -> None:
    np.testing.assert_array_equal(rgb(PIXELS, "bgr8"), PIXELS[..., ::-1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_a_pil_image_is_what_pil_says_whatever_the_encoding(mode: str) -> None:
    images = pytest.importorskip("PIL.Image")
    image = images.fromarray(PIXELS).convert(mode)
    np.testing.assert_array_equal(rgb(image, "bgr8"), np.asarray(image.convert("RGB")))


def test_a_tensor_on_the_cpu() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(rgb(torch.from_numpy(PIXELS)), PIXELS)
    with pytest.raises(ImageError, match=r"on meta; give frame.cpu"):
        array_and_encoding(torch.empty(6, 8, 3, device="meta"), "rgb8")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "the frame is None: cv2 reads None at the end of a video"),
        (PIXELS.tolist(), r"not builtins.list; convert it with np.asarray"),
        ("frame.jpg", r"not builtins.str"),
    ],
    ids=["None", "list", "path"],
)
def test_what_is_no_frame(frame: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        array_and_encoding(frame, "rgb8")
