"""The inputs and outputs that exporters write, each with the scores that plain arithmetic gives, through the class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet import ActionNet
from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.networks import ACTIONNET_MEAN, NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.network_yaml import description_of

Array = NDArray[Any]
Save = Callable[..., Path]
Run = Callable[[bytes, Array], Array]
node = helper.make_node

T, H, W, CLASSES = 4, 6, 5, 9
MEAN = np.array([0.4344705882352941, 0.4050980392156863, 0.3774901960784314])
WEIGHT = np.random.default_rng(0).normal(0, 1.5, (3 * T, CLASSES)).astype(np.float32)
# Every frame in a color of its own, so that scores depend on the order of the frames and of the colors.
COLORS = np.random.default_rng(1).integers(0, 200, (2, T, 1, 1, 3), np.uint8)
WINDOWS = COLORS + np.random.default_rng(2).integers(0, 56, (2, T, H, W, 3), np.uint8)
LABELS = "\n".join(f"action {index}" for index in range(CLASSES))


def expected(window: Array = WINDOWS[0]) -> Array:
    """Scores of the network below: a softmax of the mean color of each frame times WEIGHT."""
    colors = (window / 255 - MEAN).mean((1, 2))
    logits = colors.T.reshape(-1) @ WEIGHT.astype(np.float64)
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def value(name: str, shape: list[Any] | None, element: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def model_of(
    before: list[NodeProto],
    after: list[NodeProto] | None = None,
    *,
    inputs: list[Any] | None = None,
    output: list[Any] | None = ["n", CLASSES],  # noqa: B006
    **constants: Any,
) -> ModelProto:
    """Nodes `before`, from "x" to "video" [n, 3, T, H, W]; the network, to "logits"; nodes `after`, to "y"."""
    nodes = [
        *before,
        node("ReduceMean", ["video"], ["pooled"], axes=[3, 4], keepdims=0),
        node("Reshape", ["pooled", "flat"], ["row"]),
        node("MatMul", ["row", "weight"], ["logits"]),
        *(after or [node("Identity", ["logits"], ["y"])]),
    ]
    constants |= {"flat": np.array([-1, 3 * T], np.int64), "weight": WEIGHT}
    graph = helper.make_graph(
        nodes,
        "g",
        inputs or [value("x", ["n", 3, T, H, W])],
        [value("y", output)],
        [numpy_helper.from_array(np.asarray(constant), name) for name, constant in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def load(path: Path) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(path))))


def scores_of(path: Path) -> Array:
    """Scores of the first window, from the Python class."""
    with ActionNet(model=str(path), precision="fp32", skip_frames=0, backend="openvino") as net:
        for frame in WINDOWS[0]:
            prediction = net.classify(frame)
    assert prediction is not None
    return np.asarray(prediction.scores)


def assert_right(path: Path, run_model: Run, *, batch: bool = True) -> PreparedNetwork:
    """Compare with the expected scores: the class, and the prepared network in ONNX Runtime, by two windows at once."""
    np.testing.assert_allclose(scores_of(path), expected(), atol=1e-6)
    network = load(path)
    assert (network.max_batch is None) is batch
    windows = WINDOWS if batch else WINDOWS[:1]
    found = run_model(network.model, windows)
    np.testing.assert_allclose(found, [expected(window) for window in windows], atol=1e-6)
    return network


FIVE = np.array([-1, 3, T, H, W], np.int64)
FRAMES_FIRST = np.array([-1, T, 3, H, W], np.int64)
TURNED = [0, 2, 1, 3, 4]
LAYOUTS: dict[str, tuple[list[Any], list[NodeProto], str]] = {
    "NCTHW": ([3, T, H, W], [node("Identity", ["x"], ["video"])], ""),
    "NTCHW": ([T, 3, H, W], [node("Transpose", ["x"], ["video"], perm=TURNED)], ""),
    "NTHWC": ([T, H, W, 3], [node("Transpose", ["x"], ["video"], perm=[0, 4, 1, 2, 3])], ""),
    "N(CT)HW": ([3 * T, H, W], [node("Reshape", ["x", "five"], ["video"])], "layout: N(CT)HW"),
    "N(TC)HW": (
        [3 * T, H, W],
        [node("Reshape", ["x", "frames_first"], ["z"]), node("Transpose", ["z"], ["video"], perm=TURNED)],
        "layout: N(TC)HW",
    ),
    "NHW(CT)": (
        [H, W, 3 * T],
        [node("Transpose", ["x"], ["z"], perm=[0, 3, 1, 2]), node("Reshape", ["z", "five"], ["video"])],
        "layout: NHW(CT)",
    ),
    "NHW(TC)": (
        [H, W, 3 * T],
        [
            node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
            node("Reshape", ["planes", "frames_first"], ["z"]),
            node("Transpose", ["z"], ["video"], perm=TURNED),
        ],
        "layout: NHW(TC)",
    ),
    "NMCTHW": (["clips", 3, T, H, W], [node("Reshape", ["x", "five"], ["video"])], ""),
    "NMTCHW": (
        [1, T, 3, H, W],
        [node("Reshape", ["x", "frames_first"], ["z"]), node("Transpose", ["z"], ["video"], perm=TURNED)],
        "",
    ),
}


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, batch: int | str, save: Save, run_model: Run) -> None:
    shape, before, yaml = LAYOUTS[layout]
    model = model_of(before, inputs=[value("x", [batch, *shape])], five=FIVE, frames_first=FRAMES_FIRST)
    network = assert_right(save(model, yaml=yaml, labels=LABELS), run_model)
    assert (network.spec.layout, network.frames, network.height, network.width) == (layout, T, H, W)


@pytest.mark.parametrize("layout", ["NCTHW", "N(TC)HW"])
def test_a_network_that_takes_bgr(layout: str, save: Save, run_model: Run) -> None:
    shape, before, yaml = LAYOUTS[layout]
    *first, last = (NodeProto.FromString(each.SerializeToString()) for each in before)
    last.output[0] = "bgr"
    nodes = [*first, last, node("Gather", ["bgr", "backwards"], ["video"], axis=1)]
    model = model_of(
        nodes, inputs=[value("x", ["n", *shape])], five=FIVE, frames_first=FRAMES_FIRST, backwards=np.array([2, 1, 0])
    )
    stated = f"{yaml}\ncolors: BGR\nmean: {list(ACTIONNET_MEAN[::-1])}\n"
    network = assert_right(save(model, yaml=stated, labels=LABELS), run_model)
    assert network.spec.colors == "BGR"


@pytest.mark.parametrize(
    ("shape", "yaml", "words"),
    [
        (
            ["n", 12, 6, 5],
            "",
            r"several of them.*`layout: N\(CT\)HW` .*the reds.*`layout: N\(TC\)HW` .*frame by",
        ),
        (["n", 16, 16, 12], "", r"several of them.*`layout: NHW\(CT\)` .*reds.*`layout: NHW\(TC\)` .*frame by"),
        (["n", 16, 16, 3], "", r"has the shape \[\?, 16, 16, 3\]; it must be \[1, 3, T, H, W\] or"),
        (["n", 10, 6, 5], "layout: N(CT)HW", r"has 10 channels in layout N\(CT\)HW; frames have a multiple of 3"),
        (["n", 10, 3, 4, 6, 5], "", r"takes 10 clips of a video at once, always; export it with 1 clip"),
        (["n", 3, 4, 6, 5], "layout: NMCTHW", r"has 5 dimensions, but layout NMCTHW has 6: \[1, 1, 3, T, H, W\]"),
        (["n", 3, 3, 3, 4, 6, 5], "", r"has the shape \[\?, 3, 3, 3, 4, 6, 5\]; it must be \[1, 3, T, H, W\] or"),
        (None, "", r"cannot be told from its dimensions.*layout: NCTHW"),
    ],
)
def test_inputs_that_need_a_word_more(shape: list[Any] | None, yaml: str, words: str, save: Save) -> None:
    model = model_of([node("Reshape", ["x", "five"], ["video"])], inputs=[value("x", shape)], five=FIVE)
    with pytest.raises(NetworkError, match=words):
        load(save(model, yaml=yaml, labels=LABELS))


def test_an_input_without_a_shape_is_described_by_the_network_yaml(save: Save, run_model: Run) -> None:
    model = model_of([node("Identity", ["x"], ["video"])], inputs=[value("x", None)])
    yaml = f"layout: NCTHW\nframes: {T}\nheight: {H}\nwidth: {W}\n"
    assert_right(save(model, yaml=yaml, labels=LABELS), run_model)


def normalized_inside(element: int, *moved: NodeProto) -> ModelProto:
    """A network that takes RGB in [0, 255] and divides and subtracts itself."""
    last = moved[-1].output[0] if moved else "x"
    before = [
        *moved,
        node("Cast", [last], ["f"], to=TensorProto.FLOAT),
        node("Div", ["f", "most"], ["g"]),
        node("Sub", ["g", "mean"], ["video"]),
    ]
    mean = MEAN.astype(np.float32).reshape(1, 3, 1, 1, 1)
    return model_of(before, inputs=[value("x", ["n", 3, T, H, W], element)], most=np.float32(255), mean=mean)


@pytest.mark.parametrize("name", ["UINT8", "INT16", "UINT16", "INT32", "INT64"])
def test_whole_numbers_are_normalized_by_the_network(name: str, save: Save, run_model: Run) -> None:
    network = assert_right(save(normalized_inside(TensorProto.DataType.Value(name)), labels=LABELS), run_model)
    assert network.spec.normalization == "inside"
    assert 'normalization: "inside"' in description_of(network.spec, {}, network.spec.model.parent)
    nodes = onnx.load_model_from_string(network.model).graph.node
    assert nodes[0].op_type == "Cast"
    assert {kept.attribute[0].i for kept in nodes if kept.op_type == "Cast"} == {TensorProto.FLOAT}


def test_whole_numbers_that_are_calculated_with_stay_whole(save: Save, run_model: Run) -> None:
    halved = node("Div", ["x", "two"], ["half"])  # rounds down: floats in place of whole numbers give other scores
    model = normalized_inside(TensorProto.INT32, halved, node("Mul", ["half", "two"], ["even"]))
    model.graph.initializer.append(numpy_helper.from_array(np.int32(2), "two"))
    path = save(model, labels=LABELS)
    even = expected(WINDOWS[0] // 2 * 2)
    assert np.abs(even - expected()).max() > 1e-3
    np.testing.assert_allclose(scores_of(path), even, atol=1e-6)
    np.testing.assert_allclose(run_model(load(path).model, WINDOWS[:1])[0], even, atol=1e-6)


def test_normalization_inside_feeds_a_float_network_0_to_255(save: Save, run_model: Run) -> None:
    model = normalized_inside(TensorProto.FLOAT)
    network = assert_right(save(model, labels=LABELS, yaml="normalization: inside"), run_model)
    assert network.spec.mean == (0, 0, 0)
    written = save(
        model, labels=LABELS, yaml=description_of(network.spec, {}, network.spec.model.parent)
    )  # as `actionnet-networks add` does
    assert_right(written, run_model)
    with pytest.raises(NetworkError, match=r"leaves mean and std to the network; remove its lines"):
        load(save(model, labels=LABELS, yaml="normalization: inside\nmean: [0, 0, 0]"))
    with pytest.raises(NetworkError, match=r"normalization is 'within'; it must be one of outside, inside"):
        load(save(model, labels=LABELS, yaml="normalization: within"))


def test_a_double_input(save: Save, run_model: Run) -> None:
    before = [node("Cast", ["x"], ["video"], to=TensorProto.FLOAT)]
    model = model_of(before, inputs=[value("x", ["n", 3, T, H, W], TensorProto.DOUBLE)])
    assert_right(save(model, labels=LABELS), run_model)


@pytest.mark.parametrize("name", ["BOOL", "INT8", "STRING", "COMPLEX64"])
def test_types_that_hold_no_frame(name: str, save: Save) -> None:
    model = normalized_inside(TensorProto.DataType.Value(name))
    with pytest.raises(NetworkError, match=rf"is {name.lower()}, which cannot hold RGB .* float32 or uint8 input"):
        load(save(model, labels=LABELS))


def squeezed_by_an_if(**options: Any) -> ModelProto:
    """A network that ends in TorchScript's squeeze(dim): an If, for which no rank is inferred."""
    branches = {
        name: helper.make_graph([node(operator, inputs, [name])], name, [], [value(name, None)])
        for name, operator, inputs in (("then", "Squeeze", ["u", "axis"]), ("else", "Identity", ["u"]))
    }
    after = [
        node("Unsqueeze", ["logits", "axis"], ["u"]),
        node("If", ["yes"], ["y"], then_branch=branches["then"], else_branch=branches["else"]),
    ]
    before = [node("Identity", ["x"], ["video"])]
    return model_of(before, after, axis=np.array([2], np.int64), yes=np.array(True), **options)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_an_output_without_a_rank_is_as_the_file_declares_it(labels: str | None, save: Save, run_model: Run) -> None:
    network = assert_right(save(squeezed_by_an_if(), labels=labels), run_model)
    assert network.num_classes == CLASSES


