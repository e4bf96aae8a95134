"""The page of a recording, run by the command and opened in a real browser."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import ClassifiedFrame, MediaFrame, RunDetails
from ros2_actionnet.media.picture_reader import MOST_WALKED
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.report.recording import Recording, RecordingPage
from ros2_actionnet.settings import Settings
from ros2_actionnet.web.access import Access
from ros2_actionnet.web.hub import Hub
from support.bags import images_topic, write_bag
from support.networks import save_brightness_network
from support.web import browser_page, pixel, wait_for

pytest.importorskip("aiohttp")
pytestmark = pytest.mark.slow
BAD = "<img src=x onerror=\"document.title='owned'\">"
COLORS = ((200, 40, 20), (30, 180, 40), (20, 30, 210), (230, 230, 230))  # BGR, one a second
RATE = 10
LABELS = ("dark", "dim", BAD)


def pictures() -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    return [np.full((180, 320, 3), color, np.uint8) for color in COLORS for _ in range(RATE)]


def save_mp4(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, options={"g": "20", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "network", LABELS, frames=2)


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and its link."""
    program = [sys.executable, "-m", "ros2_actionnet.cli.actionnet", *arguments, "--headless"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True, cwd="/") as running:
        try:
            assert running.stderr is not None
            said = ""
            for line in running.stderr:
                said += line
                if found := re.search(r"open (http://\S+)", said):
                    break
            else:
                pytest.fail(said)
            yield running, found[1]
        finally:
            running.kill()


def near(found: list[int], bgr: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 14 for one, other in zip(found, reversed(bgr), strict=True))


def network_flags(model: Path) -> list[str]:
    network = ["--model", str(model), "--labels", str(model.parent / "labels.txt"), "--skip-frames", "0"]
    return [*network, "--threshold", "0", "--event-min-duration", "0.2", "--serve", "127.0.0.1:0"]


@pytest.fixture(name="source", params=["mp4", "mcap"])
def source_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "mp4":
        return save_mp4(tmp_path / "clip.mp4")
    return write_bag(tmp_path / "recording", [images_topic(pictures(), rate=RATE)])


