"""Small pictures for the page, encoded as text."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2

from ros2_actionnet.media.base import MediaFrame, Picture


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: its time (s) and its JPEG as a data URI."""

    time: float
    uri: str


def thumbnail(time: float, picture: Picture, width: int, quality: int = 72) -> Thumbnail:
    """Return `picture` scaled to a width of `width` pixels, or unscaled if it is smaller."""
    height, full_width = picture.shape[:2]
    if width < full_width:
        size = (width, max(1, round(height * width / full_width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Thumbnail(time, f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}")


class Filmstrip:
    """Pictures at equal intervals; the interval doubles when there are twice `most` of them."""

    def __init__(self, most: int, width: int) -> None:
        self._most, self._width = most, width
        self._interval = 0.0  # s; 0 accepts any frame
        self.thumbnails: list[Thumbnail] = []

    def offer(self, frame: MediaFrame) -> None:
        """Add the picture of a frame if the interval has elapsed."""
        if self.thumbnails and frame.time < self.thumbnails[-1].time + self._interval:
            return
        self.thumbnails.append(thumbnail(frame.time, frame.picture, self._width))
        if len(self.thumbnails) == 2 * self._most:
            self.thumbnails = self.thumbnails[::2]
            self._interval = max(2 * self._interval, self.thumbnails[1].time - self.thumbnails[0].time)

    def spread(self, count: int, duration: float) -> list[Thumbnail]:
        """Return the picture nearest the middle of each of `count` equal parts of `duration` (s); empty without any."""
        middles = [(part + 0.5) * duration / count for part in range(count)]
        return [
            min(self.thumbnails, key=lambda picture: abs(picture.time - middle))
            for middle in middles
            if self.thumbnails
        ]
