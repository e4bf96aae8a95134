"""Conversion of decoded frames to pictures that are upright, progressive, and of square pixels in standard range.

Most frames need a conversion of their pixel format at most. The others go through a graph of FFmpeg's filters:

    deinterlace ──▶ scale ──▶ high dynamic range to BT.709 ──▶ rotate, mirror ──▶ BGR
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np

from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.av_support import import_av
from ros2_actionnet.media.base import Picture
from ros2_actionnet.media.tone_mapping import HLG, PQ, table

Chain: TypeAlias = list[tuple[str, dict[str, str]]]
"""Filters of FFmpeg and their arguments, in order."""

# From the enumeration AVColorSpace: unspecified, BT.470BG, SMPTE 170M. The last two have the matrix of BT.601, which
# FFmpeg and OpenCV also assume for the first.
_BT601 = frozenset({2, 5, 6})
_CONVERTIBLE = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # the color spaces that FFmpeg's scaler converts
_BT2020_NCL, _BT2020_CL = 9, 10
_FULL_RANGE = 2  # from AVColorRange
_UNSPECIFIED, _RESERVED = 2, frozenset({0, 3})  # of transfer functions and primaries; FFmpeg refuses the latter
_HDR = frozenset({PQ, HLG})
_WIDEST_PIXEL = 8.0  # times its height; 2 is the widest in use, and damaged files would ask for gigabytes

_UPRIGHT = (1, 0, 0, 1)
_TURNS: dict[tuple[int, ...], Chain] = {
    (0, 1, -1, 0): [("transpose", {"dir": "clock"})],
    (0, -1, 1, 0): [("transpose", {"dir": "cclock"})],
    (0, 1, 1, 0): [("transpose", {"dir": "cclock_flip"})],
    (0, -1, -1, 0): [("transpose", {"dir": "clock_flip"})],
}
_ORIENTATIONS: dict[tuple[int, ...], Chain] = {
    (-1, 0, 0, -1): [("hflip", {}), ("vflip", {})],
    (-1, 0, 0, 1): [("hflip", {})],
    (1, 0, 0, -1): [("vflip", {})],
    **_TURNS,
}
"""Filters by the signs of a display matrix's elements a, b, c and d, by which a pixel at (x, y) is shown at
(ax + cy, bx + dy)."""


class _Kind(NamedTuple):  # which is made for each frame, in a third of the time of a dataclass
    """The properties of a frame that its conversion depends on.

    Attributes:
        width, height: Pixels, as stored.
        format: FFmpeg's name of the pixel format.
        colors: AVColorSpace and AVColorRange.
        transfer: AVColorTransferCharacteristic if it is of high dynamic range, else 0.
        orientation: Key of `_ORIENTATIONS`, or `_UPRIGHT`.
        interlaced: True if frames of the stream are interlaced.
        aspect: Width of a stored pixel divided by its height.
    """

    width: int
    height: int
    format: str
    colors: tuple[int, int]
    transfer: int
    orientation: tuple[int, ...]
    interlaced: bool
    aspect: float

    def buffer(self) -> dict[str, str]:
        """Return the arguments of the filter that takes such frames."""
        space, color_range = self.colors
        return {
            "video_size": f"{self.width}x{self.height}",
            "pix_fmt": self.format,
            "time_base": "1/1000",  # the converter does not use times
            "colorspace": str(space),
            "range": str(color_range),
        }


class FrameConverter:
    """Converts the frames of a stream, in order; each becomes one image, deinterlaced ones a frame later."""

    def __init__(self, aspect: Fraction | None, size: tuple[int, int]) -> None:
        """Prepare the conversion.

        Args:
            aspect: Width of a stored pixel divided by its height; None: 1.
            size: Width and height (pixels) of the upright picture; 0 for one: keep the aspect ratio; 0 for both: do not
                scale.
        """
        self._size = size
        self.set_aspect(aspect)
        self._av = import_av()
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._kind: _Kind | None = None
        self._graph: Any = None
        self._interlaced = False

    def set_aspect(self, aspect: Fraction | None) -> None:
        """Set the aspect ratio of the pixels of the next frames; one that no camera has counts as 1."""
        ratio = float(aspect or 1)
        self._aspect = ratio if 1 / _WIDEST_PIXEL <= ratio <= _WIDEST_PIXEL else 1.0

    def convert(self, frame: Any) -> Iterator[RawImage]:
        """Yield the images that are complete with this frame."""
        _replace_reserved(frame)
        # Once a frame is interlaced, the graph stays; it passes progressive frames on as they are.
        self._interlaced = self._interlaced or frame.interlaced_frame
        transfer = frame.color_trc
        kind = _Kind(
            frame.width,
            frame.height,
            frame.format.name,
            (frame.colorspace, frame.color_range),
            transfer if transfer in _HDR else 0,
            _orientation(frame),
            self._interlaced,
            self._aspect,
        )
        if kind != self._kind:
            yield from self.finish()
            self._kind, self._graph = kind, self._make_graph(kind)
        if self._graph is None:
            yield self._plain(frame)
        else:
            self._graph.push(frame)
            yield from self._pull()

    def finish(self) -> Iterator[RawImage]:
        """Yield the images that were held back."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
        self._kind = self._graph = None

    def _pull(self) -> Iterator[RawImage]:
        with suppress(self._av.error.BlockingIOError, self._av.error.EOFError):
            while True:
                yield _bgr(self._graph.pull())

    def _plain(self, frame: Any) -> RawImage:
        """Return the pixels as NV12 if that needs no conversion, else as BGR.

        NV12 is enough for a network; it requires yuv420p in limited-range BT.601, even sides and no scaling.
        """
        size = self._shown_size(frame.width, frame.height)
        is_plain = frame.format.name == "yuv420p" and frame.width % 2 == frame.height % 2 == 0
        is_usual = frame.colorspace in _BT601 and frame.color_range != _FULL_RANGE
        if is_plain and is_usual and size == (frame.width, frame.height):
            return _nv12(frame)
        return _bgr(self._reformatter.reformat(frame, *size, "bgr24"))

    def _shown_size(self, width: int, height: int, turned: bool = False) -> tuple[int, int]:
        """Return the width and height of the upright picture of stored `width` and `height`."""
        width = max(1, round(width * self._aspect))
        return scaled(height, width, self._size) if turned else scaled(width, height, self._size)

    def _make_graph(self, kind: _Kind) -> Any | None:
        """Return the graph for frames of this kind; None if they need none."""
        if not (kind.interlaced or kind.transfer or kind.orientation != _UPRIGHT):
            return None
        turned = kind.orientation in _TURNS
        width, height = self._shown_size(kind.width, kind.height, turned)
        if turned:
            width, height = height, width
        chain: Chain = []
        if kind.interlaced:
            chain.append(("bwdif", {"mode": "send_frame", "deint": "interlaced"}))
        if (width, height) != (kind.width, kind.height):
            chain.append(("scale", {"w": str(width), "h": str(height)}))
        with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:  # read when the filter is made
            if kind.transfer:
                file.write(table(kind.transfer))
                file.flush()
                chain += [("format", {"pix_fmts": "gbrp10"}), ("lut3d", {"file": file.name})]
            chain += _ORIENTATIONS.get(kind.orientation, [])
            return _connected([("buffer", kind.buffer()), *chain, ("format", {"pix_fmts": "bgr24"})])


