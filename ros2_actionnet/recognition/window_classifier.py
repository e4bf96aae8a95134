"""One loaded network with the window of frames that it classifies."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, cast

import numpy as np

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.backends.ring import Frame, WindowT
from ros2_actionnet.images.thumbnails import Preprocessor, ResizeMode
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from ros2_actionnet.settings import Settings


def preprocessor(network: PreparedNetwork, settings: Settings) -> Preprocessor:
    """Return the preprocessor that makes thumbnails for `network` under `settings`."""
    return Preprocessor(network.height, network.width, settings.roi, cast(ResizeMode, settings.resize_mode))


class WindowClassifier(Generic[WindowT]):
    """One loaded network and the window it looks at; not thread-safe."""

    def __init__(self, session: Session[WindowT], settings: Settings) -> None:
        self.session = session
        self._buffer = TemporalBuffer(session.create_ring(), settings.infer_every, settings.warmup == "repeat")
        self._history: deque[Scores] = deque(maxlen=settings.smoothing)

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
        """True if the window is full."""
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
        return classify_together([self])[0]

    def take_window(self) -> WindowT:
        """Return the newest window, which is then due no more; valid until the next push. RuntimeError if not full."""
        return self._buffer.take_window()

    def smoothed(self, scores: Scores) -> Scores:
        """Return the mean of `scores`, those of the window taken last, and of the ones before them."""
        self._history.append(scores)
        return scores if len(self._history) == 1 else np.asarray(np.mean(self._history, axis=0), np.float32)

    def pass_over(self) -> None:
        """Leaves the newest window out; it is due no more."""
        self._buffer.take_window()

    def reset(self) -> None:
        """Empties the window and forgets the scores that smoothing would use."""
        self._buffer.reset()
        self._history.clear()


def classify_together(classifiers: Sequence[WindowClassifier[WindowT]]) -> list[Scores]:
    """Return the smoothed scores of the newest window of each classifier, all of one session, from one inference.

    Raises RuntimeError while one of the windows is not full and BackendError if the inference fails.
    """
    windows = [classifier.take_window() for classifier in classifiers]
    scores = classifiers[0].session.infer(windows)
    return [classifier.smoothed(row) for classifier, row in zip(classifiers, scores, strict=True)]
