"""A network that has to be downloaded first: with a mirror, and with none that answers."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.archives import RESNET_18, Server, resnet_18_archive, send, serving
from support.networks import save_brightness_network
from support.ros import Probe, running_node

pytestmark = pytest.mark.integration

DAY, NIGHT = ("dusk", "day"), ("black", "grey", "white")  # darkest first


@pytest.fixture(autouse=True, name="networks")
def networks_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, empty; no proxy."""
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(tmp_path / "networks"))
    return tmp_path / "networks"


@pytest.fixture(name="archive")
def archive_fixture(tmp_path: Path) -> bytes:
    """resnet-18 as it is published, with a network that tells how bright it is, and some 3 MB."""
    return resnet_18_archive(tmp_path / "published", NIGHT, filler=os.urandom(3_000_000))


@pytest.fixture(name="server")
def server_fixture(archive: bytes) -> Iterator[Server]:
    with serving(archive) as server:
        yield server


class Stream:
    """Bright frames at 30 Hz, in real time."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.stamp = 100.0

    def run(self, until: Any, what: str) -> None:
        for _ in range(900):
            if until():
                return
            self.probe.publish(np.full((6, 10, 3), 240, np.uint8), self.stamp)
            self.stamp += 1 / 30
            self.probe.spin(1 / 30)
        pytest.fail(f"no {what} in 30 s of stream")

    def is_classified(self, label: str, count: int = 5) -> None:
        before = len(self.probe.classifications)
        self.run(lambda: len(self.probe.classifications) >= before + count, f"{count} classifications")
        assert self.probe.classifications[-1].results[0].class_id == label


def test_a_network_is_downloaded_while_the_old_one_goes_on(
    server: Server, tmp_path: Path, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIONNET_MIRROR", server.url)
    seen = threading.Event()

    def halfway(handler: Any) -> None:
        send(handler, 200, server.content, server.content[:1_500_000])
        handler.wfile.flush()
        seen.wait(60)
        handler.wfile.write(server.content[1_500_000:])

    server.answers.append(halfway)
    day = save_brightness_network(tmp_path / "day", DAY, frames=4, name="day")
    with running_node({"model": day}) as (node, probe):
        probe.wait_until_ready()
        stream = Stream(probe)
        stream.is_classified("day")
        (result,) = probe.set(model="")
        assert result.successful, result.reason
        values = probe.diagnosis(lambda _, v: " of 3 MB" in v.get("loading progress", ""), "that tells how far it is")
        assert re.fullmatch(r"downloading resnet-18, [0-2] of 3 MB", values["loading progress"])
        stream.is_classified("day", count=10)
        assert not (networks / "resnet-18").exists()
        seen.set()
        stream.run(lambda: len(probe.infos) == 2, "vision_info of the new network")
        stream.is_classified("white")
        assert probe.infos[-1].method == "resnet-18"
        assert probe.get("network", "model") == ["resnet18", ""]
        assert [path for path, _ in server.requests] == [f"/{RESNET_18[0]}"]
        # One that turns out not to be there leaves everything as it is.
        server.say(404)
        (result,) = probe.set(network="resnet34")
        assert result.successful, "it could be downloaded, for all that is known at once"
        stream.run(lambda: probe.get("network") == ["resnet18"], "parameter set back")
        values = probe.diagnosis(lambda _, v: "404" in v["last error"], "that says what is wrong")
        assert "resnet-34-kinetics-moments.onnx" in values["last error"]
        stream.is_classified("white")
    assert "loading resnet18: downloading resnet-18, " in node.log


def test_a_server_that_cannot_be_reached_does_not_keep_anybody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIONNET_MIRROR", "http://127.0.0.1:1")
    with running_node({}) as (_, probe):
        values = probe.diagnosis(lambda message, _: "trying again" in message, "of the attempts")
        assert values["level"] == "1"
        assert "loading resnet18: 127.0.0.1: no connection (Connection refused); trying again" in values["message"]
        (result,) = probe.set(network="camera_motion")
        assert result.successful, result.reason
        probe.wait_until_ready()
        assert probe.infos[-1].method == "camera_motion"


def test_without_a_connection_the_node_says_what_to_do_and_that_is_enough(
    archive: bytes, tmp_path: Path, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIONNET_MIRROR", str(tmp_path / "mirror"))
    with running_node({}) as (node, probe):
        values = probe.diagnosis(lambda message, _: message.startswith("no network"), "of a failure")
        assert values["level"] == "2"
        assert probe.state() == "active"
        for part in (
            f"put {RESNET_18[0]} (from https://nvidia.box.com/",
            f"into {networks}",
            f"put {RESNET_18[1]} and labels.txt into {networks / 'resnet-18'}",
            "`network:=camera_motion`, which comes with the package",
        ):
            assert part in values["last error"]
        # As it says: the archive into the folder. Any change of a parameter then tries again.
        networks.mkdir(exist_ok=True)
        (networks / RESNET_18[0]).write_bytes(archive)
        (result,) = probe.set(top_k=2)
        assert result.successful, result.reason
        probe.wait_until_ready()
        Stream(probe).is_classified("white")
    assert f"put {RESNET_18[0]}" in node.log
