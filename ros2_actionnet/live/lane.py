"""A stream's queue of thumbnails: filled in the caller's thread, emptied into the window in the worker's."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ros2_actionnet.backends.ring import Frame
from ros2_actionnet.images.box import Box
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.hosted_network import HostedNetwork
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import MissedFrames, Sample
from ros2_actionnet.recognition.window_classifier import WindowClassifier, preprocessor
from ros2_actionnet.settings import Effect, Settings


@dataclass(frozen=True)
class SampledFrame:
    """A sampled frame of a stream.

    Attributes:
        header: As it came; its stamp may be empty.
        sample: Its place in the window.
        index: Counted from 0 over all frames of the stream, sampled or not.
        handed_over: When it was queued, in seconds of the monotonic clock.
        time: When it was taken, in nanoseconds; the time that its sampling was decided by.
    """

    header: FrameHeader
    sample: Sample
    index: int
    handed_over: float
    time: int


class Lane:
    """A stream's queue of thumbnails for one network, in one view of the image, and, once it is open, its window.

    `offer` and `max_downscale` belong to the caller's thread, `open`, `drain`, `classifier` and `newest` to the
    worker's, `clear` to any.
    """

    def __init__(self, host: HostedNetwork, settings: Settings) -> None:
        """Begin with an empty queue; `settings` are the stream's, of which the view counts."""
        self.host = host
        self.network = host.network
        self.classifier: WindowClassifier[Any] | None = None
        self.newest: SampledFrame | None = None
        self.overrun = 0  # thumbnails that left the queue before the worker came; none is missed before its first time
        self._settings = settings
        self._preprocessor = preprocessor(host.network, settings)
        self._lock = threading.Lock()
        self._queue: deque[tuple[SampledFrame, Frame]] = deque()
        self._free: list[Frame] = []
        self._missed = MissedFrames()  # those that left the queue
        self._cleared = False

    def has_view_of(self, settings: Settings) -> bool:
        """Return True if thumbnails are made of the part of the image that `settings` say."""
        return Effect.NEW_WINDOW not in self._settings.changed(settings)

    def offer(self, image: RawImage, frame: SampledFrame, box: Box | None = None) -> None:
        """Queues the thumbnail of `image`, of its part in `box` if one is given, which stands in place of the `roi`.

        At most a window waits: the oldest goes, as it would leave the window. Raises ImageError, and queues nothing,
        for an image that cannot be understood.
        """
        thumbnail = self._blank()
        try:
            if box is None:
                self._preprocessor.thumbnail(image, thumbnail)
            else:
                self._preprocessor.thumbnail_of(image, box, thumbnail)
        except Exception:
            self._free.append(thumbnail)
            raise
        with self._lock:
            if len(self._queue) == self.network.frames:
                lost, its_thumbnail = self._queue.popleft()
                self._free.append(its_thumbnail)
                self.overrun += self.newest is not None
                self._missed.add(lost.sample)
            self._queue.append((frame, thumbnail))

    def max_downscale(self, height: int, width: int) -> float:
        """Return the largest factor by which an image of [height, width] can be shrunk without a worse thumbnail."""
        return self._preprocessor.max_downscale(height, width)

    def clear(self) -> None:
        """Forgets all frames offered so far, those in the window too."""
        with self._lock:
            self._free += [thumbnail for _, thumbnail in self._queue]
            self._queue.clear()
            self._missed.clear()
            self._cleared = True

    @property
    def is_full(self) -> bool:
        """True if it is open and its window is full."""
        return self.classifier is not None and self.classifier.full

    @property
    def first_frame(self) -> int:
        """Index of the window's oldest frame; -1 while the window is empty."""
        return -1 if self.classifier is None else self.classifier.first_frame

    def open(self, settings: Settings, *, is_first: bool) -> None:
        """Create the window on the loaded network; `is_first`: no other window of this stream is classified."""
        assert self.host.session is not None
        # A window that is made of copies of one frame is no reason to take over.
        chosen = settings if is_first else replace(settings, warmup="wait")
        self.classifier = WindowClassifier(self.host.session, chosen)

    def drain(self) -> bool:
        """Push all queued thumbnails into the window; return True if that emptied it on the way."""
        assert self.classifier is not None
        with self._lock:
            waiting, cleared = list(self._queue), self._cleared
            # The first frame takes the place of those that were lost before it.
            places = [self._missed.combined_with(frame.sample) for frame, _ in waiting]
            self._queue.clear()
            self._cleared = False
        if cleared:
            self.classifier.reset()
        emptied = cleared
        for (frame, thumbnail), place in zip(waiting, places, strict=True):
            emptied = emptied or place.restart
            self.classifier.push(thumbnail, place, frame.index)
            self.newest = frame
        with self._lock:
            self._free += [thumbnail for _, thumbnail in waiting]
        return emptied

    def _blank(self) -> Frame:
        with self._lock:
            if self._free:
                return self._free.pop()
        return np.empty((self.network.height, self.network.width, 3), np.uint8)
