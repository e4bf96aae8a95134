"""The images of a file in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import FrameSource
from ros2_actionnet.media.filters import images_from

_READ_ON = 64  # frames that are read on to a later one; to one further away it jumps

MOST_WALKED = 3000
"""Frames that are read on from the place that was jumped to."""


class PictureReader:
    """Finds the images of a source's frames by their positions; `read` by one thread, `close` by any.

    It reads on where the next frame is soon after the last one, and jumps where it is not. `open_` opens the source,
    when the first image is asked for. A frame that is more than `most_walked` frames after a place that the source can
    jump to has no image: in a file without such places, all that come after the first so many.
    """

    def __init__(self, open_: Callable[[], FrameSource], most_walked: int = MOST_WALKED) -> None:
        self._open, self._most_walked, self._closed = open_, most_walked, False
        self._source: FrameSource | None = None
        self._images: Iterator[tuple[int, RawImage]] = iter(())
        self._last: tuple[int, RawImage] | None = None  # index and image

    def read(self, index: int, positions: Sequence[int]) -> RawImage:
        """Return the image of the frame `index`, or of one shortly before it if it cannot be found again.

        `positions` are those of all frames by index, of which later ones may be missing. Raises MediaError if the input
        cannot be read any more, has no image there, or is closed, which ends a search.
        """
        last = self._last
        if last is not None and last[0] == index:
            return last[1]
        image = None
        if last is not None and 0 < index - last[0] <= _READ_ON:
            image, is_exact = self._walk(positions[index], _READ_ON)
            image = image if is_exact else None
        if image is None:
            source = self._opened()
            self._images = images_from(source, positions[index])
            image, _ = self._walk(positions[index], self._most_walked)
            if self._closed:
                raise MediaError(f"'{source.name}' is closed")
            if image is None:
                raise MediaError(
                    f"'{source.name}' has no frame there any more, or none within {self._most_walked} frames of a "
                    "place that can be jumped to; write the video anew as .mp4 or .mkv"
                )
        self._last = index, image
        return image

    def _opened(self) -> FrameSource:
        if self._closed:
            raise MediaError("the input is closed")
        if self._source is None:
            self._source = self._open()
            if self._closed:  # by another thread in the meantime
                self._source.close()
        return self._source

    def _walk(self, wanted: int, most: int) -> tuple[RawImage | None, bool]:
        """Return the image at a position and True, or else the one before it and False.

        The image is None if the images end at once or the position is more than `most` images further.
        """
        image = None
        for count, (position, found) in enumerate(self._images):
            if position > wanted and image is not None:
                break
            image = found
            if position == wanted:
                return image, True
            if count >= most:
                return None, False
        return image, False

    def close(self) -> None:
        """Close the source, which ends a search in another thread as soon as the next frame is there."""
        self._closed = True
        if self._source is not None:
            self._source.close()
