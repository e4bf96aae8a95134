"""Handles the images of one camera in ROS's thread: samples them, gives them to the worker and to the annotator."""

from __future__ import annotations

import time
from collections.abc import Callable

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.compressed import MaxDownscale, decode
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.stream import Stream
from ros2_actionnet.recognition.frame_clock import FrameClock
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.recognition.sampling import FrameSampler, MissedFrames, Sample
from ros2_actionnet.ros.serialized_images import read_compressed, read_header, read_image
from ros2_actionnet.settings import Settings

Reader = Callable[[bytes, MaxDownscale], RawImage]
"""Reads a serialized message's image, which may come as much smaller as it is told; raises ImageError."""


def read_raw(message: bytes, max_downscale: MaxDownscale) -> RawImage:
    """The image of a serialized sensor_msgs/Image, a view at its own size."""
    return read_image(message)


def read_reduced(message: bytes, max_downscale: MaxDownscale) -> RawImage:
    """The image of a serialized sensor_msgs/CompressedImage, decoded no larger than it is needed."""
    frame = read_compressed(message)
    return decode(frame.data, frame.format, max_downscale)


READERS: dict[str, Reader] = {"raw": read_raw, "compressed": read_reduced}
"""By `image_transport`."""


class ImageIntake:
    """Receives serialized images.

    A frame that is neither sampled nor annotated is not looked at beyond its header. One that cannot be understood is
    counted and reported to `rejected`; the next sampled frame then takes its place in the window.
    """

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        annotate: Callable[[RawImage, FrameHeader], None],
        wants_annotation: Callable[[], bool],
        rejected: Callable[[ImageError], None],
        read: Reader = read_raw,
        annotated_width: Callable[[], int] = lambda: 0,
    ) -> None:
        self.sampler = FrameSampler(settings)
        self.clock = FrameClock()
        self._intensity = IntensityRange(settings.intensity_range)
        self.received = 0
        self.rejected = 0
        self.restarts = 0  # windows emptied by gaps or by time that ran backwards
        self.restart_reason = ""
        self.last_arrival = -float("inf")  # s, monotonic clock
        self._stream = stream
        self._annotate = annotate
        self._wants_annotation = wants_annotation
        self._report_rejected = rejected
        self._read = read
        self._annotated_width = annotated_width  # pixels; 0: as the image
        self._missed = MissedFrames()  # those that could not be understood
        # Adds to the monotonic clock to give nanoseconds since 1970 that never step.
        self._epoch = time.time_ns() - time.monotonic_ns()
        self._fresh = True  # no window has been begun since the start or since a reset: nothing can be emptied

    def take(self, message: bytes) -> None:
        """Receive one serialized message of the kind that `read` reads."""
        self.last_arrival = time.monotonic()
        index, self.received = self.received, self.received + 1
        try:
            header = read_header(message)
            taken_at = self._taken_at(header)
            sample = self._sample(taken_at)
            annotated = self._wants_annotation()
            if sample is None and not annotated:
                return
            needed = self._max_downscale_for_annotation if annotated else self._stream.max_downscale
            try:
                image = self._intensity.stretch(self._read(message, needed))
                if sample is not None:
                    self._stream.submit(image, sample, header, index, taken_at)
            except ImageError:
                if sample is not None:
                    self._missed.add(sample)
                raise
            if annotated:
                self._annotate(image, header)
        except ImageError as error:
            self.rejected += 1
            self._report_rejected(error)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that act on the next frame."""
        self.sampler.configure(settings)
        self._intensity.configure(settings.intensity_range)

    def reset(self) -> None:
        """Empties the window: frames taken in so far are forgotten."""
        self.sampler.reset()
        self._fresh = True
        self._stream.reset()

    def _max_downscale_for_annotation(self, height: int, width: int) -> float:
        # The network's need counts for frames that are not sampled too: a scale that changed from frame to frame could
        # change the annotated image's size by the odd pixel.
        annotated_width = self._annotated_width()
        return min(self._stream.max_downscale(height, width), width / annotated_width if annotated_width else 1.0)

    def _taken_at(self, header: FrameHeader) -> int:
        """Return the time of a frame in nanoseconds, for its sampling and for its events."""
        return self.clock.time(header.stamp or None, self._epoch + nanoseconds(self.last_arrival))

    def _sample(self, taken_at: int) -> Sample | None:
        sample = self.sampler.offer(taken_at)
        if sample is None:
            return None
        if sample.restart and not self._fresh:
            self.restarts += 1
            self.restart_reason = sample.reason
        self._fresh = False
        return self._missed.combined_with(sample)
