"""Conversion of high dynamic range (PQ and HLG in BT.2020) to BT.709, as a lookup table for FFmpeg's filter `lut3d`.

FFmpeg's scaler could do it, too, but takes 3 s to begin with and clips all that is brighter than white.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

PQ, HLG = 16, 18
"""SMPTE 2084 and ARIB STD-B67, from the enumeration AVColorTransferCharacteristic."""

_POINTS = 33  # on each axis of the table
_WHITE = 203.0  # cd/m2 of diffuse white, from ITU-R BT.2408
_PEAK = 1000.0  # cd/m2 of the display that HLG is shown on
_GAMMA = 2.4  # of the display that BT.709 is shown on, from ITU-R BT.1886
_KNEE = 0.6  # of white; brighter values are compressed, darker ones stay as they are

# From BT.2020 to BT.709, linear RGB, from ITU-R BT.2087.
_PRIMARIES = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020


@cache
def table(transfer: int) -> str:
    """Return the content of a .cube file that converts the transfer function `transfer`, `PQ` or `HLG`."""
    axis = np.linspace(0, 1, _POINTS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red changes fastest
    converted = to_bt709(np.stack([red, green, blue], -1).reshape(-1, 3), transfer)
    lines = [f"LUT_3D_SIZE {_POINTS}", *("{:.5f} {:.5f} {:.5f}".format(*row) for row in converted.tolist())]
    return "\n".join(lines) + "\n"


def to_bt709(signal: Values, transfer: int) -> Values:
    """Convert colors [N, 3], RGB from 0 to 1, from BT.2020 with the transfer function `transfer` to BT.709."""
    light = (_pq_light(signal) if transfer == PQ else _hlg_light(signal)) / _WHITE
    light = np.maximum(light @ _PRIMARIES.T, 0)
    brightest = light.max(axis=1, keepdims=True)
    above = np.maximum(brightest - _KNEE, 0)
    compressed = np.minimum(brightest, _KNEE) + (1 - _KNEE) * above / (above + 1 - _KNEE)
    light *= compressed / np.maximum(brightest, 1e-9)  # all three alike, which keeps the hue
    return np.asarray(light ** (1 / _GAMMA))


def _pq_light(signal: Values) -> Values:
    """Return the luminance (cd/m2) of PQ signals, from ITU-R BT.2100."""
    root = signal ** (32 / 2523)
    ratio = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
    return np.asarray(10_000 * ratio ** (16384 / 2610))


def _hlg_light(signal: Values) -> Values:
    """Return the luminance (cd/m2) of HLG signals on a display of 1000 cd/m2, from ITU-R BT.2100."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(_PEAK * (scene @ _LUMINANCE)[:, None] ** 0.2 * scene)
