"""How the camera moves in a synthetic clip, and where one class ends and the next begins.

Speeds are the root mean square of the scene's motion over the image, in pixels of a 112-pixel frame, from one sampled
frame to the next, averaged over the window: so a pan, a zoom and a roll of the same speed are equally visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAMES = 16
SIZE = 112
SUBSTEPS = 8  # the path is known at this many points a frame, for motion blur and uneven frame times
MARGIN = 2  # frames before the first and after the last

FASTEST_DRIFT = 0.06  # a drift up to this still counts as still; Limits say from where on it is a motion
FASTEST_PAN = 7.0
FASTEST_ZOOM = 3.2
FASTEST_ROLL = 6.0
LARGEST_SIDE_MOTION = 0.25  # what other motions may add to the main one, as a part of its speed

Array = npt.NDArray[np.float64]

ZOOM_RADIUS = SIZE / np.sqrt(6.0)  # rms distance of the pixels from the center


@dataclass(frozen=True)
class Limits:
    """From where on a clip has a right answer."""

    slowest: float  # motion; between this and FASTEST_DRIFT lies no class
    texture: float  # detail that the scene must show, in grey levels from a pixel to the next
    covered: float  # part of the image that moving things may hide


# Training goes a little past what is promised, so that the promise is not at the edge of what was learnt.
TRAINING = Limits(slowest=0.20, texture=3.5, covered=1.0)
PROMISED = Limits(slowest=0.25, texture=5.0, covered=0.3)


@dataclass(frozen=True)
class Path:
    """The camera's way: positions in pixels of a 112-pixel frame, angle in radians, logarithm of the view's size."""

    x: Array
    y: Array
    roll: Array
    size: Array

    def at(self, time: float) -> tuple[float, float, float, float]:
        """Return the pose at a time in frames."""
        where = (time + MARGIN) * SUBSTEPS
        index = int(np.clip(where, 0, len(self.x) - 2))
        part = where - index
        x, y, roll, size = (a[index] + part * (a[index + 1] - a[index]) for a in (self.x, self.y, self.roll, self.size))
        return float(x), float(y), float(roll), float(size)


def roll_radius(aspect: float) -> float:
    """Return the pixels of rms motion a radian of roll makes, in a frame of this aspect stretched to a square."""
    return float(SIZE / np.sqrt(12.0) * np.sqrt(aspect**2 + aspect**-2))


def _times() -> Array:
    """Return the times, in frames, at which a path is known; the window is from 0 to FRAMES - 1."""
    return np.arange((FRAMES + 2 * MARGIN) * SUBSTEPS) / SUBSTEPS - MARGIN


def _speed_profile(rng: np.random.Generator) -> Array:
    """Return how the speed varies over the window, with mean 1: steady, accelerating, pulsing, starting late."""
    position = _times() / (FRAMES - 1)
    profile = np.ones_like(position)
    if rng.random() < 0.6:
        profile += rng.uniform(-1.0, 1.0) * (2.0 * position - 1.0)
    if rng.random() < 0.4:
        profile += rng.uniform(0.0, 0.5) * np.sin(2 * np.pi * (rng.uniform(0.3, 2.0) * position + rng.random()))
    profile = np.maximum(profile, 0.05)
    if rng.random() < 0.12:
        edge = rng.uniform(0.0, 0.25)
        resting = position < edge if rng.random() < 0.5 else position > 1.0 - edge
        profile = np.where(resting, 0.0, profile)
    inside = (position >= 0.0) & (position <= 1.0)
    return np.asarray(profile / profile[inside].mean())


def _main_speeds(label: str, rng: np.random.Generator, aspect: float, slowest: float) -> Array:
    """Return the speeds (x, y, roll, size) of the camera's main motion, a frame."""
    kind, _, direction = label.partition("_")
    fastest = {"pan": FASTEST_PAN, "tilt": FASTEST_PAN, "zoom": FASTEST_ZOOM, "roll": FASTEST_ROLL}[kind]
    speed = float(np.exp(rng.uniform(np.log(slowest), np.log(fastest))))
    axis, per_unit = {
        "pan": (0, 1.0),
        "tilt": (1, 1.0),
        "roll": (2, roll_radius(aspect)),
        "zoom": (3, ZOOM_RADIUS),
    }[kind]
    # The view moves left, up, turns counterclockwise or shrinks where its coordinate falls.
    sign = -1.0 if direction in {"left", "up", "counterclockwise", "in"} else 1.0
    speeds = np.zeros(4)
    speeds[axis] = sign * speed / per_unit
    return speeds