@pytest.mark.parametrize("output", [None, ["n", "classes"], ["n", "classes", 1]])
def test_a_count_that_only_a_run_can_tell_is_the_labels(output: list[Any] | None, save: Save, run_model: Run) -> None:
    model = squeezed_by_an_if(output=output)
    path = save(model, labels=LABELS)
    assert_right(path, run_model, batch=output is not None)
    for count in (3, 7, 10, 18):
        path = save(model, labels="\n".join(f"action {index}" for index in range(count)))
        with pytest.raises(BackendError, match=rf"gives 9 scores a window, but its label file has {count} labels"):
            scores_of(path)
    path.with_name("labels.txt").unlink()
    with pytest.raises(NetworkError, match=r"can be told only by running the network; put a labels.txt beside"):
        load(path)


def test_nodes_in_any_order_are_sorted(save: Save, run_model: Run) -> None:
    model = squeezed_by_an_if()
    branch = model.graph.node[-1].attribute[0].g
    branch.node[0].output[0] = "early"
    branch.node.insert(0, node("Identity", ["early"], [branch.output[0].name]))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert_right(save(model, labels=LABELS), run_model)


def test_unsorted_nodes_of_a_fixed_batch_are_batched(save: Save, run_model: Run) -> None:
    model = model_of([node("Identity", ["x"], ["video"])], inputs=[value("x", [1, 3, T, H, W])])
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[1:], nodes[0]])
    assert_right(save(model, labels=LABELS), run_model)


