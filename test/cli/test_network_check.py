"""`actionnet-networks check`: what is understood, a run on a window, and the comparison with another framework."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ros2_actionnet.cli.network_check import compare, load_window
from ros2_actionnet.cli.networks import main
from ros2_actionnet.errors import MediaError, NetworkError
from ros2_actionnet.networks import ACTIONNET_MEAN, NetworkRequest, prepare, resolve
from ros2_actionnet.system.resources import shared_folder
from support.networks import save_brightness_network

LABELS = ("dark", "dim", "bright")
FRAMES, SIZE = 4, 8


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "net", LABELS, frames=FRAMES, size=SIZE)


@pytest.fixture(name="window")
def window_fixture(tmp_path: Path) -> Path:
    """Frames whose mean is that of the class "bright", but for noise."""
    noise = np.random.default_rng(0).integers(-20, 21, (FRAMES, SIZE, SIZE, 3))
    path = tmp_path / "window.npy"
    np.save(path, np.asarray(212 + noise, np.uint8))
    return path


def logits_by_onnxruntime(model: Path, window: Path) -> NDArray[np.float32]:
    """What a user's own code gives."""
    frames = np.load(window).astype(np.float64) / 255 - ACTIONNET_MEAN
    given = frames.transpose(3, 0, 1, 2)[np.newaxis].astype(np.float32)
    return np.asarray(onnxruntime.InferenceSession(str(model)).run(None, {"input": given})[0])


def softmax(values: NDArray[np.float32]) -> NDArray[np.float64]:
    exponents = np.exp(values.astype(np.float64) - values.max())
    return np.asarray(exponents / exponents.sum())


def test_what_is_understood_and_the_best_classes_of_a_window(
    model: Path, window: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(model.parent.iterdir())
    assert main(["check", str(model), "--window", str(window), "--precision", "fp32"]) == 0
    out = capsys.readouterr().out
    scores = softmax(logits_by_onnxruntime(model, window)).reshape(-1)
    order = np.argsort(-scores)
    lines = [f"{scores[i]:.4f} {LABELS[i]}" for i in order]
    assert f"best five    {lines[0]}\n             {lines[1]}\n             {lines[2]}\n" in out
    assert "input        'input' [batch, 3, 4, 8, 8] (NCTHW): 4 frames of 8x8\n" in out
    assert "scores       logits, to which a softmax is added\n" in out
    assert "  from       nothing states them: actionNet's are assumed\n" in out
    assert "classes      3: dark, dim, bright\n" in out
    assert sorted(model.parent.iterdir()) == files, "nothing is written"


@pytest.mark.parametrize("as_scores", [False, True])
def test_a_reference_that_agrees(
    as_scores: bool, model: Path, window: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = logits_by_onnxruntime(model, window)
    np.save(tmp_path / "reference.npy", softmax(logits) if as_scores else logits)
    arguments = ["--window", str(window), "--reference", str(tmp_path / "reference.npy"), "--precision", "fp32"]
    assert main(["check", str(model.parent), *arguments]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("reference"))
    assert float(line.split("at most ")[1].split(",")[0]) < 1e-5
    assert "the same best class" in line
    assert ("after a softmax" in line) is not as_scores


def test_another_mean_shows_in_the_reference(
    model: Path, window: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "reference.npy", logits_by_onnxruntime(model, window))
    flags = ["--window", str(window), "--reference", str(tmp_path / "reference.npy"), "--mean", "0.8", "0.8", "0.8"]
    assert main(["check", str(model), *flags]) == 1
    out = capsys.readouterr().out
    assert "ANOTHER best class" in out
    assert "mean, std       [0.8, 0.8, 0.8]" in out.replace("mean, std    ", "mean, std       ")


@pytest.mark.parametrize("name", ["~nobody-of-that-name/net", "n" * 300, "a/" + "n" * 300])
def test_a_name_that_no_file_can_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name]) == 1
    assert capsys.readouterr().err.startswith("actionnet-networks: ")


def test_a_network_by_name_on_the_clip_that_comes_with_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "camera_motion"]) == 0
    best = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("best five"))
    assert best.endswith(" still"), "with which the clip begins"


def test_frames_of_a_video_are_sampled_as_the_node_samples() -> None:
    network = prepare(resolve(NetworkRequest("camera_motion")))
    clip = shared_folder("media") / "camera_motion_demo.mp4"
    window = load_window(clip, network)
    capture = cv2.VideoCapture(str(clip))
    pictures = [capture.read()[1] for _ in range(2 * network.frames)]
    for index, picture in enumerate(pictures[::2]):
        expected = cv2.resize(picture, (network.width, network.height), interpolation=cv2.INTER_AREA)[..., ::-1]
        assert np.abs(window[index].astype(int) - expected).mean() < 2


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((FRAMES, SIZE, SIZE, 3), np.float32), "is float32 [4, 8, 8, 3]; save the frames before any"),
        (np.zeros((FRAMES, SIZE, SIZE + 1, 3), np.uint8), "uint8 [4, 8, 8, 3] in RGB"),
        (np.array([{}]), "allow_pickle=False"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(array: NDArray[np.generic], words: str, model: Path) -> None:
    network = prepare(resolve(NetworkRequest(model=str(model))))
    path = model.parent / "window.npy"
    np.save(path, array)
    with pytest.raises(NetworkError) as refusal:
        load_window(path, network)
    assert words in str(refusal.value)


def test_what_is_no_array_or_video_is_refused(model: Path, tmp_path: Path) -> None:
    network = prepare(resolve(NetworkRequest(model=str(model))))
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, error in {"empty.npy": NetworkError, "missing.npy": NetworkError, "missing.mp4": MediaError}.items():
        with pytest.raises(error, match=name):
            load_window(tmp_path / name, network)


def test_references_are_brought_to_scores(tmp_path: Path) -> None:
    scores = np.array([0.7, 0.2, 0.1], np.float32)

    def compared(values: list[float], kind: str = "logits") -> tuple[float, bool, str]:
        np.save(tmp_path / "reference.npy", np.array(values))
        found = compare(tmp_path / "reference.npy", scores, kind=kind)  # type: ignore[arg-type]
        return round(found.largest, 6), found.same_best, found.converted

    assert compared([0.7, 0.2, 0.1]) == (0.0, True, "")
    assert compared(list(np.log([0.7, 0.2, 0.1]) + 3)) == (0.0, True, " (after a softmax of the reference)")
    assert compared([0.1, 0.2, 0.7]) == (0.6, False, "")
    assert compared([0.7, 0.2, 0.9], "sigmoid") == (0.8, False, "")
    logits = list(np.log(scores / (1 - scores)))
    assert compared(logits, "sigmoid") == (0.0, True, " (after a sigmoid of the reference)")
    with pytest.raises(NetworkError, match="has 2 numbers; it must have the 3 scores"):
        compared([0.5, 0.5])
    with pytest.raises(NetworkError, match="all finite"):
        compared([0.5, float("nan"), 0.5])
