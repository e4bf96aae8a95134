"""The page in a real browser: what is shown is what was sent, and what is typed reaches the node."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.web import (
    NODE,
    STREAM,
    Served,
    browser_page,
    file_server,
    jpeg,
    parameter,
    pixel,
    repeating,
    served,
    wait_for,
)

pytest.importorskip("aiohttp")
TOKEN = "correct-horse-battery"
EPOCH = 1.7e9
BLUE, GREEN, RED = (200, 40, 20), (30, 180, 40), (20, 30, 210)  # BGR
STATIC = Path(__file__).parents[2] / "ros2_actionnet" / "web" / "static"


@pytest.fixture(name="page")
def page_fixture() -> Iterator[Any]:
    with browser_page() as page:
        yield page
        assert page.complaints == []


@pytest.fixture(name="live")
def live_fixture() -> Iterator[Served]:
    with served() as live:
        yield live


def is_near(color: list[int], bgr: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(color, reversed(bgr), strict=True))


def test_frames_are_decoded_and_the_newest_is_shown(page: Any, live: Served) -> None:
    page.goto(live.url)
    page.wait_for_selector(".picture")
    for color in (BLUE, GREEN, RED, BLUE):
        with repeating(lambda seconds, color=color: live.hub.frame(STREAM, EPOCH + seconds, jpeg(color))):  # type: ignore[misc]
            page.wait_for_function("() => document.querySelector('.picture canvas').width === 320")
            wait_for(lambda color=color: is_near(pixel(page), color), f"{color}")  # type: ignore[misc]


def test_a_frame_that_is_no_picture_does_not_end_the_video(page: Any, live: Served) -> None:
    page.goto(live.url)
    page.wait_for_selector(".picture")
    with repeating(lambda seconds: live.hub.frame(STREAM, seconds, b"no picture")):
        page.wait_for_selector("text=could not be decoded")
    with repeating(lambda seconds: live.hub.frame(STREAM, seconds, jpeg(GREEN))):
        wait_for(lambda: is_near(pixel(page), GREEN), "green")


def test_scores_move_and_events_appear_with_their_picture(page: Any, live: Served) -> None:
    page.goto(live.url)
    live.hub.scores(STREAM, EPOCH, [("walk", 0.75), ("run", 0.125)])
    page.wait_for_selector(".legend >> text=75%")
    assert page.inner_text(".best") == "walk 75%"
    before = page.eval_on_selector(".chart canvas", "c => c.toDataURL()")
    for step in range(20):
        live.hub.scores(STREAM, EPOCH + 1 + step, [("run", 0.5 + step / 100), ("walk", 0.25)])
    page.wait_for_selector(".legend >> text=69%")
    assert page.inner_text(".best") == "run 69%"
    wait_for(lambda: page.eval_on_selector(".chart canvas", "c => c.toDataURL()") != before, "another drawing")

    event = {"label": "run", "score": 0.6, "start": EPOCH + 1, "time": EPOCH + 2}
    picture = base64.b64encode(jpeg(RED)).decode()
    live.hub.event(STREAM, {**event, "began": True, "duration": 1.0, "picture": picture})
    page.wait_for_selector("#events li.on >> text=run")
    assert page.eval_on_selector("#events img", "async i => { await i.decode(); return i.naturalWidth; }") == 320
    live.hub.event(STREAM, {**event, "began": False, "duration": 2.5, "picture": "", "time": EPOCH + 3.5})
    page.wait_for_selector("#events li:not(.on) >> text=2.5 s")
    assert page.locator("#events li").count() == 1


def test_of_many_classes_with_events_those_that_last_longest_have_a_row(page: Any, live: Served) -> None:
    page.goto(live.url)
    page.wait_for_selector(".picture")
    for number in range(11):
        label = f"class {number}"
        live.hub.scores(STREAM, EPOCH + number, [(label, 0.9)])
        length = 1.0 if number in (2, 5, 7) else 5.0 + number
        event = {"label": label, "score": 0.9, "start": EPOCH, "time": EPOCH + length, "duration": length}
        live.hub.event(STREAM, {**event, "began": False, "picture": ""})
    page.wait_for_selector(".chart canvas[data-more='3']", state="attached")


def test_who_comes_later_sees_what_was(page: Any, live: Served) -> None:
    live.hub.scores(STREAM, EPOCH, [("walk", 0.75)])
    live.hub.event(STREAM, {"label": "walk", "score": 0.7, "start": EPOCH, "time": EPOCH, "began": True,
                            "duration": 0.0, "picture": ""})  # fmt: skip
    page.goto(live.url)
    page.wait_for_selector(".legend >> text=75%")
    page.wait_for_selector("#events li >> text=walk")


def test_what_is_typed_is_the_nodes_and_a_refusal_says_why(page: Any, live: Served) -> None:
    page.goto(live.url)
    field = page.locator("#parameter-threshold")
    assert field.input_value() == "0.01"
    field.fill("0.25")
    field.press("Enter")
    wait_for(lambda: live.controls.values["threshold"] == 0.25, "the value in the node")
    field.fill("7")
    field.press("Enter")
    refusal = page.locator(".field", has=field).locator(".refusal")
    refusal.wait_for()
    assert refusal.inner_text() == "threshold 7 is out of range; give a value 0 to 1"
    assert live.controls.values["threshold"] == 0.25

    live.controls.values["threshold"] = 0.5  # another client sets it
    page.locator("#parameter-backend").focus()
    live.controls.show()
    wait_for(lambda: field.input_value() == "0.5", "the other client's value")


def test_it_is_used_by_keyboard_alone(page: Any, live: Served) -> None:
    page.goto(live.url)
    page.wait_for_selector("#parameter-threshold")
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert "Reset" in seen
    assert "parameter-threshold" in seen
    page.locator("button", has_text="Reset").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=window cleared")
    assert live.controls.resets == [(NODE, "")]


def test_health_is_said_in_words(page: Any, live: Served) -> None:
    status = {"name": "action recognition", "level": 1, "message": "no images: check the topic",
              "values": [("rate in", "29.8 Hz")]}  # fmt: skip
    live.hub.retain("health", {"type": "health", "node": NODE, "statuses": [status]})
    page.goto(live.url)
    page.wait_for_selector("#health >> text=Warning: no images: check the topic")
    page.wait_for_selector("#health dd >> text=29.8 Hz")


def test_nothing_that_is_sent_becomes_markup(page: Any, live: Served) -> None:
    bad = "<img src=x onerror=\"document.title='owned'\">"
    live.hub.retain("nodes", {"type": "nodes", "nodes": [{"name": NODE, "streams": [{"id": STREAM, "camera": bad}]}]})
    live.hub.scores(STREAM, EPOCH, [(bad, 0.75)])
    live.hub.event(STREAM, {"label": bad, "score": 0.7, "start": EPOCH, "time": EPOCH, "began": True,
                            "duration": 0.0, "picture": ""})  # fmt: skip
    shown = [parameter(bad, bad, bad, choices=[bad, "b"], group=bad), parameter("b", "x", bad, suggestions=[bad])]
    live.hub.retain("parameters", {"type": "parameters", "node": NODE, "parameters": shown})
    status = {"name": bad, "level": 2, "message": bad, "values": [(bad, bad)]}
    live.hub.retain("health", {"type": "health", "node": NODE, "statuses": [status, status]})
    page.goto(live.url)
    page.wait_for_selector("#health dd")
    page.wait_for_selector("#events h3")
    page.wait_for_selector(".legend li")
    assert page.inner_text(".legend .name") == bad
    assert page.inner_text("#events h3") == bad
    assert page.locator("img[src=x]").count() == 0
    assert "owned" not in page.title()


def test_several_cameras_are_tiles_and_several_nodes_tabs(page: Any, live: Served) -> None:
    nodes = [
        {"name": "/a", "streams": [{"id": 1, "camera": "front"}, {"id": 2, "camera": "rear"}]},
        {"name": "/b", "streams": [{"id": 3, "camera": ""}]},
    ]
    live.hub.retain("nodes", {"type": "nodes", "nodes": nodes})
    page.goto(live.url)
    page.wait_for_selector("[data-camera=rear]")
    live.hub.scores(2, EPOCH, [("run", 0.5)])
    live.hub.scores(3, EPOCH, [("walk", 0.25)])
    page.wait_for_selector("[data-camera=rear] >> text=run 50%")
    page.locator("[role=tab][aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=walk 25%")
    assert page.inner_text("#title") == "/b"
    assert page.locator("#cameras section").count() == 1
    with repeating(lambda seconds: live.hub.frame(3, seconds, jpeg(BLUE))):
        wait_for(lambda: is_near(pixel(page), BLUE), "the other node's video")


def test_a_node_that_comes_does_not_disturb_what_is_typed(page: Any, live: Served) -> None:
    page.goto(live.url)
    field = page.locator("#parameter-threshold")
    field.fill("0.1")
    nodes = [{"name": NODE, "streams": [{"id": STREAM, "camera": ""}]}, {"name": "/b", "streams": []}]
    live.hub.retain("nodes", {"type": "nodes", "nodes": nodes})
    page.wait_for_selector("[role=tab] >> text=/b")
    live.controls.show()
    page.wait_for_timeout(100)
    assert field.input_value() == "0.1"
    page.locator("[role=tab] >> text=/b").click()
    assert page.inner_text("#title") == "/b"
    live.hub.retain("nodes", {"type": "nodes", "nodes": nodes[:1]})
    page.wait_for_selector(f"#title >> text={NODE}")
    live.hub.retain("nodes", {"type": "nodes", "nodes": nodes})
    page.wait_for_selector("#title >> text=/b")


def test_the_connection_is_taken_up_again(page: Any, live: Served) -> None:
    page.goto(live.url)
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_selector(".picture")
    loop = live.server._loop
    assert loop is not None
    for socket in tuple(live.server._sockets):
        asyncio.run_coroutine_threadsafe(socket.close(), loop)
    page.wait_for_selector("#connection[data-state=lost]")
    page.wait_for_selector("#connection[data-state=live]")
    live.hub.scores(STREAM, EPOCH, [("walk", 0.75)])
    page.wait_for_selector("text=walk 75%")


def test_the_token_is_asked_for() -> None:
    with served(TOKEN) as live, browser_page() as page:
        page.goto(live.url)
        page.fill("input[name=token]", "a guess")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=That is not the token.")
        page.fill("input[name=token]", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".picture")
        assert TOKEN not in page.url
        assert TOKEN not in page.evaluate("document.cookie")


def test_another_sites_page_cannot_open_the_socket(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>Another site")
    with served() as live, file_server(tmp_path) as other, browser_page() as page:
        page.goto(other)
        script = """url => new Promise(done => {
            const socket = new WebSocket(url);
            socket.onopen = () => done("open");
            socket.onerror = () => done("refused");
        })"""
        assert page.evaluate(script, live.url.replace("http", "ws") + "/socket") == "refused"
        page.wait_for_timeout(100)  # what the console says comes with the page's events
        assert any("403" in complaint for complaint in page.complaints)
        assert live.hub.viewers == 0


def test_a_read_only_page_has_no_controls(page: Any) -> None:
    with served(read_only=True) as live:
        page.goto(live.url)
        page.wait_for_selector("#parameter-threshold")
        assert page.locator("#parameters :is(input, select):enabled").count() == 0
        assert page.locator("button", has_text="Reset").count() == 0


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen_in_light_and_dark(size: tuple[int, int], scheme: str, tmp_path: Path) -> None:
    with served() as live, browser_page(size, scheme) as page:
        fill(live)
        page.goto(live.url)
        page.wait_for_selector("#events img")
        with repeating(lambda seconds: live.hub.frame(STREAM, seconds, jpeg(GREEN))):
            wait_for(lambda: is_near(pixel(page), GREEN), "the video")
        assert page.evaluate("document.documentElement.scrollWidth") == size[0], "it scrolls sideways"
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(246, 246, 244)", "dark": "rgb(19, 20, 22)"}[scheme]
        assert page.complaints == []


def fill(live: Served) -> None:
    """Two minutes of scores, events and a status."""
    for step in range(400):
        time = EPOCH + 0.3 * step
        walk = 0.9 if 100 < step < 200 else 0.2 + 0.1 * (step % 7) / 7
        run = 0.8 if step > 300 else 0.1
        live.hub.scores(STREAM, time, sorted([("walk", walk), ("run", run), ("ride", 0.05)], key=lambda s: -s[1]))
    picture = base64.b64encode(jpeg(GREEN)).decode()
    for label, first, last in (("walk", 100, 200), ("run", 300, 0)):
        start = EPOCH + 0.3 * first
        event = {"label": label, "score": 0.85, "start": start, "picture": picture}
        live.hub.event(STREAM, {**event, "began": True, "duration": 0.5, "time": start + 0.5})
        if last:
            event |= {"began": False, "duration": 0.3 * (last - first), "time": EPOCH + 0.3 * last}
            live.hub.event(STREAM, event)
    values = [("state", "active"), ("network", "camera_motion"), ("rate in", "29.8 Hz"), ("rate out", "14.9 Hz"),
              ("inference", "18.2 ms"), ("latency", "24.6 ms"), ("images lost", "0")]  # fmt: skip
    status = {"name": "action recognition", "level": 0, "message": "classifying with camera_motion", "values": values}
    live.hub.retain("health", {"type": "health", "node": NODE, "statuses": [status]})


def test_its_colors_are_those_of_the_report() -> None:
    def colors(path: Path) -> set[str]:
        lines = path.read_text().splitlines()
        return {line.strip() for line in lines if line.strip().startswith(("--page:", "--c0:", "--other:"))}

    report = STATIC.parents[1] / "report" / "page.html"
    page = colors(STATIC / "page.css")
    assert len(page) == 6
    assert page <= colors(report) | {line for line in page if line.startswith("--other:")}
