"""Networks from PyTorch through our whole path: each gives the scores that PyTorch gives, on real frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from ros2_actionnet import ActionNet, ActionNetError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from support.torch_networks import enliven, network_input, resized, rgb
from tools.custom_networks import export, network_folder, video_resnet
from tools.custom_networks.architectures import ARCHITECTURES, Window, load_weights
from tools.custom_networks.network_folder import Input, write_network

FRAMES, SIZE = 8, 32
LABELS = ("walk", "run", "ride", "jump", "fall")
# Of a score; measured: 2e-7 (video_transformer) to 4e-5 (resnet3d_34). The deepest is off by 3e-4, as is PyTorch itself
# from its own float64: so many random layers amplify what is rounded.
CLOSE, CLOSE_IN_DEPTH = 1e-4, 1e-3

Frame = NDArray[np.uint8]
Make = Callable[[str], Any]


def taken_by(name: str) -> Input:
    architecture = ARCHITECTURES[name]
    return Input(FRAMES, SIZE, SIZE, architecture.mean, architecture.std, architecture.layout)


@pytest.fixture(name="windows", scope="module")
def windows_fixture() -> list[list[Frame]]:
    """Windows of real frames in the network's size."""
    places = [
        ("bikes.mp4", 0),
        ("bikes.mp4", 60),
        ("bikes.mp4", 120),
        ("bigbuckbunny.mp4", 0),
        ("bigbuckbunny.mp4", 90),
    ]
    return [resized(rgb(name, first, FRAMES), SIZE) for name, first in (*places, ("carphone_pristine.mp4", 0))]


@pytest.fixture(name="make", scope="module")
def make_fixture(windows: list[list[Frame]]) -> Make:
    """A network of a kind, narrow, with random weights that give scores which differ."""

    def make(name: str) -> Any:
        torch.manual_seed(0)
        architecture = ARCHITECTURES[name]
        width = 64 if name == "video_transformer" else 8
        network = architecture.build(len(LABELS), width, Window(FRAMES, SIZE))
        return enliven(network, torch.cat([as_input(name, window) for window in windows]))

    return make


def as_input(name: str, window: list[Frame]) -> Any:
    architecture = ARCHITECTURES[name]
    return network_input(window, architecture.mean, architecture.std, architecture.layout)


def pytorch_scores(name: str, network: Any, window: list[Frame]) -> NDArray[np.float32]:
    with torch.no_grad():
        scores = network(as_input(name, window)).double().exp()[0]
    return np.asarray(scores / scores.sum(), np.float32)


def our_scores(folder: Path, frames: list[Frame], **settings: Any) -> NDArray[np.float32]:
    with ActionNet(model=str(folder), precision="fp32", backend="openvino", skip_frames=0, **settings) as net:
        for frame in frames:
            prediction = net.classify(frame)
    assert prediction is not None
    return prediction.scores


OLDER = [(name, False) for name in ARCHITECTURES]
NEWER = [(name, True) for name in ("resnet3d_18", "video_transformer")]


@pytest.mark.parametrize(("name", "dynamo"), OLDER + NEWER)
def test_a_network_gives_what_it_gives_in_pytorch(
    name: str, dynamo: bool, make: Make, windows: list[list[Frame]], tmp_path: Path
) -> None:
    network = make(name)
    off = write_network(tmp_path, network, taken_by(name), LABELS, dynamo=dynamo)
    close = CLOSE_IN_DEPTH if name == "resnet3d_50" else CLOSE
    assert off < close
    expected = np.stack([pytorch_scores(name, network, window) for window in windows])
    assert np.ptp(expected, axis=0).max() > 0.1, "scores that are always the same show nothing"
    for window, scores in zip(windows, expected, strict=True):
        assert np.abs(our_scores(tmp_path, window) - scores).max() < close

    prepared = prepare(resolve(NetworkRequest(model=str(tmp_path))))
    assert (prepared.labels, prepared.frames, prepared.height, prepared.max_batch) == (LABELS, FRAMES, SIZE, None)
    session = onnxruntime.InferenceSession(prepared.model, providers=["CPUExecutionProvider"])
    (batch,) = session.run(None, {"frames": np.stack(windows)})
    assert np.abs(batch - expected).max() < close


def test_the_middle_that_torchvision_cuts_out_is_a_roi(make: Make, tmp_path: Path) -> None:
    """Frames of 171x128, of which torchvision takes the middle 112x112: nothing is resampled."""
    network, size, (mean, std) = make("r3d_18"), 112, (video_resnet.MEAN, video_resnet.STD)
    write_network(tmp_path, network, Input(FRAMES, size, size, mean, std), LABELS)
    frames = [frame[:128, :171] for frame in rgb("bikes.mp4", 60, FRAMES)]
    with torch.no_grad():
        window = network_input([frame[8:120, 30:142] for frame in frames], mean, std, "NCTHW")
        expected = network(window).softmax(1)[0].numpy()
    assert np.abs(our_scores(tmp_path, frames, roi=[0.173, 0.0625, 0.655, 0.875]) - expected).max() < CLOSE


