"""What a camera writes into an image's text fields does not reach a log as it is."""

from __future__ import annotations

import pytest

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.compressed import decode
from ros2_actionnet.images.raw_image import RawImage, to_rgb

HOSTILE = ["rgb8\x1b[2J\nERROR: all is lost", "\u202e8bgr", "x" * 10_000_000]


def is_short_and_printable(message: str) -> bool:
    return message.isprintable() and len(message) < 1500


@pytest.mark.parametrize("encoding", HOSTILE, ids=["escape", "direction", "10MB"])
def test_encodings(encoding: str) -> None:
    with pytest.raises(ImageError, match=r"image encoding '(rgb8|x{40}|\\u202e)") as caught:
        to_rgb(RawImage(bytes(12), 2, 2, 6, encoding))
    assert is_short_and_printable(str(caught.value))


@pytest.mark.parametrize("format_", HOSTILE, ids=["escape", "direction", "10MB"])
@pytest.mark.parametrize("data", [b"GIF8\x1b[2J", b"\xff\xd8\xff"])
def test_formats_of_compressed_images(data: bytes, format_: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, format_, lambda height, width: 1.0)
    assert is_short_and_printable(str(caught.value))
