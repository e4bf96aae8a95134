"""The page that reports on a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import ClassifiedFrame, RunDetails
from ros2_actionnet.recognition.prediction import NONE
from ros2_actionnet.report.drawing import HEIGHT, WIDTH, area, bars, clock, ribbon, ticks
from ros2_actionnet.report.occurrences import Occurrence, Occurrences, longest
from ros2_actionnet.report.people import People
from ros2_actionnet.report.pictures import Filmstrip
from ros2_actionnet.report.timeline import Column, Timeline
from ros2_actionnet.settings import SETTINGS, Effect
from ros2_actionnet.system.files import write_atomically
from ros2_actionnet.system.imports import pip_install

if TYPE_CHECKING:
    from jinja2 import Template

MOST_LANES = 8
"""Number of colors, and of classes in the timeline unless more have events: each class with an event has a lane."""

MOST_CURVES = 24
"""Maximum number of lanes with a curve of the scores; the others show their events alone, as a page must stay small."""

MOST_PICTURES = 24
"""Maximum number of events with a picture; the longest ones are chosen."""

MOST_EVENTS = 300
"""Maximum number of events in the table; the longest ones are chosen."""

_MOST_CLASSES = 20  # in the table
_STRIP, _STRIP_WIDTH = 12, 160  # number of pictures above the timeline, and their width in pixels
_FAINT = 0.1  # fraction of the highest score that a class must reach to get a lane
_SAVE_EVERY = 1.0  # s, shortest interval at which the page is written during the run
_SAVE_SHARE = 0.01  # largest share of the time that this may take
# Settings that appear elsewhere on the page or apply only to the node.
_NOT_LISTED = {
    "network",
    "backend",
    "precision",
    "device",
    "class_id_format",
    "annotated_width",
    "engine_cache",
    "cuda_graphs",
}


@dataclass(frozen=True)
class _Lane:
    """A class in the timeline.

    Attributes:
        label: Name of the class.
        color: Number of its color; None for gray.
        path, envelope: SVG paths of its mean scores and of its highest ones; the latter is empty if they are equal,
            both are where only events are shown.
        peak, peak_time: Its highest score, and the time of it, s.
        bars: Its events, see `bars`.
    """

    label: str
    color: int | None
    path: str
    envelope: str
    peak: float
    peak_time: float
    bars: list[tuple[float, float]]


@dataclass(frozen=True)
class _ClassRow:
    """A class in the table, with the share of predictions that it won and with its scores."""

    label: str
    color: int | None
    share: float
    mean: float | None
    peak: float | None
    peak_time: float


class ReportPage:
    """A page about a run: a timeline, the events with pictures, the classes, the settings.

    It is one HTML file that loads nothing else, of at most about a megabyte for an input of any length: scores are
    averaged over columns of time, and the numbers of pictures and rows are limited, as stated on the page. It is
    written by `close` and during the run, so that a killed process leaves a whole page.

    Raises MediaError if `path` cannot be written, or if Jinja2 is not installed.
    """

    wants_pictures = False

    def __init__(self, path: Path | str, details: RunDetails) -> None:
        self._path, self._details = Path(path), details
        if find_spec("jinja2") is None:
            raise MediaError(f"the report '{path}' needs Jinja2: {pip_install('Jinja2', numpy='')}")
        is_new = not self._path.exists()
        try:
            self._path.touch()
            if is_new:
                self._path.resolve().unlink()  # until there is a whole page
        except OSError as error:
            raise MediaError(f"the report '{path}' cannot be written: {error.strerror}") from error
        self._timeline = Timeline(len(details.labels))
        self._occurrences = Occurrences(MOST_PICTURES)
        self._strip = Filmstrip(_STRIP, _STRIP_WIDTH)
        self._people = People()
        self._frames, self._end = 0, 0.0
        self._began = self._newest = perf_counter()
        self._due, self._closed = self._began + _SAVE_EVERY, False

    def write(self, result: ClassifiedFrame) -> None:
        """Add a frame and its results."""
        self._frames += 1
        self._end = max(self._end, result.frame.time)
        if result.is_new and result.prediction is not None:
            self._timeline.add(result.frame.time, result.prediction)
            self._strip.offer(result.frame)
        self._occurrences.add(result)
        self._people.add(result.frame.time, result.subjects)
        self._newest = perf_counter()
        if self._newest >= self._due:
            self._save()

    def close(self) -> None:
        """Write the page for the last time. Raises MediaError on failure."""
        if not self._closed:
            self._closed = True
            self._save()

    def _save(self) -> None:
        """Replace the page by one of the run so far."""
        began = perf_counter()
        html = self._template().render(self._content())
        try:
            write_atomically(self._path, html.encode())
        except OSError as error:
            raise MediaError(f"the report '{self._path}' cannot be written: {error.strerror}") from error
        ended = perf_counter()
        self._due = ended + max(_SAVE_EVERY, (ended - began) / _SAVE_SHARE)

    def _template(self) -> Template:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"clock": clock, "percent": _percent, "color": _color, "figure": _figure}
        return environment.get_template("page.html")

    def _content(self) -> dict[str, Any]:
        details, timeline = self._details, self._timeline
        duration = max(self._end + (1 / details.rate if details.rate > 0 else 0.0), 1e-3)
        columns = timeline.columns()
        occurrences = self._occurrences.so_far()
        # The lanes of the classes are about the whole image; each person has a lane of his or her own.
        of_image = [occurrence for occurrence in occurrences if not occurrence.subject]
        shown = self._shown_classes(of_image) if columns else []
        colors = {class_index: color for color, class_index in enumerate(shown[:MOST_LANES])}
        curved = set(shown[:MOST_CURVES])
        people = self._people.lanes(duration)
        for person in people:  # what only people do has a color too, as long as there are any
            if len(colors) < MOST_LANES and person.mostly >= 0:
                colors.setdefault(person.mostly, len(colors))
        seconds = self._newest - self._began
        folder, name = _split_name(details.input)
        return {
            "details": details,
            "folder": folder,
            "name": name,
            "duration": duration,
            "frames": self._frames,
            "predictions": timeline.predictions,
            "speed": self._frames / seconds if seconds > 0 else 0.0,
            "pace": duration / seconds if seconds > 0 and details.length is not None else None,
            "leader": self._leader(),
            "no_class": NONE,
            "width": WIDTH,
            "height": HEIGHT,
            "column": timeline.width if timeline.predictions > len(columns) else None,
            "first_prediction": columns[0].start if columns else None,
            "strip": self._strip.spread(_STRIP, duration),
            "ribbon": [
                (s.left, s.right - s.left, colors.get(s.best), self._label(s.best)) for s in ribbon(columns, duration)
            ],
            "lanes": [
                self._lane(index, colors.get(index), columns if index in curved else [], of_image, duration)
                for index in shown
            ],
            "most_curves": MOST_CURVES,
            "people": [
                (
                    person.track_id,
                    [(left, width, colors.get(best), self._label(best)) for left, width, best in person.segments],
                    colors.get(person.mostly),
                    self._label(person.mostly),
                )
                for person in people
            ],
            "people_found": len(self._people),
            "ticks": [(100 * tick / duration, _tick(tick, duration)) for tick in ticks(duration)],
            "occurrences": occurrences,
            "listed": sorted(longest(occurrences, MOST_EVENTS), key=lambda occurrence: occurrence.start),
            "most_pictures": MOST_PICTURES,
            "colors": colors,
            "classes": self._class_rows(colors),
            "settings": self._settings(),
            "data": {
                "duration": duration,
                "columns": [[round(column.start, 3), round(column.end, 3)] for column in columns],
                "lanes": [
                    [round(1000 * float(column.scores[index])) for column in columns] for index in shown[:MOST_CURVES]
                ],
            },
            "made": datetime.now().astimezone(),
        }

    def _label(self, class_index: int) -> str:
        return NONE if class_index < 0 else self._details.labels[class_index]

    def _leader(self) -> tuple[str, float] | None:
        """Return the class that won most often and its share of the predictions; None if no class ever won."""
        shares = self._timeline.shares
        best = max((index for index in shares if index >= 0), key=lambda index: shares[index], default=None)
        return None if best is None else (self._label(best), shares[best] / self._timeline.predictions)

    def _shown_classes(self, occurrences: Sequence[Occurrence]) -> list[int]:
        """Return the classes with a lane, strongest first; those with events precede those without."""
        strengths, peaks = self._timeline.strengths, self._timeline.peaks
        strongest = sorted(range(len(strengths)), key=lambda index: -strengths[index])
        eventful = {occurrence.class_index for occurrence in occurrences}
        with_events = [index for index in strongest if index in eventful]
        others = [i for i in strongest if i not in eventful and peaks[i] >= _FAINT * peaks.max()]
        return with_events + others[: max(0, MOST_LANES - len(with_events))]

    def _lane(
        self,
        class_index: int,
        color: int | None,
        columns: Sequence[Column],
        occurrences: Sequence[Occurrence],
        duration: float,
    ) -> _Lane:
        return _Lane(
            self._label(class_index),
            color,
            area(columns, class_index, duration),
            area(columns, class_index, duration, peaks=True) if self._timeline.predictions > len(columns) else "",
            float(self._timeline.peaks[class_index]),
            float(self._timeline.peak_times[class_index]),
            bars([occurrence for occurrence in occurrences if occurrence.class_index == class_index], duration),
        )

    def _class_rows(self, colors: dict[int, int]) -> list[_ClassRow]:
        timeline = self._timeline
        means = timeline.means
        order = sorted(range(len(means)), key=lambda index: (-timeline.shares[index], -means[index]))[:_MOST_CLASSES]
        rows = [
            _ClassRow(
                self._label(index),
                colors.get(index),
                timeline.shares[index] / max(timeline.predictions, 1),
                float(means[index]),
                float(timeline.peaks[index]),
                float(timeline.peak_times[index]),
            )
            for index in order
            if timeline.shares[index] or timeline.peaks[index] >= _FAINT * timeline.peaks.max()
        ]
        if timeline.shares[-1]:
            rows.append(_ClassRow(NONE, None, timeline.shares[-1] / timeline.predictions, None, None, 0.0))
        return sorted(rows, key=lambda row: -row.share)

    def _settings(self) -> list[tuple[str, str, str, bool]]:
        """Return name, value, description and a flag for a non-default value of each setting that has a value."""
        values = ((setting, getattr(self._details.settings, setting.name)) for setting in SETTINGS)
        return [
            (setting.name, _text(value), setting.description, value != setting.default)
            for setting, value in values
            if setting.effect is not Effect.CONFIGURE and setting.name not in _NOT_LISTED and value not in ("", ())
        ]


def _split_name(name: str) -> tuple[str, str]:
    """Split a path into its folder, with the slash, and its name; a name that is not a path has no folder."""
    path = Path(name)
    return (f"{path.parent}/", path.name) if len(path.parts) > 1 and path.exists() else ("", name)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tick(seconds: float, duration: float) -> str:
    return clock(seconds, 1 if duration < 4 else 0)


def _percent(share: float, digits: int = 0) -> str:
    """Format a fraction as a percentage; a small one is shown as "< ..." instead of 0."""
    if 0 < share < 10**-digits / 200:
        return f"< {10**-digits:g}%"
    return f"{100 * share:.{digits}f}%"


def _figure(value: float) -> str:
    """Format a number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _color(number: int | None) -> str:
    """Return the CSS color of a class by its lane, gray for one without a lane."""
    return "var(--other)" if number is None else f"var(--c{number})"
