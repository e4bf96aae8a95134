"""The images of a file in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import FrameSource
from ros2_actionnet.media.filters import images_from

_READ_ON = 64  # frames that are read on to a later one; to one further away it jumps
_MOST_WALKED = 3000  # frames from the place that was jumped to


class PictureReader:
    """Finds the images of a source's frames by their positions; used by one thread.

    It reads on where the next frame is soon after the last one, and jumps where it is not. `open_` opens the source,
    when the first image is asked for.
    """

    def __init__(self, open_: Callable[[], FrameSource]) -> None:
        self._open = open_
        self._source: FrameSource | None = None
        self._images: Iterator[tuple[int, RawImage]] = iter(())
        self._last: tuple[int, RawImage] | None = None  # index and image

    def read(self, index: int, positions: Sequence[int]) -> RawImage:
        """Return the image of the frame `index`, or of one shortly before it if it cannot be found again.

        `positions` are those of all frames by index, of which later ones may be missing. Raises MediaError if the input
        cannot be read any more.
        """
        last = self._last
        if last is not None and last[0] == index:
            return last[1]
        image = None
        if last is not None and 0 < index - last[0] <= _READ_ON:
            image, is_exact = self._walk(positions[index], _READ_ON)
            image = image if is_exact else None
        if image is None:
            if self._source is None:
                self._source = self._open()
            self._images = images_from(self._source, positions[index])
            image, _ = self._walk(positions[index], _MOST_WALKED)
        if image is None:
            raise MediaError(f"'{self._source.name if self._source else ''}' has no frame there any more")
        self._last = index, image
        return image

    def _walk(self, wanted: int, most: int) -> tuple[RawImage | None, bool]:
        """Return the image at a position and True, or else the last one that was met and False."""
        image = None
        for count, (position, found) in enumerate(self._images):
            if position > wanted and image is not None:
                break
            image = found
            if position == wanted:
                return image, True
            if count >= most:
                break
        return image, False

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()
