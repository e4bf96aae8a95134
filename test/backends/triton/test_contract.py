"""A served model is compared with the network here, and a difference says which side to mend."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ros2_actionnet.backends.triton.connection import Deadline
from ros2_actionnet.backends.triton.contract import Stated, read_served
from ros2_actionnet.errors import ServerError
from ros2_actionnet.networks import PreparedNetwork


class Server:
    """A connection to a server that says what the test tells it to."""

    server = "fleet:8001"

    def __init__(self, stated: Stated | None) -> None:
        self.inputs = [SimpleNamespace(name="frames", datatype="UINT8", shape=[-1, 4, 8, 8, 3])]
        self.outputs = [SimpleNamespace(name="scores", datatype="FP32", shape=[-1, 3])]
        self.stated = stated
        self.failure: Exception | None = None

    def call(self, method: str, deadline: Deadline, model: str) -> Any:
        if method == "get_model_metadata":
            return SimpleNamespace(inputs=self.inputs, outputs=self.outputs, versions=["7"])
        if self.failure is not None:
            raise self.failure
        values = self.stated.parameters if self.stated is not None else {}
        parameters = {key: SimpleNamespace(string_value=value) for key, value in values.items()}
        return SimpleNamespace(config=SimpleNamespace(parameters=parameters, max_batch_size=4))


def read(server: Server, network: PreparedNetwork) -> Any:
    connection: Any = server
    return read_served(connection, "brightness", network, Deadline(1))


def test_one_that_fits(network: PreparedNetwork) -> None:
    served = read(Server(Stated.of(network, "fp16")), network)
    assert (served.form, served.precision, served.max_batch, served.version) == ("window", "fp16", 4, "7")
    assert served.is_stated


def test_one_that_states_nothing_is_taken_by_its_shapes(network: PreparedNetwork) -> None:
    served = read(Server(None), network)
    assert (served.precision, served.is_stated) == ("auto", False)


def test_a_server_without_tritons_extension_takes_one_window_at_a_time(network: PreparedNetwork) -> None:
    server = Server(None)
    server.failure = ServerError("no such method", "UNIMPLEMENTED")
    assert read(server, network).max_batch == 1


@pytest.mark.parametrize(("modified", "old"), [("2001-01-01 00:00:00", "server's"), ("2999-01-01 00:00:00", "robot's")])
def test_of_two_versions_the_older_one_is_named(network: PreparedNetwork, modified: str, old: str) -> None:
    stated = replace(Stated.of(network), sha256="0" * 64, modified=modified)
    with pytest.raises(ServerError, match=f"another version of brightness: the {old} is the old one"):
        read(Server(stated), network)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "gestures"}, "is network gestures, not brightness; set network to gestures"),
        ({"labels": "1"}, "the same brightness with other labels; export it again"),
        ({"preprocessing": "NCTHW mean 0 0 0"}, "with other preprocessing; .* mean 0 0 0 on the server"),
    ],
)
def test_another_network(network: PreparedNetwork, change: dict[str, str], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        read(Server(replace(Stated.of(network), **change)), network)  # type: ignore[arg-type]


def test_scores_that_were_corrected_by_numbers_are_no_difference_those_that_are_stated_are(
    network: PreparedNetwork,
) -> None:
    server = Server(replace(Stated.of(network), scores="probabilities"))
    assert network.scores_from != "stated"
    assert read(server, network).is_stated
    with pytest.raises(ServerError, match=r"with other scores; .*\(scores: probabilities on the server, logits here"):
        read(server, replace(network, scores_from="stated"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda s: setattr(s.inputs[0], "name", "input"), r"input frames must be UINT8 \[-1, 4, 8, 8, 3\], and it has"),
        (lambda s: setattr(s.inputs[0], "datatype", "FP32"), "it has frames FP32"),
        (lambda s: setattr(s.inputs[0], "shape", [-1, 16, 8, 8, 3]), r"frames UINT8 \[-1, 16, 8, 8, 3\]"),
        (lambda s: setattr(s.outputs[0], "shape", [-1, 4]), r"output scores must be FP32 \[-1, 3\], .* \[-1, 4\]"),
        (lambda s: s.outputs.clear(), "it has none"),
    ],
)
def test_names_types_and_shapes(network: PreparedNetwork, break_it: Callable[[Server], Any], message: str) -> None:
    server = Server(None)
    break_it(server)
    with pytest.raises(ServerError, match=message):
        read(server, network)


def test_a_fixed_batch_is_one_window_at_a_time(network: PreparedNetwork) -> None:
    server = Server(None)
    server.inputs[0].shape[0] = server.outputs[0].shape[0] = 1
    assert read(server, network).max_batch == 1


def test_weights_beside_the_model_count(network: PreparedNetwork, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(network.spec.model.read_bytes())
    moved = replace(network, spec=replace(network.spec, model=model))
    before = Stated.of(moved)
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    os.utime(tmp_path / "model.onnx.data", (2e9, 2e9))
    after = Stated.of(moved)
    assert after.sha256 != before.sha256
    assert after.modified == "2033-05-18 03:33:20"
    assert after.version != before.version


def test_a_version_is_a_number_that_follows_all_but_the_date(network: PreparedNetwork) -> None:
    stated = Stated.of(network)
    assert 0 < int(stated.version) < 2**31
    assert replace(stated, modified="x").version == stated.version
    for name in ("network", "sha256", "labels", "preprocessing", "scores", "precision", "form"):
        assert replace(stated, **{name: "x"}).version != stated.version  # type: ignore[arg-type]
