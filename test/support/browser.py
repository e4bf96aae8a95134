"""A page opened in a real browser, with nobody looking."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

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
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--enable-logging=stderr",
)
_ANSWER = "data-answer"


@dataclass(frozen=True)
class Look:
    """A page as a browser shows it: its elements after its scripts ran, what it complained of, and its pixels.

    `pixels` is uint8 [H, W, 3], BGR; `answer` the value of the expression that was asked.
    """

    dom: str
    complaints: list[str]
    pixels: NDArray[np.uint8]
    answer: Any


def look_at(page: Path, folder: Path, expression: str = "null", size: tuple[int, int] = (1280, 2400)) -> Look:
    """Opens `page` in a window of `size` (width, height), and asks it a JavaScript expression once it is loaded.

    Skips the test where there is no browser.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is on the PATH: `apt-get install chromium`")
    # In a copy, in which the browser writes the answer; a page may forbid all scripts but its own, inline ones.
    asking = folder / "asked.html"
    script = f"document.documentElement.setAttribute('{_ANSWER}', JSON.stringify({expression}))"
    asking.write_text(
        page.read_text(encoding="utf-8").replace(
            "</body>", f"<script>addEventListener('load', () => {{ {script} }})</script></body>"
        ),
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            browser,
            *_FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={folder / 'look.png'}",
            "--dump-dom",
            asking.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer = re.search(rf'{_ANSWER}="([^"]*)"', done.stdout)
    assert answer, "the page's scripts did not run to their end"
    pixels = cv2.imread(str(folder / "look.png"))
    assert pixels is not None
    return Look(
        done.stdout,
        [line for line in done.stderr.splitlines() if ":CONSOLE" in line],
        np.asarray(pixels, np.uint8),
        json.loads(html.unescape(answer[1])),
    )
