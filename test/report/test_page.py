"""The page of a real clip: what stands in it, how it looks in a browser, and that it stays small and safe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame, RunDetails
from ros2_actionnet.recognition.events import Event, EventDetector, EventType
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.report import ReportPage, page
from ros2_actionnet.report.page import MOST_CURVES, MOST_EVENTS, MOST_PICTURES
from ros2_actionnet.settings import Settings
from support.browser import Look, look_at
from support.clips import Clip, library_clip

LABELS = ("walk", "run", "ride", "wait")
RATE = 25.0
EPOCH = 1.7e9


def details(labels: Sequence[str] = LABELS, **settings: Any) -> RunDetails:
    return RunDetails(
        "tiny", tuple(labels), 8, "openvino", "CPU", "bf16", Settings(**settings), "clip.mp4", RATE, (640, 272), 250
    )


def scores_at(time: float) -> NDArray[np.float32]:
    """`walk` is sure from 2 to 4 s and `ride` from 5 to 9 s; `run` leads a little in between, `wait` never."""
    if 2 <= time < 4:
        return np.array([0.91, 0.05, 0.03, 0.01], np.float32)
    if 5 <= time < 9:
        return np.array([0.02, 0.2, 0.77, 0.01], np.float32)
    return np.array([0.28, 0.4, 0.28, 0.04], np.float32)


def results(run: RunDetails, clip: Clip, count: int, every: int = 2, first: int = 16) -> Iterator[ClassifiedFrame]:
    """`count` frames of `clip`, over and over; every other one from the `first` on is classified."""
    settings = run.settings
    detector = EventDetector(settings.event_on, settings.event_off, settings.event_min_duration)
    prediction, events = None, []
    for index in range(count):
        time = index / RATE
        frame = MediaFrame(index, time, nanoseconds(EPOCH + time), RawImage.from_array(clip[index % len(clip)], "bgr8"))
        is_new = index >= first and index % every == 0
        if is_new:
            prediction = Prediction(scores_at(time), run.labels, index, settings.threshold)
            events = detector.update(prediction.scores, frame.stamp)
        yield ClassifiedFrame(frame, prediction, is_new, tuple(events) if is_new else ())


def write_page(path: Path, run: RunDetails, made: Iterator[ClassifiedFrame]) -> str:
    report = ReportPage(path, run)
    for result in made:
        report.write(result)
    report.close()
    report.close()
    return path.read_text(encoding="utf-8")


@pytest.fixture(name="made", scope="module")
def made_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of ten seconds of bikes.mp4."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    run = details(threshold=0.1)
    write_page(path, run, results(run, library_clip("bikes.mp4"), 250))
    return path


class Reader(HTMLParser):
    """The texts and elements of a page; raises AssertionError where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] not in ("style", "script"):
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


