"""Small networks of the architectures that people have, from both of PyTorch's exporters, against PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ros2_actionnet.networks import NetworkRequest, prepare, resolve

Array = NDArray[Any]
T, SIZE, WIDTH, CLASSES = 8, 16, 16, 7
MEAN, STD = (0.45, 0.4, 0.35), (0.22, 0.25, 0.28)
# (N, T, H, W, C) to the network's input.
TURNED = {"NTCHW": (0, 1, 4, 2, 3), "NCTHW": (0, 4, 1, 2, 3), "NMCTHW": (0, 4, 1, 2, 3)}


class Attention(nn.Module):  # type: ignore[misc]
    """One block of a transformer, without what else makes it large."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, _ = tokens.shape
        q, k, v = self.qkv(self.norm(tokens)).reshape(batch, count, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, WIDTH)
        return tokens + functional.gelu(self.out(mixed))


class Tubelets(nn.Module):  # type: ignore[misc]
    """As VideoMAE has it: tubelets of two frames [B, T, 3, H, W], attention over all of them, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv3d(3, WIDTH, (2, 8, 8), (2, 8, 8))
        self.place = nn.Parameter(torch.randn(1, T // 2 * 4, WIDTH))
        self.block, self.head = Attention(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x.permute(0, 2, 1, 3, 4)).flatten(2).transpose(1, 2) + self.place
        return self.head(self.block(tokens).mean(1))


class ClassToken(Tubelets):
    """As ViViT has it: a token more, for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x.permute(0, 2, 1, 3, 4)).flatten(2).transpose(1, 2) + self.place
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        return self.head(self.block(tokens)[:, 0])


class DividedSpaceTime(nn.Module):  # type: ignore[misc]
    """As TimeSformer has it: frame by frame patches, attention over time, then over space, with the batch in both."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 8, 8)
        self.time, self.space, self.head = Attention(), Attention(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        batch = x.shape[0]
        patches = self.embed(x.reshape(-1, *x.shape[2:])).flatten(2).transpose(1, 2)
        places = patches.reshape(batch, T, 4, WIDTH).transpose(1, 2).reshape(batch * 4, T, WIDTH)
        frames = self.time(places).reshape(batch, 4, T, WIDTH).transpose(1, 2).reshape(batch * T, 4, WIDTH)
        return self.head(self.space(frames).reshape(batch, T * 4, WIDTH).mean(1))


class TemporalShift(nn.Module):  # type: ignore[misc]
    """As TSM has it: channels of neighboring frames, and the mean over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, WIDTH, 3, 2), nn.Conv2d(WIDTH, WIDTH, 3)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        frames = self.first(x.reshape(-1, *x.shape[2:])).relu()
        series = frames.reshape(-1, T, *frames.shape[1:])
        later, sooner, same = series.split([2, 2, WIDTH - 4], 2)
        later = torch.cat([later[:, 1:], torch.zeros_like(later[:, :1])], 1)
        sooner = torch.cat([torch.zeros_like(sooner[:, :1]), sooner[:, :-1]], 1)
        shifted = torch.cat([later, sooner, same], 2).reshape(-1, *frames.shape[1:])
        return self.head(self.second(shifted).relu().mean((2, 3))).reshape(-1, T, CLASSES).mean(1)


class Recurrent(nn.Module):  # type: ignore[misc]
    """A 2D-CNN and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.memory = nn.Conv2d(3, WIDTH, 3, 2), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        frames = self.features(x.reshape(-1, *x.shape[2:])).relu().mean((2, 3)).reshape(-1, T, WIDTH)
        return self.head(self.memory(frames)[0][:, -1])


class FlattenedVolume(nn.Module):  # type: ignore[misc]
    """As C3D has it: a 3D-CNN whose last volume is flattened to a row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv3d(3, 4, 3, (1, 2, 2), 1), nn.Linear(4 * T * 64, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.stem(x).relu().view(-1, 4 * T * 64))


class AveragedProbabilities(nn.Module):  # type: ignore[misc]
    """As pytorchvideo's X3D has it: a projection of every place, softmax, and then the mean of all places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv3d(3, WIDTH, 3, (1, 2, 2), 1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        places = self.head(self.stem(x).relu().permute(0, 2, 3, 4, 1)).softmax(4).permute(0, 4, 1, 2, 3)
        return functional.avg_pool3d(places, (T, 8, 8)).flatten(1)


class Clips(nn.Module):  # type: ignore[misc]
    """As mmaction2's 3D recognizers have it: [B, clips, 3, T, H, W], softmax, and then the mean of the clips."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv3d(3, WIDTH, 3, (1, 2, 2), 1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        clips = self.head(self.stem(x.reshape(-1, *x.shape[2:])).relu().mean((2, 3, 4)))
        return clips.reshape(x.shape[0], -1, CLASSES).softmax(2).mean(1)


