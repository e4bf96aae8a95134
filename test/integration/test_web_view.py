"""`web_view` beside a real node, seen in a real browser: the page shows what the node does and changes what it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.networks import save_brightness_network
from support.ros import Probe, running_node
from support.web import browser_page, pixel, repeating, wait_for

pytestmark = pytest.mark.integration
pytest.importorskip("aiohttp")
EPOCH = 1000.0


@contextmanager
def web_view(domain: int, *arguments: str) -> Iterator[str]:
    """A `web_view` in a process of its own; the link that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ros2_actionnet.ros.web_view", "--listen", "127.0.0.1:0", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = re.fullmatch(r"web_view: open (http://\S+)\n", line)
        assert match is not None, line
        yield match[1]
    finally:
        process.send_signal(2)
        assert process.wait(20) == 0
        process.stdout.close()


def publish(probe: Probe, grey: int) -> Any:
    """A function that publishes an image of one grey level under the time that it is given."""
    frame = np.full((180, 320, 3), grey, np.uint8)
    return lambda seconds: probe.publish(frame, EPOCH + seconds)


def test_the_page_shows_the_node_and_sets_its_parameters(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path, ("dark", "dim", "bright"))
    parameters = {"model": str(model), "skip_frames": 0, "event_min_duration": 0.2, "threshold": 0.0}
    with running_node(parameters) as (_, probe):
        probe.wait_until_ready()
        with web_view(probe.context.get_domain_id()) as link, browser_page() as page:
            page.goto(link)
            page.wait_for_selector(".picture")
            assert page.inner_text("#title") == "/actionnet"
            with repeating(publish(probe, 240)):
                wait_for(lambda: all(abs(value - 240) < 8 for value in pixel(page)), "the bright picture")
                page.wait_for_selector(".best >> text=bright")
                page.wait_for_selector("#events li.on >> text=bright")
                assert page.eval_on_selector("#events img", "i => i.naturalWidth") == 240
                page.wait_for_selector("#health >> text=classifying with")

            field = page.locator("#parameter-threshold")
            assert field.input_value() == "0"
            field.fill("0.375")
            field.press("Enter")
            wait_for(lambda: probe.get("threshold") == [0.375], "the value in the node")
            field.fill("7")
            field.press("Enter")
            refusal = page.locator(".field", has=field).locator(".refusal")
            refusal.wait_for()
            assert "threshold out of range" in refusal.inner_text()  # ROS's own words, from the described range
            assert probe.get("threshold") == [0.375]

            (result,) = probe.set(top_k=3)  # by another client
            assert result.successful
            wait_for(lambda: page.input_value("#parameter-top_k") == "3", "the other client's value")
            page.locator("button", has_text="Reset").click()
            page.wait_for_selector("text=window cleared")

            with repeating(lambda seconds: publish(probe, 20)(seconds + 100)):
                wait_for(lambda: all(abs(value - 20) < 8 for value in pixel(page)), "the dark picture")
                page.wait_for_selector(".best >> text=dark")
            assert page.complaints == []

            # Nobody looks any more: the node draws no pictures.
            topic = "/actionnet/annotated/compressed"
            assert probe.node.count_subscribers(topic) == 1
            page.close()
            wait_for(lambda: probe.node.count_subscribers(topic) == 0, "end of the subscription")


def test_each_camera_is_a_tile_and_a_read_only_page_sets_nothing(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path, ("dark", "dim", "bright"))
    with running_node({"model": str(model), "cameras": "[front, rear]", "skip_frames": 0}) as (_, probe):
        probe.wait_for(lambda: probe.infos, "network")
        with web_view(probe.context.get_domain_id(), "--read-only") as link, browser_page() as page:
            page.goto(link)
            page.wait_for_selector("[data-camera=front]")
            page.wait_for_selector("[data-camera=rear]")
            page.wait_for_selector("summary >> text=Of camera front alone")
            page.wait_for_selector("#health >> text=camera rear")
            assert page.locator("#parameters :is(input, select):enabled").count() == 0
