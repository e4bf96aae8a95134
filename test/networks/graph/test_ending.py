"""Heads as frameworks build them, exported by PyTorch and compared with it; the rest is built with onnx.helper."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkSpec, ScoreKind, prepare
from ros2_actionnet.networks.graph.ending import Ending, find_ending
from ros2_actionnet.networks.graph.onnx_graph import Graph

Array = NDArray[Any]
T, SIZE, CLASSES = 4, 12, 9
WINDOW = np.random.default_rng(3).integers(0, 256, (1, T, SIZE, SIZE, 3), np.uint8)


class Backbone(nn.Module):  # type: ignore[misc]
    """A tiny 3D-CNN: [N, 3, T, H, W] to features [N, 6, T, 3, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 3, stride=(1, 4, 4), padding=1)

    def forward(self, frames: Any) -> Any:
        return 4 * torch.relu(self.conv(frames))


class PooledHead(nn.Module):  # type: ignore[misc]
    """pytorchvideo's ResNetBasicHead in eval mode: pool, projection, softmax over channels, average over positions."""

    def __init__(self, classes: int, *, pooled: bool) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AvgPool3d((T, 2, 2), stride=1) if pooled else nn.Identity()
        self.projection = nn.Linear(6, classes)
        self.output = nn.AdaptiveAvgPool3d(1)

    def forward(self, x: Any) -> Any:
        x = self.projection(self.pool(x).permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        return self.output(torch.softmax(x, 1)).view(x.shape[0], -1)


class Head(nn.Module):  # type: ignore[misc]
    """Global average, a linear layer for each of `heads` heads, then `ending` of their logits."""

    def __init__(self, ending: Callable[..., Any], *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, size) for size in sizes)
        self.ending = ending

    def forward(self, x: Any) -> Any:
        features = x.mean((2, 3, 4))
        return self.ending(*(layer(features) for layer in self.layers))


class ClipsHead(nn.Module):  # type: ignore[misc]
    """mmaction2's recognizers: here each frame is a clip; `average` merges the clips' [N, clips, classes]."""

    def __init__(self, average: Callable[[Any], Any], classes: int = CLASSES) -> None:
        super().__init__()
        self.layer = nn.Linear(6, classes)
        self.average = average

    def forward(self, x: Any) -> Any:
        clips = x.mean((3, 4)).transpose(1, 2).reshape(-1, 6)
        return self.average(self.layer(clips).reshape(-1, T, self.layer.out_features))


def scores_of(head: nn.Module, *, factor: float = 6.0, scores: ScoreKind | None = None, tmp: Path) -> tuple[Any, ...]:
    """The prepared network's scores, PyTorch's output, and the kind that was found."""
    torch.manual_seed(1)
    network = nn.Sequential(Backbone(), head).eval()
    with torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.weight *= factor
    spec = NetworkSpec("net", tmp / "model.onnx", mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2), scores=scores)
    frames = torch.tensor((WINDOW / 255 - 0.4) / 0.2, dtype=torch.float32).permute(0, 4, 1, 2, 3)
    file = io.BytesIO()
    torch.onnx.export(network, (frames,), file, opset_version=17, dynamo=False, input_names=["frames"])
    spec.model.write_bytes(file.getvalue())
    prepared = prepare(spec)
    session = onnxruntime.InferenceSession(prepared.model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"frames": WINDOW})
    with torch.no_grad():
        return found, network(frames).numpy(), prepared


def softmax(x: Any) -> Any:
    return torch.softmax(x, -1)


PROBABILITIES: dict[str, nn.Module] = {
    "pytorchvideo, pooled first": PooledHead(CLASSES, pooled=True),
    "pytorchvideo, fully convolutional": PooledHead(CLASSES, pooled=False),
    "pytorchvideo, 400 classes": PooledHead(400, pooled=False),
    "mmaction2, average_clip='prob'": ClipsHead(lambda x: softmax(x).mean(1)),
    "mmaction2, 400 classes": ClipsHead(lambda x: softmax(x).mean(1), 400),
    "sum over clips, divided": ClipsHead(lambda x: softmax(x).sum(1) / x.shape[1]),
    "weighted clips": ClipsHead(lambda x: (softmax(x) * torch.tensor([0.1, 0.2, 0.3, 0.4])[None, :, None]).sum(1)),
    "clips selected, then averaged": ClipsHead(lambda x: softmax(x)[:, 1:3].mean(1)),
    "classes before clips": ClipsHead(lambda x: softmax(x).transpose(1, 2).mean(-1)),
    "one clip": ClipsHead(lambda x: softmax(x)[:, 0]),
    "average of two heads": Head(lambda a, b: (softmax(a) + softmax(b)) / 2, CLASSES, CLASSES),
    "weighted heads": Head(lambda a, b: 0.3 * softmax(a) + 0.7 * softmax(b), CLASSES, CLASSES),
    "stacked heads": Head(lambda a, b, c: torch.stack([softmax(x) for x in (a, b, c)]).mean(0), *[CLASSES] * 3),
    "clamped": Head(lambda a: softmax(a).clamp(1e-7, 1 - 1e-7), CLASSES),
    "reordered classes": Head(lambda a: softmax(a)[:, [3, 1, 0, 2, 8, 7, 6, 5, 4]], CLASSES),
    "explicit softmax": Head(lambda a: a.exp() / a.exp().sum(1, keepdim=True), CLASSES),
    "exp of log_softmax": Head(lambda a: torch.log_softmax(a, 1).exp(), CLASSES),
    "label smoothing": Head(lambda a: 0.9 * softmax(a) + 0.1 / CLASSES, CLASSES),
    "cast at the end": Head(lambda a: softmax(a).double().float(), CLASSES),
}