def test_published_sizes() -> None:
    """As torchvision states them of its own for 400 classes; 3D-ResNet-18 has 33.7 million with 1040."""

    def count(name: str, classes: int) -> int:
        network = ARCHITECTURES[name].build(classes, ARCHITECTURES[name].width, Window())
        return sum(parameter.numel() for parameter in network.parameters())

    assert [count(name, 400) for name in ("r3d_18", "mc3_18", "r2plus1d_18")] == [33371472, 11695440, 31505325]
    assert round(count("resnet3d_18", 1040) / 1e6, 1) == 33.7


def test_an_export_that_changes_the_network_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, other, write = make("resnet3d_18"), make("resnet3d_18"), network_folder.export
    other.layer3[0].downsample[0].weight.data *= 1.05
    monkeypatch.setattr(network_folder, "export", lambda given, *rest, **options: write(other, *rest, **options))
    with pytest.raises(ActionNetError, match=r"off by .* at most 0.001"):
        write_network(tmp_path, network, taken_by("resnet3d_18"), LABELS)


class TestWeights:
    """`custom_networks.export`, from files as they are published."""

    @pytest.fixture(name="network")
    def network_fixture(self, make: Make) -> Any:
        return make("resnet3d_18")

    @pytest.fixture(name="labels")
    def labels_fixture(self, tmp_path: Path) -> Path:
        path = tmp_path / "labels.txt"
        path.write_text("\n".join(LABELS))
        return path

    def run(self, tmp_path: Path, weights: Any, labels: Path, *options: str, name: str = "resnet3d_18") -> int:
        torch.save(weights, tmp_path / "weights.pth")
        files = [name, str(tmp_path / "net"), "--weights", str(tmp_path / "weights.pth"), "--labels", str(labels)]
        return export.main([*files, "--width", "8", "--frames", str(FRAMES), "--size", str(SIZE), *options])

    def test_those_of_3d_resnets_from_several_gpus(
        self, network: Any, labels: Path, windows: list[list[Frame]], tmp_path: Path
    ) -> None:
        state = {f"module.{key}": value for key, value in network.state_dict().items()}
        assert self.run(tmp_path, {"epoch": 200, "arch": "resnet-18", "state_dict": state}, labels) == 0
        expected = pytorch_scores("resnet3d_18", network, windows[0])
        assert np.abs(our_scores(tmp_path / "net", windows[0]) - expected).max() < CLOSE
        assert "source: resnet3d_18, weights.pth" in (tmp_path / "net" / "network.yaml").read_text()

    def test_mean_and_std_of_ones_own(
        self, network: Any, labels: Path, windows: list[list[Frame]], tmp_path: Path
    ) -> None:
        colors = ("--mean", "0.5", "0.4", "0.3", "--std", "1", "1", "0.5", "--license", "MIT")
        assert self.run(tmp_path, network.state_dict(), labels, *colors) == 0
        with torch.no_grad():
            expected = network(network_input(windows[0], (0.5, 0.4, 0.3), (1, 1, 0.5), "NCTHW")).softmax(1)[0].numpy()
        assert np.abs(our_scores(tmp_path / "net", windows[0]) - expected).max() < CLOSE

    def test_opset_of_either_exporter(self, network: Any, labels: Path, tmp_path: Path) -> None:
        assert self.run(tmp_path, network.state_dict(), labels) == 0
        model = onnx.load_model(str(tmp_path / "net" / "model.onnx"))
        assert model.opset_import[0].version == 17, "the newest that TensorRT 8.5 reads"
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param

    def test_of_another_architecture(
        self, network: Any, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, network.state_dict(), labels, name="r3d_18") == 1
        assert "is not of this architecture: it lacks ['layer1" in capsys.readouterr().err

    def test_of_other_classes(
        self, network: Any, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        labels.write_text("one\ntwo\n")
        assert self.run(tmp_path, network.state_dict(), labels) == 1
        assert "fc.weight is [5, 64] there, [2, 64] in this network" in capsys.readouterr().err

    def test_a_file_that_would_run_code(
        self, network: Any, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, network, labels) == 1
        assert "holds more than weights" in capsys.readouterr().err

    @pytest.mark.parametrize(("classes", "keeps"), [(3, False), (len(LABELS), True)])
    def test_a_last_layer_of_other_classes_can_be_left_out(
        self, network: Any, tmp_path: Path, classes: int, keeps: bool
    ) -> None:
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        other = ARCHITECTURES["resnet3d_18"].build(classes, 8, Window())
        head = (network if keeps else other).fc.weight.clone()
        load_weights(other, tmp_path / "weights.pth", other_classes=True)
        assert torch.equal(other.fc.weight, head)
        assert torch.equal(other.layer4[1].conv2.weight, network.layer4[1].conv2.weight)
        assert torch.equal(other.bn1.running_var, network.bn1.running_var)
