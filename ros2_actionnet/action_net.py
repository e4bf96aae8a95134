"""`ActionNet`, the Python class: frames in, predictions out, without ROS."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict
from weakref import WeakSet

from ros2_actionnet.backends import Session
from ros2_actionnet.errors import ActionNetError, SettingsError
from ros2_actionnet.images.frame_types import array_and_encoding
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.load_monitor import DownloadInWords
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.frame_clock import FrameClock
from ros2_actionnet.recognition.frame_header import NANOSECONDS, nanoseconds
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.recognition.prediction import Prediction, allowed_classes
from ros2_actionnet.recognition.recognizer import Recognizer, recognize_together
from ros2_actionnet.settings import SETTINGS, Scope, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Keywords(TypedDict, total=False):
    """The keywords of `ActionNet`: the settings that need no ROS, as in docs/parameters.md."""

    model: str
    labels: str
    input_blob: str
    output_blob: str
    scores: str
    backend: str
    precision: str
    device: str | int
    device_timeout: float
    max_batch: int
    engine_cache: str
    threshold: float
    skip_frames: int
    sample_rate: float
    infer_every: int
    top_k: int
    smoothing: int
    warmup: str
    max_gap: float
    resize_mode: str
    roi: Sequence[float]
    intensity_range: str
    class_filter: Sequence[str]


logger = logging.getLogger(__name__)


class _LogMonitor:
    """A LoadMonitor that logs. A download takes minutes, so that it must be seen where logging is not set up."""

    def __init__(self) -> None:
        self._in_words = DownloadInWords(logger.warning)

    def progress(self, what: str) -> None:
        logger.info(what)

    def downloaded(self, name: str, done: int, total: int) -> None:
        self._in_words(name, done, total)

    def cancelled(self) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class _Frame:
    index: int
    stamp: int
    image: RawImage


class ActionStream:
    """One stream of frames on the network of an `ActionNet`, with a window of its own; `ActionNet.stream` makes it."""

    def __init__(self, session: Session[Any], settings: Settings) -> None:
        self._recognizer = Recognizer(session, settings)
        self._frames, self._is_closed = 0, False
        self._clock, self._has_warned = FrameClock(), False

    @property
    def prediction(self) -> Prediction | None:
        """The newest prediction, None until a window has been classified."""
        return self._recognizer.prediction

    def classify(self, frame: object, encoding: str = "rgb8", stamp: float | None = None) -> Prediction | None:
        """Accept a frame of this stream and return the newest prediction, as `ActionNet.classify` does."""
        if self._is_closed:
            raise ActionNetError("the ActionNet of this stream has been closed; make another one")
        due = self._take(frame, encoding, stamp)
        if due is not None:
            recognize_together([due])
        return self.prediction

    def reset(self) -> None:
        """Empty the window, as before the first frame."""
        self._recognizer.empty_window()

    def _take(self, frame: object, encoding: str, stamp: float | None) -> tuple[Recognizer, _Frame] | None:
        """Take a frame in; return what is to be classified, None if no window is due."""
        image = frame if isinstance(frame, RawImage) else RawImage.from_array(*array_and_encoding(frame, encoding))
        index, self._frames = self._frames, self._frames + 1
        taken_at = self._clock.time(None if stamp is None else nanoseconds(stamp), index * NANOSECONDS // 30)
        if self._clock.is_stuck and not self._has_warned:
            self._has_warned = True
            warnings.warn("the stamps do not change, so that frames are taken to come at 30 Hz", stacklevel=4)
        timed = _Frame(index, taken_at, image)
        return (self._recognizer, timed) if self._recognizer.take(timed).is_due else None


class ActionNet:
    """Classifies actions in a sequence of frames, without ROS.

    `network` is a name of the catalogue; the keywords are the settings of the node's parameters (`model`, `labels`,
    `threshold`, `skip_frames`, ...; see docs/parameters.md). One that is not on this machine yet is downloaded,
    which is logged as a warning, since it takes minutes. The counterpart of `jetson_inference.actionNet`.

    Raises SettingsError for a keyword or value that cannot be used, NetworkError for a network that cannot be found or
    prepared, and BackendError where it cannot be run.
    """

    def __init__(self, network: str = Settings.network, **settings: Unpack[Keywords]) -> None:
        _check_keywords(settings)
        self._settings = Settings.from_values({"network": network, **settings})
        loaded = load(self._settings, _LogMonitor(), self._check_class_filter)
        self._network, self._batch = loaded.session.network, loaded.batch
        self._session: Session[Any] | None = loaded.session
        self._stream = ActionStream(loaded.session, self._settings)
        self._streams = WeakSet([self._stream])

    def classify(self, frame: object, encoding: str = "rgb8", stamp: float | None = None) -> Prediction | None:
        """Accept `frame` and return the newest prediction; None until a whole window has been classified.

        `frame` is an image of any size, uint8 [H, W, 3] unless `encoding` says otherwise, a PIL image, a PyTorch tensor
        on the CPU, or a `RawImage`, which says what it is; `stamp` is the time at which it was taken (s), needed for
        `sample_rate`; without it, or while it does not change, frames are taken to come at 30 Hz. A frame that is
        skipped gives the last prediction again: `Prediction.frame` tells.

        Raises ImageError for a frame that does not fit its encoding and BackendError if the inference fails.
        """
        self._opened()
        return self._stream.classify(frame, encoding, stamp)

    def stream(self) -> ActionStream:
        """Return a further stream on the same network, such as another camera or person, with a window of its own.

        It has the settings of this object, and follows `configure`. Streams of one network belong to one thread.
        """
        stream = ActionStream(self._opened(), self._settings)
        self._streams.add(stream)
        return stream

    def classify_many(
        self, frames: Iterable[tuple[ActionStream, object]], encoding: str = "rgb8", stamp: float | None = None
    ) -> list[Prediction | None]:
        """Accept frames of several streams, and return the newest prediction of each frame's stream.

        The windows that come due are classified together, as many at once as `max_batch` allows and as are worth it.

        Raises ImageError for a frame that does not fit its encoding, SettingsError for a stream of another network, and
        BackendError if the inference fails.
        """
        self._opened()
        pairs = self._checked(frames)
        due: dict[ActionStream, tuple[Recognizer, _Frame]] = {}
        for stream, frame in pairs:
            taken = stream._take(frame, encoding, stamp)
            if taken is not None:
                due[stream] = taken  # of two windows of one stream, the newest
        windows = list(due.values())
        for first in range(0, len(windows), self._batch):
            recognize_together(windows[first : first + self._batch])
        return [stream.prediction for stream, _ in pairs]

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

    def configure(self, **settings: Unpack[Keywords]) -> None:
        """Change settings that need no other network; they act on the next frame, those of the view on a new window.

        Raises SettingsError, and leaves everything as it was, for a value that cannot be used.
        """
        _check_keywords(settings)
        changes: dict[str, Any] = {**settings}
        changed = replace(self._settings, **changes)
        if not changed.asks_for_network_of(self._settings):
            raise SettingsError(f"{', '.join(settings)}: a loaded network cannot be changed; make another ActionNet")
        self._opened()
        for stream in self._streams:  # what would be refused, the first one refuses
            stream._recognizer.configure(changed)
        self._settings = changed

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute. Raises AttributeError, with the near miss, for one that does not exist."""
        if not name.startswith("_") and not hasattr(type(self), name):
            if name in _keywords():
                raise AttributeError(f"ActionNet has no attribute {name}; call configure({name}=...)")
            near = get_close_matches(name, ["threshold", "skip_frames", *_keywords()], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AttributeError(f"ActionNet has no attribute {name}{hint}")
        super().__setattr__(name, value)

    def reset(self) -> None:
        """Empty the window, as before the first frame; those of other streams stay as they are."""
        self._opened()
        self._stream.reset()

    def close(self) -> None:
        """Free the network; the object cannot be used any more. May be called twice."""
        if self._session is not None:
            self._session.close()
            self._session = None
            for stream in self._streams:
                stream._is_closed = True

    def __enter__(self) -> ActionNet:
        """The object itself; leaving the `with` block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def _check_class_filter(self, network: PreparedNetwork) -> None:
        """Raise SettingsError for a class filter that names no class of `network`."""
        allowed_classes(network.labels, self._settings.class_filter)

    def _checked(self, frames: Iterable[tuple[ActionStream, object]]) -> list[tuple[ActionStream, object]]:
        """Return the pairs of `classify_many`; raise SettingsError, before a frame is taken in, for anything else."""
        pairs = list(frames)
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], ActionStream):
                raise SettingsError("classify_many takes pairs of a stream and its frame: [(stream, frame), ...]")
            if pair[0] not in self._streams:
                raise SettingsError("this stream belongs to another ActionNet; get it from stream() of this one")
        return pairs

    def _opened(self) -> Session[Any]:
        if self._session is None:
            raise ActionNetError("this ActionNet has been closed; make another one")
        return self._session


def _keywords() -> list[str]:
    return [setting.name for setting in SETTINGS if setting.scope is Scope.EVERYWHERE]


def _check_keywords(keywords: Iterable[str]) -> None:
    """Raises SettingsError for a keyword that is no setting, or one that only the node has."""
    known = _keywords()
    for name in keywords:
        if name not in known:
            raise SettingsError(f"ActionNet has no keyword {name}; there are {', '.join(known)}")
