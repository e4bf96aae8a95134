"""Small pictures for the page, as text."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2

from ros2_actionnet.media.base import MediaFrame, Picture


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: when it was (s), and the JPEG as a data URI."""

    time: float
    uri: str


def thumbnail(time: float, picture: Picture, width: int, quality: int = 72) -> Thumbnail:
    """`picture` at `width` pixels, or as it is if it is smaller."""
    height, full_width = picture.shape[:2]
    if width < full_width:
        size = (width, max(1, round(height * width / full_width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Thumbnail(time, f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}")


class Filmstrip:
    """Pictures at equal intervals, at most `most` of them: the interval doubles when there are too many."""

    def __init__(self, most: int, width: int) -> None:
        self._most, self._width = most, width
        self._interval = 0.0  # s; 0 takes any frame
        self.thumbnails: list[Thumbnail] = []

    def offer(self, frame: MediaFrame) -> None:
        """Takes a frame's picture if its time has come."""
        if self.thumbnails and frame.time < self.thumbnails[-1].time + self._interval:
            return
        self.thumbnails.append(thumbnail(frame.time, frame.picture, self._width))
        if len(self.thumbnails) == 2 * self._most:
            self.thumbnails = self.thumbnails[::2]
            self._interval = max(2 * self._interval, self.thumbnails[1].time - self.thumbnails[0].time)

    def spread(self, count: int, duration: float) -> list[Thumbnail]:
        """For each of `count` equal parts of `duration` (s) the picture nearest to its middle; empty without any."""
        middles = [(part + 0.5) * duration / count for part in range(count)]
        return [
            min(self.thumbnails, key=lambda picture: abs(picture.time - middle))
            for middle in middles
            if self.thumbnails
        ]
