"""Clips of a moving camera, synthesised over photographs and video frames."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import av
import cv2
import numpy as np
import numpy.typing as npt

from .images import Image, Source, load_photograph, load_video, locate
from .labels import LABELS
from .motion import FRAMES, SIZE, Limits, Path, frame_times, random_path

RENDER = 176  # clips are drawn at this size and shrunk, as a camera's frames are
STEP = 2**-0.5  # from one level of a pyramid to the next

Matrix = npt.NDArray[np.float64]


class Scene:
    """A photograph, or the frames of a video, each at several resolutions."""

    def __init__(self, frames: list[Image]) -> None:
        """Build the pyramids; a photograph is a scene of one frame."""
        self.levels: list[list[Image]] = [frames]
        while min(self.levels[-1][0].shape[:2]) * STEP > 64:
            self.levels.append([_shrunk(frame) for frame in self.levels[-1]])

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height."""
        height, width = self.levels[0][0].shape[:2]
        return width, height

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.levels[0])

    def level_for(self, width: float) -> int:
        """Return the level at which a view of this width has about one pixel for each pixel drawn."""
        return int(np.clip(np.floor(np.log(max(width, 1.0) / RENDER) / -np.log(STEP) + 0.35), 0, len(self.levels) - 1))


def _shrunk(image: Image) -> Image:
    """Return the next level of a pyramid."""
    size = (round(image.shape[1] * STEP), round(image.shape[0] * STEP))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def load_scenes(sources: list[Source], folder: FilePath) -> list[Scene]:
    """Return the scenes of the given sources."""
    return [
        Scene(
            load_video(locate(source, folder), source.frames)
            if source.is_video
            else [load_photograph(locate(source, folder))]
        )
        for source in sources
    ]


@dataclass(frozen=True)
class View:
    """The camera: where it looks in a scene at the middle of the window, how wide, through which lens."""

    x: float
    y: float
    width: float  # of the view, in pixels of the scene
    aspect: float
    focal: float | None  # in view widths; None: no perspective

    def matrix(self, pose: tuple[float, float, float, float]) -> Matrix:
        """Return the homography from the drawn frame (RENDER x RENDER pixels) to the scene."""
        x, y, roll, size = pose
        half = (RENDER - 1) / 2
        # To view widths from the center; the frame is stretched to a square, so its height counts 1 / aspect.
        tall = 1 / self.aspect
        stretch = np.array([[1.0, 0.0, -half], [0.0, tall, -half * tall], [0.0, 0.0, RENDER]]) / RENDER
        cos, sin, scale = np.cos(roll), np.sin(roll), np.exp(size)
        turn = np.array([[scale * cos, -scale * sin, 0.0], [scale * sin, scale * cos, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(self._placed() @ self._moved(x / SIZE, y / SIZE / self.aspect) @ turn @ stretch)

    def _moved(self, x: float, y: float) -> Matrix:
        """Return the camera's shift (no perspective) or its turn about its own axes (perspective)."""
        if self.focal is None:
            return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
        yaw, pitch = np.arctan(x / self.focal), np.arctan(y / self.focal)
        about_y = np.array([[np.cos(yaw), 0.0, np.sin(yaw)], [0.0, 1.0, 0.0], [-np.sin(yaw), 0.0, np.cos(yaw)]])
        about_x = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(pitch), np.sin(pitch)], [0.0, -np.sin(pitch), np.cos(pitch)]])
        lens = np.diag([self.focal, self.focal, 1.0])
        return np.asarray(lens @ about_y @ about_x @ np.linalg.inv(lens))

    def _placed(self) -> Matrix:
        """Return the map from view widths to pixels of the scene."""
        return np.array([[self.width, 0.0, self.x], [0.0, self.width, self.y], [0.0, 0.0, 1.0]])


def random_view(scene: Scene, rng: np.random.Generator) -> View:
    """Return a random view that lies within the scene at the middle of the window."""
    aspect = float(rng.choice([4 / 3, 16 / 9, 16 / 9, 4 / 3, 1.0, 3 / 4, 640 / 272]))
    width, height = scene.size
    widest = min(width, height * aspect)
    narrowest = min(widest, max(90.0, 0.3 * widest))
    view = float(np.exp(rng.uniform(np.log(narrowest), np.log(widest))))
    x = rng.uniform(view / 2, width - view / 2) if width > view else width / 2
    y = rng.uniform(view / aspect / 2, height - view / aspect / 2) if height > view / aspect else height / 2
    focal = float(rng.uniform(0.8, 1.8)) if rng.random() < 0.5 else None
    return View(float(x), float(y), view, aspect, focal)


