from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet import ActionNet
from ros2_actionnet.backends import LoadOptions, Session
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.errors import BackendError
from ros2_actionnet.live.network_loader import LoadCallbacks, LoadRequest, NetworkLoader
from ros2_actionnet.networks import NetworkRequest, ScoreKind, prepare, resolve
from ros2_actionnet.recognition.score_check import answer_to_everything, check_scores, kind_of, make_test_windows
from ros2_actionnet.settings import Settings
from support.fakes import FakeSession, make_network

Array = NDArray[Any]
T, SIZE = 2, 4
N = helper.make_node


def save(folder: Path, tail: Sequence[NodeProto], classes: int = 9, *, spread: float = 20.0, **constants: Any) -> Path:
    """A network of logits x = pooled frames @ weight, and then `tail` from `x` to `y`."""
    rng = np.random.default_rng(classes)
    values = {
        "weight": rng.normal(0, spread, (3 * T, classes)).astype(np.float32),
        "flat": np.array([-1, 3 * T]),
        **constants,
    }
    nodes = [
        N("ReduceMean", ["input"], ["pooled"], axes=[3, 4], keepdims=0),
        N("Reshape", ["pooled", "flat"], ["features"]),
        N("MatMul", ["features", "weight"], ["x"]),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, T, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    (folder / "labels.txt").write_text("\n".join(f"action {i}" for i in range(classes)))
    return path


def logits_of(path: Path, window: Array) -> Array:
    """The network's logits for a window, by plain arithmetic."""
    mean = np.array([0.4344705882352941, 0.4050980392156863, 0.3774901960784314])
    weight = next(t for t in onnx.load(str(path)).graph.initializer if t.name == "weight")
    pooled = (window / 255 - mean).mean((1, 2)).T.reshape(-1)
    return np.asarray(pooled @ numpy_helper.to_array(weight))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return np.asarray(powers / powers.sum())


def classify(path: Path, **settings: Any) -> tuple[Array, Array]:
    """What ActionNet gives for a window, and the logits for it."""
    window = np.random.default_rng(5).integers(0, 256, (T, SIZE, SIZE, 3), np.uint8)
    with ActionNet(model=str(path), precision="fp32", skip_frames=0, **settings) as net:
        for frame in window:
            prediction = net.classify(frame)
    assert prediction is not None
    return prediction.scores, logits_of(path, window)


BY_HAND = [  # a softmax that no operator shows
    N("Exp", ["x"], ["e"]),
    N("ReduceSum", ["e", "axis"], ["sum"], keepdims=1),
    N("Reciprocal", ["sum"], ["inverse"]),
    N("Mul", ["e", "inverse"], ["y"]),
]
BY_TANH = [
    N("Mul", ["x", "half"], ["h"]),
    N("Tanh", ["h"], ["t"]),
    N("Mul", ["t", "half"], ["u"]),
    N("Add", ["u", "half"], ["y"]),
]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the check of the scores has logged."""
    return [record.getMessage() for record in caplog.records if record.name.endswith("score_check")]


def test_probabilities_that_no_operator_shows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, BY_HAND, spread=6, axis=np.array([1]))
    found, logits = classify(path)
    np.testing.assert_allclose(found, softmax(logits), rtol=0, atol=1e-6)
    (line,) = said(caplog)
    assert "are in [0, 1] and sum to 1 for three test windows" in line
    assert "set scores to logits, probabilities or sigmoid" in line


def test_the_nodes_loader_checks_too(tmp_path: Path) -> None:
    path = save(tmp_path, BY_HAND, spread=6, axis=np.array([1]))
    loaded: list[Any] = []
    callbacks = LoadCallbacks(
        progress=lambda request, what: None,
        prepared=lambda request, network: None,
        loaded=lambda request, network: loaded.append(network.session),
        failed=lambda request, error: loaded.append(error),
    )
    loader = NetworkLoader(callbacks)
    loader.request(LoadRequest(Settings(model=str(path))))
    assert loader.join(60)
    (session,) = loaded
    assert session.network.spec.scores == "probabilities"
    assert session.network.model == b""
    session.close()


def test_a_squeeze_that_the_exporter_wrote_as_an_if(tmp_path: Path) -> None:
    def branch(operator: str, *inputs: str) -> Any:
        output = helper.make_tensor_value_info(f"{operator}_o", TensorProto.FLOAT, None)
        return helper.make_graph([N(operator, inputs, [f"{operator}_o"])], operator, [], [output])

    tail = [
        N("Softmax", ["x"], ["p"], axis=1),
        N("If", ["cond"], ["z"], then_branch=branch("Identity", "p"), else_branch=branch("Neg", "p")),
        N("Reshape", ["z", "shape"], ["y"]),
    ]
    found, logits = classify(save(tmp_path, tail, cond=np.array(True), shape=np.array([1, 9])))
    np.testing.assert_allclose(found, softmax(logits), rtol=0, atol=1e-6)


def test_a_sigmoid_that_no_operator_shows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, BY_TANH, half=np.float32(0.5))
    found, logits = classify(path)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-6)
    assert "do not sum to 1 for three test windows" in caplog.text


@pytest.mark.parametrize("classes", [2, 9, 400])
@pytest.mark.parametrize("spread", [1e-6, 0.03, 1.0])
def test_logits_however_small_stay_logits(
    classes: int, spread: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, logits = classify(save(tmp_path, [N("Identity", ["x"], ["y"])], classes, spread=spread))
    np.testing.assert_allclose(found, softmax(logits), rtol=0, atol=1e-6)
    assert not said(caplog)


def test_small_positive_logits_of_a_linear_layer_are_no_sigmoid(tmp_path: Path) -> None:
    path = save(tmp_path, [N("Add", ["x", "bias"], ["y"])], spread=0.01, bias=np.full(9, 0.5, np.float32))
    found, logits = classify(path)
    np.testing.assert_allclose(found, softmax(logits), rtol=0, atol=1e-6)


def test_labels_merged_by_a_matrix_stay_probabilities(tmp_path: Path) -> None:
    merge = np.zeros((9, 3), np.float32)
    merge[np.arange(9), np.arange(9) % 3] = 1
    tail = [N("Softmax", ["x"], ["p"], axis=1), N("MatMul", ["p", "merge"], ["y"])]
    path = save(tmp_path, tail, merge=merge)
    model = onnx.load(str(path))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]))
    onnx.save(model, str(path))
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    found, logits = classify(path)
    np.testing.assert_allclose(found, softmax(logits) @ merge, rtol=0, atol=1e-6)


def test_what_the_user_states_is_kept_and_a_contradiction_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path, BY_HAND, spread=6, axis=np.array([1]))
    found, logits = classify(path, scores="logits")
    np.testing.assert_allclose(found, softmax(softmax(logits)), rtol=0, atol=1e-6)
    assert not said(caplog)
    found, logits = classify(save(tmp_path, [N("Identity", ["x"], ["y"])]), scores="probabilities")
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
    assert "are not in [0, 1], but `scores` is probabilities; set scores to logits" in caplog.text


def test_probabilities_that_are_cut_off_are_called_independent(tmp_path: Path) -> None:
    tail = [N("Softmax", ["x"], ["p"], axis=1), N("Clip", ["p", "low", "high"], ["y"])]
    path = save(tmp_path, tail, low=np.float32(0.1), high=np.float32(0.6))
    network = prepare(resolve(NetworkRequest(model=str(path))))
    assert network.spec.scores == "probabilities"
    session = check_scores(OpenVINOBackend().load(network, LoadOptions(precision="fp32")), pytest.fail)
    assert session.network.spec.scores == "sigmoid"
    session.close()


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ([N("Softmax", ["x"], ["p"], axis=0), N("Softmax", ["p"], ["y"], axis=1)], "gives every class the same score"),
        (
            [N("Mul", ["x", "zero"], ["nothing"]), N("Add", ["nothing", "bias"], ["y"])],
            "gives the same scores for darkness, noise and a moving pattern",
        ),
    ],
    ids=["softmax over the batch, then over the classes", "weights of zero"],
)
@pytest.mark.parametrize("scores", ["auto", "logits"])
def test_a_network_that_answers_the_same_to_everything_is_named(
    scores: str, tail: list[NodeProto], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path, tail, zero=np.float32(0), bias=np.arange(9, dtype=np.float32) / 9)
    classify(path, scores=scores)
    (line,) = said(caplog)
    assert words in line
    assert "softmax(dim=0) in place of dim=-1" in line


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[0.25, 0.25], [0.4, 0.4], [0.1, 0.1]], "gives every class the same score"),
        ([[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]], "gives the same scores for darkness"),
        ([[0.25, 0.75], [0.25, 0.75], [0.2501, 0.7499]], ""),
        ([[0.5, 0.50001], [0.50001, 0.5], [0.5, 0.5]], ""),  # an untrained network
        ([[1e-12, 1.0], [1e-14, 1.0], [1e-13, 1.0]], ""),  # sure of one class
        ([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], ""),  # so sure that nothing is left to compare
    ],
)
def test_what_is_the_same_for_everything(values: list[list[float]], words: str) -> None:
    assert answer_to_everything(np.array(values, np.float32)).startswith(words)
    assert bool(answer_to_everything(np.array(values, np.float32))) == bool(words)


@pytest.fixture(name="wrong")
def wrong_fixture() -> FakeSession:
    """A session of a network that was read as one of probabilities and gives something else."""
    network = make_network()
    session = FakeSession(replace(network, spec=replace(network.spec, scores="probabilities"), scores_from="graph"))
    session.scores = [7.0, -3.0]
    return session


def test_what_looked_like_probabilities_and_is_not_in_0_to_1_gets_a_softmax(wrong: FakeSession) -> None:
    asked: list[ScoreKind] = []

    def load_as(kind: ScoreKind) -> Session[Any]:
        asked.append(kind)
        return FakeSession(replace(wrong.network, spec=replace(wrong.network.spec, scores=kind), scores_from="stated"))

    session = check_scores(wrong, load_as)
    assert asked == ["logits"]
    assert wrong.closed
    assert session is not wrong
    assert session.network.spec.scores == "logits"


def test_a_network_that_cannot_be_loaded_again_stays_as_it_was_read() -> None:
    network = make_network()
    session = FakeSession(replace(network, spec=replace(network.spec, scores="logits"), scores_from="assumption"))
    session.scores = [0.5, 0.5]

    def fail(kind: ScoreKind) -> Session[Any]:
        raise BackendError("no memory")

    assert check_scores(session, fail) is session
    assert not session.closed


def test_the_three_windows_differ_and_one_of_them_moves_smoothly() -> None:
    dark, noise, pattern = make_test_windows(make_network(frames=16, size=32))
    assert not dark.any()
    assert np.ptp(noise) == 255
    steps = np.abs(np.diff(pattern.astype(int), axis=0))
    assert 2 < steps.mean() < 60
    assert np.abs(np.diff(pattern.astype(int), axis=2)).mean() < 40


@pytest.mark.parametrize(
    ("values", "precision", "kind"),
    [
        ([[0.2, 0.8], [1, 0]], "fp32", "probabilities"),
        ([[0.2, 0.8], [1, 0.1]], "fp32", "sigmoid"),
        ([[0.2, 0.8], [1.2, -0.2]], "fp32", "logits"),
        ([[0.2, 0.801]], "fp32", "sigmoid"),
        ([[0.2, 0.801]], "bf16", "probabilities"),
    ],
)
def test_the_kinds_of_numbers(values: list[list[float]], precision: str, kind: ScoreKind) -> None:
    assert kind_of(np.array(values, np.float32), precision) == kind
