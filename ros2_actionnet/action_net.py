"""`ActionNet`, the Python class: frames in, predictions out, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import choose_backend
from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.networks import obtain, prepare
from ros2_actionnet.recognition.loading import load_options, network_request
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.sampling import FrameSampler, Sample, sampling_policy
from ros2_actionnet.recognition.window_classifier import WindowClassifier, preprocessor
from ros2_actionnet.settings import SETTINGS, Effect, Settings


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
