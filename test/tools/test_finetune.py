"""Fine-tuning, from video files of three real clips to a network that tells what it has not seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ros2_actionnet import ActionNet
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from support import torch_networks
from support.clips import library_clip, read_clip
from tools.custom_networks import clips, finetune

SOURCES = {"cartoon": "bigbuckbunny.mp4", "street scene": "bikes.mp4", "talking": "carphone_pristine.mp4"}
RATE = 25.0
pytestmark = pytest.mark.slow

TINY = ("--width", "8", "--size", "48", "--frames", "8", "--device", "cpu")

Frame = NDArray[np.uint8]


def write_clip(path: Path, frames: list[Frame]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (160, 90))
    for frame in frames:
        video.write(cv2.resize(frame, (160, 90), interpolation=cv2.INTER_AREA))
    video.release()


@dataclass(frozen=True)
class Material:
    """Four clips of each class from the first two thirds of a film, and the last third in one, which nobody learns."""

    clips: Path
    unseen: dict[str, list[Frame]]


@pytest.fixture(name="material", scope="module")
def material_fixture(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    unseen = {}
    for label, name in SOURCES.items():
        film = library_clip(name)
        border = 2 * len(film) // 3
        for number in range(4):
            part = film[border * number // 4 : border * (number + 1) // 4]
            write_clip(folder / "clips" / label / f"{number}.mp4", part)
        write_clip(folder / f"{label}.mp4", film[border:])
        unseen[label] = read_clip(folder / f"{label}.mp4")
    return Material(folder / "clips", unseen)


@pytest.fixture(name="network", scope="module")
def network_fixture(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network folder, from random weights in a few seconds."""
    folder = tmp_path_factory.mktemp("network")
    assert finetune.main([str(material.clips), str(folder), *TINY, "--epochs", "10", "--mirror"]) == 0
    return folder


def answers(network: Path, frames: list[Frame], **settings: Any) -> list[str]:
    """What the network in a folder takes each window of a film for."""
    found = []
    with ActionNet(model=str(network), precision="fp32", sample_rate=15.0, **settings) as net:
        for index, frame in enumerate(frames):
            prediction = net.classify(frame, encoding="bgr8", stamp=index / RATE)
            if prediction is not None and prediction.frame == index:
                found.append(prediction.label)
    return found


def test_what_it_has_not_seen_is_told_apart(material: Material, network: Path) -> None:
    right = {label: np.mean([a == label for a in answers(network, film)]) for label, film in material.unseen.items()}
    assert np.mean(list(right.values())) > 0.85, right  # by chance: 0.33
    assert min(right.values()) > 0.6, right


def test_the_folder_is_a_network(network: Path) -> None:
    prepared = prepare(resolve(NetworkRequest(model=str(network))))
    assert prepared.labels == tuple(SOURCES)
    assert (prepared.frames, prepared.height, prepared.width, prepared.spec.layout) == (8, 48, 48, "NCTHW")
    assert prepared.spec.mean == (0.4345, 0.4051, 0.3775)
    assert prepared.spec.sha256
    description = (network / "network.yaml").read_text()
    assert "learned from 9 clips" in description
    assert "3 of 3 validation clips right" in description
    assert "sample_rate 15" in description


