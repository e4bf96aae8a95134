"""Make the demo clip: a camera that does each of the nine motions over photographs in the public domain."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from .images import Image, all_sources, load_photograph, locate

WIDTH, HEIGHT, RATE = 640, 360, 30
SECONDS = 2.6
SHAKE = 0.6  # pixels of the clip


@dataclass(frozen=True)
class Segment:
    """One motion over one photograph: view centers and widths as parts of the photograph's width and height."""

    label: str
    photograph: str
    start: tuple[float, float]
    end: tuple[float, float]
    widths: tuple[float, float]
    degrees: tuple[float, float] = (0.0, 0.0)  # the camera's roll, clockwise positive


SEGMENTS = (
    Segment("still", "chelsea.png", (0.5, 0.5), (0.5, 0.5), (0.9, 0.9)),
    Segment("pan_right", "seeding_by_Clements_Engelhardt.jpg", (0.27, 0.45), (0.73, 0.45), (0.46, 0.46)),
    Segment("pan_left", "coffee.png", (0.68, 0.5), (0.32, 0.5), (0.6, 0.6)),
    Segment("tilt_up", "astronaut.png", (0.5, 0.73), (0.5, 0.25), (0.78, 0.78)),
    Segment("tilt_down", "hubble_deep_field.jpg", (0.5, 0.22), (0.5, 0.78), (0.6, 0.6)),
    Segment("zoom_in", "rocket.jpg", (0.5, 0.55), (0.5, 0.55), (0.95, 0.42)),
    Segment("zoom_out", "chelsea.png", (0.48, 0.42), (0.5, 0.48), (0.42, 0.92)),
    Segment("roll_clockwise", "seeding_by_Clements_Engelhardt.jpg", (0.5, 0.5), (0.5, 0.5), (0.45, 0.45), (-24, 24)),
    Segment("roll_counterclockwise", "camera.png", (0.5, 0.48), (0.5, 0.48), (0.74, 0.74), (22, -22)),
)


def _frame(photograph: Image, segment: Segment, part: float, shake: tuple[float, float]) -> Image:
    """Return the frame after this part of the segment."""
    height, width = photograph.shape[:2]
    view = width * segment.widths[0] * (segment.widths[1] / segment.widths[0]) ** part  # a zoom at a constant rate
    center = [a + part * (b - a) for a, b in zip(segment.start, segment.end, strict=True)]
    degrees = segment.degrees[0] + part * (segment.degrees[1] - segment.degrees[0])
    scale = view / WIDTH
    matrix = cv2.getRotationMatrix2D((0.0, 0.0), -degrees, scale)
    middle = np.array([center[0] * width, center[1] * height]) + scale * np.array(shake)
    matrix[:, 2] = middle - matrix[:, :2] @ np.array([WIDTH / 2, HEIGHT / 2])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    )


def _shake(count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return the shake of a calm hand, in pixels of the clip."""
    times = np.arange(count) / RATE
    axes = [
        SHAKE * sum(np.sin(2 * np.pi * (rate * times + rng.random())) for rate in (1.7, 3.1, 4.3)) / 2 for _ in range(2)
    ]
    return list(zip(*axes, strict=True))


def _photograph(name: str, widest: float, photos: Path) -> Image:
    """Return a photograph, shrunk so far that the widest view of it has about as many pixels as the clip."""
    source = next(source for source in all_sources() if Path(source.path).name == name)
    image = load_photograph(locate(source, photos), longest=10_000)
    scale = 1.3 * WIDTH / (widest * image.shape[1])
    if scale >= 1.0:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def segment_frames(segment: Segment, photos: Path, rng: np.random.Generator) -> list[Image]:
    """Return the frames of a segment."""
    photograph = _photograph(segment.photograph, max(segment.widths), photos)
    count = round(SECONDS * RATE)
    parts = np.linspace(0.0, 1.0, count)
    return [
        _frame(photograph, segment, float(part), shake) for part, shake in zip(parts, _shake(count, rng), strict=True)
    ]


def write_video(path: Path, frames: list[Image], quality: int) -> None:
    """Write the frames as H.264."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(quality), "preset": "veryslow", "x264-params": "threads=1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_segments(path: Path) -> None:
    """Write which motion is where in the clip, in seconds."""
    lines = ["# What the camera does in camera_motion_demo.mp4; start and end in seconds.", "segments:"]
    for index, segment in enumerate(SEGMENTS):
        start, end = index * SECONDS, (index + 1) * SECONDS
        lines.append(f"  - {{label: {segment.label}, start: {start:.2f}, end: {end:.2f}}}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Make the clip and the list of its segments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("build/camera_motion/photos"))
    parser.add_argument("--output", type=Path, default=Path("media/camera_motion_demo.mp4"))
    parser.add_argument("--quality", type=int, default=29, help="of x264: constant rate factor")
    arguments = parser.parse_args()
    rng = np.random.default_rng(7)
    frames = [frame for segment in SEGMENTS for frame in segment_frames(segment, arguments.photos, rng)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_video(arguments.output, frames, arguments.quality)
    write_segments(arguments.output.with_suffix(".yaml"))
    print(f"{arguments.output}: {len(frames)} frames, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
