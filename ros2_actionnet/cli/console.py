"""Printed output of the command `actionnet`: results on standard output, messages on standard error."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tqdm import tqdm

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import ClassifiedFrame
from ros2_actionnet.media.stages import Statistics
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.stopwatch import Stopwatch
from ros2_actionnet.system.text import printable


@dataclass(frozen=True)
class Outcome:
    """Result of one input: the totals of its run, or the error.

    `seconds` is the duration of the run, `most` the class that was most often the best one.
    """

    uri: str
    statistics: Statistics | None = None
    seconds: float = 0.0
    most: str = ""
    error: str = ""


class Console:
    """A sink that prints a line whenever the best class changes, with a progress bar on a terminal.

    Attributes:
        labels: Number of windows in which each class was the best.
    """

    wants_pictures = False

    def __init__(self, length: int | None, *, quiet: bool = False, verbose: bool = False, name: str = "") -> None:
        """Start a bar of `length` frames (None: unknown); `quiet` prints no results, `verbose` one per window.

        With the `name` of one of several inputs, lines begin with it, and there is no bar.
        """
        self._quiet, self._verbose, self._name = quiet, verbose, name
        self._shown = ""
        self.labels: Counter[str] = Counter()
        disable = True if quiet or name else None  # None: no bar unless standard error is a terminal
        self._bar = tqdm(total=length, unit=" frames", disable=disable, dynamic_ncols=True, leave=False)

    def write(self, result: ClassifiedFrame) -> None:
        """Advance the bar by one frame, and print its prediction if it is due."""
        self._bar.update()
        prediction = result.prediction
        if prediction is None or not result.is_new:
            return
        self.labels[prediction.label] += 1
        if not self._quiet and (self._verbose or prediction.label != self._shown):
            self._shown = prediction.label
            name = f"{self._name:<12} " if self._name else ""
            try:
                tqdm.write(name + _line(result.frame.time, prediction))
                sys.stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise MediaError(f"the results cannot be printed on standard output: {error.strerror}") from error

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


def report(line: str) -> None:
    """Print a line about the run, above the progress bar if there is one. Thread-safe."""
    with suppress(OSError):  # the terminal was closed: the files matter more
        tqdm.write(f"actionnet: {printable(line, 4000)}", file=sys.stderr)


def _line(time: float, prediction: Prediction) -> str:
    return f"{time:8.2f} s   {printable(prediction.label, 60):<32} {prediction.score:.2f}"


def summary(statistics: Statistics, seconds: float) -> str:
    """Return the totals of a run of `seconds` in one line."""
    rate = statistics.frames / seconds if seconds > 0 else 0.0
    done = f"{_count(statistics.frames, 'frame')}, {_count(statistics.windows, 'window')} in {seconds:.1f} s"
    counts = [
        (statistics.broken, f"{_count(statistics.broken, 'frame')} broken"),
        (statistics.late, f"{_count(statistics.late, 'frame')} late"),
        (statistics.dropped, f"{_count(statistics.dropped, 'frame')} dropped"),
        (statistics.overtaken, f"{_count(statistics.overtaken, 'window')} overtaken by newer ones"),
    ]
    return ", ".join([f"{done}: {rate:.1f} frames/s", *(words for number, words in counts if number)])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def profile(times: Mapping[str, Stopwatch], seconds: float) -> str:
    """Return a table of the time per stage in a run of `seconds`; stages overlap, so shares may total more than 1."""
    rows = [f"{'stage':<12}{'times':>8}{'ms each':>10}{'s':>9}{'of the run':>12}"]
    for name, watch in times.items():
        each = 1e3 * watch.seconds / watch.count if watch.count else 0.0
        share = watch.seconds / seconds if seconds > 0 else 0.0
        rows.append(f"{name:<12}{watch.count:>8}{each:>10.2f}{watch.seconds:>9.2f}{share:>12.0%}")
    return "\n".join(rows)


def batch_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table with the result of each input of a batch."""
    width = max(len("input"), *(len(outcome.uri) for outcome in outcomes))
    rows = [f"{'input':<{width}}{'frames':>9}{'windows':>9}{'frames/s':>10}   mostly"]
    for outcome in outcomes:
        statistics = outcome.statistics
        if statistics is None:
            rows.append(f"{outcome.uri:<{width}}   failed, see above")
            continue
        rate = statistics.frames / outcome.seconds
        rows.append(
            f"{outcome.uri:<{width}}{statistics.frames:>9}{statistics.windows:>9}{rate:>10.1f}   "
            f"{printable(outcome.most, 60)}"
        )
    return "\n".join(rows)
