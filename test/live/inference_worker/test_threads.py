"""Who runs in which thread, and the end of them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from support.fakes import TIMEOUT
from support.worker_rig import FIRST, SECOND, THIRD, MakeRig, N, Rig


class TestThreads:
    def names(self) -> list[str]:
        return sorted(t.name for t in threading.enumerate() if t.name in ("inference_worker", "network_loader"))

    def test_a_session_is_used_and_closed_by_the_worker_alone_but_for_its_warm_up(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(2)
        rig.finish_loading()
        rig.feed_and_wait(4)
        rig.worker.close(TIMEOUT)
        for session in rig.networks.sessions:
            warm_up, *others = session.inference_threads
            assert warm_up == "network_loader"
            assert set(others) == {"inference_worker"}
            assert session.closing_threads == ["inference_worker"]

    def test_close_ends_the_threads_and_frees_what_waits_as_well_as_what_runs(self, make_rig: MakeRig) -> None:
        before = self.names()
        rig = make_rig()
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.finish_loading()
        rig.worker.close(TIMEOUT)
        assert self.names() == before
        assert [session.closing_threads for session in rig.networks.sessions] == [["inference_worker"]] * 2

    def test_close_does_not_wait_for_a_load_which_then_ends_unused(self, rig: Rig) -> None:
        rig.start()
        rig.begin_loading(SECOND)
        rig.worker.close(TIMEOUT)
        assert not rig.worker.wait_for_loader(0.01)
        rig.networks.gate.open()
        assert rig.worker.wait_for_loader(TIMEOUT)
        assert [session.closed for session in rig.networks.sessions] == [True, True]
        assert rig.said.load_failures == []

    def test_close_waits_for_an_inference_only_so_long(self, rig: Rig) -> None:
        session = rig.start_and_hold()
        rig.worker.close(0.05)
        assert not session.closed
        session.gate.open()
        rig.worker.close(TIMEOUT)
        assert session.closing_threads == ["inference_worker"]

    def test_closing_twice_is_allowed(self, rig: Rig) -> None:
        session = rig.start()
        rig.worker.close(TIMEOUT)
        rig.worker.close(TIMEOUT)
        assert len(session.closing_threads) == 1

    def test_the_caller_waits_neither_for_an_inference_nor_for_a_load(self, rig: Rig) -> None:
        rig.start_and_hold()
        rig.begin_loading(SECOND)
        # The worker and the loader stand still: if any of these waited for them, the test would never end.
        rig.feed(3)
        rig.stream.configure(replace(FIRST, threshold=0.3))
        rig.worker.request_network(THIRD)
        rig.stream.reset()
        assert rig.worker.status().loading == "third"

    def test_what_nobody_foresaw_is_told_and_the_worker_goes_on(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = rig.start()
        monkeypatch.setattr(session, "infer", lambda windows: 1 / 0)
        rig.feed(N)
        rig.said.wait_for(lambda: rig.said.problems, "problem")
        assert "unexpected ZeroDivisionError" in rig.said.problems[0]
        monkeypatch.undo()
        rig.feed_and_wait()
        assert session.windows[-1] == [1, 2, 3, 4]
