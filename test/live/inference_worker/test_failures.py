"""What cannot be loaded, and inferences that raise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.live.inference_rounds import FAILING_AFTER
from support.fakes import TIMEOUT, FakeSession
from support.worker_rig import FIRST, SECOND, N, Rig


class TestFailedLoad:
    @pytest.mark.parametrize("stage", ["prepare", "load"])
    def test_it_is_told_and_the_old_network_goes_on(self, rig: Rig, stage: str) -> None:
        rig.start()
        rig.fill()
        error: Exception
        if stage == "prepare":
            rig.networks.cannot_prepare = error = NetworkError("truncated")
        else:
            rig.networks.cannot_load = error = BackendError("no memory")
        rig.worker.request_network(SECOND)
        rig.said.wait_for(lambda: rig.said.load_failures, "failed load")
        assert rig.said.load_failures == [(SECOND, error)]
        assert rig.worker.status().loading == ""
        rig.feed_and_wait(N)
        assert set(rig.names) == {"first"}

    def test_after_it_another_network_can_be_loaded(self, rig: Rig) -> None:
        rig.networks.cannot_load = BackendError("no memory")
        rig.worker.request_network(FIRST)
        rig.said.wait_for(lambda: rig.said.load_failures, "failed load")
        rig.networks.cannot_load = None
        rig.worker.request_network(SECOND)
        rig.wait_for_network(1)
        rig.fill()
        assert rig.names == ["second"]


class TestFailingInference:
    def test_once_is_counted_and_told_and_the_next_window_is_whole(self, rig: Rig) -> None:
        session = rig.start()
        session.failures = 1
        rig.feed(N)
        rig.said.wait_for(lambda: rig.said.problems, "problem")
        rig.feed_and_wait()
        assert rig.said.problems == [
            "inference failed (1 in a row): fake failed on first: the fake device is gone",
        ]
        assert session.windows[-1] == [1, 2, 3, 4]
        status = rig.worker.status()
        assert (status.failed, status.failing, status.inferences) == (1, False, 1)

    def fail_for_good(self, rig: Rig) -> FakeSession:
        session = rig.start()
        session.failures = 10**9
        rig.feed(N - 1)
        for count in range(1, FAILING_AFTER + 1):
            assert not rig.worker.status().failing
            rig.feed()
            rig.wait_for_problems(count)
        return session

    def test_again_and_again_is_a_state_of_its_own(self, rig: Rig) -> None:
        self.fail_for_good(rig)
        status = rig.worker.status()
        assert (status.failing, status.failed, status.inferences) == (True, FAILING_AFTER, 0)
        assert f"({FAILING_AFTER} in a row)" in rig.said.problems[-1]

    def test_that_state_ends_with_the_first_success(self, rig: Rig) -> None:
        session = self.fail_for_good(rig)
        session.failures = 0
        rig.feed_and_wait()
        assert not rig.worker.status().failing

    def test_asking_for_the_same_network_then_loads_it_anew(self, rig: Rig) -> None:
        broken = self.fail_for_good(rig)
        rig.worker.request_network(replace(FIRST, threshold=0.5))
        assert rig.worker.wait_for_loader(TIMEOUT)
        rig.feed(N)
        rig.wait_for_newest()
        assert len(rig.networks.sessions) == 2
        rig.said.wait_for(lambda: broken.closed, "end of the broken session")
        assert not rig.worker.status().failing

    def test_that_state_ends_with_another_network_before_that_has_a_window(self, rig: Rig) -> None:
        self.fail_for_good(rig)
        rig.now += 1.5  # above max_gap
        rig.worker.request_network(SECOND)
        rig.wait_for_network(2)
        assert not rig.worker.status().failing
