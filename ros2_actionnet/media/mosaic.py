"""The annotated pictures of several cameras as one, tile by tile."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ros2_actionnet.images.overlay import draw_label
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, Picture, ResultSink

LARGEST = (1920, 1080)
"""Largest width and height of the whole picture, pixels."""

SILENT_AFTER = 2.0
"""s without a picture after which a tile says so."""

_FASTEST = 30.0  # Hz
_SLOWEST = 1.0  # s between two pictures when nothing changes, so that viewers stay connected


class Mosaic:
    """Puts the newest picture of each camera into one, which is written at `rate`, in one thread.

    A tile has the shape of the first picture that comes, pictures of another shape have black borders. A camera that
    sends nothing keeps its last picture, darkened, with a line that says so.
    """

    def __init__(
        self, names: Sequence[str], open_sink: Callable[[FrameSource], ResultSink | None], close: Callable[[], None]
    ) -> None:
        """Begin black; `close` ends the run, for a window that is closed.

        `open_sink` opens the output once the size is known; after None no picture is drawn any more.
        """
        self._open_sink, self._close = open_sink, close
        self._columns = math.ceil(math.sqrt(len(names)))
        self._rows = math.ceil(len(names) / self._columns)
        self._tiles = {name: _Tile(name, number) for number, name in enumerate(names)}
        self._came = threading.Condition()

    def sink(self, name: str) -> ResultSink:
        """Return the sink for the annotated pictures of a camera."""
        return _TileSink(self._tiles[name], self._came)

    def run(self, has_ended: Callable[[], bool], rate: Callable[[], float]) -> None:
        """Write pictures until `has_ended`, at the cameras' `rate` (Hz). Raises MediaError if they cannot be."""
        while not any(tile.picture is not None for tile in self._tiles.values()):
            if has_ended():
                return
            with self._came:
                self._came.wait(0.1)
        period = 1 / min(_FASTEST, rate() or _FASTEST)
        width, height = self._tile_size()
        canvas = np.zeros((height * self._rows, width * self._columns, 3), np.uint8)
        source = _MosaicSource(1 / period, (canvas.shape[1], canvas.shape[0]), self._close)
        sink = self._open_sink(source)
        if sink is None:
            for tile in self._tiles.values():
                tile.is_shown = False
            return
        try:
            self._write(sink, canvas, (width, height), period, has_ended)
        finally:
            sink.close()

    def _write(
        self,
        sink: ResultSink,
        canvas: Picture,
        size: tuple[int, int],
        period: float,
        has_ended: Callable[[], bool],
    ) -> None:
        began = time.monotonic()
        due, written, index = began, -math.inf, 0
        while not has_ended():
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            due = max(due + period, now)
            changed = [tile.draw(canvas, self._place(tile, size), now) for tile in self._tiles.values()]
            if any(changed) or now - written >= _SLOWEST:
                frame = MediaFrame(index, now - began, time.time_ns(), RawImage.from_array(canvas, "bgr8"))
                sink.write(ClassifiedFrame(frame, None, False, annotated=canvas.copy()))
                written, index = now, index + 1

    def _tile_size(self) -> tuple[int, int]:
        picture = next(tile.picture for tile in self._tiles.values() if tile.picture is not None)
        height, width = picture.shape[:2]
        scale = min(1.0, LARGEST[0] / self._columns / width, LARGEST[1] / self._rows / height)
        return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)  # as video codecs need it

    def _place(self, tile: _Tile, size: tuple[int, int]) -> tuple[slice, slice]:
        width, height = size
        row, column = divmod(tile.number, self._columns)
        return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)


class _Tile:
    """The place of one camera; `picture` and `came_at` are written by its sink."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.is_shown = True
        self.picture: Picture | None = None
        self.came_at = time.monotonic()
        self._drawn: tuple[Picture | None, bool] | None = None

    def draw(self, canvas: Picture, place: tuple[slice, slice], now: float) -> bool:
        """Draw the newest picture into its place; return False if nothing has changed."""
        picture, is_silent = self.picture, now - self.came_at > SILENT_AFTER
        if self._drawn is not None and self._drawn[0] is picture and self._drawn[1] == is_silent:
            return False
        self._drawn = picture, is_silent
        tile = np.zeros_like(canvas[place])
        if picture is not None:
            _fit(picture, tile)
        if is_silent:
            tile //= 3
        draw_label(tile, f"{self.name}: no picture" if is_silent else self.name, 0, tile.shape[0])
        canvas[place] = tile
        return True


def _fit(picture: Picture, tile: Picture) -> None:
    """Draw a picture as large as it fits in the middle of a tile."""
    (height, width), (rows, columns) = picture.shape[:2], tile.shape[:2]
    scale = min(columns / width, rows / height)
    size = max(1, min(columns, round(width * scale))), max(1, min(rows, round(height * scale)))
    left, top = (columns - size[0]) // 2, (rows - size[1]) // 2
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=way)


class _TileSink:
    """Takes the annotated pictures of one camera."""

    def __init__(self, tile: _Tile, came: threading.Condition) -> None:
        self._tile, self._came = tile, came

    @property
    def wants_pictures(self) -> bool:
        """True unless the output could not be opened."""
        return self._tile.is_shown

    def write(self, result: ClassifiedFrame) -> None:
        with self._came:
            self._tile.picture, self._tile.came_at = result.annotated, time.monotonic()
            self._came.notify()

    def close(self) -> None:
        """Leave the last picture."""


@dataclass(frozen=True)
class _MosaicSource:
    """Tells the output about the pictures, as the source of them."""

    rate: float
    size: tuple[int, int]
    end: Callable[[], None]
    name: str = "cameras"
    length: int | None = None
    is_live: bool = True

    def frames(self) -> Iterator[MediaFrame]:
        return iter(())

    def close(self) -> None:
        """End the run: the window was closed."""
        self.end()
