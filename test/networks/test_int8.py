"""From a request to the int8 model beside a network's own, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, has_accepted_int8, resolve
from ros2_actionnet.networks.int8 import int8_file, read_record, record_file
from ros2_actionnet.recognition.score_check import score_window
from support.int8 import make_int8, prepared, windows_for
from support.networks import save_brightness_network

LABELS = ("dark", "dim", "bright")


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "net", LABELS)


def test_the_int8_model_scores_as_the_network(model: Path) -> None:
    make_int8(model)
    network, int8 = prepared(model), prepared(model, "int8")
    assert (int8.labels, int8.frames, int8.height, int8.width) == (LABELS, 4, 8, 8)
    assert (int8.spec.model, int8.file, int8.spec.int8_of) == (int8_file(model), int8_file(model), model)
    assert int8.spec.scores == "probabilities"
    reference = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    session = OpenVINOBackend().load(int8, LoadOptions(precision="int8"))
    assert (reference.precision, session.precision) == ("fp32", "int8")
    for window in windows_for(network, 9, seed=2):
        expected = score_window(reference, reference.create_ring(), window)
        assert score_window(session, session.create_ring(), window) == pytest.approx(expected, abs=0.1)


def test_the_record_is_read_as_it_was_written(model: Path) -> None:
    assert read_record(model) is None
    record = make_int8(model)
    assert read_record(model) == record


@pytest.mark.parametrize(("agreement", "accepted"), [(0.99, True), (0.9899, False)])
def test_only_one_that_agrees_well_enough_is_accepted(model: Path, agreement: float, accepted: bool) -> None:
    assert not has_accepted_int8(resolve(NetworkRequest(model=str(model))))
    make_int8(model, agreement)
    assert has_accepted_int8(resolve(NetworkRequest(model=str(model)))) is accepted


def test_where_there_is_none(model: Path) -> None:
    with pytest.raises(NetworkError, match=r"no int8 model of model .*actionnet-networks quantize .*--clips") as caught:
        resolve(NetworkRequest(model=str(model), precision="int8"))
    assert caught.value.settings == ("precision",)


@pytest.mark.parametrize("changed", ["model", "int8 model"])
def test_a_model_that_has_changed_since(model: Path, changed: str) -> None:
    make_int8(model)
    path = model if changed == "model" else int8_file(model)
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(NetworkError, match="has changed since the int8 model of model was made"):
        prepared(model, "int8")


@pytest.mark.parametrize("request_for", [{"output_blob": "grey"}, {"scores": "sigmoid"}])
def test_another_output_than_it_was_made_of(model: Path, request_for: dict[str, str]) -> None:
    make_int8(model)
    with pytest.raises(NetworkError, match="stands for output 'logits' as logits, not for"):
        resolve(NetworkRequest(model=str(model), precision="int8", **request_for))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": "4"}, "its 'frames' is '4'"),
        ({"frames": True}, "its 'frames' is True"),
        ({"frames": 0}, "frames, height, width and classes must be above 0"),
        ({"scores": "logits"}, "its 'scores' is 'logits'"),
        ({"clips": []}, "its 'clips' is"),
        ({"agreement": None}, "its 'agreement' is None"),
    ],
)
def test_a_record_with_a_wrong_value(model: Path, change: dict[str, Any], words: str) -> None:
    make_int8(model)
    content = json.loads(record_file(model).read_text())
    record_file(model).write_text(json.dumps(content | change))
    with pytest.raises(NetworkError, match=rf"cannot be read: {words}.*run `actionnet-networks quantize` again"):
        read_record(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_a_record_that_is_none(model: Path, text: str) -> None:
    make_int8(model)
    record_file(model).write_text(text)
    with pytest.raises(NetworkError, match=r"record .*model\.int8\.json of an int8 model cannot be read"):
        read_record(model)


def test_an_int8_model_without_a_record(model: Path) -> None:
    make_int8(model)
    record_file(model).unlink()
    with pytest.raises(NetworkError, match="No such file"):
        has_accepted_int8(resolve(NetworkRequest(model=str(model))))