@dataclass(frozen=True)
class Thing:
    """Something that moves in front of the scene, or is fixed to the camera: a texture with soft edges."""

    texture: npt.NDArray[np.uint8]  # RGBA
    start: tuple[float, float]  # in the view's widths from its center
    velocity: tuple[float, float]  # view widths a frame
    spin: float  # radians a frame
    growth: float  # of the logarithm of its size, a frame
    radius: float  # in view widths
    on_camera: bool

    def matrix(self, view: View, pose: tuple[float, float, float, float], time: float) -> Matrix:
        """Return the homography from the drawn frame to the texture."""
        still = View(0.0, 0.0, 1.0, view.aspect, None)
        to_plane = still.matrix((0.0, 0.0, 0.0, 0.0))
        if not self.on_camera:
            around = View(0.0, 0.0, 1.0, view.aspect, view.focal)
            to_plane = around.matrix(pose)
        moment = time - FRAMES / 2
        x = self.start[0] + self.velocity[0] * moment
        y = self.start[1] + self.velocity[1] * moment
        size = self.texture.shape[0] / 2
        zoom = size / (self.radius * np.exp(self.growth * moment))
        cos, sin = np.cos(self.spin * moment), np.sin(self.spin * moment)
        to_texture = np.array([[zoom * cos, -zoom * sin, size], [zoom * sin, zoom * cos, size], [0.0, 0.0, 1.0]])
        away = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
        return np.asarray(to_texture @ away @ to_plane)


def _blob(size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a mask of a round, square or ragged shape with a soft edge."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full_like(angles, 0.8)
    for order in range(2, 6):
        radius += rng.normal() * 0.18 / order * 2 * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.2, 0.98) * size / 2
    points = np.stack([np.cos(angles) * radius * rng.uniform(0.4, 1.0), np.sin(angles) * radius], axis=1) + size / 2
    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    return np.asarray(cv2.GaussianBlur(mask, (5, 5), 0), dtype=np.uint8)


def random_thing(scenes: list[Scene], rng: np.random.Generator) -> Thing:
    """Return a random thing whose texture is a piece of one of the scenes."""
    scene = scenes[rng.integers(len(scenes))]
    image = scene.levels[min(len(scene.levels) - 1, int(rng.integers(2, 6)))][int(rng.integers(len(scene)))]
    size = min(96, *image.shape[:2])
    top, left = (int(rng.integers(0, side - size + 1)) for side in image.shape[:2])
    texture = np.dstack([image[top : top + size, left : left + size], _blob(size, rng)])
    on_camera = rng.random() < 0.2
    direction, speed = rng.uniform(0, 2 * np.pi), 0.0 if on_camera else rng.uniform(0.0, 5.0) / SIZE
    return Thing(
        texture=texture,
        start=(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.4, 0.4))),
        velocity=(float(speed * np.cos(direction)), float(speed * np.sin(direction))),
        spin=0.0 if on_camera else float(rng.normal(0, 0.03)),
        growth=0.0 if on_camera else float(rng.normal(0, 0.02)),
        radius=float(np.exp(rng.uniform(np.log(0.06), np.log(0.33)))),
        on_camera=bool(on_camera),
    )


