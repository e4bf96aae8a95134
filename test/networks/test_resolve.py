from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from ros2_actionnet.errors import NetworkError, NetworkNotFetched
from ros2_actionnet.networks import ACTIONNET_MEAN, ACTIONNET_STD, Catalogue, NetworkRequest, prepare, resolve
from support.openvino_ir import save_ir

Build = Callable[..., ModelProto]
Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def networks_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, empty."""
    folder = tmp_path_factory.mktemp("networks")
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(folder))
    return folder


def custom(path: Path, **request: str) -> NetworkRequest:
    return NetworkRequest(model=str(path), **request)


def test_a_bare_onnx_file(conv3d: Build, save: Save) -> None:
    path = save(conv3d())
    spec = resolve(custom(path))
    assert (spec.name, spec.model, spec.labels) == ("net", path, None)
    assert (spec.frames, spec.height, spec.width, spec.layout) == (None, None, None, None)
    assert (spec.mean, spec.std) == (ACTIONNET_MEAN, ACTIONNET_STD)
    assert hash(spec) == hash(resolve(custom(path)))


def test_a_labels_file_beside_the_model_is_used_unless_another_is_named(
    conv3d: Build, save: Save, tmp_path: Path
) -> None:
    path = save(conv3d(), labels="a\n")
    assert resolve(custom(path)).labels == tmp_path / "labels.txt"
    other = tmp_path / "other.txt"
    other.write_text("b\n")
    assert resolve(custom(path, labels=str(other))).labels == other


def test_a_path_as_network_and_a_name_as_model_are_what_they_are(
    conv3d: Build, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(conv3d(), yaml="frames: 8")
    meant = resolve(custom(path))
    assert resolve(NetworkRequest(network=str(path))) == meant
    assert resolve(NetworkRequest(network=str(tmp_path / "network.yaml"), model=str(path))) == meant
    assert resolve(NetworkRequest(model="Camera-Motion")) == resolve(NetworkRequest("camera_motion"))
    monkeypatch.chdir(tmp_path)
    assert resolve(NetworkRequest(network="net.onnx")).frames == 8
    (tmp_path / "camera_motion").mkdir()
    assert resolve(NetworkRequest(network="camera_motion")).name == "camera_motion", "a name of the catalogue first"
    with pytest.raises(NetworkError, match=r"the model nowhere/net.onnx does not exist"):
        resolve(NetworkRequest(network="nowhere/net.onnx"))
    with pytest.raises(NetworkError, match="the model resnet81 does not exist"):
        resolve(NetworkRequest(model="resnet81"))
    save(conv3d(), name="model.onnx")
    assert resolve(NetworkRequest(network=str(tmp_path / "network.yaml"))).model == tmp_path / "model.onnx"


YAML = """
name: turns
frames: 8
height: 64
width: 48
layout: NTCHW
mean: [0.1, 0.2, 0.3]
std: [0.5, 0.25, 1]
input_blob: "0"
output_blob: "198"
labels: names.txt
source: made up
accuracy: 0.97
"""


def test_a_network_folder(conv3d: Build, save: Save, tmp_path: Path) -> None:
    save(conv3d(), name="model.onnx", yaml=YAML)
    (tmp_path / "names.txt").write_text("a\n")
    spec = resolve(custom(tmp_path))
    assert (spec.name, spec.model, spec.labels) == ("turns", tmp_path / "model.onnx", tmp_path / "names.txt")
    assert (spec.frames, spec.height, spec.width, spec.layout) == (8, 64, 48, "NTCHW")
    assert (spec.mean, spec.std) == ((0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    assert (spec.input_blob, spec.output_blob) == ("0", "198")
    asked = resolve(custom(tmp_path, input_blob="x", output_blob="y"))
    assert (asked.input_blob, asked.output_blob) == ("x", "y")


def test_a_file_beside_a_network_yaml_takes_it_only_if_it_is_meant(conv3d: Build, save: Save) -> None:
    path = save(conv3d(), yaml="frames: 8")
    assert (resolve(custom(path)).name, resolve(custom(path)).frames) == ("net", 8)
    save(conv3d(), name="model.onnx")  # now the network.yaml is about this one
    assert resolve(custom(path)).frames is None
    assert resolve(custom(path.parent)).frames == 8
    save(conv3d(), yaml="frames: 8\nmodel: net.onnx")
    assert resolve(custom(path)).frames == 8


def test_the_labels_of_a_downloaded_network_may_be_one_off(
    conv3d: Build, save: Save, tmp_path: Path, networks_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Catalogue.load().find("resnet18")
    (networks_folder / entry.folder).mkdir()
    onnx.save(conv3d(), str(networks_folder / entry.folder / "model.onnx"))
    labels = networks_folder / entry.folder / "labels.txt"
    labels.write_text("a\nb\nc\nd")  # of 5
    request = NetworkRequest("resnet18", input_blob="video", output_blob="out")
    assert prepare(resolve(request)).labels == ("a", "b", "c", "d", "class 4")
    assert "has 4 labels but network resnet-18 has 5 classes: the last ones are called 'class N'" in caplog.text
    for own in (replace(request, labels=str(labels)), replace(request, model=str(labels.parent))):
        with pytest.raises(NetworkError, match=r"has 4 labels but network .* has 5 classes"):
            prepare(resolve(own))


def test_a_network_that_ends_in_a_sigmoid_is_multi_label(conv3d: Build, save: Save) -> None:
    for ending, is_multi_label in (("sigmoid", True), ("softmax", False), ("logits", False)):
        path = save(conv3d(ending), labels="a\nb\na\nc\nd")
        network = prepare(resolve(custom(path)))
        assert network.shared_labels is not None
        assert network.shared_labels.is_multi_label is is_multi_label


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"has neither a network.yaml nor a model.onnx"):
        resolve(custom(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("frames: 0", "frames is 0; it must be a whole number above 0"),
        ("frames: many", "frames is 'many'; it must be a whole number"),
        ("frames: true", "frames is True; it must be a whole number"),
        ("layout: THWC", "layout is 'THWC'; it must be one of NCTHW, NTCHW"),
        ("mean: 0.5", "mean is 0.5; it must be three numbers"),
        ("mean: [a, b, c]", r"mean is \['a', 'b', 'c'\]; it must be three numbers"),
        ("std: [1, 0, 1]", r"std is \[1, 0, 1\]; every number must be above 0"),
        ("sha256: 12ab", "sha256 is '12ab'; it must be 64 hexadecimal digits, in quotes"),
        (f"sha256: {'0' * 64}", "sha256 is 0; it must be 64 hexadecimal digits, in quotes"),
        ("frame: 16", "'frame' is not a known key; did you mean 'frames'"),
        ("[1, 2]", "must hold `key: value` lines; it holds a list"),
        ("a: [", "network.yaml cannot be read"),
        ("model: gone.onnx", "gone.onnx does not exist"),
        ("labels: gone.txt", "gone.txt does not exist; set `labels`"),
    ],
)
def test_what_a_network_yaml_must_not_say(line: str, message: str, conv3d: Build, save: Save, tmp_path: Path) -> None:
    save(conv3d(), name="model.onnx", yaml=line)
    with pytest.raises(NetworkError, match=message):
        resolve(custom(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.pt", b"\x08\x08", r"net.pt is not an .onnx file, nor an .xml of OpenVINO's IR; export"),
        ("net.engine", b"ftrt", r"is an engine of TensorRT.*actionnet-engine build --model net.onnx"),
        (
            "net.plan",
            b"ftrt",
            r"is an engine .*network.yaml beside it states frames, height, width, labels$",
        ),
        ("net.xml", b"", r"net.xml is empty"),
        ("net.xml", b"\x08\x08", r"net.xml is not in OpenVINO's IR \(it begins with b'"),
        ("net.xml", b"\xef\xbb\xbf<?xml version='1.0'?>", r"there is no net.bin beside it; copy or download both"),
        ("net.onnx", b"", r"net.onnx is empty"),
        ("net.onnx", b"<!DOCTYPE html>", r"net.onnx is not an ONNX file \(it begins with b'<!DOCTYP'\)"),
        ("net.onnx", b"version https://git-lfs.github.com/spec/v1\n", r"Git LFS pointer.*git lfs pull"),
    ],
)
def test_what_is_plainly_not_onnx(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NetworkError, match=message):
        resolve(custom(tmp_path / name))


def test_the_weights_of_an_ir_are_not_its_model(tmp_path: Path) -> None:
    model = save_ir(tmp_path, name="net")
    with pytest.raises(NetworkError, match=r"net\.bin has only weights; set `model` to .*net\.xml"):
        resolve(custom(model.with_suffix(".bin")))


def test_a_folder_with_an_ir(conv3d: Build, save: Save, tmp_path: Path) -> None:
    model = save_ir(tmp_path, yaml="frames: 4")
    assert (resolve(custom(tmp_path)).model, resolve(custom(tmp_path)).frames) == (model, 4)
    assert resolve(custom(model)).frames == 4
    save(conv3d(), name="model.onnx")  # now the network.yaml is about this one
    assert resolve(custom(tmp_path)).model == tmp_path / "model.onnx"
    assert resolve(custom(model)).frames is None
    (tmp_path / "network.yaml").write_text("model: model.xml\nframes: 4\n")
    assert (resolve(custom(tmp_path)).model, resolve(custom(tmp_path)).frames) == (model, 4)


def test_missing_files(conv3d: Build, save: Save, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no.onnx does not exist; set `model`"):
        resolve(custom(tmp_path / "no.onnx"))
    with pytest.raises(NetworkError, match=r"no.txt does not exist; set `labels`"):
        resolve(custom(save(conv3d()), labels=str(tmp_path / "no.txt")))
    (tmp_path / "labels.txt").write_text("")
    with pytest.raises(NetworkError, match=r"labels.txt is empty; it needs one label a line"):
        resolve(custom(save(conv3d())))


def test_a_network_that_is_not_here_yet(networks_folder: Path) -> None:
    with pytest.raises(NetworkNotFetched) as caught:
        resolve(NetworkRequest(network="resnet18"))
    for part in (
        "network resnet-18 is not on this machine",
        str(networks_folder / "resnet-18"),
        "`actionnet-networks fetch resnet-18` downloads it",
    ):
        assert part in str(caught.value)


def test_labels_that_are_missing_are_told_of_before_a_network_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no.txt does not exist; set `labels`") as caught:
        resolve(NetworkRequest(network="resnet18", labels=str(tmp_path / "no.txt")))
    assert not isinstance(caught.value, NetworkNotFetched)


def test_a_network_of_the_users_own_has_the_name_of_its_folder(
    conv3d: Build, save: Save, networks_folder: Path
) -> None:
    folder = networks_folder / "turns"
    folder.mkdir()
    save(conv3d(), name="m.onnx").rename(folder / "turns.onnx")
    (folder / "network.yaml").write_text("model: turns.onnx\nframes: 4\n")
    spec = resolve(NetworkRequest(network="Turns"))
    assert (spec.name, spec.model, spec.labels, spec.frames) == ("turns", folder / "turns.onnx", None, 4)
    (folder / "labels.txt").write_text("a\n")
    assert resolve(NetworkRequest(network="turns")).labels == folder / "labels.txt"


@pytest.mark.parametrize("file", ["resnet-18-kinetics-moments.onnx", "model.onnx"])
def test_a_network_of_the_catalogue_from_the_users_folder(
    file: str, conv3d: Build, save: Save, networks_folder: Path
) -> None:
    folder = networks_folder / "resnet-18"
    folder.mkdir()
    save(conv3d(), name="m.onnx").rename(folder / file)
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    spec = resolve(NetworkRequest(network="ResNet_18"))
    assert (spec.name, spec.model, spec.labels) == ("resnet-18", folder / file, folder / "labels.txt")
    assert (spec.input_blob, spec.output_blob) == ("0", "198")
    (folder / "network.yaml").write_text(f"model: {file}\ninput_blob: video\noutput_blob: out\n")
    network = prepare(resolve(NetworkRequest(network="resnet18")))
    assert (network.name, network.labels[1]) == ("resnet-18", "b")


def test_a_model_of_jetson_inference_given_by_path(conv3d: Build, save: Save) -> None:
    model = conv3d(input_name="0")
    model.graph.node[-1].output[0] = model.graph.output[0].name = "198"
    spec = prepare(resolve(custom(save(model, name="resnet-18-kinetics-moments.onnx", labels="a\nb\nc\nd\ne\n")))).spec
    assert (spec.name, spec.input_blob, spec.output_blob) == ("resnet-18-kinetics-moments", "0", "198")


def test_the_home_folder_is_understood(
    conv3d: Build, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(conv3d(), labels="a\n")
    spec = resolve(NetworkRequest(model="~/net.onnx", labels="~/labels.txt"))
    assert (spec.model, spec.labels) == (tmp_path / "net.onnx", tmp_path / "labels.txt")


def test_it_takes_milliseconds(conv3d: Build, save: Save, tmp_path: Path) -> None:
    save(conv3d(), name="model.onnx", yaml="frames: 4")
    catalogue = Catalogue.load()
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        resolve(custom(tmp_path), catalogue)
        best = min(best, time.perf_counter() - start)
    assert best < 0.005