def table(html: str, name: str) -> list[list[str]]:
    """The rows of a table as texts."""
    body = html.split(f'<table id="{name}">')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    cells = [re.findall(r"<td.*?</td>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in row] for row in cells]


class TestContent:
    def test_events_are_listed_with_their_times_classes_and_scores(self, made: Path) -> None:
        assert table(made.read_text(), "events") == [
            ["0:02.00", "1.92 s", "walk", "", "91%"],
            ["0:05.04", "3.92 s", "ride", "", "77%"],
        ]

    def test_classes_are_listed_by_the_share_of_time_that_they_lead(self, made: Path) -> None:
        frames = range(16, 250, 2)
        all_scores = np.array([scores_at(index / RATE) for index in frames])
        winners = np.bincount(all_scores.argmax(axis=1), minlength=4) / len(frames)
        means = all_scores.mean(axis=0)
        order = [2, 1, 0]  # `wait` has neither led nor had a tenth of the highest score
        assert winners[order].tolist() == sorted(winners[order].tolist(), reverse=True)
        expected = [
            [
                LABELS[i],
                "",
                f"{100 * winners[i]:.0f}%",
                f"{100 * means[i]:.1f}%",
                f"{100 * all_scores[:, i].max():.0f}%",
            ]
            for i in order
        ]
        assert [row[:5] for row in table(made.read_text(), "classes")] == expected
        assert [row[5] for row in table(made.read_text(), "classes")] == ["0:05.0", "0:00.6", "0:02.0"]

    def test_it_says_what_was_run_on_what(self, made: Path) -> None:
        texts = Reader(made.read_text()).texts
        for text in (
            "clip.mp4",
            "0:10.0",
            "250 frames",
            "640 \u00d7 272 pixels",
            "25 Hz",
            "tiny",
            "openvino, CPU, bf16",
        ):
            assert text in texts
        assert texts[texts.index("Mostly") + 1] == "ride"
        assert texts[texts.index("Events") + 1] == "2"
        assert texts[texts.index("Windows") + 1] == "117"

    def test_speed_is_that_of_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter(np.arange(0, 100, 0.01).tolist())  # 10 ms a frame
        monkeypatch.setattr(page, "perf_counter", lambda: next(clock))
        run = details()
        html = write_page(tmp_path / "page.html", run, results(run, library_clip("bikes.mp4", 60), 60))
        assert ">100<small> frames/s" in html
        assert "4 \u00d7 real time" in html
        html = write_page(tmp_path / "page.html", replace(run, length=None), iter(()))
        assert "real time" not in html

    def test_settings_are_listed_and_changes_marked(self, made: Path) -> None:
        html = made.read_text()
        assert re.search(r'<div class="changed" title="Lower scores[^"]*"><dt>threshold</dt><dd>0.1</dd></div>', html)
        assert re.search(r'<div title="[^"]*"><dt>skip_frames</dt><dd>1</dd></div>', html)
        assert "<dt>image_transport</dt>" not in html

    def test_scores_are_there_for_the_cursor(self, made: Path) -> None:
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', made.read_text())[1])  # type: ignore[index]
        lanes = Reader(made.read_text()).all("div", **{"class": "plot lane"})
        assert [lane["data-class"] for lane in lanes] == ["ride", "walk", "run"], "those with events come first"
        assert len(data["columns"]) == 117
        for column, scores in zip(data["columns"], zip(*data["lanes"], strict=True), strict=True):
            expected = scores_at(column[0])[[2, 0, 1]]
            assert scores == tuple(np.round(1000 * expected).astype(int).tolist())

    def test_a_class_that_is_still_on_at_the_end_is_said_to_be(self, tmp_path: Path) -> None:
        run = details()
        html = write_page(tmp_path / "page.html", run, results(run, library_clip("bikes.mp4"), 200))
        assert table(html, "events")[1] == ["0:05.04", "2.88 s to the end", "ride", "", "77%"]

    def test_where_nothing_reaches_the_threshold_it_is_none(self, tmp_path: Path) -> None:
        run = details(threshold=0.95)
        html = write_page(tmp_path / "page.html", run, results(run, library_clip("bikes.mp4", 60), 60))
        texts = Reader(html).texts
        assert texts[texts.index("Mostly") + 1] == "none"
        assert table(html, "classes")[0] == ["none", "", "100%", "—", "—", "—"]
        ribbon = html.split('id="ribbon"')[1].split("</svg>")[0]
        assert "<rect" not in ribbon

    def test_without_a_window_it_says_why_there_is_nothing(self, tmp_path: Path) -> None:
        run = details()
        html = write_page(tmp_path / "page.html", run, results(run, library_clip("bikes.mp4", 10), 10))
        assert "No window was classified: the input ended before 8 frames had been sampled." in html
        assert "None: no class scored 0.5 and stayed on for 0.3 s." in html
        Reader(html)


class TestLimits:
    def test_an_hour_is_no_larger_than_a_person_waits_for(self, tmp_path: Path) -> None:
        labels = [f"class {index} with a label of some length" for index in range(400)]
        run = replace(details(labels), length=36_000, rate=10.0)
        random = np.random.default_rng(0)
        small = np.zeros((90, 160, 3), np.uint8)
        detector, report = EventDetector(0.5, 0.3, 0.3), ReportPage(tmp_path / "page.html", run)
        for index in range(36_000):
            if index % 5:
                continue
            scores = np.asarray(random.random(400) / 1000, np.float32)
            scores[(index // 30) % 400] = 0.6  # an event every 3 s
            frame = MediaFrame(index, index / 10, index * 100_000_000, RawImage.from_array(small, "bgr8"))
            events = detector.update(scores, frame.stamp)
            report.write(ClassifiedFrame(frame, Prediction(scores, run.labels, index), True, tuple(events)))
        report.close()
        html = (tmp_path / "page.html").read_text()
        assert len(html) < 1_000_000
        reader = Reader(html)
        assert len(reader.all("img", loading="lazy")) == MOST_PICTURES
        assert f"The {MOST_PICTURES} longest of 1,200 have a picture" in reader.texts
        assert len(table(html, "events")) == MOST_EVENTS
        assert f"The {MOST_EVENTS} longest of 1,200 events are listed." in reader.texts
        assert len(reader.all("div", **{"class": "plot lane"})) == MOST_CURVES
        assert len(reader.all("div", **{"class": "plot lane flat"})) == 400 - MOST_CURVES
        assert f"Of those after the first {MOST_CURVES}, only the events are drawn." in " ".join(reader.texts)

    def test_every_class_with_an_event_has_a_lane_however_faint_and_others_fill_up_to_eight(
        self, tmp_path: Path
    ) -> None:
        labels = [f"class {index}" for index in range(30)]
        run = details(labels)
        scores = np.zeros(30, np.float32)
        scores[:12] = np.linspace(0.9, 0.02, 12)
        events = [Event(EventType.BEGAN, index, 0.5, 0, 1) for index in (3, 11)]

        def lanes(eventful: list[Event]) -> list[str | None]:
            frame = MediaFrame(0, 0.0, 0, RawImage.from_array(np.zeros((9, 16, 3), np.uint8), "bgr8"))
            made = ClassifiedFrame(frame, Prediction(scores, run.labels, 0), True, tuple(eventful))
            reader = Reader(write_page(tmp_path / "page.html", run, iter([made])))
            return [lane["data-class"] for lane in reader.all("div") if "data-class" in lane]

        assert lanes(events) == [labels[index] for index in (3, 11, 0, 1, 2, 4, 5, 6)]
        nine = [replace(events[0], class_index=index) for index in range(9)]
        assert lanes(nine) == labels[:9]

    def test_pictures_are_small_and_of_the_moment(self, made: Path) -> None:
        pictures = [image for image in Reader(made.read_text()).all("img") if image.get("loading")]
        assert [image["alt"] for image in pictures] == ["Frame at 0:02.3", "Frame at 0:05.4"]
        assert all(len(image["src"] or "") < 40_000 for image in pictures)


class TestSafety:
    EVIL = "<script>alert('x')</script>"

    def test_labels_and_names_are_text_whatever_they_hold(self, tmp_path: Path) -> None:
        run = details([f"{self.EVIL}&\"' {index}" for index in range(4)])
        run = replace(run, input=f"rtsp://{self.EVIL}", network=self.EVIL, device=self.EVIL)
        html = write_page(tmp_path / "page.html", run, results(run, library_clip("bikes.mp4", 150), 150))
        assert self.EVIL not in html
        reader = Reader(html)
        assert len(reader.all("script")) == 2, "the page's own: its data, and what shows them"
        assert f"rtsp://{self.EVIL}" in reader.texts
        assert any(lane["data-class"] == f"{self.EVIL}&\"' 0" for lane in reader.all("div", **{"class": "plot lane"}))

    def test_nothing_is_loaded_from_anywhere(self, made: Path) -> None:
        html = made.read_text()
        assert not re.search(r"https?://|url\(|@import|<link|<iframe", html)
        sources = [attributes.get("src") for _, attributes in Reader(html).elements if "src" in attributes]
        assert sources
        assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)

    def test_a_page_that_cannot_be_written_is_refused_before_the_run(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"report '.*nowhere/page.html' cannot be written: No such file"):
            ReportPage(tmp_path / "nowhere" / "page.html", details())

    def test_without_jinja2_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page, "find_spec", lambda name: None)
        with pytest.raises(MediaError, match="pip install Jinja2"):
            ReportPage(tmp_path / "page.html", details())


def color_of(text: str) -> NDArray[np.int_]:
    """A CSS rgb(r, g, b) as BGR."""
    return np.array([int(number) for number in re.findall(r"\d+", text)[:3]][::-1])


# What a person would measure: where things are, in pixels, and what color they should have.
ASK = """(() => {
    const box = element => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; };
    const lanes = [...document.querySelectorAll('.lane[data-class]')];
    const ribbon = document.getElementById('ribbon');
    const before = [...document.querySelectorAll('.value[data-peak]')].map(value => value.textContent);
    const b = ribbon.getBoundingClientRect();
    document.getElementById('timeline').dispatchEvent(
        new PointerEvent('pointermove', {clientX: b.left + 0.3 * b.width, clientY: b.top, bubbles: true}));
    const pointed = [...document.querySelectorAll('.value[data-peak]')].map(value => value.textContent);
    const time = document.querySelector('#cursor output').textContent;
    document.getElementById('timeline').dispatchEvent(new PointerEvent('pointerleave'));
    return {
        lanes: lanes.map(lane => ({
            label: lane.dataset.class, box: box(lane), fill: getComputedStyle(lane.querySelector('path')).fill})),
        ribbon: box(ribbon), before, pointed, time,
        after: [...document.querySelectorAll('.value[data-peak]')].map(value => value.textContent),
        wide: document.documentElement.scrollWidth, images: [...document.images].every(i => i.naturalWidth > 0)};
})()"""


@pytest.fixture(name="look", scope="module")
def look_fixture(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Look:
    return look_at(made, tmp_path_factory.mktemp("browser"), ASK)


class TestInABrowser:
    def test_it_has_nothing_to_complain_of(self, look: Look) -> None:
        assert look.complaints == []
        assert look.answer["images"]

    def test_pointing_at_a_moment_shows_its_scores(self, look: Look) -> None:
        assert look.answer["before"] == look.answer["after"] == ["77%", "91%", "40%"]
        assert look.answer["pointed"] == ["3%", "91%", "5%"]
        assert look.answer["time"] == "0:03.00"

    def test_the_timeline_has_the_classes_colors_at_their_times(self, look: Look) -> None:
        colors = {lane["label"]: color_of(lane["fill"]) for lane in look.answer["lanes"]}
        assert len({tuple(color) for color in colors.values()}) == 3
        left, top, width, height = look.answer["ribbon"]
        for time, label in [(1.5, "run"), (3.0, "walk"), (4.5, "run"), (7.0, "ride"), (9.6, "run")]:
            pixel = look.pixels[int(top + height / 2), int(left + width * time / 10)]
            assert np.array_equal(pixel, colors[label]), f"at {time} s"
        # Before the first window there is nothing.
        assert not any(
            np.array_equal(look.pixels[int(top + height / 2), int(left + width * 0.03)], color)
            for color in colors.values()
        )

    def test_areas_are_as_high_as_the_scores(self, look: Look) -> None:
        for lane in look.answer["lanes"]:
            left, top, width, height = lane["box"]
            for time in (3.0, 7.0):
                score = float(scores_at(time)[LABELS.index(lane["label"])])
                line = look.pixels[int(top) : int(top + height), int(left + width * time / 10)].astype(int)
                color = color_of(lane["fill"])
                track = look.pixels[int(top) + 1, int(left + 6)].astype(int)
                # Of the track or of the class, which lies over it half transparent; the bar of an event is at the foot.
                filled = [pixel for pixel in line if np.abs(pixel - track).sum() > 0.4 * np.abs(color - track).sum()]
                assert len(filled) / height == pytest.approx(score, abs=0.14), (lane["label"], time)

    def test_a_phone_shows_all_of_it_without_scrolling_sideways(self, made: Path, tmp_path: Path) -> None:
        look = look_at(made, tmp_path, ASK, size=(500, 1200))
        assert look.answer["wide"] <= 500
        assert look.answer["pointed"] == ["3%", "91%", "5%"]
        assert look.complaints == []

    def test_the_browser_complains_where_there_is_reason_to(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.html"
        broken.write_text("<html><body><script>undefined_function()</script></body></html>")
        look = look_at(broken, tmp_path)
        assert any("undefined_function is not defined" in complaint for complaint in look.complaints)
