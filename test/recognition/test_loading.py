"""The one way to load: what is tried, dropped and closed, and what nobody keeps."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ros2_actionnet.backends import DEFAULT_OPTIONS, Choice, LoadOptions, Scores
from ros2_actionnet.errors import ActionNetError, BackendError, LoadCancelled, SettingsError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import Conversion, PreparedNetwork
from ros2_actionnet.networks.int8 import int8_file, record_file
from ros2_actionnet.recognition.loading import LoadedNetwork, check_change, load, load_options, network_request, warm_up
from ros2_actionnet.settings import Settings
from support.fakes import FakeNetworks, FakeSession, Pixels, make_network
from support.int8 import make_int8
from support.monitors import Recorder
from support.networks import save_brightness_network

FIRST = Settings(network="first")


class PacedSession(FakeSession):
    """Takes a known time for an inference."""

    def __init__(self, network: PreparedNetwork, precision: str, seconds: float) -> None:
        super().__init__(network)
        self.precision = precision
        self._seconds = seconds

    def _infer(self, windows: Sequence[Pixels]) -> Scores:
        time.sleep(self._seconds)
        return super()._infer(windows)


def fake_networks() -> FakeNetworks:
    return FakeNetworks(replace(make_network("first"), model=b"x" * 1000))


def test_the_network_runs_once_and_its_model_is_dropped() -> None:
    networks = fake_networks()
    prepared: list[PreparedNetwork] = []
    loaded = networks.load_network(FIRST, UNMONITORED, prepared.append)
    (session,) = networks.sessions
    assert loaded.session is session
    assert loaded.reason == "fake (as asked)"
    assert session.windows == [[0, 0, 0, 0]]
    assert [network.model for network in (session.network, *prepared)] == [b"", b""]
    del networks
    assert not [o for o in gc.get_objects() if isinstance(o, PreparedNetwork) and o.model and o.name == "first"]


def test_a_mean_that_is_assumed_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    network = make_network("first")
    networks = FakeNetworks(replace(network, spec=replace(network.spec, mean_from="")))
    networks.load_network(FIRST, UNMONITORED, lambda network: None)
    (record,) = caplog.records
    assert "no mean is stated for network first: actionNet's is assumed" in record.getMessage()


@pytest.mark.parametrize(
    ("backend", "reads_ir", "chosen", "reason"),
    [
        ("auto", True, "openvino", "openvino (the model is in its IR)"),
        ("auto", False, "auto", "as chosen"),
        ("tensorrt", True, "tensorrt", "as chosen"),
    ],
)
def test_auto_takes_openvino_for_a_model_in_its_ir(backend: str, reads_ir: bool, chosen: str, reason: str) -> None:
    conversion = Conversion((1, 3, 4, 4, 4)) if reads_ir else None
    networks = FakeNetworks(replace(make_network("first"), conversion=conversion))
    asked: list[str] = []

    def choose(name: str, device: str) -> Choice:
        asked.append(name)
        return Choice(networks, "as chosen")

    loaded = load(
        replace(FIRST, backend=backend),
        prepare=lambda request, _: nullcontext(networks.prepare(request)),
        choose=choose,
    )
    assert (asked, loaded.reason) == ([chosen], reason)


def test_what_the_caller_raises_before_the_slow_part_ends_the_load() -> None:
    networks = fake_networks()

    def refuse(network: PreparedNetwork) -> None:
        raise SettingsError(f"{network.name} is not wanted")

    with pytest.raises(SettingsError, match="first is not wanted"):
        networks.load_network(FIRST, UNMONITORED, refuse)
    assert networks.sessions == []


def test_a_load_that_is_cancelled_while_it_is_prepared_ends_there() -> None:
    networks = fake_networks()
    prepared: list[PreparedNetwork] = []
    with pytest.raises(LoadCancelled):
        networks.load_network(FIRST, Recorder(until=lambda: True), prepared.append)
    assert (networks.sessions, prepared) == ([], [])


def test_a_network_that_does_not_run_is_closed() -> None:
    networks = fake_networks()
    networks.fails_when_warm = 1
    with pytest.raises(BackendError, match="the fake device is gone"):
        networks.load_network(FIRST, UNMONITORED, lambda network: None)
    assert networks.sessions[0].closed


def test_the_settings_say_which_network_and_how() -> None:
    settings = Settings(
        network="a",
        model="b",
        labels="c",
        input_blob="d",
        output_blob="e",
        device="1",
        precision="fp16",
        engine_cache="f",
    )
    request = network_request(settings)
    assert (request.network, request.model, request.labels, request.input_blob, request.output_blob) == tuple("abcde")
    options = load_options(settings, max_batch=3)
    assert (options.device, options.precision, options.max_batch, options.engine_cache) == ("1", "fp16", 3, "f")
    assert not options.cuda_graphs
    assert load_options(replace(settings, cuda_graphs=True)).cuda_graphs


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {"model": "/no/net.onnx"}, "/no/net.onnx"),
        ({"model": "/no/net.onnx"}, {"model": "/no/other.onnx"}, "/no/other.onnx"),
        ({"model": "/no/net.onnx"}, {"model": ""}, ""),
        ({"model": "/no/net.onnx", "labels": "/no/labels.txt"}, {"labels": ""}, ""),
        ({"model": "/no/net.onnx"}, {"labels": "/no/labels.txt"}, "/no/labels.txt"),
        (
            {"labels": "/no/labels.txt"},
            {"model": "/no/net.onnx"},
            "",
        ),  # one error at a time: labels are looked at first
        ({}, {"device": "TPU", "backend": "openvino"}, "TPU"),
        ({"device": "TPU", "backend": "openvino"}, {"precision": "fp32"}, ""),
        ({"device": "TPU", "backend": "openvino"}, {"threshold": 0.5}, ""),
        ({"backend": "openvino"}, {"device": "NPU"}, "there is no device NPU here, but CPU"),
        ({"backend": "openvino"}, {"precision": "fp32"}, ""),
        ({"network": "camera_motion", "model": "/no/net.onnx"}, {"network": "no_such", "model": ""}, "no_such"),
    ],
)
def test_a_change_is_refused_for_what_it_changes(before: dict[str, str], after: dict[str, str], words: str) -> None:
    settings = Settings(**{"network": "camera_motion", **before})  # type: ignore[arg-type]
    changed = replace(settings, **after)  # type: ignore[arg-type]
    if not words:
        check_change(settings, changed)
        return
    with pytest.raises(ActionNetError, match=words):
        check_change(settings, changed)


def test_warming_up_runs_one_whole_window() -> None:
    session = FakeSession(make_network(frames=7, size=3))
    warm_up(session)
    assert session.windows == [[0] * 7]


def test_warming_up_a_network_that_gives_no_numbers_fails() -> None:
    session = FakeSession(make_network())
    session.scores = [float(np.nan), 0.0]
    with pytest.raises(BackendError, match="not numbers"):
        warm_up(session)


class TestInt8:
    """`auto` and int8, with a network whose int8 model lies beside it; sessions are doubles of a known pace."""

    @pytest.fixture(name="model")
    def model_fixture(self, tmp_path: Path) -> Path:
        return save_brightness_network(tmp_path / "net", ("dark", "bright"))

    @staticmethod
    def load(model: Path, precision: str, slowed: str = "") -> tuple[LoadedNetwork, list[PacedSession]]:
        """Load with doubles; those of the precision `slowed` take 5 ms longer."""
        sessions: list[PacedSession] = []

        class Paced(FakeNetworks):
            def load(
                self,
                network: PreparedNetwork,
                options: LoadOptions = DEFAULT_OPTIONS,
                monitor: LoadMonitor = UNMONITORED,
            ) -> PacedSession:
                used = "bf16" if options.precision == "auto" else options.precision
                sessions.append(PacedSession(network, used, 0.005 if used == slowed else 0.0))
                return sessions[-1]

        settings = Settings(model=str(model), precision=precision)
        return load(settings, choose=lambda name, device: Choice(Paced(), "fake")), sessions

    @pytest.mark.parametrize(("slowed", "taken"), [("bf16", "int8"), ("int8", "bf16")])
    def test_auto_takes_what_is_faster_here(
        self, model: Path, slowed: str, taken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_int8(model)
        with caplog.at_level("INFO"):
            loaded, sessions = self.load(model, "auto", slowed)
        assert [session.precision for session in sessions] == ["bf16", "int8"]
        assert [session.closed for session in sessions] == [taken != "bf16", taken != "int8"]
        assert loaded.session.precision == taken
        (line,) = [record.getMessage() for record in caplog.records if "in int8" in record.getMessage()]
        assert line.startswith("model: a window takes ")
        assert line.endswith(f" in bf16 here, so {taken} is used")

    @pytest.mark.parametrize("agreement", [None, 0.98])
    def test_auto_does_not_try_what_is_not_judged_well(self, model: Path, agreement: float | None) -> None:
        if agreement is not None:
            make_int8(model, agreement)
        loaded, sessions = self.load(model, "auto", "bf16")
        assert [session.precision for session in sessions] == [loaded.session.precision] == ["bf16"]

    def test_int8_is_taken_as_asked(self, model: Path) -> None:
        make_int8(model, agreement=0.5)
        loaded, sessions = self.load(model, "int8", "int8")
        assert [session.precision for session in sessions] == [loaded.session.precision] == ["int8"]
        assert loaded.session.network.spec.int8_of == model

    def test_int8_that_is_not_there_is_refused_before_the_load(self, model: Path) -> None:
        before = Settings(model=str(model), backend="openvino")
        with pytest.raises(ActionNetError, match="there is no int8 model of model"):
            check_change(before, replace(before, precision="int8"))

    @pytest.mark.parametrize("damage", ["record", "model"])
    def test_a_damaged_one_is_left_alone(self, model: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
        make_int8(model)
        path = record_file(model) if damage == "record" else int8_file(model)
        path.write_bytes(b"{}")
        loaded, _ = self.load(model, "auto", "bf16")
        assert loaded.session.precision == "bf16"
        assert "the int8 model of network model is not used: " in caplog.text
