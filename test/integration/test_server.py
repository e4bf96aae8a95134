"""The node with its network on a real server, which comes and goes; and the fallback network meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.networks import ACTIONNET_MEAN, NetworkRequest, prepare, resolve
from support.networks import save_brightness_network
from support.ros import Probe, running_node
from support.triton_server import TritonServer, export, why_no_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(why_no_server()), reason=why_no_server()),
    pytest.mark.timeout(240),
]

LABELS = ("dark", "dim", "bright")


class Camera:
    """A camera that looks at something bright, 30 times a second."""

    def __init__(self, probe: Probe) -> None:
        self.probe, self.index = probe, 0

    def run(self, until: Any, what: str, seconds: float = 60) -> None:
        for _ in range(round(seconds * 30)):
            if until():
                return
            self.probe.publish(np.full((6, 10, 3), 240, np.uint8), 100 + self.index / 30)
            self.index += 1
            self.probe.spin(1 / 30)
        pytest.fail(f"no {what} in {seconds:.0f} s of stream; diagnostics: {self.probe.diagnostics[-1:]}")

    def is_diagnosed(self, text: str) -> None:
        """Publish until the node says `text` in its diagnostics."""
        self.probe.diagnostics.clear()
        self.run(lambda: any(text in status.message for status in self.probe.diagnostics), text)

    def sees(self, *labels: str) -> None:
        """Publish until a new classification has one of `labels` first."""
        before = len(self.probe.classifications)
        self.run(
            lambda: any(m.results and m.results[0].class_id in labels for m in self.probe.classifications[before:]),
            f"{' or '.join(labels)}",
        )


@pytest.fixture(name="server")
def server_fixture(tmp_path: Path) -> Iterator[TritonServer]:
    """A server of the network in tmp_path / "network", which is not started."""
    model = save_brightness_network(tmp_path / "network", LABELS)
    # Stated, so that diagnostics have nothing to warn of.
    (model.parent / "network.yaml").write_text(f"mean: {list(ACTIONNET_MEAN)}\nstd: [1, 1, 1]\n")
    repository = tmp_path / "repository"
    export(prepare(resolve(NetworkRequest(model=str(model)))), repository, stateful=True)
    server = TritonServer(repository)
    yield server
    server.kill()


def parameters(server: TritonServer, **more: Any) -> dict[str, Any]:
    model = server.repository.with_name("network") / "model.onnx"
    return {"model": model, "backend": "triton", "device": server.address, "skip_frames": 0, **more}


def test_the_server_may_start_later_and_come_and_go(server: TritonServer) -> None:
    with running_node(parameters(server)) as (_, probe):
        camera = Camera(probe)
        camera.is_diagnosed(f"{server.address} cannot be reached")
        server.start()
        camera.sees("bright")
        server.kill()
        camera.is_diagnosed("inference fails: inference failed")
        known = len(probe.classifications)
        camera.run(lambda: camera.index % 45 == 0, "second of stream")
        assert len(probe.classifications) == known
        server.start()
        camera.sees("bright")
        camera.is_diagnosed("classifying with ")


def test_a_running_node_changes_to_a_server_and_back(server: TritonServer) -> None:
    server.start()
    with running_node({**parameters(server), "backend": "openvino", "device": "CPU"}) as (_, probe):
        camera = Camera(probe)
        camera.sees("bright")
        assert probe.set_atomically(backend="triton", device=server.address).successful
        camera.run(lambda: len(probe.infos) == 2, "change to the server")
        camera.sees("bright")
        server.kill()
        camera.is_diagnosed("inference fails")
        assert probe.set_atomically(backend="openvino", device="").successful
        camera.sees("bright")
        assert probe.set_atomically(backend="triton", device=server.address).successful
        camera.is_diagnosed("classifying with ")
        camera.run(lambda: probe.get("backend") == ["openvino"], "refusal of a server that is not there")
        camera.sees("bright")


def test_the_fallback_network_takes_over_and_hands_back(server: TritonServer) -> None:
    server.start()
    with running_node(parameters(server, fallback_network="camera_motion")) as (_, probe):
        camera = Camera(probe)
        camera.sees("bright")
        for _ in range(2):
            server.kill()
            camera.is_diagnosed("camera_motion runs as the fallback network: inference failed")
            (labels, backend) = probe.get("class_labels", "backend")
            assert backend == "triton"
            camera.sees(*labels)
            assert "bright" not in labels
            server.start()
            camera.sees("bright")
            camera.is_diagnosed("classifying with ")
        assert probe.get("fallback_network", "device") == ["camera_motion", server.address]


def test_the_fallback_network_runs_where_the_server_is_down_at_the_start(server: TritonServer) -> None:
    with running_node(parameters(server, fallback_network="camera_motion")) as (_, probe):
        camera = Camera(probe)
        camera.is_diagnosed("camera_motion runs as the fallback network")
        assert probe.get("backend") == ["triton"]
        server.start()
        camera.sees("bright")
        (refused,) = probe.set(fallback_network="nothing")
        assert not refused.successful
        assert "nothing" in refused.reason