@pytest.mark.parametrize("head", PROBABILITIES.values(), ids=PROBABILITIES)
def test_probabilities_stay_what_pytorch_gives(head: nn.Module, tmp_path: Path) -> None:
    found, expected, prepared = scores_of(head, tmp=tmp_path)
    assert (prepared.spec.scores, prepared.scores_from) == ("probabilities", "graph")
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


SCALED: dict[str, tuple[nn.Module, float]] = {
    "percent": (Head(lambda a: softmax(a) * 100, CLASSES), 100),
    "averaged percent, clipped": (ClipsHead(lambda x: (100 * softmax(x).mean(1)).clamp(0, 100)), 100),
    "sum of two heads": (Head(lambda a, b: softmax(a) + softmax(b), CLASSES, CLASSES), 2),
    "sum over clips": (ClipsHead(lambda x: softmax(x).sum(1)), T),
    "half": (Head(lambda a: softmax(a) / 2, CLASSES), 0.5),
}


@pytest.mark.parametrize(("head", "scale"), SCALED.values(), ids=SCALED)
def test_scaled_probabilities_are_brought_back(head: nn.Module, scale: float, tmp_path: Path) -> None:
    found, expected, prepared = scores_of(head, tmp=tmp_path)
    assert prepared.spec.scores == "probabilities"
    np.testing.assert_allclose(found, expected / scale, rtol=0, atol=1e-6)


INDEPENDENT: dict[str, tuple[nn.Module, float]] = {
    "sigmoid": (Head(torch.sigmoid, CLASSES), 1),
    "hard sigmoid": (Head(nn.functional.hardsigmoid, CLASSES), 1),
    "averaged over clips": (ClipsHead(lambda x: x.sigmoid().mean(1)), 1),
    "maximum over clips": (ClipsHead(lambda x: x.sigmoid().amax(1)), 1),
    "percent": (Head(lambda a: 100 * a.sigmoid(), CLASSES), 100),
    "complement": (Head(lambda a: 1 - a.sigmoid(), CLASSES), 1),
    "one class": (Head(torch.sigmoid, 1), 1),
    "maximum of softmax over clips": (ClipsHead(lambda x: softmax(x).amax(1)), 1),
    "background class sliced off": (Head(lambda a: softmax(a)[:, 1:], CLASSES), 1),
    "maximum of two heads": (Head(lambda a, b: torch.maximum(softmax(a), softmax(b)), CLASSES, CLASSES), 1),
    "verbs and nouns": (Head(lambda a, b: torch.cat([softmax(a), softmax(b)], 1), 4, 5), 1),
    "softmax and sigmoid": (Head(lambda a, b: torch.cat([softmax(a), torch.sigmoid(b)], 1), 4, 5), 1),
}


@pytest.mark.parametrize(("head", "scale"), INDEPENDENT.values(), ids=INDEPENDENT)
def test_independent_scores_stay_what_pytorch_gives(head: nn.Module, scale: float, tmp_path: Path) -> None:
    found, expected, prepared = scores_of(head, tmp=tmp_path)
    assert (prepared.spec.scores, prepared.scores_from) == ("sigmoid", "graph")
    np.testing.assert_allclose(found, expected / scale, rtol=0, atol=1e-6)


