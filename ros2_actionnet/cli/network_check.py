"""What was understood of a network, the window it is tried on, and the comparison with the user's own framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.thumbnails import Preprocessor
from ros2_actionnet.load_monitor import megabytes
from ros2_actionnet.media.opencv_capture import open_capture
from ros2_actionnet.networks import NetworkSpec, PreparedNetwork, ScoreKind
from ros2_actionnet.networks.layout import shape_in
from ros2_actionnet.recognition.prediction import ClassScore, Prediction
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.resources import shared_folder
from ros2_actionnet.system.text import printable

TOLERANCE = 0.02
"""Largest difference of a score that half precision explains; bf16 gives some 0.004 of a logit."""

_SCORES: dict[ScoreKind, str] = {
    "logits": "logits, to which a softmax is added",
    "probabilities": "probabilities, which sum to 1",
    "sigmoid": "sigmoid: several classes at once, each with a score of its own in [0, 1]",
}

Window = NDArray[np.uint8]


def understood(network: PreparedNetwork) -> Iterator[tuple[str, str]]:
    """Yield what is known of a network, in display order."""
    spec = network.spec
    yield "model", f"{spec.model} ({megabytes(spec.model.stat().st_size)})"
    yield "input", describe_input(spec)
    yield "output", f"{spec.output_blob!r}"
    yield "scores", _SCORES[spec.scores or "logits"]
    yield "mean, std", f"{list(spec.mean)}, {list(spec.std)} of {spec.colors} in [0, 1]"
    yield "  from", spec.mean_from or "nothing states them: actionNet's are assumed"
    if spec.colors_from:
        yield "colors", f"{spec.colors}, from {spec.colors_from}"
    yield "batch", "any" if network.max_batch is None else f"at most {network.max_batch}"
    yield "classes", describe_labels(network.labels)
    yield "labels", str(spec.labels) if spec.labels else "none: the classes are named by their indices"


def describe_input(spec: NetworkSpec) -> str:
    """Return the input of a complete spec in one line."""
    assert spec.layout and spec.frames and spec.height and spec.width
    sizes = shape_in(spec.layout, batch=1, frames=spec.frames, height=spec.height, width=spec.width)
    shape = ", ".join(["batch", *map(str, sizes[1:])])
    frames = f"{spec.frames} frames of {spec.width}x{spec.height}"
    return f"{spec.input_blob!r} [{shape}] ({spec.layout}): {frames}{', BGR' if spec.colors == 'BGR' else ''}"


def describe_labels(labels: Sequence[str], most: int = 5) -> str:
    """Return the number of labels and the first ones."""
    shown = ", ".join(printable(label, 60) for label in labels[:most])
    return f"{len(labels)}: {shown}{', ...' if len(labels) > most else ''}"


def load_window(source: Path | None, network: PreparedNetwork) -> Window:
    """Return a window for `network`, uint8 [T, H, W, 3], RGB.

    `source` is a .npy file with just that, or a video, whose first frames are sampled as the node does; by default the
    clip that comes with the package.

    Raises NetworkError or MediaError for a source that cannot be read, or does not fit.
    """
    if source is not None and source.suffix == ".npy":
        return _saved_window(source, network)
    video = source or shared_folder("media") / "camera_motion_demo.mp4"
    preprocessor = Preprocessor(network.height, network.width, Settings.roi, "stretch")
    window = np.empty((network.frames, network.height, network.width, 3), np.uint8)
    filled = 0
    with closing(open_capture(str(video))) as capture:
        every = Settings.skip_frames + 1
        for filled, picture in enumerate(islice(capture.pictures(), 0, network.frames * every, every), 1):
            preprocessor.thumbnail(RawImage.from_array(picture, "bgr8"), window[filled - 1])
    if filled < network.frames:
        raise NetworkError(f"{video} is too short for a window of {network.frames} frames; give a longer one")
    return window


@dataclass(frozen=True)
class Comparison:
    """The scores of a window here and in the user's framework.

    Attributes:
        largest: The largest difference of a score.
        same_best: True if the best class is the same.
        converted: What had to be done to the reference to make scores of it; "" for nothing.
    """

    largest: float
    same_best: bool
    converted: str

    @property
    def agrees(self) -> bool:
        """True if the difference can be one of rounding."""
        return self.largest <= TOLERANCE

    def __str__(self) -> str:
        """The comparison in one line."""
        best = "the same best class" if self.same_best else "ANOTHER best class"
        return f"scores differ by at most {self.largest:.2g}, {best}{self.converted}"


def compare(reference: Path, scores: NDArray[np.float32], *, kind: ScoreKind) -> Comparison:
    """Compare `scores`, float32 [classes], with those that the user's framework gave, a .npy of as many numbers.

    Logits are accepted, too: they are recognized by values that no scores of this `kind` can have.

    Raises NetworkError for a file that cannot be read or has another number of values.
    """
    values = np.asarray(_load_array(reference), np.float64).reshape(-1)
    if values.shape != scores.shape or not np.isfinite(values).all():
        raise NetworkError(
            f"{reference} has {values.size} numbers; it must have the {scores.size} scores of one window, all finite"
        )
    converted = ""
    in_range = values.min() >= 0 and values.max() <= 1
    if kind == "sigmoid" and not in_range:
        values, converted = 1 / (1 + np.exp(-values)), " (after a sigmoid of the reference)"
    elif kind != "sigmoid" and not (in_range and abs(values.sum() - 1) < 1e-3):
        exponents = np.exp(values - values.max())
        values, converted = exponents / exponents.sum(), " (after a softmax of the reference)"
    return Comparison(float(np.abs(values - scores).max()), int(values.argmax()) == int(scores.argmax()), converted)


def best_of(scores: NDArray[np.float32], labels: tuple[str, ...], count: int = 5) -> list[ClassScore]:
    """Return the best classes of a window."""
    return Prediction(scores, labels, frame=0, threshold=0.0, top_k=count).top()


def _saved_window(source: Path, network: PreparedNetwork) -> Window:
    window = _load_array(source)
    expected = (network.frames, network.height, network.width, 3)
    if window.shape[:1] == (1,):
        window = window[0]
    if window.dtype != np.uint8 or window.shape != expected:
        raise NetworkError(
            f"{source} is {window.dtype} {list(window.shape)}; save the frames before any normalization, as uint8 "
            f"{list(expected)} in RGB: numpy.save(..., frames)"
        )
    return np.ascontiguousarray(window)


def _load_array(path: Path) -> NDArray[np.generic]:
    try:
        # Objects in a .npy are code that runs when they are loaded.
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NetworkError(f"{path} cannot be read: {error}; write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise NetworkError(f"{path} holds several arrays; write one with numpy.save")
    return array
