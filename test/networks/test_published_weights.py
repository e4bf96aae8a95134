"""Weights as torchvision publishes them, fetched and converted, against PyTorch."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ros2_actionnet import ActionNet
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import Catalogue, CatalogueEntry, fetch
from ros2_actionnet.networks.fetch import pin_of
from support.archives import Server, serving
from support.monitors import Recorder
from support.torchvision_double.torchvision import models

DOUBLE = Path(models.__file__).parents[1]
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@pytest.fixture(name="networks", autouse=True)
def networks_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, on a machine with torchvision."""
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(tmp_path / "networks"))
    monkeypatch.delenv("ACTIONNET_MIRROR", raising=False)
    monkeypatch.syspath_prepend(str(DOUBLE))
    monkeypatch.setenv("PYTHONPATH", str(DOUBLE), prepend=":")
    return tmp_path / "networks"


@pytest.fixture(name="network")
def network_fixture() -> torch.nn.Module:
    torch.manual_seed(3)
    network = models.get_model("r2plus1d_18")
    with torch.no_grad():
        network[1].running_mean.uniform_(-0.3, 0.3)
        network[5].weight.mul_(9)
    return network.eval()


@pytest.fixture(name="server")
def server_fixture(network: torch.nn.Module) -> Iterator[Server]:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    with serving(file.getvalue()) as server:
        yield server


def published(server: Server, sha256: str = "") -> CatalogueEntry:
    """The catalogue's r2plus1d_18, published by `server`."""
    entry = Catalogue.load().find("r2plus1d_18")
    assert entry.archive is not None
    digits = sha256 or hashlib.sha256(server.content).hexdigest()[:8]
    return replace(entry, archive=replace(entry.archive, url=f"{server.url}/{entry.archive.file}", sha256=digits))


def expected(network: torch.nn.Module, frames: NDArray[np.uint8]) -> NDArray[Any]:
    colors = (torch.from_numpy(frames).double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        logits = network(colors.float().permute(3, 0, 1, 2)[None])
    return np.asarray(logits.softmax(1)[0].numpy())


def test_converted_weights_give_the_scores_of_pytorch(server: Server, network: torch.nn.Module, networks: Path) -> None:
    monitor = Recorder()
    folder = fetch(published(server), monitor)
    assert folder == networks / "r2plus1d_18"
    assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "model.onnx", "network.yaml"]
    assert monitor.said[-1] == "converting r2plus1d_18 with PyTorch"
    frames = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), np.uint8)
    frames[..., 0] //= 3
    with ActionNet("r2plus1d-18", backend="openvino", precision="fp32", skip_frames=0) as net:
        assert net.labels == models.CATEGORIES
        for frame in frames:
            prediction = net.classify(frame)
    assert prediction is not None
    wanted = expected(network, frames)
    assert np.ptp(wanted) > 0.1
    assert np.abs(prediction.scores - wanted).max() < 1e-5


def test_another_file_than_the_one_of_the_catalogue_is_refused(server: Server, networks: Path) -> None:
    with pytest.raises(
        NetworkError, match=r"is not the r2plus1d_18-91a641e6\.pth of the catalogue: .*, not 91a641e6\.\.\."
    ):
        fetch(published(server, "91a641e6"))
    assert not (networks / "r2plus1d_18").exists()


def test_the_whole_checksum_of_the_first_download_counts_ever_after(server: Server) -> None:
    entry = published(server)
    fetch(entry)
    assert entry.archive is not None
    pin = pin_of(entry.archive)
    pin.write_text(pin.read_text().replace(pin.read_text()[8:64], "0" * 56))
    with pytest.raises(NetworkError, match=r"is not the .* that came first"):
        fetch(entry, again=True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"0.weight": torch.zeros(1)}, "Missing key"),
        ({"0.weight": Path("/")}, "[Ww]eights.only"),
    ],
)
def test_a_file_with_something_else_is_refused_and_leaves_nothing(
    content: Any, why: str, server: Server, networks: Path
) -> None:
    file = io.BytesIO()
    torch.save(content, file)
    server.content = file.getvalue()
    with pytest.raises(NetworkError, match=rf"PyTorch cannot convert R2Plus1D_18_Weights.KINETICS400_V1: .*{why}"):
        fetch(published(server))
    assert not (networks / "r2plus1d_18").exists()


def test_without_torchvision_nothing_is_downloaded_and_the_message_says_what_to_type(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(NetworkError) as caught:
        fetch(published(server))
    message = str(caught.value)
    for part in ("needs torchvision.", "`pip install torch torchvision`", "`actionnet-networks fetch r2plus1d_18`"):
        assert part in message
    assert not server.requests
