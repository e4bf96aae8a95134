"""Predictions as text, one JSON object per line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.box import Box
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame
from ros2_actionnet.recognition.frame_header import NANOSECONDS
from ros2_actionnet.recognition.prediction import Prediction

_DIGITS = 6  # decimals of seconds and scores: microseconds, and beyond the precision of a float32


class ResultsFile:
    """A file of JSON lines, one per new prediction, complete whenever the run ends.

    A line contains `frame` (index of the frame that completed the window), its `time` (s since the first frame) and
    `stamp` (s since 1970, or `time`), `window` (indices of the window's first and last frame) and `results`: `label`,
    `index` and `score` of the best classes, best first, each at least the threshold. The line of a tracked person has
    its id as `subject` too, and as `box` the left, top, width and height of where it is, in pixels. Of several cameras,
    each line has the `stream` that it is of.

    Overwrites an existing file. Raises MediaError if `path` cannot be written.
    """

    wants_pictures = False

    def __init__(self, path: Path | str) -> None:
        self._path, self._lock = Path(path), threading.Lock()
        try:
            # Unbuffered, so that the file has complete lines during the run and if it is killed.
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise MediaError(f"the results file '{path}' cannot be written: {error.strerror}") from error

    def write(self, result: ClassifiedFrame, **more: Any) -> None:
        """Write a line for each new prediction of the frame, with `more` fields. Raises MediaError on failure."""
        if result.is_new and result.prediction is not None:
            self._write(more | _record(result.frame, result.prediction))
        for subject in result.subjects:
            if subject.is_new and subject.prediction is not None:
                record = more | _record(result.frame, subject.prediction)
                self._write(record | {"subject": subject.track_id, "box": _corner_and_size(subject.box)})

    def _write(self, record: dict[str, Any]) -> None:
        rest = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        written = 0
        with self._lock:
            try:
                while written < len(rest):
                    written += self._file.write(rest[written:])
            except BrokenPipeError:  # of a pipe, whose reader needs no more
                raise
            except OSError as error:
                if written and self._file.seekable():  # all lines are complete, on a full disk too
                    self._file.seek(-written, os.SEEK_CUR)
                    self._file.truncate()
                raise MediaError(f"the results file '{self._path}' cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StreamResults:
    """One stream's part of a results file, whose lines have its name; `closes` the file, if that is its alone."""

    wants_pictures = False

    def __init__(self, file: ResultsFile, stream: str, *, closes: bool = False) -> None:
        self._file, self._stream, self._closes = file, stream, closes

    def write(self, result: ClassifiedFrame) -> None:
        """Write a line for each new prediction of the frame. Raises MediaError on failure."""
        self._file.write(result, stream=self._stream)

    def close(self) -> None:
        """Close the file, or leave it to the other streams."""
        if self._closes:
            self._file.close()


def _corner_and_size(box: Box) -> list[float]:
    return [round(value, 2) for value in (box.left, box.top, box.width, box.height)]


def _record(frame: MediaFrame, prediction: Prediction) -> dict[str, Any]:
    return {
        "frame": frame.index,
        "time": round(frame.time, _DIGITS),
        "stamp": round(frame.stamp / NANOSECONDS, _DIGITS),
        "window": [prediction.first_frame, prediction.frame],
        "results": [
            {"label": result.label, "index": result.class_id, "score": round(result.score, _DIGITS)}
            for result in prediction.top()
        ],
    }