LOGITS: dict[str, tuple[nn.Module, str]] = {
    "linear": (Head(lambda a: a, CLASSES), "graph"),
    "mmaction2, average_clip='score'": (ClipsHead(lambda x: x.mean(1)), "graph"),
    "two heads": (Head(lambda a, b: (a + b) / 2, CLASSES, CLASSES), "graph"),
    "softmax gates the clips": (ClipsHead(lambda x: (x.softmax(1) * x).sum(1)), "graph"),
    "log_softmax": (Head(lambda a: torch.log_softmax(a, 1), CLASSES), "graph"),
    "mean of log_softmax": (ClipsHead(lambda x: torch.log_softmax(x, -1).mean(1)), "graph"),
    "log of clamped softmax": (Head(lambda a: softmax(a).clamp_min(1e-9).log(), CLASSES), "assumption"),
    "bounded by hand": (Head(lambda a: a.clamp(0, 1), CLASSES), "assumption"),
    "tanh": (Head(torch.tanh, CLASSES), "assumption"),
    "product of two softmaxes": (Head(lambda a, b: softmax(a) * softmax(b), CLASSES, CLASSES), "assumption"),
    "squared softmax": (Head(lambda a: softmax(a) ** 2, CLASSES), "assumption"),
    "softmax times itself": (Head(lambda a: (lambda p: p * p)(softmax(a)), CLASSES), "assumption"),
    "swish": (Head(lambda a: a.sigmoid() * a, CLASSES), "graph"),
    "difference of two heads": (Head(lambda a, b: softmax(a) - softmax(b), CLASSES, CLASSES), "assumption"),
}


@pytest.mark.parametrize(("head", "origin"), LOGITS.values(), ids=LOGITS)
def test_anything_else_gets_a_softmax(head: nn.Module, origin: str, tmp_path: Path) -> None:
    found, logits, prepared = scores_of(head, tmp=tmp_path, factor=2)
    assert (prepared.spec.scores, prepared.scores_from) == ("logits", origin)
    np.testing.assert_allclose(found, torch.softmax(torch.tensor(logits), 1).numpy(), rtol=0, atol=1e-6)


def test_scaled_logarithms_of_probabilities_are_brought_back(tmp_path: Path) -> None:
    head = Head(lambda a: torch.log_softmax(a, 1) / np.log(10), CLASSES)
    found, expected, _ = scores_of(head, tmp=tmp_path)
    np.testing.assert_allclose(found, 10.0**expected, rtol=0, atol=1e-6)


def test_a_softmax_over_the_clips_is_no_probability_of_classes(tmp_path: Path) -> None:
    head = ClipsHead(lambda x: x.softmax(1).mean(1) + 0 * x.mean(1))
    assert scores_of(head, tmp=tmp_path)[2].spec.scores == "logits"


ELSEWHERE: dict[str, tuple[nn.Module, str]] = {
    "the batch": (Head(lambda a: a.softmax(0), CLASSES), "dimension 0 of [1, 9], the batch"),
    "the batch, of clips": (ClipsHead(lambda x: x.softmax(0).mean(1)), "dimension 0 of [1, 4, 9], the batch"),
    "the batch and the clips": (
        ClipsHead(lambda x: x.reshape(-1, CLASSES).softmax(0).reshape(-1, T, CLASSES).mean(1)),
        "dimension 0 of [4, 9], the batch",
    ),
    "the batch, logarithms": (Head(lambda a: a.log_softmax(0), CLASSES), "dimension 0 of [1, 9], the batch"),
    "the batch, explicit": (Head(lambda a: a.exp() / a.exp().sum(0, keepdim=True), CLASSES), "dimension 0 of [1, 9]"),
    "the batch, percent": (Head(lambda a: 100 * a.softmax(0), CLASSES), "dimension 0 of [1, 9], the batch"),
    "one of two heads": (Head(lambda a, b: (a.softmax(0) + softmax(b)) / 2, CLASSES, CLASSES), "dimension 0 of [1, 9]"),
    "the clips, averaged": (ClipsHead(lambda x: x.softmax(1).mean(1)), "dimension 1 of [1, 4, 9], not over"),
    "the clips, maximum": (ClipsHead(lambda x: x.softmax(1).amax(1)), "the classes are not compared"),
    "the clips, one of them": (ClipsHead(lambda x: x.softmax(1)[:, 0]), "the classes are not compared"),
}


