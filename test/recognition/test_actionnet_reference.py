"""Ours beside actionNet's arithmetic, with the same network on the same real frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ros2_actionnet import ActionNet
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.images.thumbnails import Preprocessor
from ros2_actionnet.system.resources import shared_folder
from support.actionnet_reference import MEAN, ActionNetReference, point_sampled
from support.clips import library_clip

FRAMES, SIZE, CLASSES = 16, 112, 12
FIRST_WHOLE = 2 * FRAMES - 1  # taken frames until actionNet's window holds the newest 16 of them
PAGE = Path(__file__).absolute().parents[2] / "docs" / "actionnet.md"

Frame = NDArray[np.uint8]


@pytest.fixture(name="camera_motion", scope="module")
def camera_motion_fixture() -> Path:
    return shared_folder("networks") / "camera_motion"


@pytest.fixture(name="resnet", scope="module")
def resnet_fixture(bikes: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow 3D-ResNet-18 with random weights, exported as jetson-inference's are: one window, mean, a std of 1."""
    torch = pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
    from support.torch_networks import enliven, network_input
    from tools.custom_networks.resnet3d import ResNet3D

    torch.manual_seed(0)
    windows = [network_input(bikes[first : first + 2 * FRAMES : 2], MEAN, (1, 1, 1), "NCTHW") for first in (0, 90, 180)]
    network = enliven(ResNet3D(18, CLASSES, width=4), torch.cat(windows))
    folder = tmp_path_factory.mktemp("resnet")
    torch.onnx.export(
        network, (windows[0],), str(folder / "model.onnx"), input_names=["frames"], opset_version=13, dynamo=False
    )
    (folder / "labels.txt").write_text("".join(f"action {number}\n" for number in range(CLASSES)))
    return folder


@pytest.fixture(name="bikes", scope="module")
def bikes_fixture() -> list[Frame]:
    """bikes.mp4, RGB, in the network's size, where neither resampling has anything to do."""
    return [pil(frame) for frame in rgb_clip("bikes.mp4")]


def rgb_clip(name: str) -> list[Frame]:
    return [np.ascontiguousarray(frame[..., ::-1]) for frame in library_clip(name)]


