"""Draws the results on the newest frame, in a thread of its own which never delays other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.images.overlay import Annotation, draw_overlay
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.images.subject_overlay import SubjectLabel, draw_subjects

Header = TypeVar("Header")


class Annotator(Generic[Header]):
    """Draws on the newest frame offered and hands it to `publish`; one that comes meanwhile replaces one that waits.

    `annotation` and `subjects` are asked for what to draw, the boxes in the image's own pixels; `publish` is called
    with uint8 [H, W, 3] BGR; all in the annotator's thread.
    """

    def __init__(
        self,
        annotation: Callable[[], Annotation],
        publish: Callable[[NDArray[np.uint8], Header], None],
        failed: Callable[[Exception], None],
        subjects: Callable[[], Sequence[SubjectLabel]] = tuple,
    ) -> None:
        self._annotation = annotation
        self._publish = publish
        self._failed = failed
        self._subjects = subjects
        self._work = threading.Condition()
        self._waiting: tuple[RawImage, Header, int] | None = None
        self._stopped = False
        self._canvas = np.empty((0, 0, 3), np.uint8)
        self._thread = threading.Thread(target=self._run, name="annotator", daemon=True)
        self._thread.start()

    def offer(self, image: RawImage, header: Header, width: int = 0) -> None:
        """Queue `image` to be drawn on and published, `width` pixels wide (0: its own); its memory must not change."""
        with self._work:
            self._waiting = (image, header, width)
            self._work.notify()

    def close(self) -> None:
        """Ends the thread, once it has finished the frame it is at."""
        with self._work:
            self._stopped = True
            self._waiting = None
            self._work.notify()
        self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._stopped or self._waiting is not None)
                if self._stopped or self._waiting is None:
                    return
                (image, header, width), self._waiting = self._waiting, None
            try:
                self._publish(self._draw(image, width), header)
            except Exception as error:
                self._failed(error)

    def _draw(self, image: RawImage, width: int) -> NDArray[np.uint8]:
        if self._canvas.shape[:2] != (image.height, image.width):
            self._canvas = np.empty((image.height, image.width, 3), np.uint8)
        pixels = to_bgr(image, self._canvas)
        if width and width != image.width:
            height = max(1, round(image.height * width / image.width))
            shrinks = width < image.width
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)
        scale = pixels.shape[1] / image.width
        draw_subjects(pixels, [replace(one, box=one.box.scaled(scale)) for one in self._subjects()])
        annotation = self._annotation()
        draw_overlay(pixels, annotation.lines, fill=annotation.fill, status=annotation.status)
        return pixels
