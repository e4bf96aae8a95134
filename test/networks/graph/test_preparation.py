from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, NetworkSpec, PreparedNetwork, prepare, resolve

Array = NDArray[Any]
Build = Callable[..., ModelProto]
Save = Callable[..., Path]
Run = Callable[[bytes, Array], Array]


def assert_close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


def load(path: Path, **request: str) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(path), **request)))


def signature(network: PreparedNetwork) -> tuple[list[Any], list[Any]]:
    """[name, type, dimensions ...] of the prepared model's only input and only output."""
    graph = onnx.load_model_from_string(network.model).graph
    found = []
    for (value,) in (graph.input, graph.output):
        kind = value.type.tensor_type
        found.append([value.name, kind.elem_type, *(dim.dim_param or dim.dim_value for dim in kind.shape.dim)])
    return found[0], found[1]


def test_a_3d_network_gets_the_signature_and_the_originals_scores(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d()
    network = load(save(model))
    assert signature(network) == (
        ["frames", TensorProto.UINT8, "batch", 4, 10, 8, 3],
        ["scores", TensorProto.FLOAT, "batch", 5],
    )
    assert (network.frames, network.height, network.width, network.num_classes) == (4, 10, 8, 5)
    assert (network.name, network.spec.layout, network.max_batch) == ("net", "NCTHW", None)
    assert (network.spec.input_blob, network.spec.output_blob) == ("video", "out")
    scores = run_model(network.model, windows)
    assert_close(scores, expected_scores(model, windows))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    onnx.checker.check_model(onnx.load_model_from_string(network.model), full_check=True)


def test_time_before_color(
    segments: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = segments()
    network = load(save(model))
    assert (network.spec.layout, network.frames, network.max_batch) == ("NTCHW", 4, None)
    expected = expected_scores(model, windows, layout="NTCHW")
    assert_close(run_model(network.model, windows), expected)


@pytest.mark.parametrize("build", ["conv3d", "segments"])
def test_a_batch_gives_what_its_windows_give_one_by_one(
    build: str, save: Save, windows: Array, run_model: Run, request: pytest.FixtureRequest
) -> None:
    network = load(save(request.getfixturevalue(build)()))
    one_by_one = np.concatenate([run_model(network.model, windows[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(run_model(network.model, windows), one_by_one, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(run_model(network.model, windows[1:]), one_by_one[1:], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("ending", "softmaxes"),
    [("logits", 1), ("softmax", 1), ("softmax_reshape", 1), ("log_softmax", 1), ("exp_sum_div", 0)],
)
def test_a_softmax_is_added_only_where_there_are_no_probabilities(
    ending: str,
    softmaxes: int,
    conv3d: Build,
    save: Save,
    windows: Array,
    run_model: Run,
    expected_scores: Callable[..., Array],
) -> None:
    network = load(save(conv3d(ending)))
    operators = [node.op_type for node in onnx.load_model_from_string(network.model).graph.node]
    assert operators.count("Softmax") == softmaxes
    assert_close(run_model(network.model, windows), expected_scores(conv3d(), windows))


def test_a_softmax_over_the_batch_is_refused(conv3d: Build, save: Save) -> None:
    model = conv3d("softmax")
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.attribute[0].i = 0
    with pytest.raises(NetworkError, match=r"softmax over dimension 0 .*the batch, not over the classes"):
        load(save(model))


def test_a_sigmoid_is_left_alone(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d("sigmoid")
    network = load(save(model))
    assert (network.spec.scores, network.scores_from) == ("sigmoid", "graph")
    assert_close(run_model(network.model, windows), expected_scores(model, windows, softmax=False))


def test_scores_of_the_network_yaml_and_of_the_request(conv3d: Build, save: Save) -> None:
    path = save(conv3d(), yaml="scores: sigmoid")
    assert (load(path).spec.scores, load(path).scores_from) == ("sigmoid", "stated")
    assert load(path, scores="probabilities").spec.scores == "probabilities"
    assert load(save(conv3d(), yaml="scores: auto")).scores_from == "graph"
    with pytest.raises(NetworkError, match=r"scores is 'softmax'; it must be one of logits, probabilities, sigmoid"):
        load(save(conv3d(), yaml="scores: softmax"))


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17])
def test_every_opset_is_kept_and_works(
    opset: int, conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d("softmax", opset=opset)
    network = load(save(model))
    assert onnx.load_model_from_string(network.model).opset_import[0].version == opset
    expected = expected_scores(model, windows, softmax=False)
    assert_close(run_model(network.model, windows), expected)


def test_an_old_file_that_lists_its_weights_as_inputs(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d(opset=9)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    network = load(save(model))
    assert signature(network)[0][0] == "frames"
    assert_close(run_model(network.model, windows), expected_scores(model, windows))


@pytest.mark.parametrize("names", [("frames", "scores"), ("scores", "frames")])
def test_names_that_are_ours_already(
    names: tuple[str, str],
    conv3d: Build,
    save: Save,
    windows: Array,
    run_model: Run,
    expected_scores: Callable[..., Array],
) -> None:
    model = conv3d(input_name=names[0])
    for node in model.graph.node:
        if node.output[0] == "out":
            node.output[0] = names[1]
    model.graph.output[0].name = names[1]
    network = load(save(model))
    assert (network.spec.input_blob, network.spec.output_blob) == names
    assert [end[0] for end in signature(network)] == ["frames", "scores"]
    assert_close(run_model(network.model, windows), expected_scores(model, windows))


def test_mean_and_std_of_the_network_yaml(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d()
    mean, std = (0.43, 0.39, 0.37), (0.22, 0.23, 0.21)
    network = load(save(model, yaml=f"mean: {list(mean)}\nstd: {list(std)}\n"))
    expected = expected_scores(model, windows, mean=mean, std=std)
    assert_close(run_model(network.model, windows), expected)


def test_a_float16_network_takes_and_gives_the_same_as_any(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d(element=TensorProto.FLOAT16)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    network = load(save(model))
    assert signature(network)[1][1] == TensorProto.FLOAT
    expected = expected_scores(model, windows, dtype=np.float16)
    np.testing.assert_allclose(run_model(network.model, windows), expected, rtol=5e-3, atol=1e-4)


def test_what_the_model_leaves_open_comes_from_the_network_yaml(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d(batch="n", shape=["n", 3, "t", "h", 8])
    with pytest.raises(NetworkError, match=r"leaves frames, height open.*`frames: 16`, `height: 112`"):
        load(save(model))
    network = load(save(model, yaml="frames: 4\nheight: 10\n"))
    assert (network.frames, network.height, network.width, network.max_batch) == (4, 10, 8, None)
    assert_close(run_model(network.model, windows), expected_scores(model, windows))


def test_outputs_that_are_no_rows_of_scores(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d()
    shape = numpy_helper.from_array(np.array([1, 5, 1, 1, 1], np.int64), "volume")
    model.graph.initializer.append(shape)
    model.graph.node[-1].CopyFrom(helper.make_node("Reshape", ["logits", "volume"], ["out"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 5, 1, 1, 1]))
    network = load(save(model))
    assert network.max_batch is None
    assert_close(run_model(network.model, windows), expected_scores(model, windows))


def test_of_several_outputs_the_one_asked_for_or_the_only_row_of_scores(conv3d: Build, save: Save) -> None:
    model = conv3d()
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 7, 4, 10, 8]))
    assert load(save(model)).spec.output_blob == "out"
    model.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 7]))
    with pytest.raises(NetworkError, match=r"3 outputs; set output_blob .*'out' \[1, 5\], 'r' .*'f' \[1, 7\]"):
        load(save(model))
    assert load(save(model), output_blob="f").num_classes == 7
    with pytest.raises(NetworkError, match=r"no output '198'; set output_blob to one of 'out'"):
        load(save(model), output_blob="198")
    with pytest.raises(NetworkError, match=r"output 'r' has the shape \[1, 7, 4, 10, 8\]; it must be \[1, classes\]"):
        load(save(model), output_blob="r")


def test_an_input_that_only_another_output_needs_is_dropped_and_any_other_refused(conv3d: Build, save: Save) -> None:
    model = conv3d()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 5]))
    model.graph.node.append(helper.make_node("Mul", ["logits", "mask"], ["masked"]))
    model.graph.output.append(helper.make_tensor_value_info("masked", TensorProto.FLOAT, [1, 5]))
    assert load(save(model), output_blob="out").spec.input_blob == "video"
    with pytest.raises(NetworkError, match=r"needs 2 inputs \('video' .*'mask' \[1, 5\]\).*one input_blob"):
        load(save(model), output_blob="masked")
    with pytest.raises(NetworkError, match=r"no input 'x'; set input_blob to one of 'video' \[1, 3, 4, 10, 8\]"):
        load(save(model), output_blob="out", input_blob="x")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([1, 3, 10, 8], r"\[1, 3, 10, 8\]; it must be \[1, 3, T, H, W\] or \[1, T, 3, H, W\]"),
        ([3, 6, 10, 8], r"\[3, 6, 10, 8\]; it must be \[1, 3, T, H, W\] or \[1, T, 3, H, W\]"),
        ([1, 3, 3, 10, 8], r"several of them could be the 3 colors.*layout: NCTHW.*layout: NTCHW"),
        ([1, 4, 4, 10, 8], r"none of them is the 3 colors.*layout: NTCHW"),
        ([2, 3, 4, 10, 8], r"takes 2 windows at once, always; export it with a batch of 1"),
    ],
)
def test_inputs_that_cannot_be_frames(shape: list[int], message: str, conv3d: Build, save: Save) -> None:
    with pytest.raises(NetworkError, match=message):
        load(save(conv3d(shape=shape)))


def test_the_layout_can_be_said(conv3d: Build, save: Save) -> None:
    network = load(save(conv3d(shape=[1, 3, 3, 10, 8]), yaml="layout: NCTHW"))
    assert (network.spec.layout, network.frames) == ("NCTHW", 3)
    with pytest.raises(NetworkError, match=r"has 4 channels in layout NTCHW; frames have 3"):
        load(save(conv3d(), yaml="layout: NTCHW"))


def test_a_network_yaml_that_contradicts_the_model(conv3d: Build, save: Save) -> None:
    with pytest.raises(NetworkError, match=r"frames is 16 in its network.yaml but 4 in the model"):
        load(save(conv3d(), yaml="frames: 16"))


@given(length=st.integers(0, 3000), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_our_error_and_no_other(
    length: int, data: st.DataObject, conv3d: Build, tmp_path: Path
) -> None:
    whole = conv3d().SerializeToString()
    damaged = bytearray(whole[: min(length, len(whole))])
    for place in data.draw(st.lists(st.integers(1, max(1, len(damaged) - 1)), max_size=5)):
        if place < len(damaged):
            damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged)
    try:
        network = load(path)
    except NetworkError as error:
        assert str(path) in str(error)
    else:
        assert network.num_classes > 0


def test_a_truncated_file_says_so(conv3d: Build, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(conv3d().SerializeToString()[:1000])
    with pytest.raises(NetworkError, match=r"cut.onnx cannot be read: .*damaged or incomplete") as caught:
        load(path)
    assert caught.value.__cause__ is not None


def test_weights_in_a_file_beside_the_model(
    conv3d: Build, tmp_path: Path, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save_model(
        onnx.load_model_from_string(conv3d().SerializeToString()),
        str(path),
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    assert_close(run_model(load(path).model, windows), expected_scores(conv3d(), windows))
    (tmp_path / "net.data").unlink()
    with pytest.raises(
        NetworkError, match=r"net.onnx cannot be read: .*\.data file with its weights must lie beside it"
    ):
        load(path)


def test_a_file_larger_than_protobuf_holds_is_refused_with_float16(conv3d: Build, tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(conv3d().SerializeToString())
    with path.open("r+b") as file:
        file.truncate(2_300_000_000)  # a hole, which takes no room
    with pytest.raises(NetworkError, match=r"has 2\.3 GB with its weights; 2 GB is the most .* float16"):
        load(path)


def test_weights_beside_the_model_larger_than_protobuf_holds(conv3d: Build, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(conv3d().SerializeToString())
    weight = TensorProto(name="unread", data_type=TensorProto.FLOAT, dims=[600, 1_000_000])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="large.data")
    model.graph.initializer.append(weight)
    path = tmp_path / "large.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match=r"has 2\.4 GB with its weights; 2 GB is the most .* float16"):
        load(path)


def test_the_stated_checksum_is_checked(conv3d: Build, save: Save) -> None:
    path = save(conv3d())
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "network.yaml").write_text(f"sha256: {right}\n")
    network = load(path)
    assert network.sha256 == hashlib.sha256(network.model).hexdigest() == load(path).sha256
    (path.parent / "network.yaml").write_text(f"sha256: '{'0' * 64}'\n")
    with pytest.raises(NetworkError, match=rf"its sha256 is {right}, not 0000"):
        load(path)


def test_labels_must_be_as_many_as_the_classes(conv3d: Build, save: Save) -> None:
    assert load(save(conv3d(), labels="a\nb\nc\nd\ne\n")).labels == ("a", "b", "c", "d", "e")
    with pytest.raises(NetworkError, match=r"labels.txt has 2 labels but network net has 5 classes"):
        load(save(conv3d(), labels="a\nb\n"))


def test_without_labels_the_classes_are_numbered(conv3d: Build, save: Save, caplog: pytest.LogCaptureFixture) -> None:
    network = load(save(conv3d()))
    assert network.labels == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert "has no label file" in caplog.text


def test_the_prepared_model_is_not_in_its_repr(conv3d: Build, save: Save) -> None:
    assert "model=b" not in repr(load(save(conv3d())))


def test_importing_the_package_does_not_import_onnx() -> None:
    code = "import sys, ros2_actionnet.networks; sys.exit('onnx' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_without_onnx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ros2_actionnet.networks.graph.preparation", None)
    with pytest.raises(NetworkError, match=r"pip install.* onnx"):
        prepare(NetworkSpec(name="net", model=Path("net.onnx")))


def test_large_constants_in_nodes_work_as_initializers_do(
    conv3d: Build, save: Save, windows: Array, run_model: Run, expected_scores: Callable[..., Array]
) -> None:
    model = conv3d()
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes += list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    network = load(save(model))
    assert network.max_batch is None
    assert_close(run_model(network.model, windows), expected_scores(model, windows))


def test_a_network_that_takes_one_window_only_says_so(
    conv3d: Build,
    save: Save,
    windows: Array,
    run_model: Run,
    expected_scores: Callable[..., Array],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    model = conv3d()
    # A pooling over everything: for a batch of 1 the mean over the window, else over all windows.
    model.graph.node[2].CopyFrom(helper.make_node("ReduceMean", ["r"], ["g"], axes=[0, 2, 3, 4], keepdims=1))
    network = load(save(model))
    assert network.max_batch == 1
    assert signature(network)[0][2] == signature(network)[1][2] == 1
    assert_close(run_model(network.model, windows[:1]), expected_scores(model, windows[:1]))
    assert "one window at a time" in caplog.text
