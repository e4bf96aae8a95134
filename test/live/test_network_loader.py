"""Loading beside the running network: the newest wish counts, what is superseded is closed, failures are told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.live.network_loader import LoadCallbacks, LoadRequest, NetworkLoader
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.loading import LoadedNetwork
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeNetworks, make_network

FIRST, SECOND, THIRD = (LoadRequest(Settings(network=name)) for name in ("first", "second", "third"))


@dataclass
class Report:
    """What the loader said, with the thread that said it."""

    progress: list[tuple[LoadRequest, str]] = field(default_factory=list)
    prepared: list[tuple[LoadRequest, PreparedNetwork]] = field(default_factory=list)
    loaded: list[tuple[LoadRequest, LoadedNetwork]] = field(default_factory=list)
    failed: list[tuple[LoadRequest, Exception]] = field(default_factory=list)
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


class Rig:
    """A loader on fake networks, and what it said."""

    def __init__(self) -> None:
        first = replace(make_network("first"), model=b"x" * 1000)
        self.networks = FakeNetworks(first, make_network("second"), make_network("third"))
        self.report = Report()
        self.loader = NetworkLoader(self.report.callbacks(), self.networks.load_network)

    def begin(self, request: LoadRequest) -> None:
        """Asks for a network, whose loading then waits for the gate."""
        self.networks.gate.close()
        self.loader.request(request)
        self.networks.gate.wait_until_reached(1)

    def finish(self) -> None:
        """Opens the gate and waits until nothing is left to load."""
        self.networks.gate.open()
        assert self.loader.join(TIMEOUT)

    def load(self, request: LoadRequest) -> None:
        """Asks for a network and waits for the end of it."""
        self.loader.request(request)
        self.finish()


@pytest.fixture(name="rig")
def rig_fixture() -> Rig:
    return Rig()


def test_a_network_is_told_of_when_prepared_and_again_when_loaded_and_warm(rig: Rig) -> None:
    rig.begin(FIRST)
    assert rig.loader.loading is FIRST
    ((request, network),) = rig.report.prepared
    assert request is FIRST
    assert network.name == "first"
    assert rig.report.loaded == []
    rig.finish()
    assert rig.loader.loading is None
    ((request, loaded),) = rig.report.loaded
    assert (request, loaded.session, loaded.reason) == (FIRST, rig.networks.sessions[0], "fake (as asked)")
    assert rig.networks.sessions[0].windows == [[0, 0, 0, 0]]
    assert not rig.networks.sessions[0].closed
    assert rig.report.threads == {"network_loader"}


def test_nobody_keeps_the_models_bytes(rig: Rig) -> None:
    rig.load(FIRST)
    ((_, loaded),) = rig.report.loaded
    assert rig.networks.networks["first"].model == b"x" * 1000
    assert loaded.session.network.model == rig.report.prepared[0][1].model == b""
    assert loaded.session.network.labels == rig.networks.networks["first"].labels


def test_the_newest_wish_counts_and_what_it_supersedes_is_closed_unused(rig: Rig) -> None:
    rig.begin(FIRST)
    rig.loader.request(SECOND)
    rig.loader.request(THIRD)
    assert rig.loader.loading is THIRD
    rig.finish()
    assert [request.settings.network for request, _ in rig.report.loaded] == ["third"]
    assert [request.settings.network for request, _ in rig.report.prepared] == ["first", "third"]
    dropped, kept = rig.networks.sessions
    assert dropped.closing_threads == ["network_loader"]
    assert not kept.closed
    assert rig.report.failed == []


def test_one_that_fails_after_it_was_superseded_is_not_told_of(rig: Rig) -> None:
    rig.networks.cannot_load = BackendError("no memory")
    rig.begin(FIRST)
    rig.loader.request(SECOND)
    rig.finish()
    assert [request.settings.network for request, _ in rig.report.failed] == ["second"]


def test_a_cancelled_load_is_closed_and_not_told_of(rig: Rig) -> None:
    rig.begin(FIRST)
    rig.loader.cancel()
    assert rig.loader.loading is None
    assert rig.loader.join(0.01) is False
    rig.finish()
    assert (rig.report.loaded, rig.report.failed) == ([], [])
    assert rig.networks.sessions[0].closed


def test_what_takes_long_is_told_until_the_load_ends(rig: Rig) -> None:
    rig.networks.progress = ["building engine, 5 s so far", "building engine, 10 s so far"]
    rig.begin(FIRST)
    assert rig.report.progress == [(FIRST, what) for what in rig.networks.progress]
    assert rig.loader.progress == "building engine, 10 s so far"
    rig.finish()
    assert rig.loader.progress == ""


def test_a_load_can_see_that_it_is_not_wanted_any_more(rig: Rig) -> None:
    rig.begin(FIRST)
    rig.loader.request(SECOND)
    rig.finish()
    assert rig.networks.cancelled == [True, False]


def test_one_cancelled_while_it_is_prepared_is_not_loaded_at_all(rig: Rig) -> None:
    rig.networks.while_preparing = rig.loader.cancel
    rig.load(FIRST)
    assert rig.networks.sessions == []
    assert (rig.report.prepared, rig.report.loaded, rig.report.failed) == ([], [], [])


def test_requests_with_equal_settings_are_distinct(rig: Rig) -> None:
    rig.begin(FIRST)
    again = LoadRequest(FIRST.settings)
    rig.loader.request(again)
    assert rig.loader.loading is again
    rig.finish()
    assert [request is again for request, _ in rig.report.loaded] == [True]
    assert [session.closed for session in rig.networks.sessions] == [True, False]


def test_a_download_is_reported_in_words(rig: Rig) -> None:
    rig.networks.received = [("resnet-18", done * 1_000_000, 134_000_000) for done in range(100)]
    rig.begin(FIRST)
    assert rig.loader.progress == "downloading resnet-18, 0 of 134 MB"
    rig.finish()


@pytest.mark.parametrize("stage", ["prepare", "load", "unforeseen"])
def test_what_goes_wrong_is_told_with_its_settings_and_the_next_load_works(rig: Rig, stage: str) -> None:
    error: Exception = NetworkError("no such file")
    if stage == "prepare":
        rig.networks.cannot_prepare = error
    elif stage == "load":
        rig.networks.cannot_load = error = BackendError("no memory")
    else:
        rig.networks.cannot_prepare = error = ZeroDivisionError("a bug")
    rig.load(FIRST)
    assert rig.report.failed == [(FIRST, error)]
    assert rig.loader.loading is None
    rig.networks.cannot_prepare = rig.networks.cannot_load = None
    rig.load(SECOND)
    assert [request for request, _ in rig.report.loaded] == [SECOND]


def test_a_network_that_loads_but_does_not_run_is_closed_and_counts_as_failed(rig: Rig) -> None:
    rig.networks.fails_when_warm = 1
    rig.load(FIRST)
    ((request, error),) = rig.report.failed
    assert request is FIRST
    assert isinstance(error, BackendError)
    assert "the fake device is gone" in str(error)
    assert rig.report.loaded == []
    assert rig.networks.sessions[0].closed


def test_its_thread_lives_only_while_there_is_something_to_load(rig: Rig) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    before = names().count("network_loader")
    assert rig.loader.join(0) is True
    rig.begin(FIRST)
    assert names().count("network_loader") == before + 1
    rig.finish()
    assert names().count("network_loader") == before