def _connected(chain: Chain) -> Any:
    """Return a graph of these filters, each of which reads what the one before it gives."""
    graph = import_av().filter.Graph()
    nodes = [graph.add(name, **arguments) for name, arguments in (*chain, ("buffersink", {}))]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def scaled(width: int, height: int, wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height to scale to; one 0 keeps the aspect ratio, two keep the size."""
    wanted_width, wanted_height = wanted
    if not wanted_width and not wanted_height:
        return width, height
    return (
        wanted_width or max(1, round(width * wanted_height / height)),
        wanted_height or max(1, round(height * wanted_width / width)),
    )


def _orientation(frame: Any) -> tuple[int, ...]:
    """Return the signs of a frame's display matrix if it turns or mirrors, else `_UPRIGHT`."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _UPRIGHT
    matrix = np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2] / 65536
    largest = np.abs(matrix).max()
    signs = tuple(np.rint(matrix / largest).astype(int).ravel().tolist()) if largest else _UPRIGHT
    return signs if signs in _ORIENTATIONS else _UPRIGHT


def _replace_reserved(frame: Any) -> None:
    """Replace color tags that FFmpeg's scaler refuses by what players assume for them."""
    if frame.colorspace not in _CONVERTIBLE:
        frame.colorspace = _BT2020_NCL if frame.colorspace == _BT2020_CL else _UNSPECIFIED
    if frame.color_trc in _RESERVED:
        frame.color_trc = _UNSPECIFIED
    if frame.color_primaries in _RESERVED:
        frame.color_primaries = _UNSPECIFIED
    if frame.color_trc in _HDR and frame.colorspace == _UNSPECIFIED:
        frame.colorspace = _BT2020_NCL


def _bgr(frame: Any) -> RawImage:
    """Return a view of the pixels of a bgr24 frame."""
    plane = frame.planes[0]
    shape, strides = (frame.height, frame.width, 3), (plane.line_size, 3, 1)
    pixels: Picture = np.ndarray(shape, np.uint8, plane, 0, strides)
    return RawImage.from_array(pixels, "bgr8")


def _nv12(frame: Any) -> RawImage:
    """Return the pixels of a yuv420p frame with even sides, its two chroma planes interleaved.

    At 1080p this takes 0.4 ms, less than half of the time of a conversion to BGR.
    """
    width, height = frame.width, frame.height
    pixels = np.empty((height * 3 // 2, width), np.uint8)
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    pixels[:height] = luma
    cv2.merge(chroma, pixels[height:].reshape(height // 2, width // 2, 2))
    return RawImage.from_array(pixels, "nv12")
