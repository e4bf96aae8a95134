"""Networks in OpenVINO's IR: their scores against NumPy, what is read from them, and what is refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as operators

from ros2_actionnet import ActionNet
from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.networks import ACTIONNET_MEAN, NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.layout import LAYOUTS, Layout
from ros2_actionnet.networks.prepare_process import prepare_in_process
from support.openvino_ir import FRAMES, LABELS, SIZE, Ending, logits_of, save_ir, softmax
from support.random_network import save_random_network

MEAN, STD = (0.432, 0.395, 0.376), (0.228, 0.221, 0.217)
YAML = f"mean: {list(MEAN)}\nstd: {list(STD)}\n"


def window(seed: int = 0) -> NDArray[np.uint8]:
    """Frames whose colors differ, so that no order of channels or frames gives the scores of another."""
    random = np.random.default_rng(seed)
    tint = random.integers(0, 120, (FRAMES, 1, 1, 3))
    return (tint + random.integers(0, 120, (FRAMES, SIZE, SIZE, 3))).astype(np.uint8)


def scores_of(model: Path, frames: NDArray[np.uint8], **settings: Any) -> NDArray[np.float32]:
    settings = {"backend": "openvino", "precision": "fp32", "skip_frames": 0, **settings}
    with ActionNet(model=str(model), **settings) as net:
        for frame in frames:
            prediction = net.classify(frame)
        assert prediction is not None
        return prediction.scores


def prepared(model: Path, **request: str) -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(model), **request)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("element", [np.float32, np.float16])
def test_logits_get_a_softmax_after_mean_and_std(tmp_path: Path, layout: Layout, element: Any) -> None:
    model = save_ir(tmp_path, layout=layout, element=element, yaml=f"{YAML}layout: {layout}\n")
    expected = softmax(logits_of(window(), MEAN, STD))
    assert np.ptp(expected) > 0.1
    tolerance = 1e-5 if element is np.float32 else 2e-2
    assert np.abs(scores_of(model, window()) - expected).max() < tolerance


def test_without_a_network_yaml_the_mean_is_actionnets_and_the_class_has_its_label(tmp_path: Path) -> None:
    model = save_ir(tmp_path, name="other")
    expected = softmax(logits_of(window(), ACTIONNET_MEAN, (1, 1, 1)))
    with ActionNet(model=str(model), backend="openvino", precision="fp32", skip_frames=0) as net:
        for frame in window():
            prediction = net.classify(frame)
        assert net.labels == LABELS
    assert prediction is not None
    assert np.abs(prediction.scores - expected).max() < 1e-5
    assert prediction.label == LABELS[int(expected.argmax())]


@pytest.mark.parametrize(("element", "line"), [(np.uint8, ""), (np.float32, "normalization: inside")])
def test_a_network_that_normalizes_inside_gets_0_to_255(tmp_path: Path, element: Any, line: str) -> None:
    def small(logits: Any) -> Any:
        return operators.divide(logits, np.float32(255))

    model = save_ir(tmp_path, small, element=element, yaml=line)
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), (0, 0, 0), (1, 1, 1)))).max() < 1e-5


@pytest.mark.parametrize(
    ("recorded", "takes", "colors"),
    [
        ({"mean_values": "data[123.675,116.28,103.53]", "reverse_input_channels": "True"}, 255, "BGR"),
        ({"mean_scale_values": "{'198': {'mean': array([1., 2., 3.]), 'scale': None}}"}, 255, "RGB"),
        ({"mean_values": "()", "scale_values": "()", "scale": "255", "reverse_input_channels": "False"}, 255, "RGB"),
        ({"mean_values": "[0.485,0.456,0.406]", "scale_values": "[0.229,0.224,0.225]"}, 1, "RGB"),
    ],
)
def test_what_the_conversion_has_put_inside_is_read_from_its_record(
    tmp_path: Path, recorded: dict[str, str], takes: int, colors: str
) -> None:
    model = save_ir(tmp_path, recorded=recorded)
    frames = window() // 64  # the softmax of logits of 0..255 is 0 or 1
    seen = frames if colors == "RGB" else frames[..., ::-1]
    expected = softmax(logits_of(np.ascontiguousarray(seen), (0, 0, 0), (1 / takes,) * 3))
    assert np.abs(scores_of(model, frames) - expected).max() < 1e-5
    assert (prepared(model).spec.colors, "converted" in prepared(model).spec.mean_from) == (colors, True)


@pytest.mark.parametrize("recorded", [{"mean_values": "()", "scale": "1"}, {"mean_values": "", "scale_values": "none"}])
def test_a_conversion_that_put_nothing_inside_states_no_mean(tmp_path: Path, recorded: dict[str, str]) -> None:
    assert prepared(save_ir(tmp_path, recorded=recorded)).spec.mean_from == ""


def test_what_network_yaml_states_comes_before_the_record_of_the_conversion(tmp_path: Path) -> None:
    model = save_ir(tmp_path, yaml=f"{YAML}colors: BGR\n", recorded={"mean_values": "[123.7,116.3,103.5]"})
    seen = np.ascontiguousarray(window()[..., ::-1])
    assert np.abs(scores_of(model, window()) - softmax(logits_of(seen, MEAN, STD))).max() < 1e-5


def test_the_slow_path_of_slowfast_is_made_from_the_fast_one(tmp_path: Path) -> None:
    fast = operators.parameter([1, 3, FRAMES, SIZE, SIZE], np.float32, name="fast")
    slow = operators.parameter([1, 3, 2, SIZE, SIZE], np.float32, name="slow")
    means = [operators.reduce_mean(clip, np.array([2, 3, 4]), False) for clip in (slow, fast)]
    result = operators.matmul(operators.subtract(*means), np.diag([20, 30, 40]).astype(np.float32), False, False)
    openvino.save_model(openvino.Model([result], [slow, fast]), tmp_path / "model.xml", compress_to_fp16=False)
    (tmp_path / "network.yaml").write_text(YAML)
    frames = window()
    colors = (frames / 255 - np.array(MEAN)) / np.array(STD)
    logits = (colors[[0, FRAMES - 1]].mean((0, 1, 2)) - colors.mean((0, 1, 2))) * (20, 30, 40)
    assert np.ptp(softmax(logits)) > 0.1
    assert np.abs(scores_of(tmp_path, frames) - softmax(logits)).max() < 1e-5


def scaled(logits: Any) -> Any:
    return operators.multiply(operators.softmax(logits, 1), np.float32(100))


def averaged(logits: Any) -> Any:
    both = operators.concat([operators.unsqueeze(operators.softmax(logits, 1), np.array([1]))] * 2, 1)
    return operators.reduce_mean(both, np.array([1]), False)


def explicit(logits: Any) -> Any:
    powers = operators.exp(logits)
    return operators.divide(powers, operators.reduce_sum(powers, np.array([1]), True))


def transposed(logits: Any) -> Any:
    return operators.transpose(operators.softmax(logits, 1), np.array([1, 0]))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (lambda logits: operators.softmax(logits, 1), "probabilities"),
        (averaged, "probabilities"),
        (scaled, "probabilities"),
        (explicit, "probabilities"),
        (transposed, "probabilities"),
        (lambda logits: operators.gather(operators.softmax(logits, 1), np.arange(3), np.int64(1)), "probabilities"),
        (lambda logits: operators.log_softmax(logits, 1), "logits"),
        (lambda logits: operators.unsqueeze(logits, np.array([2, 3])), "logits"),
        (operators.sigmoid, "sigmoid"),
    ],
)
def test_what_a_network_ends_in_is_recognized(tmp_path: Path, ending: Ending, kind: str) -> None:
    model = save_ir(tmp_path, ending, yaml=YAML)
    network = prepared(model)
    assert (network.spec.scores, network.scores_from) == (kind, "graph")
    logits = logits_of(window(), MEAN, STD)
    expected = 1 / (1 + np.exp(-logits)) if kind == "sigmoid" else softmax(logits)
    assert np.abs(scores_of(model, window()) - expected).max() < 1e-5


def test_what_is_stated_of_the_scores_wins(tmp_path: Path) -> None:
    model = save_ir(tmp_path, yaml=YAML)
    expected = 1 / (1 + np.exp(-logits_of(window(), MEAN, STD)))
    assert np.abs(scores_of(model, window(), scores="sigmoid") - expected).max() < 1e-5


def test_an_ending_that_is_not_known_is_checked_by_numbers(tmp_path: Path) -> None:
    def strided(logits: Any) -> Any:
        ends = np.array([0, 0]), np.array([1, 3])
        return operators.strided_slice(operators.softmax(logits, 1), *ends, np.array([1, 1]), [1, 1], [1, 1])

    model = save_ir(tmp_path, strided, yaml=YAML)
    assert prepared(model).scores_from == "assumption"
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), MEAN, STD))).max() < 1e-5


def test_the_description_is_complete(tmp_path: Path) -> None:
    network = prepared(save_ir(tmp_path, layout="NTCHW"))
    spec = network.spec
    assert (spec.layout, network.frames, network.height, network.width) == ("NTCHW", FRAMES, SIZE, SIZE)
    assert (spec.input_blob, spec.output_blob, network.labels) == ("frames_in", "answer", LABELS)
    assert network.sha256 == hashlib.sha256(spec.model.read_bytes()).hexdigest()


def test_tensors_without_names_go_by_those_of_their_layers(tmp_path: Path) -> None:
    model = save_ir(tmp_path, names=False, yaml=YAML)
    assert prepared(model).spec.input_blob == "clip"
    with pytest.raises(NetworkError, match="has no output 'other'"):
        prepared(model, output_blob="other")
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), MEAN, STD))).max() < 1e-5


def test_version_10_of_the_format_is_read(tmp_path: Path) -> None:
    model = save_ir(tmp_path, names=False, yaml=YAML)
    model.write_text(re.sub(' output_names="[^"]*"', "", model.read_text()).replace('version="11"', 'version="10"'))
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), MEAN, STD))).max() < 1e-5


@pytest.mark.parametrize(("in_half", "tolerance"), [(False, 1e-5), (True, 2e-3)])
def test_a_network_that_ovc_converts_gives_the_scores_of_its_onnx_file(
    tmp_path: Path, in_half: bool, tolerance: float
) -> None:
    model = save_random_network(tmp_path, LABELS, frames=8, size=24)
    converted = tmp_path / "converted.xml"
    openvino.save_model(openvino.convert_model(model), converted, compress_to_fp16=in_half)
    frames = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), np.uint8)
    expected = scores_of(model, frames)
    assert np.ptp(expected) > 0.1
    assert np.abs(scores_of(converted, frames) - expected).max() < tolerance


def test_free_dimensions_come_from_the_network_yaml(tmp_path: Path) -> None:
    model = save_ir(tmp_path, shape=(-1, 3, FRAMES, -1, -1), yaml=YAML)
    with pytest.raises(NetworkError, match="leaves height, width open"):
        prepared(model)
    (tmp_path / "network.yaml").write_text(f"{YAML}height: {SIZE}\nwidth: {SIZE}\n")
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), MEAN, STD))).max() < 1e-5


def test_a_number_of_classes_that_only_a_run_tells_is_taken_from_the_labels(tmp_path: Path) -> None:
    def cut(logits: Any) -> Any:
        found = operators.multiply(operators.reduce_max(logits, np.array([0, 1]), False), np.float32(0))
        stop = operators.convert(operators.add(found, np.array([3], np.float32)), "i64")
        return operators.slice(logits, np.array([0]), stop, np.array([1]), np.array([1]))

    model = save_ir(tmp_path, cut, yaml=YAML)
    assert np.abs(scores_of(model, window()) - softmax(logits_of(window(), MEAN, STD))).max() < 1e-5
    (tmp_path / "labels.txt").write_text("walk\nsit\n")
    with pytest.raises(BackendError, match="gives 3 scores a window, but its label file has 2 labels"):
        scores_of(model, window())


def test_one_of_several_outputs_is_taken(tmp_path: Path) -> None:
    model = save_ir(tmp_path, yaml=YAML)
    read = openvino.Core().read_model(model)
    pair = operators.result(operators.concat([read.outputs[0].get_node().input_value(0)] * 2, 1), name="pair")
    read.add_results([pair])
    pair.input_value(0).get_tensor().set_names({"pair"})
    saved = tmp_path / "two.xml"
    openvino.save_model(read, saved, compress_to_fp16=False)
    (tmp_path / "network.yaml").write_text(f"model: two.xml\n{YAML}")
    with pytest.raises(NetworkError, match=r"2 outputs; set output_blob .*'answer' \[1, 3\], 'pair' \[1, 6\]"):
        prepared(saved)
    expected = softmax(logits_of(window(), MEAN, STD))
    assert np.abs(scores_of(saved, window(), output_blob="answer") - expected).max() < 1e-5


def test_a_preparing_process_leaves_the_files_where_they_are(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    with prepare_in_process(resolve(NetworkRequest(model=str(model)))) as network:
        assert (network.file, network.labels) == (model, LABELS)


def test_a_checksum_that_is_another_is_refused(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    (tmp_path / "network.yaml").write_text(f'sha256: "{digest}"\n')
    assert prepared(tmp_path).labels == LABELS
    model.write_text(model.read_text() + "\n")
    with pytest.raises(NetworkError, match=r"is not the one that its network\.yaml describes"):
        prepared(tmp_path)


def test_labels_that_are_too_few_are_refused(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    (tmp_path / "labels.txt").write_text("walk\nsit\n")
    with pytest.raises(NetworkError, match="has 2 labels but network model has 3 classes"):
        prepared(model)


def test_weights_that_are_cut_are_refused(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    weights = model.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(NetworkError, match=r"the weights .*model\.bin are incomplete or of another network"):
        prepared(model)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version="11"', 'version="7"', "version '7' of OpenVINO's IR; 10 or later"),
        ("<net ", "<nut ", "cannot be read"),
        ("</net>", "", "cannot be read"),
        ('type="Parameter"', 'type="Const"', "cannot be read"),
        ("<net ", '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net ', "declares entities"),
        ('type="MatMul"', 'type="ReadValue"', "remembers earlier inputs"),
        ('type="Result"', 'type="Sink"', "has no network in it"),
    ],
)
def test_an_xml_that_is_no_network_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    model = save_ir(tmp_path)
    text = model.read_text()
    assert old in text
    model.write_text(text.replace(old, new))
    with pytest.raises(NetworkError, match=message):
        prepared(model)


def test_an_xml_of_something_else_is_refused(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    model.write_text("<?xml version='1.0'?>\n<annotation><object/></annotation>\n")
    with pytest.raises(NetworkError, match="begins with <annotation>, not with <net>"):
        prepared(model)


def test_layers_in_a_circle_are_refused(tmp_path: Path) -> None:
    model = save_ir(tmp_path)
    edge = '<edge from-layer="1" from-port="0" to-layer="1" to-port="9" />'
    model.write_text(model.read_text().replace("<edges>", f"<edges>{edge}"))
    with pytest.raises(NetworkError, match="need each other's results"):
        prepared(model)