def test_nodes_that_need_each_other_are_refused(save: Save) -> None:
    model = model_of([node("Add", ["x", "logits"], ["video"])])
    with pytest.raises(NetworkError, match="nodes that need each other's results"):
        load(save(model, labels=LABELS))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("ArgMax", ["logits"], ["best"], axis=1), node("Cast", ["best"], ["y"], to=TensorProto.FLOAT)], "ArgMax"),
        ([node("TopK", ["logits", "three"], ["y", "places"], axis=1)], "TopK"),
    ],
)
def test_an_output_that_has_the_best_classes_only_is_refused(nodes: list[NodeProto], words: str, save: Save) -> None:
    model = model_of([node("Identity", ["x"], ["video"])], nodes, output=None, three=np.array([3]))
    with pytest.raises(NetworkError, match=rf"output 'y' has the best classes \({words}\), .*; export the network"):
        load(save(model))
    model.graph.output.append(value("logits", ["n", CLASSES]))
    with pytest.raises(NetworkError, match=r"set output_blob to another output \(logits\), or export the network"):
        load(save(model, yaml="output_blob: y"))
    assert len(load(save(model, yaml="output_blob: logits")).labels) == CLASSES


@pytest.mark.parametrize("ends", ["logits", "probabilities"])
def test_a_quantized_output_is_what_it_stands_for(ends: str, save: Save, run_model: Run) -> None:
    scale, zero = (np.float32(0.01), np.uint8(128)) if ends == "logits" else (np.float32(1 / 255), np.uint8(0))
    after = [
        node("Identity" if ends == "logits" else "Softmax", ["logits"], ["real"]),
        node("QuantizeLinear", ["real", "scale", "zero"], ["y"]),
    ]
    model = model_of([node("Identity", ["x"], ["video"])], after, scale=scale, zero=zero)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    network = load(save(model, labels=LABELS))
    assert (network.spec.scores, network.spec.output_blob, network.max_batch) == (ends, "y", None)
    video = ((WINDOWS / 255 - MEAN).astype(np.float32)).transpose(0, 4, 1, 2, 3)
    real = (run_model(model.SerializeToString(), video).astype(np.float64) - zero) * scale
    powers = np.exp(real)
    wanted = powers / powers.sum(1, keepdims=True) if ends == "logits" else real
    assert np.ptp(wanted) > 0.05
    np.testing.assert_allclose(run_model(network.model, WINDOWS), wanted, atol=1e-6)


def test_operators_of_onnxruntimes_own_are_refused_with_what_to_do(save: Save) -> None:
    model = model_of([node("Identity", ["x"], ["video"])], [node("Unheard", ["logits"], ["y"], domain="com.microsoft")])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(BackendError, match=r"com\.microsoft\.Unheard.*; ONNX Runtime's quantizer .*QuantFormat\.QDQ"):
        scores_of(save(model, labels=LABELS))
