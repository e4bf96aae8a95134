"""A real browser on the pages: it shows the stream, and sends its camera."""

from __future__ import annotations

import itertools
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.web.listening import parse_listen_address
from ros2_actionnet.web.webrtc_server import WebOptions
from ros2_actionnet.web.webrtc_streams import WebRtcInput, WebRtcOutput
from support.web import browser_page
from support.webrtc_client import fed, require_libraries, wait_until

require_libraries()

COLORS = {0: (220, 30, 30), 1: (30, 180, 30), 2: (30, 30, 220)}  # RGB, by the second modulo 3
# Videos play unasked, and a camera of Chromium's own is at hand.
FAKE_CAMERA = (
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
BITS = 24  # of a time in ms, each of them a square
SIDE = 24  # pixels of a square

# Collects the age, in ms, of each picture that is shown: the time drawn into it against the clock.
WATCH_AGES = f"""
window.ages = [];
const video = document.querySelector("video");
const canvas = new OffscreenCanvas({BITS * SIDE}, {SIDE});
const context = canvas.getContext("2d", {{ willReadFrequently: true }});
function look(now, frame) {{
  context.drawImage(video, 0, 0, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, {SIDE // 2}, canvas.width, 1).data;
  let drawn = 0;
  for (let bit = 0; bit < {BITS}; bit++) drawn += (pixels[4 * (bit * {SIDE} + {SIDE // 2})] > 127) * 2 ** bit;
  const shown = performance.timeOrigin + Math.max(performance.now(), frame.expectedDisplayTime);
  ages.push((shown % 2 ** {BITS}) - drawn);
  video.requestVideoFrameCallback(look);
}}
video.requestVideoFrameCallback(look);
"""


# The mean color, [R, G, B], of what a page's video shows now; null as long as it shows nothing.
COLOR = """() => {
  const video = document.querySelector("video");
  if (!video.videoWidth || video.readyState < 2) return null;
  const canvas = new OffscreenCanvas(1, 1), context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


def color_of_video(browser: Any) -> tuple[int, int, int] | None:
    """The mean color (RGB) of what the page's video shows now; None as long as it shows nothing."""
    color = browser.evaluate(COLOR)
    return None if color is None else tuple(color)


def address(name: str) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return parse_listen_address(f"webrtc://127.0.0.1:{probe.getsockname()[1]}/{name}")


@pytest.fixture(name="browser", scope="module")
def browser_fixture() -> Iterator[Any]:
    with browser_page(flags=FAKE_CAMERA) as browser:
        yield browser


@pytest.fixture(name="output")
def output_fixture() -> Iterator[WebRtcOutput]:
    output = WebRtcOutput(address("out"), WebOptions(), pytest.fail)
    yield output
    output.close()


def by_second(seconds: float) -> NDArray[np.uint8]:
    return np.full((360, 640, 3), COLORS[int(seconds) % 3][::-1], np.uint8)


def with_clock(seconds: float) -> NDArray[np.uint8]:
    """A moving picture with the wall clock, in ms, drawn in as a row of black and white squares."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    left = int(200 * seconds) % 500
    picture[100:300, left : left + 120] = (200, 120, 40)
    milliseconds = int(time.time() * 1000) % 2**BITS
    for bit in range(BITS):
        picture[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 255 * (milliseconds >> bit & 1)
    return picture


def test_the_page_shows_the_color_that_the_clip_has_at_that_second(browser: Any, output: WebRtcOutput) -> None:
    started = time.monotonic()
    seen = dict[int, tuple[int, int, int]]()
    with fed(output, by_second):
        browser.goto(output.link.rpartition("/")[0])  # which leads to the page of the one stream
        assert browser.url == output.link
        wait_until(lambda: color_of_video(browser) is not None)
        while len(seen) < 3:
            seconds = time.monotonic() - started
            color = color_of_video(browser)
            if 0.5 < seconds % 1 < 0.8:  # far from a change
                assert color is not None
                seen[int(seconds) % 3] = color
            time.sleep(0.05)
        assert output.viewers == 1
        browser.goto("about:blank")
        wait_until(lambda: output.viewers == 0)
    for second, color in seen.items():
        assert np.abs(np.subtract(color, COLORS[second])).max() < 8, seen
    complaints = [complaint for complaint in browser.complaints if "favicon" not in complaint]
    assert not complaints, "nothing on the page breaks its own content security policy"


def test_a_picture_is_shown_within_a_fifth_of_a_second(browser: Any, output: WebRtcOutput) -> None:
    with fed(output, with_clock):
        browser.goto(output.link)
        wait_until(lambda: color_of_video(browser) is not None)
        browser.evaluate(f"() => {{ {WATCH_AGES} }}")
        wait_until(lambda: browser.evaluate("ages.length") > 150, 30)
        ages = browser.evaluate("ages")[30:]
        browser.goto("about:blank")
    p50, p95 = np.percentile(ages, (50, 95))
    sys.stdout.write(f"glass to glass at 640x360: p50 {p50:.0f} ms, p95 {p95:.0f} ms\n")  # docs/performance.md
    assert 0 < p50 <= 200


def test_a_page_reconnects_after_the_stream_was_away(browser: Any) -> None:
    place = address("out")
    for _ in itertools.repeat(None, 2):
        output = WebRtcOutput(place, WebOptions(), pytest.fail)
        with fed(output, by_second):
            if browser.url != output.link:
                browser.goto(output.link)
            wait_until(lambda: output.viewers == 1, 30)  # noqa: B023
        output.close()
    browser.goto("about:blank")


def test_the_browsers_camera_is_received(browser: Any) -> None:
    """Chromium's fake camera: green, with a yellow part and a counter that moves."""
    camera = WebRtcInput(address("in"), WebOptions())
    browser.goto(camera.link)
    assert not camera.wait(0.2), "nothing is sent before the button is pressed"
    browser.locator("button").click()
    assert camera.wait(20)
    frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(camera.frames(), 20)]
    wait_until(lambda: "being sent" in browser.locator("[role=status]").inner_text())
    red, green, blue = frames[-1][:, :8].reshape(-1, 3).mean(0)
    assert green > red + 30
    assert green > blue + 30
    assert any((frame != frames[0]).any() for frame in frames if frame.shape == frames[0].shape)
    browser.goto("about:blank")
    wait_until(lambda: not camera.wait(0.0))
    camera.close()