def test_its_last_layer_learns_other_classes(
    material: Material, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same network with two classes, checked with a folder; all but the last layer stays to the bit."""
    two = tmp_path / "two"
    two.mkdir()
    for new, old in (("drawn", "cartoon"), ("filmed", "talking")):
        (two / new).symlink_to(material.clips / old)
    weights = network / "weights.pth"
    options = (
        "--weights",
        str(weights),
        "--head-only",
        "--validation-clips",
        str(two),
        "--epochs",
        "6",
        "--rate",
        "0.02",
    )
    assert finetune.main([str(two), str(tmp_path / "net"), *TINY, *options]) == 0
    before, after = (torch.load(path, weights_only=True) for path in (weights, tmp_path / "net" / "weights.pth"))
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"fc.weight", "fc.bias"}
    said = capsys.readouterr().out
    assert "8 clips to learn from, 8 to check with" in said
    assert "8 of 8 validation clips right" in said
    assert f"model:={(tmp_path / 'net').resolve()} sample_rate:=15" in said
    assert set(answers(tmp_path / "net", material.unseen["talking"])) == {"filmed"}


def test_a_window_is_what_the_nodes_sample_rate_takes(material: Material, tmp_path: Path) -> None:
    (clip, *_) = clips.read_clips(material.clips, list(SOURCES), 48, tmp_path)
    assert (clip.path, clip.label, clip.rate) == (material.clips / "cartoon" / "0.mp4", 0, RATE)
    frames = read_clip(clip.path)
    for thumbnail, small in zip(
        clip.frames, torch_networks.resized([frame[..., ::-1] for frame in frames], 48), strict=True
    ):
        assert np.abs(thumbnail.astype(int) - small).mean() < 3, "RGB, antialiased"
    taken = []
    with ActionNet("camera_motion", sample_rate=10.0, warmup="repeat") as net:
        for index, frame in enumerate(frames):
            prediction = net.classify(frame, encoding="bgr8", stamp=index / RATE)
            if prediction is not None and prediction.frame == index:
                taken.append(index)
    window = clip.window(0.0, 8, 10.0)
    for image, index in zip(window, taken, strict=False):
        shades = [float(np.abs(image.astype(int) - other).mean()) for other in clip.frames]
        assert abs(int(np.argmin(shades)) - index) <= 1
    assert len(clip.window(0.0, 64, 10.0)) == 64, "a clip that is too short is looped"
    assert np.array_equal(clip.window(0.0, 23, RATE)[22], clip.frames[0])
    assert clip.latest_start(8, RATE) == pytest.approx((len(frames) - 8) / RATE)


def test_each_class_is_learned_from_and_checked_with() -> None:
    empty = np.zeros((1, 1, 1, 3), np.uint8)
    many = [
        clips.Clip(Path(f"{label}/{i}"), label, empty, 1.0) for label, n in ((0, 10), (1, 2), (2, 5)) for i in range(n)
    ]
    training, validation = clips.split(many, 0.2, seed=1)
    assert sorted(clip.path for clip in (*training, *validation)) == sorted(clip.path for clip in many)
    assert [[c.label for c in part].count(label) for part in (training, validation) for label in range(3)] == [
        8, 1, 4, 2, 1, 1,
    ]  # fmt: skip
    assert clips.split(many, 0.2, seed=1) == (training, validation)
    assert clips.split(many, 0.2, seed=2) != (training, validation)


class TestRefusals:
    @pytest.fixture(name="few")
    def few_fixture(self, material: Material, tmp_path: Path) -> Path:
        for label in ("a", "b"):
            (tmp_path / "few" / label).mkdir(parents=True)
            for number in range(2):
                (tmp_path / "few" / label / f"{number}.MP4").symlink_to(material.clips / "talking" / f"{number}.mp4")
        return tmp_path / "few"

    def refusal(self, few: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
        assert finetune.main([str(few), str(few.parent / "net"), *TINY, "--epochs", "1", *options]) == 1
        assert not (few.parent / "net").exists()
        return capsys.readouterr().err

    def test_one_class(self, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (few / "b").rename(few / ".b")
        assert "has 1 folders; it needs one for each class" in self.refusal(few, capsys)

    def test_one_clip(self, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (few / "b" / "0.MP4").unlink()
        assert "b has one clip; it needs two, to learn from" in self.refusal(few, capsys)

    def test_no_clip_that_can_be_read(self, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(2):
            (few / "b" / f"{number}.MP4").unlink()
            (few / "b" / f"{number}.mp4").write_bytes(b"no video")
        said = self.refusal(few, capsys)
        assert f"left out, as no frame of it can be read: {few / 'b' / '0.mp4'}" in said
        assert f"{few / 'b'} has no clip that can be read" in said

    def test_weights_of_another_network(self, few: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.refusal(few, capsys, "--weights", str(network / "weights.pth"), "--architecture", "mc3_18")
        assert "is not of this architecture" in said