def _draw(scene: Scene, view: View, pose: tuple[float, float, float, float], index: int) -> Image:
    """Return one frame of RENDER x RENDER pixels, without what moves in front."""
    level = scene.level_for(view.width * np.exp(pose[3]))
    image = scene.levels[level][index]
    scale = image.shape[1] / scene.size[0]
    matrix = np.diag([scale, scale, 1.0]) @ view.matrix(pose)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpPerspective(image, matrix, (RENDER, RENDER), flags=flags, borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def _overlay(frame: Image, thing: Thing, view: View, pose: tuple[float, float, float, float], time: float) -> Image:
    """Return the frame with a thing in front of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    layer = cv2.warpPerspective(thing.texture, thing.matrix(view, pose, time), (RENDER, RENDER), flags=flags)
    left, top, width, height = cv2.boundingRect(layer[..., 3])
    if width == 0:
        return frame
    part = (slice(top, top + height), slice(left, left + width))
    alpha = layer[part][..., 3:].astype(np.uint16)
    mixed = frame[part] * (255 - alpha) + layer[part][..., :3] * alpha
    frame[part] = (mixed + 127) // 255
    return frame


@dataclass(frozen=True)
class Shot:
    """All that is drawn into one clip."""

    scene: Scene
    view: View
    path: Path
    things: list[Thing]
    times: npt.NDArray[np.float64]
    shutter: float  # the part of a frame's time during which the shutter is open
    first: int  # frame of a video scene
    stride: int

    def frame(self, time: float) -> Image:
        """Return the frame at a time, sharp."""
        pose = self.path.at(time)
        index = int(np.clip(self.first + round(time) * self.stride, 0, len(self.scene) - 1))
        frame = _draw(self.scene, self.view, pose, index)
        for thing in self.things:
            frame = _overlay(frame, thing, self.view, pose, time)
        return frame

    def blurred_frame(self, time: float) -> Image:
        """Return the frame at a time, blurred by what moved while the shutter was open."""
        start, end = self.path.at(time), self.path.at(time + self.shutter)
        pixels = (abs(end[0] - start[0]) + abs(end[1] - start[1]) + 60 * abs(end[2] - start[2])) * RENDER / SIZE
        steps = int(np.clip(np.ceil((pixels + 50 * abs(end[3] - start[3])) / 2.5), 1, 5))
        if steps == 1:
            return self.frame(time)
        frames = [self.frame(time + self.shutter * step / steps) for step in range(steps)]
        return np.asarray(np.mean(frames, axis=0, dtype=np.float32), dtype=np.uint8)


def random_shot(label: str, scenes: list[Scene], rng: np.random.Generator, slowest: float) -> Shot:
    """Return a random shot of the given class."""
    videos = [scene for scene in scenes if len(scene) > 1]
    use_video = videos and rng.random() < (0.3 if label == "still" else 0.12)
    pool = videos if use_video else [scene for scene in scenes if len(scene) == 1]
    scene = pool[rng.integers(len(pool))]
    view = random_view(scene, rng)
    moving = rng.random() < (0.65 if label == "still" else 0.4)
    things = [random_thing(scenes, rng) for _ in range(int(rng.integers(1, 4)))] if moving else []
    stride = int(rng.integers(1, max(2, min(4, len(scene) // FRAMES + 1))))
    first = int(rng.integers(0, max(1, len(scene) - FRAMES * stride + 1)))
    shutter = float(rng.uniform(0.0, 0.5))
    path = random_path(label, rng, view.aspect, slowest)
    return Shot(scene, view, path, things, frame_times(rng), shutter, first, stride)


MOMENTS = (0.0, FRAMES / 2, FRAMES - 1.0)  # at which a shot is looked at before it is taken


def has_texture(frames: list[Image], least: float) -> bool:
    """Return whether motion can be seen: detail along both axes, in most of the image.

    What shows no detail (a clear sky, a white wall) looks the same whether the camera moves or not, so such clips have
    no right answer. The limit is far below what an ordinary indoor or outdoor view has.
    """
    for frame in frames:
        grey = cv2.cvtColor(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        across = np.diff(grey.astype(np.float32), axis=1)[:-1]
        down = np.diff(grey.astype(np.float32), axis=0)[:, :-1]
        if min(float(np.sqrt((across**2).mean())), float(np.sqrt((down**2).mean()))) < least:
            return False
        cells = cv2.resize(across**2 + down**2, (4, 4), interpolation=cv2.INTER_AREA)
        if int((np.sqrt(cells) > least).sum()) < 9:
            return False
    return True


def covered(shot: Shot) -> float:
    """Return the largest part of the image that things in front of the scene hide."""
    parts = []
    for time in MOMENTS:
        hidden = np.zeros((RENDER, RENDER), dtype=np.uint8)
        for thing in shot.things:
            matrix, mask = thing.matrix(shot.view, shot.path.at(time), time), thing.texture[..., 3]
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            hidden |= np.asarray(cv2.warpPerspective(mask, matrix, (RENDER, RENDER), flags=flags), dtype=np.uint8)
        parts.append(float((hidden > 127).mean()))
    return max(parts)


def is_clear(shot: Shot, limits: Limits) -> bool:
    """Return whether a shot has a right answer."""
    if limits.covered < 1.0 and covered(shot) > limits.covered:
        return False
    bare = replace(shot, things=[]) if limits.covered < 1.0 else shot
    return has_texture([bare.frame(time) for time in MOMENTS], limits.texture)


def _exposed(frames: list[Image], rng: np.random.Generator) -> list[Image]:
    """Return the frames with another exposure, contrast and white balance, which may change during the window."""
    count = len(frames)
    time = np.linspace(-0.5, 0.5, count)
    gain = np.full(count, np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.35:
        gain *= np.exp(rng.normal(0, 0.2) * time + rng.uniform(0, 0.06) * np.sin(9 * rng.random() * time))
    if rng.random() < 0.1:
        gain *= np.exp(rng.normal(0, 0.03, size=count))
    balance = np.exp(rng.normal(0, 0.06, size=(1, 3)) + time[:, None] * rng.normal(0, 0.03, size=(1, 3)))
    gamma = np.exp(rng.normal(0, 0.15))
    lifted = rng.uniform(0, 30) * (rng.random() < 0.3)
    tone = 255.0 * (np.arange(256) / 255.0) ** gamma * (1 - lifted / 255)
    tables = np.clip((gain[:, None] * balance)[:, None, None, :] * tone[None, None, :, None] + lifted, 0, 255)
    return [
        np.asarray(cv2.LUT(frame, table), dtype=np.uint8)
        for frame, table in zip(frames, tables.astype(np.uint8), strict=True)
    ]


def _with_noise(frames: list[Image], rng: np.random.Generator) -> list[Image]:
    """Return the frames with the sensor's noise: new in every frame, and a pattern that stays."""
    if rng.random() < 0.25:
        return frames
    sigma = np.float32(rng.uniform(0.5, 10.0) * rng.random())
    # Windows of one larger field, placed at random, cost far less than a field a frame.
    field = rng.standard_normal(size=(2 * RENDER, 2 * RENDER, 3), dtype=np.float32) * sigma
    fixed = field[:RENDER, :RENDER] * np.float32(rng.uniform(0.1, 0.5) * (rng.random() < 0.3))
    noisy = []
    for frame in frames:
        top, left = (int(offset) for offset in rng.integers(0, RENDER, size=2))
        noise = field[top : top + RENDER, left : left + RENDER] + fixed
        noisy.append(np.asarray(cv2.add(frame, noise, dtype=cv2.CV_8U), dtype=np.uint8))
    return noisy


def _jpeg(frames: list[Image], rng: np.random.Generator) -> list[Image]:
    """Return the frames after JPEG compression."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
    return [
        np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR), dtype=np.uint8)
        for frame in frames
    ]


def _h264(frames: list[Image], rng: np.random.Generator) -> list[Image]:
    """Return the frames after H.264 compression."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = RENDER, RENDER, "yuv420p"
        # One thread and no look-ahead: the same frames give the same bytes.
        alone = {"threads": "1", "x264-params": "sync-lookahead=0:rc-lookahead=0"}
        stream.options = {"crf": str(int(rng.integers(20, 35))), "preset": "veryfast", **alone}
        arrays = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in frames]  # PyAV's frames only borrow them
        for array in arrays:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="yuv420p")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory) as container:
        container.streams.video[0].thread_count = 1
        decoded = [
            np.asarray(cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)
            for frame in container.decode(video=0)
        ]
    return decoded if len(decoded) == len(frames) else frames


