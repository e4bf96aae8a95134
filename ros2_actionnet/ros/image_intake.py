"""Handles the images of one camera in ROS's thread: samples them, gives them to the worker and to the annotator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.compressed import MaxDownscale
from ros2_actionnet.images.intensity import IntensityRange
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.live.stream import Stream
from ros2_actionnet.recognition.frame_clock import FrameClock
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.recognition.sampling import FrameSampler, MissedFrames, Sample
from ros2_actionnet.ros.image_types import IMAGE, Arrival, ArrivedImage, ImageReader
from ros2_actionnet.ros.serialized_images import read_header
from ros2_actionnet.settings import Settings


class Subjects(Protocol):
    """Takes sampled images for the subjects in them."""

    def sample(self, taken_at: int) -> Sample | None:
        """Return the place in the subjects' windows of the next image, taken at `taken_at` (ns); None for none."""

    def miss(self, sample: Sample) -> None:
        """Record that the image of `sample` is not coming."""

    def take(self, image: RawImage, sample: Sample, header: FrameHeader, index: int, taken_at: int) -> None:
        """Take a sampled image, whose memory does not change."""

    def reset(self) -> None:
        """End all subjects."""


class ImageIntake:
    """Receives serialized images.

    An image that is neither sampled nor annotated is not looked at beyond its header; a video is decoded, as its frames
    depend on each other, but not converted. One that cannot be understood is counted and reported to `rejected`; the
    next sampled frame then takes its place in the window.
    """

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        annotate: Callable[[RawImage, FrameHeader], None],
        wants_annotation: Callable[[], bool],
        rejected: Callable[[ImageError], None],
        annotated_width: Callable[[], int] = lambda: 0,
        subjects: Subjects | None = None,
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
        self._subjects = subjects
        self._annotate = annotate
        self._wants_annotation = wants_annotation
        self._report_rejected = rejected
        self._reader = ImageReader(lambda arrival, error: self._reject(error))
        self._annotated_width = annotated_width  # pixels; 0: as the image
        self._missed = MissedFrames()  # those that could not be understood
        # Adds to the monotonic clock to give nanoseconds since 1970 that never step.
        self._epoch = time.time_ns() - time.monotonic_ns()
        self._fresh = True  # no window has been begun since the start or since a reset: nothing can be emptied

    def take(self, message: bytes, type_name: str = IMAGE) -> None:
        """Receive one serialized message of a type of `IMAGE_TYPES`."""
        self.last_arrival = time.monotonic()
        index, self.received = self.received, self.received + 1
        try:
            arrival = Arrival(read_header(message), index, self._epoch + nanoseconds(self.last_arrival))
            images = self._reader.images(message, type_name, arrival)
        except ImageError as error:
            self._reject(error)
            return
        for image in images:
            self._take(image)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that act on the next frame."""
        self.sampler.configure(settings)
        self._intensity.configure(settings.intensity_range)

    def reset(self) -> None:
        """Empties the window: frames taken in so far are forgotten."""
        self.sampler.reset()
        self._fresh = True
        self._stream.reset()
        if self._subjects is not None:
            self._subjects.reset()

    def restart(self) -> None:
        """Empties the window, and takes the next message for one of a new stream."""
        self._reader.reset()
        self.reset()

    def _take(self, arrived: ArrivedImage) -> None:
        header = arrived.arrival.header
        taken_at = self.clock.time(header.stamp or None, arrived.arrival.time)
        sample = self._sample(taken_at)
        subjects = self._subjects
        of_subjects = subjects.sample(taken_at) if subjects is not None else None
        annotated = self._wants_annotation()
        if sample is None and of_subjects is None and not annotated:
            return
        try:
            try:
                image = self._intensity.stretch(arrived.read(self._needed(annotated)))
                if sample is not None:
                    self._stream.submit(image, sample, header, arrived.arrival.index, taken_at)
            except ImageError:
                if sample is not None:
                    self._missed.add(sample)
                if subjects is not None and of_subjects is not None:
                    subjects.miss(of_subjects)
                raise
            if subjects is not None and of_subjects is not None:
                subjects.take(image, of_subjects, header, arrived.arrival.index, taken_at)
            if annotated:
                self._annotate(image, header)
        except ImageError as error:
            self._reject(error)

    def _needed(self, annotated: bool) -> MaxDownscale:
        """Return by how much an image may be shrunk when it is decoded; those with subjects keep their size."""
        if self._subjects is not None:
            return lambda height, width: 1.0
        return self._max_downscale_for_annotation if annotated else self._stream.max_downscale

    def _reject(self, error: ImageError) -> None:
        self.rejected += 1
        self._report_rejected(error)

    def _max_downscale_for_annotation(self, height: int, width: int) -> float:
        # The network's need counts for frames that are not sampled too: a scale that changed from frame to frame could
        # change the annotated image's size by the odd pixel.
        annotated_width = self._annotated_width()
        return min(self._stream.max_downscale(height, width), width / annotated_width if annotated_width else 1.0)

    def _sample(self, taken_at: int) -> Sample | None:
        sample = self.sampler.offer(taken_at)
        if sample is None:
            return None
        if sample.restart and not self._fresh:
            self.restarts += 1
            self.restart_reason = sample.reason
        self._fresh = False
        return self._missed.combined_with(sample)
