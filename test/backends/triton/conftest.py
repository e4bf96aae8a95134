"""A network, and a real server of it in each of its forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ros2_actionnet.networks import PreparedNetwork, prepare
from ros2_actionnet.networks.user_networks import network_in
from support.networks import save_brightness_network
from support.triton_server import TritonServer, export, why_no_server

LABELS = ("dark", "dim", "bright")


@pytest.fixture(name="network", scope="module")
def network_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    model = save_brightness_network(tmp_path_factory.mktemp("networks") / "brightness", LABELS)
    return prepare(network_in(model.parent, None))


@pytest.fixture(name="server", scope="module")
def server_fixture(network: PreparedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves `network` stateful as brightness, and by whole windows as brightness_windows."""
    if reason := why_no_server():
        pytest.skip(reason)
    repository: Path = tmp_path_factory.mktemp("server") / "repository"
    export(network, repository, stateful=True)
    with TritonServer(repository) as server:
        yield server
