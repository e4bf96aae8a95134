"""Which network is requested when a server fails, and when the one asked for is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from ros2_actionnet.errors import BackendError, ServerError
from ros2_actionnet.live.inference_rounds import RunningNetwork, WorkerStatus
from ros2_actionnet.live.recovery import FIRST_WAIT, LONGEST_WAIT, Recovery, fallback_of
from ros2_actionnet.settings import Settings
from support.fakes import make_network

WANTED = Settings(network="big", backend="triton", device="fleet:8001", device_timeout=2, threshold=0.2)
WITH_FALLBACK = Settings(
    network="big", backend="triton", device="fleet:8001", device_timeout=2, threshold=0.2, fallback_network="small"
)
FALLBACK = fallback_of(WITH_FALLBACK)


def status(running: Settings | None = None, *, failing: bool = False, loading: str = "") -> WorkerStatus:
    described = RunningNetwork(running, make_network("any"), "any", "", "", "") if running else None
    return WorkerStatus(described, loading, "", 0, 0, failing)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def clock_fixture() -> Clock:
    return Clock()


@pytest.fixture(name="recovery")
def recovery_fixture(clock: Clock) -> Recovery:
    return Recovery(clock)


def test_the_fallback_is_a_network_of_this_computer_with_the_nodes_other_settings() -> None:
    assert (FALLBACK.network, FALLBACK.backend, FALLBACK.device) == ("small", "auto", "")
    assert (FALLBACK.threshold, FALLBACK.fallback_network) == (0.2, "small")


def test_nothing_is_requested_while_all_is_well_or_loading(recovery: Recovery) -> None:
    recovery.network_changed(WITH_FALLBACK, WITH_FALLBACK)
    assert recovery.next_request(status(WITH_FALLBACK), WITH_FALLBACK, "") is None
    assert recovery.next_request(status(WITH_FALLBACK, failing=True, loading="x"), WITH_FALLBACK, "") is None
    assert recovery.next_request(status(None), WITH_FALLBACK, "") is None


def test_without_a_fallback_a_failing_network_goes_on_and_is_not_loaded_anew(recovery: Recovery) -> None:
    recovery.network_changed(WANTED, WANTED)
    assert recovery.next_request(status(WANTED, failing=True), WANTED, "down") is None


def test_it_takes_over_and_hands_back_after_growing_waits(recovery: Recovery, clock: Clock) -> None:
    recovery.network_changed(WITH_FALLBACK, WITH_FALLBACK)
    assert recovery.next_request(status(WITH_FALLBACK, failing=True), WITH_FALLBACK, "down") == FALLBACK
    assert recovery.reason == "down"
    recovery.network_changed(FALLBACK, WITH_FALLBACK)
    waits = []
    for _ in range(6):
        began = clock.now
        while recovery.next_request(status(FALLBACK), WITH_FALLBACK, "") is None:
            clock.now += 0.5
        assert recovery.next_request(status(FALLBACK), WITH_FALLBACK, "") == WITH_FALLBACK
        waits.append(clock.now - began)
        recovery.load_failed(WITH_FALLBACK, WITH_FALLBACK, ServerError("still down"))
    assert waits == [FIRST_WAIT, 4, 8, 16, LONGEST_WAIT, LONGEST_WAIT]
    assert recovery.reason == "still down"
    recovery.network_changed(WITH_FALLBACK, WITH_FALLBACK)
    assert recovery.reason == ""
    clock.now += 100
    assert recovery.next_request(status(WITH_FALLBACK), WITH_FALLBACK, "") is None


@pytest.mark.parametrize(("wanted", "first"), [(WITH_FALLBACK, FALLBACK), (WANTED, None)])
def test_a_server_that_is_down_at_the_start(recovery: Recovery, clock: Clock, wanted: Settings, first: Any) -> None:
    recovery.load_failed(wanted, wanted, ServerError("down"))
    assert recovery.next_request(status(None), wanted, "") == first
    clock.now += FIRST_WAIT
    if first is None:
        assert recovery.next_request(status(None), wanted, "") == wanted


def test_what_waiting_cannot_mend_is_not_tried_again(recovery: Recovery, clock: Clock) -> None:
    recovery.load_failed(WITH_FALLBACK, WITH_FALLBACK, BackendError("no such precision"))
    clock.now += 100
    assert recovery.next_request(status(None), WITH_FALLBACK, "") is None


def test_a_fallback_that_cannot_be_loaded_is_not_tried_again(recovery: Recovery, clock: Clock) -> None:
    recovery.load_failed(WITH_FALLBACK, WITH_FALLBACK, ServerError("down"))
    assert recovery.next_request(status(None), WITH_FALLBACK, "") == FALLBACK
    recovery.load_failed(FALLBACK, WITH_FALLBACK, BackendError("no OpenVINO"))
    assert recovery.next_request(status(None), WITH_FALLBACK, "") is None
    clock.now += FIRST_WAIT
    assert recovery.next_request(status(None), WITH_FALLBACK, "") == WITH_FALLBACK
    assert recovery.next_request(status(WITH_FALLBACK, failing=True), WITH_FALLBACK, "down") is None
