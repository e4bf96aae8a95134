"""Reading and writing of frames as images, single ones and folders of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError, MediaError
from ros2_actionnet.images.compressed import completed_jpeg
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, InputOptions, MediaFrame, OutputOptions, Report
from ros2_actionnet.media.opencv_capture import DEFAULT_RATE
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.system.files import replace_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
"""Suffixes of the images that OpenCV reads."""

WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def is_image(path: Path) -> bool:
    """Return True if `path` has the suffix of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_order(path: Path) -> list[str | int]:
    """Return a sort key that puts `img2` before `img10`."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def read_image(path: Path) -> NDArray[np.uint8 | np.uint16]:
    """Return an image [H, W, 3] in BGR, rotated according to its EXIF, of 16 bits a sample where the file has them.

    Raises ImageError if it is unreadable, damaged or truncated.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror}") from error
    whole = completed_jpeg(content) if content.startswith(b"\xff\xd8\xff") else content
    picture = None
    if whole is not None:
        try:
            picture = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if picture is not None and picture.dtype not in (np.uint8, np.uint16):
                picture = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise ImageError(f"'{path}' cannot be read: {error.err}") from error
    if picture is None:
        raise ImageError(f"'{path}' is not an image that OpenCV can read, or is damaged")
    return cast(NDArray[np.uint8 | np.uint16], picture)


class ImageSource:
    """A source of one image, of the images in a folder, or of those that match a pattern, in natural order.

    Images that cannot be read are reported and skipped.

    Raises MediaError if there is no image that can be read.
    """

    is_live = False

    def __init__(self, path: Path, options: InputOptions, report: Report) -> None:
        self.name, self.rate = str(path), options.rate or DEFAULT_RATE
        self._report, self._loop, self._closed = report, options.loop, False
        self._paths = find_images(path)
        if not self._paths:
            raise MediaError(f"'{path}' contains no images; names of images end in {', '.join(IMAGE_SUFFIXES)}")
        picture = next((picture for _, picture in self._pictures(lambda line: None)), None)
        if picture is None:
            raise MediaError(f"none of the {len(self._paths)} images of '{path}' can be read: {self._why()}")
        self.size = picture.shape[1], picture.shape[0]

    @property
    def length(self) -> int | None:
        """Number of images, repetitions included; None if endless."""
        return None if self._loop < 0 else len(self._paths) * (self._loop + 1)

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the images, one every 1/rate seconds."""
        for turn in itertools.count() if self._loop < 0 else range(self._loop + 1):
            for number, picture in self._pictures(self._report):
                index = turn * len(self._paths) + number
                time = index / self.rate
                yield MediaFrame(index, time, nanoseconds(time), _as_image(picture), position=number)
            if self._closed:
                return

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield the images from the one of a number on."""
        for number, picture in self._pictures(lambda line: None, max(position, 0)):
            yield number, _as_image(picture)

    def close(self) -> None:
        """End the source."""
        self._closed = True

    def _pictures(self, report: Report, first: int = 0) -> Iterator[tuple[int, NDArray[np.uint8 | np.uint16]]]:
        """Yield the number and the pixels of each image that can be read, from the number `first` on."""
        for number, path in enumerate(self._paths[first:], first):
            if self._closed:
                return
            try:
                picture = read_image(path)
            except ImageError as error:
                report(f"{error}; it is skipped")
            else:
                yield number, picture

    def _why(self) -> str:
        try:
            read_image(self._paths[0])
        except ImageError as error:
            return str(error)
        return "they come and go"


def _as_image(picture: NDArray[np.uint8 | np.uint16]) -> RawImage:
    return RawImage.from_array(picture, "bgr8" if picture.dtype == np.uint8 else "bgr16")


def find_images(path: Path) -> list[Path]:
    """Return the images that match a path or a pattern (*, ?, [...]), in natural order."""
    if path.is_file():
        return [path]
    found = path.iterdir() if path.is_dir() else path.parent.glob(path.name)
    return sorted((image for image in found if is_image(image) and image.is_file()), key=natural_order)


PLACEHOLDER = re.compile("%(0?[0-9]{0,2})[di]")
"""The place of the number in the name of an image of a sequence."""


def image_target(path: str) -> Path:
    """Return the path that an image output writes to, with a placeholder (%06d) if it is a sequence."""
    target = Path(path)
    if not target.suffix or path.endswith("/") or target.is_dir():
        target /= "%06d.jpg"
    return target.with_name(target.name.replace("*", "%06d"))


class ImageSink:
    """Writes annotated pictures as images.

    In a folder they are named 000000.jpg, 000001.jpg and so on, by the frames' indices. A file name with a placeholder
    (%06d, %i or a star) sets another pattern. A single file keeps the newest picture. Each image is complete or as it
    was, on a full disk and if the process is killed, too.

    Raises MediaError if the folder cannot be created or the suffix is unknown.
    """

    wants_pictures = True

    def __init__(self, path: str, options: OutputOptions) -> None:
        target = image_target(path)
        if target.suffix.lower() not in WRITABLE_SUFFIXES:
            raise MediaError(
                f"'{path}' is not an image format that can be written; use one of {', '.join(WRITABLE_SUFFIXES)}"
            )
        self._target = target
        if "%" in PLACEHOLDER.sub("", target.name, count=1):
            raise MediaError(f"'{path}' has an invalid placeholder for the image number; write %06d")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"the folder '{target.parent}' cannot be made: {error.strerror}") from error

    def write(self, result: ClassifiedFrame) -> None:
        """Write a picture. Raises MediaError on failure."""
        if result.annotated is None:
            return
        path = self._name(result.frame.index)
        try:
            _, content = cv2.imencode(path.suffix, result.annotated)
            replace_file(path, content.tobytes())
        except (OSError, cv2.error) as error:
            raise MediaError(f"'{path}' cannot be written: {getattr(error, 'strerror', None) or error}") from error

    def close(self) -> None:
        """Do nothing: each image is complete once written."""

    def _name(self, index: int) -> Path:
        return self._target.with_name(PLACEHOLDER.sub(lambda found: f"{index:{found[1]}d}", self._target.name, count=1))
