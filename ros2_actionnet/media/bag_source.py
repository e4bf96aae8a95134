"""Frames from ROS bags, without a ROS installation."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ros2_actionnet.errors import ImageError, MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.video_decoder import VideoImage
from ros2_actionnet.media.bag_images import BagImages, ImageMessage, image_connections, learn_types
from ros2_actionnet.media.bag_reader import Bag, list_topics
from ros2_actionnet.media.base import BagMessage, InputOptions, MediaFrame, Report
from ros2_actionnet.media.output_clock import OutputClock
from ros2_actionnet.recognition.frame_clock import FrameClock
from ros2_actionnet.recognition.frame_header import NANOSECONDS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

_PEEKED = (
    16  # messages read to find the rate and the size before the first frame is requested; more if none is an image
)
_KEY_FRAME_WITHIN = 10 * NANOSECONDS  # before a frame of a video; with rarer ones some frames are not found again
_DEFAULT_RATE = 30.0  # Hz, if the messages of a topic do not determine it


class BagSource:
    """A source of the frames of an image topic of a bag.

    A frame's stamp is that of its header, or its time of reception if the first frames have zero stamps or while the
    stamps do not change.

    Attributes:
        path, topic: The bag and its image topic.
        loop: Number of repetitions after the first time; -1: forever.
        report: Receives a line for each skipped message.
        ended: True once the last message has been read.

    Raises MediaError if the bag cannot be read, the topic is missing or ambiguous, or the first messages have no image.
    """

    is_live = False

    def __init__(self, path: Path | str, options: InputOptions, report: Report) -> None:
        self.path, self.loop, self.report = Path(path), options.loop, report
        self._lock = threading.Lock()  # held while the bag is read
        self._closed = self.ended = self._reported_stuck = False
        if options.save:
            raise MediaError(f"'{path}' is a bag, which is already saved: omit --input-save")
        self._bag = Bag(self.path)
        if self._bag.is_unfinished:
            count = self._bag.message_count
            why = "as its writer was killed or wrote none"
            report(f"'{self.path}' has no index, {why}: the {count} whole messages are read")
        try:
            self.topic, self._connections = _choose(self._bag, options.topic)
            learn_types(self._bag, self._connections)
            self._peek()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The bag and the topic."""
        return f"{self.path} {self.topic}"

    @property
    def rate(self) -> float:
        """Frames per second, from the median interval of the first ones."""
        return self._rate

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, in pixels."""
        return self._size

    @property
    def length(self) -> int | None:
        """Number of messages on the topic, repetitions included; None if endless."""
        return None if self.loop < 0 else self._messages * (self.loop + 1)

    def frames(self) -> Iterator[MediaFrame]:
        """Yield the frames in order of reception; messages without a valid image are reported and skipped.

        Raises MediaError if no message is an image, or if the bag is damaged further on.
        """
        numbers, understood, times = itertools.count(), 0, OutputClock(self._rate)
        for _ in itertools.count() if self.loop < 0 else range(self.loop + 1):
            times.rejoin()
            clock = FrameClock()
            for message, image in self._images(numbers):
                if not understood and message.number and isinstance(image, VideoImage):
                    self.report(
                        f"{message.number} messages of {self.topic} before the video's first key frame are skipped"
                    )
                stamp = clock.time(None if self._unstamped else message.header.stamp, message.received)
                self._report_stuck(clock)
                place = BagMessage(message.header, message.number)
                yield MediaFrame(message.number, times.time(stamp), stamp, image, place, message.received)
                understood += 1
            if self._closed:
                return
            if not understood:
                count = next(numbers)
                raise MediaError(f"none of the {count} messages of {self.topic} in '{self.path}' is an image")
        self.ended = True

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield the images from a time of reception on (ns), of a video from a key frame before it if there is one."""
        start = position - _KEY_FRAME_WITHIN if self._is_video else position
        for message, image in self._images(itertools.count(), start):
            yield message.received, image

    def close(self) -> None:
        """Close the bag."""
        self._closed = True
        with self._lock:
            self._bag.close()

    def _read(self, start: int | None = None) -> Iterator[tuple[int, bytes, str]]:
        """Yield the time of reception (ns, from `start` on), bytes and type of each message to the end or `close`."""
        messages = self._bag.messages(self._connections, start)
        while True:
            with self._lock:
                read = None if self._closed else next(messages, None)
            if read is None:
                return
            connection, received, message = read
            yield received, message, connection.msgtype

    def _images(self, numbers: Iterator[int], start: int | None = None) -> Iterator[tuple[ImageMessage, RawImage]]:
        """Yield the images, received from `start` (ns) on, to the end or until `close`, and their messages."""
        images = BagImages(self._bag, self._report_skipped)
        for received, content, type_name in self._read(start):
            number = next(numbers)
            try:
                decoded = images.decode(images.open(content, type_name, number, received))
            except ImageError as error:
                self._report_skipped(number, error)
                continue
            yield from decoded
        if not self._closed:
            yield from images.finish()

    def _report_skipped(self, number: int, error: ImageError) -> None:
        self.report(f"message {number} of {self.topic} is skipped: {error}")

    def _report_stuck(self, clock: FrameClock) -> None:
        if clock.is_stuck and not self._reported_stuck:
            self._reported_stuck = True
            self.report(f"the stamps on {self.topic} do not change, so that the times of reception count")

    def _peek(self) -> None:
        """Determine the size, the rate and the presence of stamps from the first messages."""
        self._messages = sum(connection.msgcount for connection in self._connections)
        self._size, self._is_video = (0, 0), False
        seen: list[ImageMessage] = []
        errors: list[ImageError] = []
        images = BagImages(self._bag, lambda number, error: errors.append(error))
        for number, (received, content, type_name) in enumerate(self._read()):
            if number >= _PEEKED and self._size != (0, 0):
                break
            try:
                message = images.open(content, type_name, number, received)
                if number < _PEEKED:
                    seen.append(message)
                if self._size == (0, 0):
                    self._measure(images.decode(message))
            except ImageError as error:
                errors[:] = [error]
        self._measure(images.finish())
        why = f"is an image: {errors[-1]}" if errors else "was recorded: give another topic with --topic"
        if self._size == (0, 0):
            raise MediaError(f"no message of {self.topic} in '{self.path}' {why}")
        self._unstamped = not any(message.header.stamp for message in seen)
        clock = FrameClock()
        # In order: the packets of a video may come in another one than its frames.
        stamps = sorted(clock.time(None if self._unstamped else one.header.stamp, one.received) for one in seen)
        intervals = [later - earlier for earlier, later in itertools.pairwise(stamps) if later > earlier]
        self._rate = NANOSECONDS / median(intervals) if intervals else _DEFAULT_RATE

    def _measure(self, images: list[tuple[ImageMessage, RawImage]]) -> None:
        if images:
            _, image = images[0]
            self._size = image.width, image.height
            self._is_video = isinstance(image, VideoImage)


def _choose(bag: Bag, wanted: str) -> tuple[str, list[Connection]]:
    """Return the requested image topic, else the only one, and its connections."""
    images = image_connections(bag)
    topics = {connection.topic for connection in images}
    if wanted:
        topics = {topic for topic in topics if topic.strip("/") == wanted.strip("/")}
        if not topics:
            raise MediaError(
                f"'{bag.path}' has no image topic {wanted}; it has {list_topics(images or bag.connections)}"
            )
    if not topics:
        raise MediaError(f"'{bag.path}' has no image topic; it has {list_topics(bag.connections)}")
    if len(topics) > 1:
        raise MediaError(f"'{bag.path}' has several image topics, choose one with --topic: {list_topics(images)}")
    topic = topics.pop()
    return topic, [connection for connection in images if connection.topic == topic]