class Cosine(nn.Module):  # type: ignore[misc]
    """As CLIP has it: the angle to an embedding of each class, times a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.texts = nn.Conv3d(3, WIDTH, 3, (1, 2, 2), 1), nn.Parameter(torch.randn(CLASSES, WIDTH))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Any:
        clip = functional.normalize(self.stem(x).relu().mean((2, 3, 4)), dim=1)
        return self.scale.exp() * clip @ functional.normalize(self.texts, dim=1).T


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "VideoMAE": (Tubelets, "NTCHW", False),
    "ViViT": (ClassToken, "NTCHW", False),
    "TimeSformer": (DividedSpaceTime, "NTCHW", False),
    "TSM": (TemporalShift, "NTCHW", False),
    "CNN and LSTM": (Recurrent, "NTCHW", False),
    "C3D": (FlattenedVolume, "NCTHW", False),
    "X3D": (AveragedProbabilities, "NCTHW", True),
    "mmaction2": (Clips, "NMCTHW", True),
    "CLIP": (Cosine, "NCTHW", False),
}
# Where an export has a batch of 1 and it cannot be shown that windows are kept apart, it takes one at a time.
ONE_BY_ONE = ("ViViT", "TSM", "CNN and LSTM")


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The network with weights that make its scores differ."""
    torch.manual_seed(5)
    network = build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.5)
    return network


def given(windows: Array, layout: str) -> Tensor:
    colors = (torch.from_numpy(windows).double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    turned = colors.float().permute(TURNED[layout]).contiguous()
    return turned.unsqueeze(1) if layout == "NMCTHW" else turned


def exported(network: nn.Module, example: Tensor, file: Path, *, dynamo: bool, free_batch: bool) -> None:
    options: dict[str, Any] = {"input_names": ["frames"], "opset_version": 18 if dynamo else 17, "dynamo": dynamo}
    if dynamo:
        options |= {"external_data": False, "verbose": False}
    if free_batch and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif free_batch:
        options["dynamic_axes"] = {"frames": {0: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (example,), str(file), **options)


@pytest.mark.parametrize(("dynamo", "free_batch"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_scores_are_those_of_pytorch(
    name: str, dynamo: bool, free_batch: bool, tmp_path: Path, run_model: Callable[[bytes, Array], Array]
) -> None:
    build, layout, gives_probabilities = ARCHITECTURES[name]
    network = seeded(build)
    random = np.random.default_rng(0)
    tints = random.integers(0, 130, (2, T, 1, 1, 3))
    windows = (tints + random.integers(0, 120, (2, T, SIZE, SIZE, 3))).astype(np.uint8)
    with torch.no_grad():
        expected = network(given(windows, layout))
        if not gives_probabilities:
            expected = expected.softmax(1)
    assert float(expected.max() - expected.min()) > 0.05
    exported(network, given(windows[:1], layout), tmp_path / "model.onnx", dynamo=dynamo, free_batch=free_batch)
    (tmp_path / "network.yaml").write_text(f"mean: {list(MEAN)}\nstd: {list(STD)}\n")
    prepared = prepare(resolve(NetworkRequest(model=str(tmp_path))))
    assert (prepared.spec.layout, prepared.frames, prepared.num_classes) == (layout, T, CLASSES)
    assert (prepared.max_batch is None) is (free_batch or name not in ONE_BY_ONE)
    at_once = windows if prepared.max_batch is None else windows[:1]
    found = run_model(prepared.model, at_once)
    np.testing.assert_allclose(found, expected.numpy()[: len(at_once)], atol=2e-6)


class ClipsApart(Clips):
    """As mmaction2's recognizers have it that do not average: a row of scores for each clip, and no softmax."""

    def forward(self, x: Tensor) -> Any:
        rows = self.head(self.stem(x.reshape(-1, *x.shape[2:])).relu().mean((2, 3, 4)))
        return rows.reshape(x.shape[0], -1, CLASSES)


def test_a_free_number_of_clips_beside_the_classes_is_one(
    tmp_path: Path, run_model: Callable[[bytes, Array], Array]
) -> None:
    network = seeded(ClipsApart)
    windows = np.random.default_rng(1).integers(0, 250, (2, T, SIZE, SIZE, 3)).astype(np.uint8)
    example = given(windows, "NMCTHW")
    with torch.no_grad():
        expected = network(example).squeeze(1).softmax(1)
    axes = {"frames": {0: "batch", 1: "clips"}, "scores": {0: "batch", 1: "clips"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names: dict[str, Any] = {"input_names": ["frames"], "output_names": ["scores"], "dynamic_axes": axes}
        torch.onnx.export(network, (example[:1],), str(tmp_path / "model.onnx"), dynamo=False, **names)
    (tmp_path / "network.yaml").write_text(f"mean: {list(MEAN)}\nstd: {list(STD)}\n")
    prepared = prepare(resolve(NetworkRequest(model=str(tmp_path))))
    assert (prepared.spec.layout, prepared.frames, prepared.num_classes) == ("NMCTHW", T, CLASSES)
    found = run_model(prepared.model, windows[: prepared.max_batch])
    np.testing.assert_allclose(found, expected.numpy()[: len(found)], atol=2e-6)