def _random_drift(speed: float, rng: np.random.Generator, aspect: float) -> Array:
    """Return a motion of the given speed in a random mixture of directions."""
    direction = rng.normal(size=4) * (rng.random(4) < 0.6)
    length = float(np.linalg.norm(direction))
    if length < 1e-6:
        return np.zeros(4)
    return np.asarray(speed * direction / length / np.array([1.0, 1.0, roll_radius(aspect), ZOOM_RADIUS]))


def _shake(amplitude: float, rng: np.random.Generator) -> Array:
    """Return a hand's shake with this standard deviation and no trend over the window."""
    times = _times()
    shake = np.zeros_like(times)
    for _ in range(4):
        frequency = np.exp(rng.uniform(np.log(0.06), np.log(0.45)))
        shake += rng.normal() * np.sin(2 * np.pi * (frequency * times + rng.random())) / (0.1 + frequency)
    inside = (times >= 0) & (times <= FRAMES - 1)
    slope, offset = np.polyfit(times[inside], shake[inside], 1)
    shake -= slope * times + offset
    return np.asarray(amplitude * shake / max(1e-6, float(shake[inside].std())))


def _shake_amplitude(speed: float, rng: np.random.Generator) -> float:
    """Return how far the hand shakes; a slow motion must stand out of it."""
    if rng.random() < 0.3:
        return 0.0
    furthest = 1.5 if speed == 0.0 else min(1.5, 0.12 * speed * (FRAMES - 1))
    return float(furthest * rng.random() ** 1.5)


def random_path(label: str, rng: np.random.Generator, aspect: float, slowest: float) -> Path:
    """Return a random path of the camera that belongs to the class, for frames of the given aspect ratio."""
    still = label == "still"
    scale = np.array([1.0, 1.0, roll_radius(aspect), ZOOM_RADIUS])
    main = np.zeros(4) if still else _main_speeds(label, rng, aspect, slowest)
    speed = float(np.abs(main * scale).max())
    side = rng.uniform(0.0, FASTEST_DRIFT if still else LARGEST_SIDE_MOTION * speed) * (rng.random() < 0.6)
    rates = main[:, None] * _speed_profile(rng) + _random_drift(side, rng, aspect)[:, None] * _speed_profile(rng)
    poses = np.cumsum(rates, axis=1) / SUBSTEPS
    poses -= poses[:, [poses.shape[1] // 2]]
    amplitude = _shake_amplitude(speed, rng)
    for axis, part in ((0, 1.0), (1, 1.0), (2, 0.4), (3, 0.08)):
        poses[axis] += _shake(part * amplitude / scale[axis], rng)
    if label.startswith("zoom"):
        poses[:2] += _off_center(rng)[:, None] * (1.0 - np.exp(poses[3])) * SIZE
    return Path(*poses)


def _off_center(rng: np.random.Generator) -> Array:
    """Return the point that a zoom leaves where it is, from the view's center in widths of the view."""
    return rng.uniform(-0.18, 0.18, size=2) * (rng.random() < 0.6)


def frame_times(rng: np.random.Generator) -> Array:
    """Return when the frames of a window were taken: evenly, or with jitter, or with frames repeated by the source."""
    times = np.arange(FRAMES, dtype=np.float64)
    chance = rng.random()
    if chance < 0.12:
        times += rng.uniform(-0.25, 0.25, size=FRAMES)
    elif chance < 0.24:
        repeated = rng.random(FRAMES) < rng.uniform(0.05, 0.3)
        repeated[0] = False
        times = np.where(repeated, times - 1, times)
    return times
