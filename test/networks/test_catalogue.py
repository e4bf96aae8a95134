from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import Catalogue
from ros2_actionnet.networks.catalogue import network_folders


@pytest.fixture(autouse=True, name="networks")
def networks_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, empty."""
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(tmp_path / "networks"))
    return tmp_path / "networks"


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.load()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("resnet-18", "resnet-18"),
        ("resnet_18", "resnet-18"),
        ("resnet18", "resnet-18"),
        ("resnet18-kinetics", "resnet-18"),
        ("ResNet-34", "resnet-34"),
        ("resnet34", "resnet-34"),
        (" resnet34-kinetics ", "resnet-34"),
        ("camera_motion", "camera_motion"),
        ("camera-motion", "camera_motion"),
    ],
)
def test_names_and_aliases(asked: str, found: str, catalogue: Catalogue) -> None:
    assert catalogue.find(asked).name == found


def test_the_facts_about_actionnets_networks(catalogue: Catalogue) -> None:
    assert catalogue.names == ("resnet-18", "resnet-34", "r3d_18", "mc3_18", "r2plus1d_18", "camera_motion")
    blobs = {entry.name: (entry.input_blob, entry.output_blob) for entry in catalogue if entry.input_blob}
    assert blobs == {"resnet-18": ("0", "198"), "resnet-34": ("0", "350")}
    archive = catalogue.find("resnet34").archive
    assert archive is not None
    assert (archive.file, archive.sha256) == ("Action-ResNet34.tar.gz", "")
    assert archive.url.startswith("https://nvidia.box.com/")


def test_the_weights_of_torchvision_have_the_digits_of_their_file_name(catalogue: Catalogue) -> None:
    found = {}
    for name in ("r3d_18", "mc3_18", "r2plus1d_18"):
        archive = catalogue.find(name.replace("_18", "-18")).archive
        assert archive is not None
        assert archive.url == f"https://download.pytorch.org/models/{archive.file}"
        assert archive.file == f"{name}-{archive.sha256}.pth"
        found[name] = archive.torchvision.partition(".")
    weights = {"r3d_18": "R3D_18_Weights", "mc3_18": "MC3_18_Weights", "r2plus1d_18": "R2Plus1D_18_Weights"}
    assert found == {name: (weights[name], ".", "KINETICS400_V1") for name in found}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "resnet81",
            r"no network is called 'resnet81'. Did you mean 'resnet18'\? Known networks: resnet-18 \(resnet_18, ",
        ),
        ("camera", r"no network is called 'camera'.*camera_motion"),
        ("zebra", r"no network is called 'zebra'. Known networks"),
        ("", r"no network is called ''"),
        ("my/net.onnx", r"set `model` to its path"),
    ],
)
def test_unknown_names(asked: str, message: str, catalogue: Catalogue) -> None:
    with pytest.raises(NetworkError, match=message):
        catalogue.find(asked)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("networks: {a: {aliases: [b]}, b: {}}", "uses the name 'b' twice"),
        ("networks: {a: {color: red}}", "cannot be read: .*color"),
        ("nothing: 1", "cannot be read: 'networks'"),
        ("- a", "cannot be read"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_malformed_catalogue(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "networks.yaml").write_text(content)
    with pytest.raises(NetworkError, match=message):
        Catalogue.load(tmp_path / "networks.yaml")


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ACTIONNET_NETWORKS", raising=False)
    assert network_folders()[-1] == tmp_path / ".cache/ros2_actionnet/networks"
    monkeypatch.setenv("ACTIONNET_NETWORKS", "~/nets")
    assert network_folders()[-1] == tmp_path / "nets"


def test_networks_of_the_users_own(networks: Path) -> None:
    known = Catalogue.load().names
    assert known[-1] == "camera_motion", "there need be no folder"
    for name in ("turns", "Walks", ".turns.new", "resnet-18", "resnet18", "Camera-Motion"):
        (networks / name).mkdir(parents=True)
        (networks / name / "network.yaml").write_text("frames: 8\n")
    (networks / "no network").mkdir()
    (networks / "network.yaml").write_text("")
    catalogue = Catalogue.load()
    assert catalogue.names == (*known, "Walks", "turns")
    assert [entry.own for entry in catalogue] == [False] * len(known) + [True] * 2
    assert catalogue.find("walks").folder == "Walks"
    assert catalogue.find("resnet18").name == "resnet-18", "a folder cannot take a name away"
    with pytest.raises(NetworkError, match=r"Did you mean 'turns'\?.*; Walks; turns"):
        catalogue.find("turn")
