"""Frames in, predictions out: the classifier of windows and `ActionNet`, the Python API.

`WindowClassifier` is one network with its window; the node's worker and `ActionNet` both run it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Generic, cast

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import LoadOptions, Scores, Session, choose_backend
from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.images.thumbnails import Preprocessor, RawImage, ResizeMode
from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, obtain, prepare
from ros2_actionnet.recognition.temporal_buffer import (
    Frame,
    FrameSampler,
    Sample,
    SamplingPolicy,
    TemporalBuffer,
    WindowT,
)
from ros2_actionnet.settings import SETTINGS, Effect, Settings

NONE = "none"
"""The label of a prediction in which no class reaches the threshold; its class index is -1."""


@dataclass(frozen=True)
class ClassScore:
    """One class of a prediction; `score` in [0, 1]."""

    class_id: int
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one window.

    `scores` is float32 [classes] in [0, 1], smoothed; `frame` the index of the window's newest frame, counted from 0
    over all frames given to the classifier, and `first_frame` that of its oldest (-1 where nobody said). `threshold`
    and `allowed` (bool [classes], None for all) say which classes count as results.
    """

    scores: Scores
    labels: tuple[str, ...]
    frame: int
    threshold: float = 0.0
    allowed: NDArray[np.bool_] | None = None
    top_k: int = Settings.top_k
    first_frame: int = -1

    def top(self, count: int | None = None) -> list[ClassScore]:
        """The best classes, best first: at most `count` (else `top_k`), each allowed and at least `threshold`."""
        scores = self.scores if self.allowed is None else np.where(self.allowed, self.scores, np.float32(-1))
        # Stable, so that equal scores come in the order of their indices (1040 classes take 20 us).
        best = np.argsort(-scores, kind="stable")[: self.top_k if count is None else count]
        return [
            ClassScore(int(i), self.labels[i], float(self.scores[i]))
            for i in best
            if scores[i] >= max(self.threshold, 0.0)
        ]

    @property
    def best(self) -> ClassScore:
        """The best class; class_id -1, label "none", score 0 where none reaches the threshold."""
        top = self.top(1)
        return top[0] if top else ClassScore(-1, NONE, 0.0)

    @property
    def class_id(self) -> int:
        """Index of the best class, -1 for none."""
        return self.best.class_id

    @property
    def label(self) -> str:
        """Label of the best class, "none" for none."""
        return self.best.label

    @property
    def score(self) -> float:
        """Score of the best class in [0, 1], 0 for none."""
        return self.best.score


def sampling_policy(settings: Settings) -> SamplingPolicy:
    """The part of `settings` that decides which frames are sampled."""
    return SamplingPolicy(settings.skip_frames, settings.sample_rate, settings.max_gap)


def network_request(settings: Settings) -> NetworkRequest:
    """The part of `settings` that says which network."""
    return NetworkRequest(settings.network, settings.model, settings.labels, settings.input_blob, settings.output_blob)


def load_options(settings: Settings) -> LoadOptions:
    """The part of `settings` that says how the network is loaded."""
    return LoadOptions(settings.device, settings.precision, engine_cache=settings.engine_cache)


def preprocessor(network: PreparedNetwork, settings: Settings) -> Preprocessor:
    """What turns an image into a thumbnail for `network`, under `settings`."""
    return Preprocessor(network.height, network.width, settings.roi, cast(ResizeMode, settings.resize_mode))


