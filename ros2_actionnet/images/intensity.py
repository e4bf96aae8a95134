"""The range of 16-bit samples that becomes black to white: cameras use 12 or 14 of their bits, or a part of these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.images.encodings import Bayer, Interleaved, find_encoding
from ros2_actionnet.images.raw_image import RawImage, checked_step
from ros2_actionnet.settings import FULL_INTENSITY_RANGE, intensity_limits

_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles of the samples that an automatic range reaches from and to
_NARROWEST = 64.0  # least width of an automatic range: less is noise
_EXAMINED = 96  # rows and columns, about, of the pixels whose percentiles are taken
# An automatic range takes 1/16 of its difference to a new image's, and at most 3 % of its width: what stands still then
# changes by at most 8 levels from image to image.
_FOLLOWED, _LARGEST_STEP = 1 / 16, 0.03
_SUDDENLY_WIDER = 8.0  # times the width; such an image begins a new range, as after a closed shutter


class IntensityRange:
    """Stretches 16-bit images of one stream to 8 bits; others stay as they are. Not thread-safe.

    An automatic range follows the images slowly, as one of each image's own would change the brightness of what stands
    still within a window. It is begun anew where an image has nothing in common with it, or far more contrast.
    """

    def __init__(self, setting: str) -> None:
        """Begin with the value of the setting `intensity_range`. Raises SettingsError if it is none."""
        self._setting = setting
        self._fixed = intensity_limits(setting)
        self._followed: tuple[float, float] | None = None

    def configure(self, setting: str) -> None:
        """Take another value of the setting. Raises SettingsError if it is none."""
        if setting != self._setting:
            self._fixed = intensity_limits(setting)
            self._setting, self._followed = setting, None

    def stretch(self, image: RawImage) -> RawImage:
        """Return a 16-bit image in its 8-bit encoding, such as mono8 for mono16; any other as it is.

        With the full range it is returned as it is too. Raises ImageError if its data does not match its fields.
        """
        encoding = find_encoding(image.encoding, image.is_bigendian)
        if self._fixed == FULL_INTENSITY_RANGE or not isinstance(encoding, (Interleaved, Bayer)):
            return image
        if encoding.sample == "u1":
            return image
        step, row_bytes = checked_step(image, encoding), encoding.row_bytes(image.width)
        stored: NDArray[Any] = np.ndarray((image.height, row_bytes // 2), encoding.sample, image.data, 0, (step, 2))
        samples = stored.astype(np.uint16, copy=False)
        low, high = map(round, self._fixed or self._follow(samples.reshape(image.height, image.width, -1)))
        above = np.maximum(samples, low) - np.uint16(low)
        pixels = np.asarray(cv2.convertScaleAbs(above, alpha=255 / (high - low)), np.uint8)
        name = image.encoding.replace("16", "8")
        return replace(image, data=pixels.reshape(-1), step=pixels.shape[1], encoding=name, is_bigendian=False)

    def _follow(self, samples: NDArray[np.uint16]) -> tuple[float, float]:
        """Return the automatic range after an image of samples [H, W, channels]."""
        # Odd strides meet all colors of a mosaic. A fourth channel is alpha.
        down, across = (max(1, size // _EXAMINED) | 1 for size in samples.shape[:2])
        low, high = map(float, np.percentile(samples[::down, ::across, :3], (_DARKEST, _BRIGHTEST)))
        if high - low < _NARROWEST:
            low, high = max(0.0, (low + high - _NARROWEST) / 2), max(_NARROWEST, (low + high + _NARROWEST) / 2)
        before = self._followed
        width = before[1] - before[0] if before is not None else 0.0
        if before is not None and low < before[1] and high > before[0] and high - low < _SUDDENLY_WIDER * width:
            most = _LARGEST_STEP * width
            low, high = (
                old + min(max(_FOLLOWED * (new - old), -most), most)
                for old, new in zip(before, (low, high), strict=True)
            )
        self._followed = low, high
        return low, high