@pytest.mark.parametrize(("head", "words"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_softmax_over_anything_but_the_classes_is_refused(head: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="with its softmax over the classes") as refused:
        scores_of(head, tmp=tmp_path)
    assert words in str(refused.value)


def test_a_softmax_over_turned_classes_and_one_over_clips_before_it_are_right(tmp_path: Path) -> None:
    for head in (Head(lambda a: a.T.softmax(0).T, CLASSES), ClipsHead(lambda x: softmax(x.softmax(1)).mean(1))):
        found, expected, prepared = scores_of(head, tmp=tmp_path)
        assert prepared.spec.scores == "probabilities"
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [0.01, 1.0])
@pytest.mark.parametrize("scores", ["probabilities", "sigmoid", "logits"])
def test_what_is_stated_wins(scores: ScoreKind, factor: float, tmp_path: Path) -> None:
    found, raw, prepared = scores_of(Head(lambda a: a, CLASSES), factor=factor, scores=scores, tmp=tmp_path)
    expected = {
        "probabilities": raw,  # as it is
        "sigmoid": 1 / (1 + np.exp(-raw)),  # a multi-label network that was exported without its sigmoid
        "logits": torch.softmax(torch.tensor(raw), 1).numpy(),
    }
    assert (prepared.spec.scores, prepared.scores_from) == (scores, "stated")
    np.testing.assert_allclose(found, expected[scores], rtol=0, atol=1e-6)
    # The spec of a prepared network prepares the same network again.
    assert prepare(prepared.spec).sha256 == prepared.sha256


def test_logits_may_be_stated_of_probabilities(tmp_path: Path) -> None:
    found, raw, _ = scores_of(Head(softmax, CLASSES), scores="logits", tmp=tmp_path)
    np.testing.assert_allclose(found, torch.softmax(torch.tensor(raw), 1).numpy(), rtol=0, atol=1e-6)


def test_of_one_class_the_logit_gets_a_sigmoid(tmp_path: Path) -> None:
    found, raw, prepared = scores_of(Head(lambda a: a, 1), tmp=tmp_path)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-raw)), rtol=0, atol=1e-6)
    assert prepared.spec.scores == "sigmoid"
    assert prepare(prepared.spec).sha256 == prepared.sha256


def ending_of(
    nodes: list[NodeProto], *, shape: tuple[int, ...] = (1, CLASSES), opset: int = 17, **constants: Any
) -> Ending:
    """What is found of the output `y` of nodes after the logits `x`."""
    graph = helper.make_graph(
        nodes,
        "ending",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    model = Graph(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    return find_ending(model, "y", CLASSES, model.infer_shapes())


N = helper.make_node


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_an_old_softmax_is_over_all_dimensions_from_its_axis_on(opset: int) -> None:
    pooled = [N("Softmax", ["x"], ["p"], axis=1), N("GlobalAveragePool", ["p"], ["g"]), N("Flatten", ["g"], ["y"])]
    assert ending_of(pooled, shape=(1, CLASSES, 1, 1), opset=opset).kind == "probabilities"


def test_a_scale_that_a_file_computes_from_the_shape() -> None:
    nodes = [
        N("Softmax", ["x"], ["p"], axis=2),
        N("ReduceSum", ["p", "one"], ["s"], keepdims=0),
        N("Shape", ["p"], ["shape"]),
        N("Gather", ["shape", "index"], ["count"], axis=0),
        N("Cast", ["count"], ["divisor"], to=TensorProto.FLOAT),
        N("Div", ["s", "divisor"], ["y"]),
    ]
    found = ending_of(nodes, shape=(1, 3, CLASSES), one=np.array([1]), index=np.array(1))
    assert found == Ending("probabilities")


def test_quantized_probabilities() -> None:
    nodes = [
        N("Softmax", ["x"], ["p"], axis=1),
        N("QuantizeLinear", ["p", "scale", "zero"], ["q"]),
        N("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    assert ending_of(nodes, scale=np.float32(1 / 255), zero=np.uint8(0)) == Ending("probabilities")


def test_an_offset_is_undone_too() -> None:
    nodes = [N("Sigmoid", ["x"], ["p"]), N("Mul", ["p", "k"], ["s"]), N("Sub", ["s", "o"], ["y"])]
    assert ending_of(nodes, k=np.float32(2), o=np.float32(1)) == Ending("sigmoid", offset=-1, scale=2)


def test_classes_that_a_constant_switches_off_stay_off() -> None:
    mask = np.ones((1, CLASSES), np.float32)
    mask[0, :2] = 0
    nodes = [N("Sigmoid", ["x"], ["p"]), N("Mul", ["p", "mask"], ["y"])]
    assert ending_of(nodes, mask=mask) == Ending("sigmoid")


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_pooling_with_a_window(kind: str) -> None:
    nodes = [
        N("Softmax", ["x"], ["p"], axis=1),
        N(kind, ["p"], ["a"], kernel_shape=[2, 3], strides=[2, 3]),
        N("Flatten", ["a"], ["y"]),
    ]
    expected = {"AveragePool": "probabilities", "MaxPool": "sigmoid"}[kind]
    assert ending_of(nodes, shape=(1, CLASSES, 2, 3)) == Ending(expected)  # type: ignore[arg-type]


def test_an_operator_that_is_not_known_leaves_the_decision_to_the_numbers() -> None:
    branch = [N("Softmax", ["x"], ["p"], axis=1), N("Odd", ["p"], ["y"], domain="com.example")]
    assert ending_of(branch) == Ending("logits", certain=False)
