"""The page's server with a double behind it, and a browser in front."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ros2_actionnet.web.access import Access
from ros2_actionnet.web.hub import Hub
from ros2_actionnet.web.server import STALL, PageServer

NODE = "/actionnet"
STREAM = 1


@dataclass
class FakeControls:
    """A node with one parameter, `threshold`, that refuses what is not 0 to 1."""

    hub: Hub
    values: dict[str, Any] = field(default_factory=lambda: {"threshold": 0.01})
    resets: list[tuple[str, str]] = field(default_factory=list)

    def set_parameter(self, node: str, name: str, value: Any) -> Future[str]:
        answer: Future[str] = Future()
        if isinstance(value, (int, float)) and 0 <= value <= 1:
            self.values[name] = value
            self.show()
            answer.set_result("")
        else:
            answer.set_result(f"{name} {value} is out of range; give a value 0 to 1")
        return answer

    def reset(self, node: str, camera: str) -> Future[str]:
        self.resets.append((node, camera))
        answer: Future[str] = Future()
        answer.set_result("")
        return answer

    def show(self, **more: Any) -> None:
        """Sends the parameters to the viewers."""
        shown = [
            parameter("threshold", self.values["threshold"], "Lower scores are omitted.", 0.0, 1.0),
            parameter("event_on", 0.5, "Score at which an event begins.", 0.0, 1.0),
            parameter("event_off", 0.3, "Score under which an event ends.", 0.0, 1.0),
            parameter("network", "camera_motion", "Network by name.", suggestions=["resnet18", "camera_motion"]),
            parameter("backend", "auto", "Inference backend.", choices=["auto", "tensorrt", "openvino"]),
            parameter("autostart", True, "Start by itself.", group="Acts when the node is configured"),
        ]
        self.hub.retain("parameters", {"type": "parameters", "node": NODE, "parameters": shown} | more)


def parameter(
    name: str, value: Any, description: str, minimum: float | None = None, maximum: float | None = None, **more: Any
) -> dict[str, Any]:
    """A parameter as the page is told of it."""
    kind = {bool: "bool", float: "double", int: "integer", str: "string"}[type(value)]
    return {
        "name": name,
        "kind": kind,
        "value": value,
        "description": description,
        "limits": f"{minimum:g} to {maximum:g}" if minimum is not None else "",
        "choices": [],
        "suggestions": [],
        "minimum": minimum,
        "maximum": maximum,
        "group": "Acts on the next frame",
    } | more


def jpeg(color: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> bytes:
    """A JPEG of one BGR color; size is width, height."""
    pixels = np.full((size[1], size[0], 3), color, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@dataclass(frozen=True)
class Served:
    """A running server: `url` has no token, `link` has."""

    hub: Hub
    controls: FakeControls
    server: PageServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def link(self) -> str:
        return self.server.link

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": self.url}


@contextmanager
def served(token: str = "", read_only: bool = False, most_viewers: int = 16, stall: float = STALL) -> Iterator[Served]:
    """A server on a free port, which knows one node with one camera."""
    hub = Hub(most_viewers=most_viewers)
    controls = FakeControls(hub)
    server = PageServer(hub, None if read_only else controls, Access(port=0, token=token), stall)
    hub.retain("nodes", {"type": "nodes", "nodes": [{"name": NODE, "streams": [{"id": STREAM, "camera": ""}]}]})
    controls.show()
    server.start()
    try:
        yield Served(hub, controls, server)
    finally:
        server.stop()


@contextmanager
def browser_page(
    size: tuple[int, int] = (1280, 900), scheme: str = "light", flags: tuple[str, ...] = ()
) -> Iterator[Any]:
    """A tab of a headless Chromium, started with `flags`; `page.complaints` is what its console said is wrong.

    Skips the test where there is no browser.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("neither chromium nor google-chrome is on the PATH: `apt-get install chromium`")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", *flags])
        try:
            context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.complaints = []
            page.on("console", lambda m: page.complaints.append(m.text) if _is_complaint(m) else None)
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            yield page
        finally:
            browser.close()


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """The files of a folder on a port of their own, which is another origin; its URL."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _is_complaint(message: Any) -> bool:
    # It is the tests that read pixels back.
    return message.type in ("error", "warning") and "getImageData" not in message.text


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> None:
    """Waits until `condition` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
        time.sleep(0.01)


@contextmanager
def repeating(action: Callable[[float], None], rate: float = 20.0) -> Iterator[None]:
    """Calls `action` with the seconds since the beginning, `rate` times a second, in a thread."""
    ended = threading.Event()
    began = time.monotonic()

    def run() -> None:
        while not ended.wait(1 / rate):
            action(time.monotonic() - began)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def pixel(page: Any, selector: str = ".picture canvas") -> list[int]:
    """The color near the bottom of a canvas, under what is drawn into a picture: red, green and blue."""
    script = "c => [...c.getContext('2d').getImageData(c.width / 2, 0.9 * c.height, 1, 1).data].slice(0, 3)"
    return list(page.eval_on_selector(selector, script))
