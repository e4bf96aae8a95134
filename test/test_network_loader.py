"""Loading beside the running network: the newest wish counts, what is superseded is closed, failures are told."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends import Session
from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.network_loader import LoadCallbacks, NetworkLoader, warm_up
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeNetworks, FakeSession, make_network

FIRST, SECOND, THIRD = (Settings(network=name) for name in ("first", "second", "third"))


@dataclass
class Report:
    """What the loader said, with the thread that said it."""

    progress: list[tuple[Settings, str]] = field(default_factory=list)
    prepared: list[tuple[Settings, PreparedNetwork]] = field(default_factory=list)
    loaded: list[tuple[Settings, Session[Any], str]] = field(default_factory=list)
    failed: list[tuple[Settings, Exception]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def callbacks(self) -> LoadCallbacks:
        return LoadCallbacks(
            lambda *said: self._note(self.progress, said),
            lambda *said: self._note(self.prepared, said),
            lambda *said: self._note(self.loaded, said),
            lambda *said: self._note(self.failed, said),
        )

    def _note(self, into: list[Any], said: tuple[Any, ...]) -> None:
        self.threads.add(threading.current_thread().name)
        into.append(said)


@pytest.fixture(name="networks")
def networks_fixture(monkeypatch: pytest.MonkeyPatch) -> FakeNetworks:
    networks = FakeNetworks(*(make_network(name) for name in ("first", "second", "third")))
    networks.networks["first"] = PreparedNetwork(
        networks.networks["first"].spec, networks.networks["first"].labels, model=b"x" * 1000
    )
    networks.install(monkeypatch)
    return networks


@pytest.fixture(name="report")
def report_fixture() -> Report:
    return Report()


@pytest.fixture(name="loader")
def loader_fixture(networks: FakeNetworks, report: Report) -> NetworkLoader:
    return NetworkLoader(report.callbacks())


def test_a_network_is_told_of_when_prepared_and_again_when_loaded_and_warm(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    assert loader.loading is FIRST
    ((settings, network),) = report.prepared
    assert settings is FIRST
    assert network.name == "first"
    assert report.loaded == []
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert loader.loading is None
    assert report.loaded == [(FIRST, networks.sessions[0], "fake (as asked)")]
    assert networks.sessions[0].windows == [[0, 0, 0, 0]]
    assert not networks.sessions[0].closed
    assert report.threads == {"network_loader"}


def test_nobody_keeps_the_models_bytes(loader: NetworkLoader, networks: FakeNetworks, report: Report) -> None:
    loader.request(FIRST)
    assert loader.join(TIMEOUT)
    ((_, session, _),) = report.loaded
    assert networks.networks["first"].model == b"x" * 1000
    assert session.network.model == report.prepared[0][1].model == b""
    assert session.network.labels == networks.networks["first"].labels


def test_the_newest_wish_counts_and_what_it_supersedes_is_closed_unused(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    loader.request(SECOND)
    loader.request(THIRD)
    assert loader.loading is THIRD
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert [settings.network for settings, _, _ in report.loaded] == ["third"]
    assert [settings.network for settings, _ in report.prepared] == ["first", "third"]
    dropped, kept = networks.sessions
    assert dropped.closing_threads == ["network_loader"]
    assert not kept.closed
    assert report.failed == []


def test_one_that_fails_after_it_was_superseded_is_not_told_of(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.gate.close()
    networks.cannot_load = BackendError("no memory")
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    loader.request(SECOND)
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert [settings.network for settings, _ in report.failed] == ["second"]


def test_a_cancelled_load_is_closed_and_not_told_of(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    loader.cancel()
    assert loader.loading is None
    assert loader.join(0.01) is False
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert (report.loaded, report.failed) == ([], [])
    assert networks.sessions[0].closed


def test_what_takes_long_is_told_until_the_load_ends(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.progress = ["building engine, 5 s so far", "building engine, 10 s so far"]
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    assert report.progress == [(FIRST, what) for what in networks.progress]
    assert loader.progress == "building engine, 10 s so far"
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert loader.progress == ""


def test_a_load_can_see_that_it_is_not_wanted_any_more(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    loader.request(SECOND)
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert networks.cancelled == [True, False]


def test_one_cancelled_while_it_is_prepared_is_not_loaded_at_all(
    loader: NetworkLoader, networks: FakeNetworks, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare_and_change_ones_mind(request: Any) -> AbstractContextManager[PreparedNetwork]:
        loader.cancel()
        return nullcontext(networks.networks["first"])

    monkeypatch.setattr("ros2_actionnet.network_loader.prepared_apart", prepare_and_change_ones_mind)
    loader.request(FIRST)
    assert loader.join(TIMEOUT)
    assert networks.sessions == []
    assert (report.prepared, report.loaded, report.failed) == ([], [], [])


@pytest.mark.parametrize("stage", ["prepare", "load", "unforeseen"])
def test_what_goes_wrong_is_told_with_its_settings_and_the_next_load_works(
    loader: NetworkLoader, networks: FakeNetworks, report: Report, stage: str
) -> None:
    error: Exception = NetworkError("no such file")
    if stage == "prepare":
        networks.cannot_prepare = error
    elif stage == "load":
        networks.cannot_load = error = BackendError("no memory")
    else:
        networks.cannot_prepare = error = ZeroDivisionError("a bug")
    loader.request(FIRST)
    assert loader.join(TIMEOUT)
    assert report.failed == [(FIRST, error)]
    assert loader.loading is None
    networks.cannot_prepare = networks.cannot_load = None
    loader.request(SECOND)
    assert loader.join(TIMEOUT)
    assert [settings for settings, _, _ in report.loaded] == [SECOND]


def test_a_network_that_loads_but_does_not_run_is_closed_and_counts_as_failed(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    networks.fails_when_warm = 1
    loader.request(FIRST)
    assert loader.join(TIMEOUT)
    ((settings, error),) = report.failed
    assert settings is FIRST
    assert isinstance(error, BackendError)
    assert "the fake device is gone" in str(error)
    assert report.loaded == []
    assert networks.sessions[0].closed


def test_its_thread_lives_only_while_there_is_something_to_load(
    loader: NetworkLoader, networks: FakeNetworks, report: Report
) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    before = names().count("network_loader")
    assert loader.join(0) is True
    networks.gate.close()
    loader.request(FIRST)
    networks.gate.wait_until_reached(1)
    assert names().count("network_loader") == before + 1
    networks.gate.open()
    assert loader.join(TIMEOUT)
    assert names().count("network_loader") == before


def test_warming_up_runs_one_whole_window() -> None:
    session = FakeSession(make_network(frames=7, size=3))
    warm_up(session)
    assert session.windows == [[0] * 7]


def test_warming_up_a_network_that_gives_no_numbers_fails() -> None:
    session = FakeSession(make_network())
    session.scores = [float(np.nan), 0.0]
    with pytest.raises(BackendError, match="not numbers"):
        warm_up(session)