def test_it_is_seen_as_it_was(source: Path, model: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    flags = [str(source), *network_flags(model), "--results", str(results)]
    with command(*flags) as (running, link), browser_page() as page:
        page.goto(link)
        page.wait_for_selector("#health >> text=analyzed: 0:03.9")
        slider = page.locator(".player input[type=range]")
        for second in (2.5, 0.5, 3.5, 1.5):  # the colors that the clip has then
            slider.evaluate("(s, t) => { s.value = t; s.dispatchEvent(new Event('input')); }", second)
            wait_for(lambda second=second: near(pixel(page), COLORS[int(second)]), f"color at {second}")  # type: ignore[misc]
            assert page.inner_text(".player .time").startswith(f"0:0{second}")

        rows = [json.loads(line) for line in results.read_text().splitlines()]
        given = page.evaluate("async () => (await fetch('/recording/scores?from=0&to=9')).json()")
        assert [row[0] for row in given["rows"]] == [row["time"] for row in rows]
        for (_, scores), row in zip(given["rows"], rows, strict=True):
            assert [(given["labels"][index], pytest.approx(score)) for index, score in scores] == [
                (one["label"], one["score"]) for one in row["results"]
            ]

        page.locator(f"#events button:has-text({json.dumps(BAD)})").last.click()
        assert page.inner_text(".player .time").startswith("0:03")
        wait_for(lambda: near(pixel(page), COLORS[3]), "picture of the event")
        assert page.locator("img[src=x]").count() == 0
        assert "owned" not in page.title()
        assert page.locator("#parameters :is(input, select):enabled").count() == 0
        assert page.complaints == []
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130


def test_it_plays_at_its_rate_and_by_keyboard(model: Path, tmp_path: Path) -> None:
    source = save_mp4(tmp_path / "clip.mp4")
    with command(str(source), *network_flags(model)) as (_, link), browser_page() as page:
        page.goto(link)
        page.wait_for_selector("#health >> text=analyzed: 0:03.9")
        shown = "() => Number(document.querySelector('.player input').value)"
        began = time.monotonic()
        page.keyboard.press("Space")
        page.wait_for_function("() => document.querySelector('.player input').value >= 2.5")
        assert time.monotonic() - began >= 2.3
        page.keyboard.press("Space")
        assert page.inner_text(".play") == "Play"
        before = page.evaluate(shown)
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(shown) == pytest.approx(before - 1)
        page.locator(".player input").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate(shown) == pytest.approx(before)
        page.wait_for_function(  # to 1 us: the slider's value has 15 digits
            "t => Math.abs(document.querySelector('[data-shown]').dataset.shown - t) < 1e-6", arg=page.evaluate(shown)
        )
        assert near(pixel(page), COLORS[int(page.evaluate(shown))])


class Walked:
    """A file of one color a second that is read from its first frame alone, and never gets anywhere if `is_endless`."""

    name, rate, size, length, is_live = "walked.h264", float(RATE), (320, 180), None, False

    def __init__(self, is_endless: bool = False) -> None:
        self._is_endless = is_endless
        self.is_walking, self.is_closed = threading.Event(), threading.Event()

    def frames(self) -> Iterator[MediaFrame]:
        for index, image in enumerate(itertools.cycle(pictures())):
            time = index / RATE
            yield MediaFrame(index, time, nanoseconds(time), RawImage.from_array(image, "bgr8"), position=index)

    def images_from(self, position: int) -> Iterator[tuple[int, RawImage]]:
        for frame in self.frames():
            if self.is_closed.is_set():
                return
            yield -1 if self._is_endless else frame.position, frame.image
            self.is_walking.set()

    def close(self) -> None:
        self.is_closed.set()


DETAILS = RunDetails("net", LABELS, 2, "fake", "CPU", "fp32", Settings(), "walked.h264", float(RATE), (320, 180))


def test_a_frame_that_cannot_be_reached_has_no_picture_of_another_time() -> None:
    shown = RecordingPage(Access(port=0), DETAILS, Walked)
    try:
        for frame in itertools.islice(Walked().frames(), MOST_WALKED + 100):
            shown.recording.write(ClassifiedFrame(frame, None, is_new=False))
        shown.recording.close()
        with browser_page() as page:
            page.goto(shown.link)
            page.wait_for_selector("#health >> text=analyzed: 5:09.9")
            slider, said = page.locator(".player input[type=range]"), page.locator(".picture p")

            def seek(second: float) -> None:
                slider.evaluate("(s, t) => { s.value = t; s.dispatchEvent(new Event('input')); }", second)

            seek(2.5)
            wait_for(lambda: near(pixel(page), COLORS[2]), "the picture")
            assert not said.is_visible()
            seek(305)
            said.wait_for(state="visible")
            assert "'walked.h264' has no frame there any more, or none within 3000 frames" in said.inner_text()
            assert (
                page.locator(".picture canvas").evaluate("c => c.getContext('2d').getImageData(9, 9, 1, 1).data[3]")
                == 0
            )
            seek(1.5)
            wait_for(lambda: near(pixel(page), COLORS[1]), "the picture again")
            said.wait_for(state="hidden")
    finally:
        shown.stop()


def test_a_page_opened_before_the_first_frame_shows_it_when_it_is_there() -> None:
    shown = RecordingPage(Access(port=0), DETAILS, Walked)
    try:
        with browser_page() as page:
            with page.expect_response(re.compile("/recording/picture")) as answer:
                page.goto(shown.link)
            assert answer.value.status == 404
            assert page.inner_text(".picture p") == "Waiting for a picture …"
            for frame in itertools.islice(Walked().frames(), 20):
                shown.recording.write(ClassifiedFrame(frame, None, is_new=False))
            shown.recording.close()
            wait_for(lambda: near(pixel(page), COLORS[0]), "the first picture")
    finally:
        shown.stop()


def test_it_stops_while_a_picture_is_searched_for() -> None:
    source = Walked(is_endless=True)
    recording = Recording(Hub(), DETAILS, lambda: source, most_walked=1 << 62)
    for frame in itertools.islice(Walked().frames(), 20):
        recording.write(ClassifiedFrame(frame, None, is_new=False))
    searched, waiting = recording.picture(1.5, small=False), recording.picture(0.5, small=True)
    assert source.is_walking.wait(30)
    recording.stop()
    assert waiting.cancelled()
    with pytest.raises(MediaError, match=r"'walked\.h264' is closed"):
        searched.result(30)


def test_without_the_token_nothing_of_it_is_seen(model: Path, tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    source = save_mp4(tmp_path / "clip.mp4")
    with command(str(source), *network_flags(model)[:-1], "0.0.0.0:0") as (_, link), browser_page() as page:
        assert "?token=" in link
        url = re.sub(r"//[^:/]+:", "//127.0.0.1:", link).partition("?")[0]
        page.goto(url)
        page.wait_for_selector("input[name=token]")
        for path in ("picture?time=0", "scores?from=0&to=1", "events"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}recording/{path}")
            assert refused.value.code == 401


@pytest.mark.parametrize("device", ["iPhone 13", "Pixel 5"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_finger(device: str, scheme: str, model: Path, tmp_path: Path) -> None:
    source = save_mp4(tmp_path / "clip.mp4")
    with command(str(source), *network_flags(model)) as (_, link), browser_page() as page:
        width, height = {"iPhone 13": (390, 664), "Pixel 5": (393, 727)}[device]  # as Playwright describes them
        context = page.context.browser.new_context(
            viewport={"width": width, "height": height}, has_touch=True, is_mobile=True, device_scale_factor=3,
            color_scheme=scheme,
        )  # fmt: skip
        phone = context.new_page()
        phone.goto(link)
        phone.wait_for_selector("#events img")
        assert phone.evaluate("document.documentElement.scrollWidth") == width
        box = phone.locator(".player input").bounding_box()
        phone.touchscreen.tap(box["x"] + 0.65 * box["width"], box["y"] + box["height"] / 2)
        wait_for(lambda: near(pixel(phone), COLORS[2]), "the picture under the finger")
        assert phone.locator(".play").bounding_box()["height"] >= 40
        if shots := os.environ.get("SCREENSHOTS"):
            phone.screenshot(path=f"{shots}/{device}-{scheme}.png", full_page=True)