def _with_bars(frames: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the frames, a few of them with the black bars of another aspect ratio."""
    if rng.random() < 0.05:
        bar = int(rng.integers(6, 18))
        if rng.random() < 0.5:
            frames[:, :bar] = frames[:, -bar:] = 0
        else:
            frames[:, :, :bar] = frames[:, :, -bar:] = 0
    return frames


def degraded(frames: list[Image], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return what a camera and its codec make of the frames, at the network's size."""
    if rng.random() < 0.25:
        sigma = float(rng.uniform(0.5, 1.6))
        frames = [np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), dtype=np.uint8) for frame in frames]
    finished = _with_noise(_exposed(frames, rng), rng)
    chance = rng.random()
    if chance < 0.25:
        finished = _jpeg(finished, rng)
    elif chance < 0.45:
        finished = _h264(finished, rng)
    small = [cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for frame in finished]
    return _with_bars(np.stack(small).astype(np.uint8), rng)


def synthesise(scenes: list[Scene], seed: tuple[int, ...], limits: Limits) -> tuple[npt.NDArray[np.uint8], int]:
    """Return clip [16, 112, 112, 3] and class number `seed`; the classes take turns."""
    rng = np.random.default_rng(seed)
    label = LABELS[seed[-1] % len(LABELS)]
    for _ in range(40):
        shot = random_shot(label, scenes, rng, limits.slowest)
        if is_clear(shot, limits):
            break
    frames = [shot.blurred_frame(float(time)) for time in shot.times]
    return degraded(frames, rng), LABELS.index(label)
