"""The seams of the command `actionnet`: a source of frames, and sinks of what was made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Session
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.recognizer import Recognized
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult
from ros2_actionnet.settings import Settings
from ros2_actionnet.web.webrtc_server import WebOptions

Picture = NDArray[np.uint8]
"""A picture: uint8 [H, W, 3], BGR."""

Report = Callable[[str], None]
"""Takes one line on something that went wrong and was got over (a broken frame, a camera that is gone for a while)."""


BagCompression: TypeAlias = Literal["zstd", "none"]


@dataclass(frozen=True)
class InputOptions:
    """How a source is opened; 0 and "" leave it to the source.

    Attributes:
        width, height: pixels that a camera is asked for, and that videos and streams are scaled to (one of them alone
            keeps their shape).
        rate: Hz that a camera is asked for, that images without a time of their own are taken to come at, and that
            videos and streams are thinned out to.
        loop: how often a file is played again after the first time; -1: for ever.
        flip: a name of `filters.FLIPS`.
        codec: what a camera sends or a stream is sent in (mjpeg, h264, ...).
        save: path of a file in which the input is kept as it came.
        topic: of a bag; "" is the only image topic.
        timeout: s without an answer or a frame after which a camera, a stream or a server counts as lost.
        transport: of RTSP, a name of `streams.TRANSPORTS`.
        decoder: a name that `hardware.open_decoder` takes; "" is the CPU.
        web: of the server for a browser's camera.
    """

    width: int = 0
    height: int = 0
    rate: float = 0.0
    loop: int = 0
    flip: str = "none"
    codec: str = ""
    save: str = ""
    topic: str = ""
    timeout: float = 0.0
    transport: str = ""
    decoder: str = ""
    web: WebOptions = field(default_factory=WebOptions)


@dataclass(frozen=True)
class OutputOptions:
    """How a sink is opened; 0 and "" leave it to the sink.

    Attributes:
        codec: a name of the sink's encoders (h264, h265, vp8, vp9, mpeg4, mjpeg, av1).
        bitrate: bits a second.
        save: path of a file in which what goes to a stream or a window is kept too.
        encoder: a name that `hardware.open_encoder` takes; "" is the CPU.
        bag_compression: of a bag.
        web: of the server for browsers.
    """

    codec: str = ""
    bitrate: int = 0
    save: str = ""
    encoder: str = ""
    bag_compression: BagCompression = "zstd"
    web: WebOptions = field(default_factory=WebOptions)


@dataclass(frozen=True)
class BagMessage:
    """The message of a bag that a frame came in: its header, and its place among those of its topic, from 0."""

    header: FrameHeader
    number: int


@dataclass(frozen=True, eq=False)
class MediaFrame:
    """A frame of a source.

    Attributes:
        index: counted from 0 over all frames of the source, broken ones included.
        time: s since the source's first frame, by a clock that increases and goes on where that of the source jumps.
        stamp: ns since 1970 where the source knows when the frame was taken (a bag, a camera; a stream roughly), else
            counted from the first frame. It jumps where the source's clock does.
        image: the pixels.
        message: in which it came, where the source is a bag.
        position: by which `SeekableSource.images_from` finds it again; -1 where it cannot be found.
    """

    index: int
    time: float
    stamp: int
    image: RawImage
    message: BagMessage | None = None
    position: int = -1

    @cached_property
    def picture(self) -> Picture:
        """The pixels as uint8 [H, W, 3], BGR; may be the source's own memory, so it must not be drawn on."""
        return to_bgr(self.image)


@dataclass(frozen=True)
class RunDetails:
    """The input, the network and the settings of a run, for the sinks; known before the first frame.

    Attributes:
        network: its name.
        labels: of its classes, by index.
        window: frames of a window.
        backend, device, precision: backend that runs it, as named by the session.
        settings: with which it runs.
        input: the source's name.
        rate, size, length: the source's (Hz; width and height in pixels; frames, None if unknown).
    """

    network: str
    labels: tuple[str, ...]
    window: int
    backend: str
    device: str
    precision: str
    settings: Settings
    input: str
    rate: float
    size: tuple[int, int]
    length: int | None = None

    @classmethod
    def of(cls, source: FrameSource, session: Session[Any], settings: Settings) -> RunDetails:
        """The details of a run of `source` through `session`."""
        network = session.network
        return cls(
            network.name,
            network.labels,
            network.frames,
            session.backend,
            session.device,
            session.precision,
            settings,
            os.fsencode(source.name).decode(errors="backslashreplace"),  # a file's name need not be UTF-8
            source.rate,
            source.size,
            source.length,
        )


class FrameSource(Protocol):
    """Something that has frames; checked when it is opened, used by one thread."""

    @property
    def name(self) -> str:
        """The name that is shown."""

    @property
    def rate(self) -> float:
        """Frames a second, as far as it knows."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels; (0, 0) until the first where it cannot know before."""

    @property
    def length(self) -> int | None:
        """Number of frames to come; None if unknown."""

    @property
    def is_live(self) -> bool:
        """True if frames arrive in real time, so that a slow reader misses some."""

    def frames(self) -> Iterator[MediaFrame]:
        """The frames, in order. Raises MediaError if there is none, or it cannot go on."""

    def close(self) -> None:
        """Frees it; `frames` then ends at once. May be called twice, and from another thread."""


@runtime_checkable
class SeekableSource(Protocol):
    """A source that can be read from any of its frames on: a file."""

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        """Yield positions and images in order, from the frame at `position` or some before it, to the end.

        It takes the place of `frames`. Ends an iterator that was returned before. Raises MediaError if the input cannot
        be read.
        """


@dataclass(frozen=True, eq=False)
class ClassifiedFrame:
    """A frame with its results.

    Attributes:
        frame: as it came from the source.
        prediction: the newest one, None until a window has been classified.
        is_new: True if this frame completed the window of `prediction`.
        events: began or ended with this frame.
        annotated: the picture with the results drawn on it; None where no sink wants it.
        subjects: the tracked people in it, and those that have ended with it; empty without detections.
    """

    frame: MediaFrame
    prediction: Prediction | None
    is_new: bool
    events: tuple[Event, ...] = ()
    annotated: Picture | None = None
    subjects: tuple[SubjectResult, ...] = ()

    @classmethod
    def of(cls, recognized: Recognized[MediaFrame]) -> ClassifiedFrame:
        """Return a recognized frame of a source, on which nothing is drawn yet."""
        return cls(recognized.frame, recognized.prediction, recognized.is_new, recognized.events)


class ResultSink(Protocol):
    """Something that takes classified frames; used by one thread."""

    @property
    def wants_pictures(self) -> bool:
        """True if it uses `ClassifiedFrame.annotated`."""

    def write(self, result: ClassifiedFrame) -> None:
        """Takes a frame. Raises MediaError if it cannot."""

    def close(self) -> None:
        """Finishes what it writes, so that it can be used. May be called twice. Raises MediaError if it cannot."""