def allowed_classes(labels: Sequence[str], class_filter: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which classes `class_filter` lets through: bool [classes], or None where it is empty and all are.

    Raises SettingsError for an entry that is none of `labels`, naming the nearest.
    """
    if not class_filter:
        return None
    for entry in class_filter:
        if entry not in labels:
            near = get_close_matches(entry, labels, 3)
            raise SettingsError(
                f"class_filter '{entry}' is no label of the network"
                + (f"; did you mean {' or '.join(repr(label) for label in near)}?" if near else "; see its labels.txt")
            )
    return np.isin(np.asarray(labels), np.asarray(class_filter))


class WindowClassifier(Generic[WindowT]):
    """One loaded network and the window it looks at; not thread-safe."""

    def __init__(self, session: Session[WindowT], settings: Settings) -> None:
        self.session = session
        self._buffer = TemporalBuffer(session.create_ring())
        self._history: deque[Scores] = deque(maxlen=1)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Takes over `infer_every`, `warmup` and `smoothing`; they act on the next frame and keep the window."""
        self._buffer.infer_every = settings.infer_every
        self._buffer.repeat_first = settings.warmup == "repeat"
        if settings.smoothing != self._history.maxlen:
            self._history = deque(self._history, maxlen=settings.smoothing)

    @property
    def fill(self) -> int:
        """Frames in the window."""
        return self._buffer.fill

    @property
    def full(self) -> bool:
        """Whether there is a whole window."""
        return self._buffer.full

    @property
    def due(self) -> int:
        """Inferences that have come due since the last one; all but the newest are overtaken."""
        return self._buffer.due

    @property
    def first_frame(self) -> int:
        """The index, as given to `push`, of the window's oldest frame; -1 while the window is empty."""
        return self._buffer.first_index

    def push(self, frame: Frame, sample: Sample, index: int = -1) -> None:
        """Takes a thumbnail (uint8 [H, W, 3], RGB, of the network's size) of frame `index` into the window."""
        if sample.restart:
            self._history.clear()
        self._buffer.push(frame, sample, index)

    def classify(self) -> Scores:
        """Scores of the newest window, smoothed: float32 [classes] in [0, 1].

        Raises RuntimeError while the window is not full and BackendError if the inference fails.
        """
        scores = self.session.infer([self._buffer.take_window()])[0]
        self._history.append(scores)
        return scores if len(self._history) == 1 else np.asarray(np.mean(self._history, axis=0), np.float32)

    def pass_over(self) -> None:
        """Leaves the newest window out; it is due no more."""
        self._buffer.take_window()

    def reset(self) -> None:
        """Empties the window and forgets the scores that smoothing would use."""
        self._buffer.reset()
        self._history.clear()


class ActionNet:
    """Classifies actions in a sequence of frames, without ROS.

    `network` is a name of the catalogue; the keywords are the settings of the node's parameters (`model`, `labels`,
    `threshold`, `skip_frames`, ...; see docs/parameters.md). One that is not on this machine yet is downloaded, with a
    bar on a terminal. The counterpart of `jetson_inference.actionNet`.

    Raises SettingsError for a keyword or value that cannot be used, NetworkError for a network that cannot be found or
    prepared, and BackendError where it cannot be run.
    """

    def __init__(self, network: str = Settings.network, **settings: Any) -> None:
        _check_keywords(settings)
        self._settings = Settings(network=network, **settings)
        prepared = prepare(obtain(network_request(self._settings), bar=True))
        self._allowed = allowed_classes(prepared.labels, self._settings.class_filter)
        backend = choose_backend(self._settings.backend, self._settings.device).backend
        session = backend.load(prepared, load_options(self._settings))
        self._classifier: WindowClassifier[Any] | None = WindowClassifier(session, self._settings)
        self._sampler = FrameSampler(sampling_policy(self._settings))
        self._preprocessor = preprocessor(prepared, self._settings)
        self._thumbnail = np.empty((prepared.height, prepared.width, 3), np.uint8)
        self._network = prepared
        self._frames = 0
        self._owed: Sample | None = None  # the place in the window of frames that could not be understood
        self._prediction: Prediction | None = None

    def classify(
        self, frame: NDArray[Any] | RawImage, encoding: str = "rgb8", stamp: float | None = None
    ) -> Prediction | None:
        """The newest prediction once `frame` has been taken in; None until a whole window has been classified.

        `frame` is an image of any size, uint8 [H, W, 3] unless `encoding` says otherwise, or a `RawImage`, which says
        what it is; `stamp` is the time at which it was taken (s), needed for `sample_rate`; without it, frames are
        taken to come at 30 Hz. A frame that is skipped gives the last prediction again: `Prediction.frame` tells.

        Raises ImageError for a frame that does not fit its encoding and BackendError if the inference fails.
        """
        classifier = self._opened()
        image = frame if isinstance(frame, RawImage) else RawImage.from_array(frame, encoding)
        index, self._frames = self._frames, self._frames + 1
        sample = self._sampler.offer(index / 30 if stamp is None else stamp)
        if sample is None:
            return self._prediction
        self._owed = sample if self._owed is None else self._owed.then(sample)
        if self._owed.restart:
            self._prediction = None
        classifier.push(self._preprocessor.thumbnail(image, self._thumbnail), self._owed, index)
        self._owed = None
        if classifier.due:
            self._prediction = Prediction(
                classifier.classify(),
                self.labels,
                index,
                self._settings.threshold,
                self._allowed,
                self._settings.top_k,
                classifier.first_frame,
            )
        return self._prediction

    @property
    def name(self) -> str:
        """The network's name."""
        return self._network.name

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each class."""
        return self._network.labels

    def class_label(self, index: int) -> str:
        """The label of class `index`. Raises IndexError if there is no such class."""
        if not 0 <= index < self.num_classes:
            raise IndexError(f"class {index} does not exist; the network has classes 0 to {self.num_classes - 1}")
        return self.labels[index]

    @property
    def threshold(self) -> float:
        """Scores under it do not count as results; in [0, 1]."""
        return self._settings.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.configure(threshold=value)

    @property
    def skip_frames(self) -> int:
        """Frames skipped between two sampled ones."""
        return self._settings.skip_frames

    @skip_frames.setter
    def skip_frames(self, value: int) -> None:
        self.configure(skip_frames=value)

    def configure(self, **settings: Any) -> None:
        """Changes settings that need no other network; they act on the next frame, those of the view on a new window.

        Raises SettingsError, and leaves everything as it was, for a value that cannot be used.
        """
        _check_keywords(settings)
        changed = replace(self._settings, **settings)
        effects = self._settings.changed(changed)
        if Effect.NEW_NETWORK in effects:
            raise SettingsError(f"{', '.join(settings)}: a loaded network cannot be changed; make another ActionNet")
        self._allowed = allowed_classes(self.labels, changed.class_filter)
        self._sampler.policy = sampling_policy(changed)
        self._opened().configure(changed)
        self._settings = changed
        if Effect.NEW_WINDOW in effects:
            self._preprocessor = preprocessor(self._network, changed)
            self.reset()

    def reset(self) -> None:
        """Empties the window, as before the first frame."""
        self._sampler.reset()
        self._opened().reset()
        self._prediction = None

    def close(self) -> None:
        """Frees the network; the object cannot be used any more. May be called twice."""
        if self._classifier is not None:
            self._classifier.session.close()
            self._classifier = None

    def __enter__(self) -> ActionNet:
        """The object itself; leaving the `with` block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def _opened(self) -> WindowClassifier[Any]:
        if self._classifier is None:
            raise ActionNetError("this ActionNet has been closed; make another one")
        return self._classifier


def _check_keywords(keywords: Mapping[str, Any]) -> None:
    """Raises SettingsError for a keyword that is no setting, or one that only the node has."""
    known = [setting.name for setting in SETTINGS if not setting.node_only]
    for name in keywords:
        if name not in known:
            raise SettingsError(f"ActionNet has no keyword {name}; there are {', '.join(known)}")
