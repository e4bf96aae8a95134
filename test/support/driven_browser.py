"""A real browser that stays open and does what a test tells it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What the browser would tell the system of, or fetch from the network, has no place in a test.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
# The mean color, [R, G, B], of what a page's video shows now; null as long as it shows nothing.
_COLOR = """
const video = document.querySelector("video");
if (!video.videoWidth || video.readyState < 2) return null;
const canvas = new OffscreenCanvas(1, 1), context = canvas.getContext("2d");
context.drawImage(video, 0, 0, 1, 1);
return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
"""


@contextmanager
def driven_browser(folder: Path) -> Iterator[Any]:
    """Yields Selenium's driver of a Chromium with a fake camera; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is not on the PATH: `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    driven = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        driven.set_script_timeout(30)
        yield driven
    finally:
        driven.quit()


def color_of_video(browser: Any) -> tuple[int, int, int] | None:
    """The mean color (RGB) of what the page's video shows now; None as long as it shows nothing."""
    color = browser.execute_script(_COLOR)
    return None if color is None else tuple(color)
