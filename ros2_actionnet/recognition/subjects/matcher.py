"""Images that wait for their detections, which come 20 to 300 ms later, under the same stamp."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from ros2_actionnet.recognition.subjects.detections import FrameDetections

MOST_BYTES = 128 << 20
"""Bytes of images that wait, at most: 0.7 s of 1080p bgr8 at 30 Hz."""

_REMEMBERED = 256  # stamps of images that were let go, to tell late detections; 8 s at 30 Hz

ImageT = TypeVar("ImageT")


@dataclass(frozen=True)
class Match(Generic[ImageT]):
    """An image with its detections; None if none came in time."""

    image: ImageT
    detections: FrameDetections | None


@dataclass(frozen=True)
class _Waiting(Generic[ImageT]):
    stamp: int
    image: ImageT
    size: int  # bytes
    until: float  # s


class DetectionMatcher(Generic[ImageT]):
    """Pairs images with the detections of the same stamp, and lets images go in the order in which they came.

    An image waits for at most `delay`; it goes without detections when that has passed, when those of a later image
    have come, since detectors answer in order, or when there are more than `max_bytes` waiting. Detections may also
    come before their image, which takes longer to travel. Not thread-safe; `now` is any clock that never steps back, s.

    Attributes:
        matched: Number of images that got their detections.
        unmatched: Number of images that went without.
        late: Number of detections that came after their image had gone.
        waiting_bytes: Bytes of the images that wait.
    """

    def __init__(self, delay: float, max_bytes: int = MOST_BYTES) -> None:
        """Begin with nothing waiting; `delay` in seconds."""
        self.delay = delay
        self._max_bytes = max_bytes
        self._images: deque[_Waiting[ImageT]] = deque()
        self._early: deque[tuple[float, FrameDetections]] = deque()  # each with the time until which it is kept
        self._gone: deque[int] = deque(maxlen=_REMEMBERED)  # stamps of images that went without detections
        self._newest: int | None = None  # stamp of the newest image
        self.matched = self.unmatched = self.late = self.waiting_bytes = 0

    @property
    def deadline(self) -> float | None:
        """The time at which `expire` has something to do next; None while nothing waits."""
        return self._images[0].until if self._images else None

    def add_image(self, stamp: int, image: ImageT, size: int, now: float) -> list[Match[ImageT]]:
        """Let an image of `size` bytes, taken at `stamp` (ns), wait; return what goes now."""
        gone = self.expire(now)
        if self._newest is not None and stamp < self._newest:  # the clock of the images has stepped back
            self._early.clear()
            self._gone.clear()
        self._newest = stamp
        self._images.append(_Waiting(stamp, image, size, now + self.delay))
        self.waiting_bytes += size
        early = next((pair for pair in self._early if pair[1].stamp == stamp), None)
        if early is not None:
            self._early.remove(early)
            return gone + self._release_up_to(len(self._images), early[1])
        while self.waiting_bytes > self._max_bytes:
            gone += self._release_up_to(1, None)
        return gone

    def add_detections(self, detections: FrameDetections, now: float) -> list[Match[ImageT]]:
        """Take detections in; return what goes now."""
        for place, waiting in enumerate(self._images):
            if waiting.stamp == detections.stamp:
                return self._release_up_to(place + 1, detections) + self.expire(now)
        gone = self.expire(now)
        if detections.stamp in self._gone:
            self.late += 1
        else:
            self._early.append((now + self.delay, detections))
            if len(self._early) > _REMEMBERED:
                self._early.popleft()
        return gone

    def expire(self, now: float) -> list[Match[ImageT]]:
        """Return the images that have waited for `delay`, and forget detections that have."""
        while self._early and self._early[0][0] <= now:
            self._early.popleft()
        count = sum(waiting.until <= now for waiting in self._images)
        return self._release_up_to(count, None)

    def clear(self) -> None:
        """Forget all that waits."""
        self._images.clear()
        self._early.clear()
        self._gone.clear()
        self._newest, self.waiting_bytes = None, 0

    def _release_up_to(self, count: int, detections: FrameDetections | None) -> list[Match[ImageT]]:
        """Return the `count` oldest images, the last of them with `detections`."""
        matches = []
        for left in reversed(range(count)):
            waiting = self._images.popleft()
            self.waiting_bytes -= waiting.size
            if left == 0 and detections is not None:
                self.matched += 1
                matches.append(Match(waiting.image, detections))
            else:
                self.unmatched += 1
                self._gone.append(waiting.stamp)
                matches.append(Match(waiting.image, None))
        return matches