def pil(frame: Frame) -> Frame:
    """What the networks were trained with: PIL's bilinear, which averages where it shrinks."""
    return np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("network", "skip_frames", "length"),
    [("camera_motion", 1, 250), ("camera_motion", 0, 70), ("camera_motion", 2, 150), ("resnet", 1, 100)],
)
def test_once_the_window_is_whole_every_frame_gives_the_same(
    network: str, skip_frames: int, length: int, bikes: list[Frame], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(network)
    reference = ActionNetReference(folder / "model.onnx", skip_frames)
    compared, worst, winners = 0, 0.0, set()
    with ActionNet(model=str(folder), precision="fp32", backend="openvino", skip_frames=skip_frames) as net:
        for index, frame in enumerate(bikes[:length]):
            class_id, confidence = reference.classify(frame)
            prediction = net.classify(frame)
            if reference.is_whole:
                assert prediction is not None
                assert reference.scores is not None
                assert prediction.frame == index - index % (skip_frames + 1)
                assert prediction.class_id == class_id, index
                worst = max(worst, float(np.abs(prediction.scores - reference.scores).max()))
                worst = max(worst, abs(prediction.score - confidence))
                winners.add(class_id)
                compared += 1
    assert compared == length - (FIRST_WHOLE - 1) * (skip_frames + 1)
    assert worst < 1e-3  # measured: 8e-7 of camera_motion, 8e-6 of the ResNet
    assert len(winners) > 1, "a clip in which one class always wins shows little"


def test_a_threshold_that_nothing_reaches_is_none(camera_motion: Path, bikes: list[Frame]) -> None:
    reference = ActionNetReference(camera_motion / "model.onnx", threshold=0.9)
    nothing = 0
    with ActionNet("camera_motion", precision="fp32", backend="openvino", threshold=0.9) as net:
        for frame in bikes[:100]:
            class_id, confidence = reference.classify(frame)
            prediction = net.classify(frame)
            if reference.is_whole:
                assert prediction is not None
                assert prediction.class_id == class_id
                assert prediction.score == pytest.approx(confidence, abs=1e-3)
                if class_id == -1:
                    nothing += 1
                    assert (prediction.label, confidence) == ("none", 0.0)
    assert nothing > 5


class TestWarmUp:
    def test_its_window_is_whole_at_the_31st_frame_that_it_takes(self, camera_motion: Path, bikes: list[Frame]) -> None:
        reference = ActionNetReference(camera_motion / "model.onnx")
        whole = []
        for frame in bikes[:80]:
            reference.classify(frame)
            whole.append(reference.is_whole)
        assert whole == [False] * 60 + [True] * 20
        newest = bikes[78 - 2 * (FRAMES - 1) : 79 : 2]
        expected = (np.stack(newest).astype(np.float64) / 255 - MEAN).transpose(3, 0, 1, 2)
        assert np.abs(reference.window[0] - expected).max() < 1e-6

    def test_until_then_every_second_frame_is_missing_and_colors_are_mixed(
        self, camera_motion: Path, bikes: list[Frame]
    ) -> None:
        reference = ActionNetReference(camera_motion / "model.onnx", skip_frames=0)
        for frame in bikes[:10]:
            reference.classify(frame)
        here = [-1, 5, -1, 6, -1, 7, -1, 8, -1, 9, -1]
        assert reference.numbers.tolist() == [[*here, 2, -1, 3, -1, 4]] * 2 + [[*here, -1, -1, -1, -1, -1]]
        green = bikes[2][..., 1] / 255 - MEAN[1]
        assert np.abs(reference.window[0, 0, 11] - green).max() < 1e-6, "green, where red should be"
        assert not reference.window[0, :, 0].any(), "an empty place is zero, which is the mean grey"

        for frame in bikes[10:16]:
            reference.classify(frame)
        assert reference.numbers.tolist() == [[x for number in range(8, 16) for x in (-1, number)]] * 3
        for frame in bikes[16:30]:
            reference.classify(frame)
        assert reference.numbers.tolist() == [[-1, *range(15, 30)]] * 3
        reference.classify(bikes[30])
        assert reference.numbers.tolist() == [list(range(15, 31))] * 3

    def test_ours_is_right_from_the_first_whole_window_on(self, camera_motion: Path, bikes: list[Frame]) -> None:
        """What ours says at the 16th frame, actionNet says only when it has seen those 16 after 15 others."""
        reference = ActionNetReference(camera_motion / "model.onnx", skip_frames=0)
        for frame in (*bikes[: FRAMES - 1], *bikes[:FRAMES]):
            reference.classify(frame)
        assert reference.scores is not None
        with ActionNet("camera_motion", precision="fp32", backend="openvino", skip_frames=0) as net:
            for frame in bikes[:FRAMES]:
                prediction = net.classify(frame)
        assert prediction is not None
        assert np.abs(prediction.scores - reference.scores).max() < 1e-3


def windows_scores(net: ActionNet, frames: Sequence[Frame]) -> NDArray[np.float32]:
    """The scores of all windows: float32 [windows, classes]."""
    net.reset()
    predictions = [net.classify(frame) for frame in frames]
    return np.array([prediction.scores for prediction in predictions if prediction is not None])


@pytest.mark.slow
def test_the_page_says_what_resampling_does_to_real_clips() -> None:
    """The table of docs/actionnet.md: grey levels and answers, by point sampling and by ours, against PIL's."""
    preprocessor = Preprocessor(SIZE, SIZE)
    ways: list[Callable[[Frame], Frame]] = [
        lambda frame: point_sampled(frame, SIZE, SIZE),
        lambda frame: preprocessor.thumbnail(RawImage.from_array(frame, "rgb8")),
    ]
    rows = []
    with ActionNet("camera_motion", precision="fp32", backend="openvino", skip_frames=0) as net:
        for name in ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"):
            clip = rgb_clip(name)[::2]
            right = [pil(frame) for frame in clip]
            right_scores = windows_scores(net, right)
            levels, agreement, distance = [], [], []
            for way in ways:
                small = [way(frame) for frame in clip]
                levels.append(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(small, right, strict=True)]))
                scores = windows_scores(net, small)
                agreement.append(np.mean(scores.argmax(1) == right_scores.argmax(1)))
                distance.append(np.abs(scores - right_scores).max())
            height, width = clip[0].shape[:2]
            rows.append(
                f"| `{name}`, {width}x{height}, {len(right_scores)} windows | {levels[0]:.1f} / {levels[1]:.1f} "
                f"| {agreement[0]:.0%} / {agreement[1]:.0%} | {distance[0]:.2f} / {distance[1]:.2f} |"
            )
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| `\w+\.mp4`", line)]
    assert len(table) == len(rows)
    for written, measured in zip(table, rows, strict=True):
        clip_written, *numbers_written = re.split(r" [|/] ", written.strip("| "))
        clip_measured, *numbers_measured = re.split(r" [|/] ", measured.strip("| "))
        assert clip_written == clip_measured
        # A decoder or a processor may round otherwise: grey levels, one or two windows' classes, scores.
        for one, other, room in zip(numbers_written, numbers_measured, (0.2, 0.2, 4, 4, 0.05, 0.05), strict=True):
            assert float(one.strip("%")) == pytest.approx(float(other.strip("%")), abs=room), (written, measured)
