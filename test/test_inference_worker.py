"""The worker: no sampled frame lost, the newest window inferred, networks replaced between two frames."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ros2_actionnet import inference_worker
from ros2_actionnet.errors import BackendError, ImageError, NetworkError
from ros2_actionnet.events import EventType
from ros2_actionnet.frame_header import FrameHeader
from ros2_actionnet.inference_worker import FAILING_AFTER, InferenceWorker
from ros2_actionnet.preprocess import RawImage
from ros2_actionnet.settings import Settings
from ros2_actionnet.temporal_buffer import Sample
from support.fakes import LABELS, TIMEOUT, FakeNetworks, FakeSession, RecordingListener, grey_image, make_network

N = 4  # frames of a window of `first`; `second` has the same, `long` has 6
FIRST, SECOND, THIRD, LONG = (Settings(network=name) for name in ("first", "second", "third", "long"))
SECOND_LABELS = ("red", "green", "blue")


class Rig:
    """A worker on fake networks, fed with frames whose grey level is their number, under a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings = FIRST) -> None:
        self.now = 1000.0
        monkeypatch.setattr(inference_worker, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.networks = FakeNetworks(
            make_network("first", frames=N),
            make_network("second", SECOND_LABELS, frames=N),
            make_network("third", ("x", "y"), frames=N),
            make_network("long", ("l", "m"), frames=6, size=5),
        )
        self.networks.install(monkeypatch)
        self.said = RecordingListener()
        self.fed = 0
        self.worker = InferenceWorker(settings, self.said)
        self.settings = settings

    def start(self) -> FakeSession:
        """Loads the first network and waits until it runs."""
        self.worker.request_network(self.settings)
        return self.wait_for_network(1)

    def wait_for_network(self, count: int) -> FakeSession:
        """Waits until `count` networks have taken over; the newest one's session."""
        self.said.wait_for(lambda: len(self.said.networks) >= count, f"network number {count}")
        assert len(self.said.networks) == count
        return self.networks.sessions[-1]

    def feed(self, count: int = 1, sample: Sample | None = None) -> None:
        """Hands over the next `count` frames; they come every 0.1 s."""
        for _ in range(count):
            header = FrameHeader(*divmod(self.fed * 100_000_000, 1_000_000_000), "camera")
            self.worker.submit(grey_image(self.fed), sample or Sample(), header, self.fed)
            self.fed += 1

    def feed_and_wait(self, count: int = 1) -> None:
        """Hands over the next `count` frames, each once the one before has been classified."""
        for _ in range(count):
            self.feed()
            self.wait_for_frame(self.fed - 1)

    def wait_for_frame(self, index: int) -> None:
        self.said.wait_for(lambda: self.frames[-1:] == [index], f"classification of frame {index} in {self.frames}")

    def fill(self, count: int = N) -> None:
        """Hands over a first window and waits for its classification."""
        self.feed(count)
        self.wait_for_frame(self.fed - 1)

    def begin_loading(self, settings: Settings) -> None:
        """Asks for another network, whose loading then waits for the gate, with its lane in place."""
        reached = self.networks.gate.reached
        self.networks.gate.close()
        self.worker.request_network(settings)
        self.networks.gate.wait_until_reached(reached + 1)

    def finish_loading(self) -> None:
        self.networks.gate.open()
        assert self.worker.wait_for_loader(TIMEOUT)

    def wait_for_problems(self, count: int) -> None:
        self.said.wait_for(lambda: len(self.said.problems) == count, f"problem {count}")

    @property
    def frames(self) -> list[int]:
        """The newest frame of each window that was classified."""
        return [result.prediction.frame for result in self.said.classified]

    @property
    def names(self) -> list[str]:
        """The network of each classification."""
        return [result.network.name for result in self.said.classified]

    def close(self) -> None:
        self.networks.gate.open()
        for session in self.networks.sessions:
            session.gate.open()
        self.worker.close(TIMEOUT)


MakeRig = Callable[..., Rig]


@pytest.fixture(name="make_rig")
def make_rig_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(settings: Settings = FIRST) -> Rig:
        rigs.append(Rig(monkeypatch, settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture(name="rig")
def rig_fixture(make_rig: MakeRig) -> Rig:
    return make_rig()


class TestWindow:
    def test_the_first_result_is_of_the_first_whole_window_under_its_newest_frames_header(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [0.25, 0.75]
        rig.feed(N - 1)
        rig.fill(1)
        (result,) = rig.said.classified
        assert session.windows[1:] == [[0, 1, 2, 3]]
        assert result.header == FrameHeader(0, 300_000_000, "camera")
        assert result.prediction.frame == 3
        assert result.prediction.scores.tolist() == [0.25, 0.75]
        assert (result.prediction.label, result.network.name) == (LABELS[1], "first")

    def test_frames_handed_over_while_the_first_network_loads_are_in_its_first_window(self, rig: Rig) -> None:
        rig.begin_loading(FIRST)
        rig.feed(N + 3)
        rig.finish_loading()
        session = rig.wait_for_network(1)
        rig.wait_for_frame(N + 2)
        assert session.windows[1:] == [[3, 4, 5, 6]]
        assert rig.worker.status().overrun == 0, "the newest window is all that was wanted"

    def test_a_slow_inference_loses_no_frame_and_the_newest_window_comes_next(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.feed(3)
        session.gate.open()
        rig.wait_for_frame(6)
        assert session.windows[1:] == [[0, 1, 2, 3], [3, 4, 5, 6]]
        assert rig.frames == [3, 6]
        status = rig.worker.status()
        assert (status.overtaken, status.overrun, status.sampled, status.classified) == (2, 0, 7, 2)

    def test_frames_beyond_a_window_leave_the_queue_and_are_counted(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.feed(N + 5)
        session.gate.open()
        rig.wait_for_frame(2 * N + 4)
        assert session.windows[-1] == [9, 10, 11, 12]
        assert rig.worker.status().overrun == 5

    def test_a_restart_that_left_the_queue_still_empties_the_window(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.feed(1, Sample(restart=True, reason="gap"))
        rig.feed(N - 1)
        rig.feed(1)  # pushes the one with the restart out
        session.gate.open()
        rig.wait_for_frame(2 * N)
        assert session.windows[-1] == [5, 6, 7, 8]
        assert rig.frames == [3, 8]

    def test_every_third_frame_is_inferred_when_told_so(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(FIRST, infer_every=3))
        rig.start()
        rig.fill()
        for _ in range(3):
            rig.feed(3)
            rig.wait_for_frame(rig.fed - 1)
        assert rig.frames == [3, 6, 9, 12]
        assert rig.worker.status().overtaken == 0

    def test_the_times_are_from_hand_over_to_scores_and_of_the_inference(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.now += 0.25
        rig.feed()
        rig.now += 0.5
        session.gate.open()
        rig.wait_for_frame(N)
        first, second = rig.said.classified
        assert (first.inference, first.latency) == pytest.approx((0.75, 0.75))
        assert (second.inference, second.latency) == pytest.approx((0.0, 0.5))

    def test_an_image_that_cannot_be_understood_is_refused_to_the_caller_and_counts_nowhere(self, rig: Rig) -> None:
        session = rig.start()
        rig.feed(3)
        with pytest.raises(ImageError):
            rig.worker.submit(RawImage(b"", 4, 4, 12, "rgb8"), Sample(), FrameHeader(9, 9), 99)
        rig.fill(1)
        assert session.windows[-1] == [0, 1, 2, 3]
        assert rig.worker.status().sampled == 4

    def test_without_a_network_frames_are_taken_and_nothing_is_said(self, rig: Rig) -> None:
        rig.feed(10)
        assert rig.worker.status().running is None
        assert rig.said.order == []


class TestSettings:
    def test_cheap_settings_act_on_the_next_frame(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [0.4, 0.6]
        rig.fill()
        rig.worker.configure(replace(FIRST, threshold=0.5))
        rig.feed_and_wait()
        rig.worker.configure(replace(FIRST, class_filter=("calm",)))
        rig.feed_and_wait()
        tops = [[c.label for c in result.prediction.top(5)] for result in rig.said.classified]
        assert tops == [["lively", "calm"], ["lively"], ["calm"]]

    def test_smoothing_is_the_mean_and_can_be_changed(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [1.0, 0.0]
        rig.fill()
        rig.worker.configure(replace(FIRST, smoothing=2))
        session.scores = [0.0, 1.0]
        rig.feed_and_wait(2)
        assert [r.prediction.scores.tolist() for r in rig.said.classified] == [[1, 0], [0.5, 0.5], [0, 1]]

    def test_a_filter_of_labels_that_the_network_has_not_is_told_and_the_rest_of_it_counts(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.worker.configure(replace(FIRST, class_filter=("lively", "blue")))
        rig.feed_and_wait()
        assert "'blue' is no label" in rig.said.problems[0]
        allowed = rig.said.classified[-1].prediction.allowed
        assert allowed is not None
        assert allowed.tolist() == [False, True]


class TestSwap:
    def test_the_old_network_goes_on_until_the_new_one_has_a_window_of_its_own(self, rig: Rig) -> None:
        first = rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(2)  # 4 and 5, in both lanes
        rig.finish_loading()
        rig.feed_and_wait()  # 6: the old one's last
        second = rig.networks.sessions[-1]
        rig.feed_and_wait()  # 7
        assert rig.frames == [3, 4, 5, 6, 7]
        assert rig.names == ["first"] * 4 + ["second"]
        assert first.windows[1:] == [[i - 3, i - 2, i - 1, i] for i in (3, 4, 5, 6)]
        assert second.windows[1:] == [[4, 5, 6, 7]]

    def test_the_change_is_told_between_the_last_result_of_the_old_and_the_first_of_the_new(self, rig: Rig) -> None:
        rig.start().scores = [0.3, 0.2]  # no action that would be told to end
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(3)
        rig.finish_loading()
        rig.feed_and_wait()
        assert rig.said.order == ["network", *["classified"] * 4, "network", "classified"]
        old, new = rig.said.networks
        assert (old.settings, new.settings) == (FIRST, SECOND)
        assert (new.network.name, new.backend, new.device, new.precision) == ("second", "fake", "TEST", "fp32")
        assert new.reason == "fake (as asked)"

    def test_results_have_the_labels_of_the_network_that_gave_them(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(3)
        rig.finish_loading()
        rig.feed_and_wait(2)
        labels = [result.prediction.labels for result in rig.said.classified]
        assert labels == [LABELS] * 4 + [SECOND_LABELS] * 2
        assert [len(result.prediction.scores) for result in rig.said.classified] == [2] * 4 + [3] * 2

    def test_a_long_load_loses_no_frame_and_counts_none_as_lost(self, rig: Rig) -> None:
        first = rig.start()
        rig.fill()
        rig.begin_loading(LONG)
        rig.feed_and_wait(20)
        rig.finish_loading()
        long = rig.wait_for_network(2)
        rig.feed_and_wait(3)
        assert rig.frames == list(range(3, 27))
        assert first.windows[-1] == [20, 21, 22, 23]
        assert long.windows[1:] == [[i - 5, i - 4, i - 3, i - 2, i - 1, i] for i in (24, 25, 26)]
        assert rig.worker.status().overrun == 0

    def test_frames_lost_under_the_old_network_are_still_counted_under_the_new(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.feed(N + 5)
        session.gate.open()
        rig.wait_for_frame(2 * N + 4)
        rig.begin_loading(SECOND)
        rig.feed_and_wait(3)
        rig.finish_loading()
        rig.feed_and_wait()
        assert rig.names[-1] == "second"
        assert rig.worker.status().overrun == 5

    def test_no_frame_is_classified_by_both(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(N)
        rig.finish_loading()
        rig.wait_for_network(2)  # its window is full, but the old one has spoken of its newest frame
        rig.feed_and_wait()
        assert rig.frames == [3, 4, 5, 6, 7, 8]
        assert rig.names == ["first"] * 5 + ["second"]

    def test_where_the_old_one_has_no_window_the_new_one_takes_over_at_once(self, rig: Rig) -> None:
        rig.start()
        rig.feed(2)
        rig.worker.request_network(SECOND)
        second = rig.wait_for_network(2)
        rig.feed(N)
        rig.wait_for_frame(5)
        assert second.windows[-1] == [2, 3, 4, 5]
        assert rig.names == ["second"] * len(rig.names)

    def test_a_stream_that_has_paused_does_not_hold_the_new_one_up(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.now += 1.5  # above max_gap
        rig.worker.request_network(SECOND)
        rig.wait_for_network(2)
        assert rig.worker.status().fill == 0

    def test_copies_of_one_frame_are_no_window_to_take_over_with(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(FIRST, warmup="repeat"))
        rig.start()
        rig.feed_and_wait()
        rig.begin_loading(replace(SECOND, warmup="repeat"))
        rig.feed_and_wait(2)
        rig.finish_loading()
        rig.feed_and_wait(2)
        assert rig.names == ["first"] * 4 + ["second"]
        assert rig.networks.sessions[-1].windows[1:] == [[1, 2, 3, 4]]

    def test_one_that_is_superseded_while_it_loads_is_closed_and_never_runs(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait(2)
        rig.worker.request_network(THIRD)
        rig.finish_loading()
        _, dropped, _ = rig.networks.sessions
        assert dropped.network.name == "second"
        assert dropped.closed
        rig.feed_and_wait(N)
        assert [running.network.name for running in rig.said.networks] == ["first", "third"]
        assert set(rig.names) == {"first", "third"}
        assert rig.frames == list(range(3, 10))

    def test_one_that_is_superseded_while_it_fills_its_window_is_closed_by_the_worker(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.finish_loading()
        rig.feed_and_wait(2)
        rig.begin_loading(THIRD)
        rig.finish_loading()
        rig.feed_and_wait(N)
        _, dropped, third = rig.networks.sessions
        assert dropped.closing_threads == ["inference_worker"]
        assert third.windows[1:] == [[6, 7, 8, 9]]
        assert set(rig.names) == {"first", "third"}

    @pytest.mark.parametrize("loaded", [False, True])
    def test_going_back_to_what_runs_drops_the_other_and_loads_nothing(self, rig: Rig, loaded: bool) -> None:
        first = rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        if loaded:
            rig.finish_loading()
            rig.feed_and_wait()
        rig.worker.request_network(FIRST)
        assert rig.worker.status().loading == ""
        rig.finish_loading()
        rig.feed_and_wait(2 * N)
        assert set(rig.names) == {"first"}
        assert len(rig.networks.sessions) == 2
        assert rig.networks.sessions[1].closed
        assert not first.closed

    def test_there_and_back_again_many_times(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        for turn in range(20):
            rig.begin_loading((SECOND, FIRST)[turn % 2])
            rig.feed_and_wait(2)
            rig.finish_loading()
            rig.feed_and_wait(3)
        assert rig.frames == list(range(3, 104))
        assert len(rig.said.networks) == 21
        *old, last = rig.networks.sessions
        assert [session.closing_threads for session in old] == [["inference_worker"]] * 20
        assert not last.closed


class TestView:
    def test_another_region_is_a_new_window_on_the_same_session(self, rig: Rig) -> None:
        session = rig.start()
        rig.fill()
        changed = replace(FIRST, roi=(0.25, 0.25, 0.5, 0.5))
        rig.worker.request_network(changed)
        rig.feed_and_wait(N)
        rig.wait_for_network(2)
        assert rig.said.networks[1].settings == changed
        assert rig.said.networks[1].network is rig.said.networks[0].network
        assert rig.networks.sessions == [session]
        rig.feed_and_wait(2)
        assert rig.frames == list(range(3, 10))
        assert not session.closed

    def test_pixels_of_both_views_are_never_in_one_window(self, rig: Rig) -> None:
        session = rig.start()
        pixels = np.zeros((4, 8, 3), np.uint8)
        pixels[:, 4:] = 200
        image = RawImage.from_array(pixels, "rgb8")
        left, right = replace(FIRST, roi=(0.0, 0.0, 0.5, 1.0)), replace(FIRST, roi=(0.5, 0.0, 0.5, 1.0))
        rig.worker.request_network(left)
        rig.wait_for_network(2)
        for index in range(12):
            if index == 6:
                rig.worker.request_network(right)
            rig.worker.submit(image, Sample(), FrameHeader(index, 0), index)
            if index >= N - 1:
                rig.wait_for_frame(index)
        assert session.windows[1:] == [[0] * N] * 6 + [[200] * N] * 3

    def test_a_view_that_is_superseded_does_not_close_the_session_it_shares(self, rig: Rig) -> None:
        session = rig.start()
        rig.fill()
        rig.worker.request_network(replace(FIRST, resize_mode="crop"))
        rig.feed_and_wait(2)
        rig.worker.request_network(replace(FIRST, resize_mode="letterbox"))
        rig.feed_and_wait(N)
        assert rig.said.networks[-1].settings.resize_mode == "letterbox"
        assert len(rig.said.networks) == 2
        assert not session.closed


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
        assert (status.failed, status.failing, status.classified) == (1, False, 1)

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
        assert (status.failing, status.failed, status.classified) == (True, FAILING_AFTER, 0)
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
        rig.wait_for_frame(rig.fed - 1)
        assert len(rig.networks.sessions) == 2
        rig.said.wait_for(lambda: broken.closed, "end of the broken session")
        assert not rig.worker.status().failing

    def test_that_state_ends_with_another_network_before_that_has_a_window(self, rig: Rig) -> None:
        self.fail_for_good(rig)
        rig.now += 1.5  # above max_gap
        rig.worker.request_network(SECOND)
        rig.wait_for_network(2)
        assert not rig.worker.status().failing


class TestReset:
    def test_frames_before_it_are_forgotten(self, rig: Rig) -> None:
        session = rig.start()
        rig.fill()
        rig.worker.reset()
        rig.fill()
        assert session.windows[1:] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    def test_frames_that_wait_in_the_queue_are_forgotten_too(self, rig: Rig) -> None:
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.feed(3)
        rig.worker.reset()
        rig.feed(N)
        session.gate.open()
        rig.wait_for_frame(2 * N + 2)
        assert session.windows[1:] == [[0, 1, 2, 3], [7, 8, 9, 10]]

    def test_it_empties_the_window_of_the_network_that_waits_too(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.begin_loading(SECOND)
        rig.finish_loading()
        rig.feed_and_wait(2)
        rig.worker.reset()
        rig.feed(N)
        rig.wait_for_frame(rig.fed - 1)
        second = rig.networks.sessions[-1]
        assert second.windows[1:] == [[6, 7, 8, 9]]

    def test_smoothing_forgets_as_well(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(FIRST, smoothing=10))
        session = rig.start()
        session.scores = [1.0, 0.0]
        rig.fill()
        rig.worker.reset()
        session.scores = [0.0, 1.0]
        rig.fill()
        assert rig.said.classified[-1].prediction.scores.tolist() == [0.0, 1.0]


class TestEvents:
    AT_ONCE = replace(FIRST, event_min_duration=0.0)

    def begin(self, make_rig: MakeRig) -> Rig:
        """An action that began on frame 3 and still goes on at frame 4."""
        rig = make_rig(self.AT_ONCE)
        session = rig.start()
        session.scores = [0.1, 0.9]
        rig.fill()
        rig.feed_and_wait()
        (event,) = rig.said.classified[0].events
        assert (event.type, event.class_index) == (EventType.BEGAN, 1)
        assert event.start == pytest.approx(0.3)
        assert rig.said.classified[1].events == ()
        return rig

    def check_end(self, rig: Rig, frame: int) -> None:
        """That the action was told to have ended by `frame`, under the network that it belongs to."""
        rig.said.wait_for(lambda: rig.said.ended, "end of the action")
        ((events, header, network),) = rig.said.ended
        assert [(e.type, e.class_index) for e in events] == [(EventType.ENDED, 1)]
        assert events[0].start + events[0].duration == pytest.approx(frame * 0.1)
        assert header.stamp == pytest.approx(frame * 0.1)
        assert network.name == "first"

    def test_they_begin_and_end_with_the_scores(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.networks.sessions[0].scores = [0.9, 0.1]
        rig.feed_and_wait()
        types = [(event.type, event.class_index) for event in rig.said.classified[-1].events]
        assert types == [(EventType.ENDED, 1), (EventType.BEGAN, 0)]
        assert rig.said.ended == []

    def test_a_reset_ends_them_at_the_last_classification(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.worker.reset()
        self.check_end(rig, 4)

    def test_a_break_in_the_stream_ends_them(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.feed(1, Sample(restart=True, reason="gap"))
        self.check_end(rig, 4)

    def test_another_network_ends_them_under_the_old_ones_name(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.begin_loading(replace(self.AT_ONCE, network="second"))
        rig.feed_and_wait(3)  # 5 to 7
        rig.finish_loading()
        rig.feed_and_wait()
        self.check_end(rig, 7)
        assert rig.said.order.index("ended") < len(rig.said.order) - 2, "before the new network is told of"

    def test_changed_thresholds_act_on_the_next_frame(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.worker.configure(replace(self.AT_ONCE, event_on=0.97, event_off=0.95))
        rig.feed_and_wait()
        assert [event.type for event in rig.said.classified[-1].events] == [EventType.ENDED]

    def test_a_class_that_is_filtered_out_has_none(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(self.AT_ONCE, class_filter=("calm",)))
        rig.start().scores = [0.1, 0.9]
        rig.fill()
        assert rig.said.classified[0].events == ()


class TestStatus:
    def test_it_tells_what_runs_and_what_loads(self, rig: Rig) -> None:
        status = rig.worker.status()
        assert (status.running, status.loading, status.fill, status.frames) == (None, "", 0, 0)
        rig.begin_loading(FIRST)
        assert rig.worker.status().loading == "first"
        rig.finish_loading()
        rig.wait_for_network(1)
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait()
        status = rig.worker.status()
        assert status.running is not None
        assert (status.running.network.name, status.loading, status.fill, status.frames) == ("first", "second", 4, 4)
        rig.finish_loading()
        rig.feed_and_wait()
        assert rig.worker.status().loading == "second", "it waits for its window"
        rig.feed_and_wait(2)
        assert rig.worker.status().loading == ""

    def test_a_custom_model_is_named_by_its_path_while_it_loads(self, rig: Rig) -> None:
        rig.begin_loading(replace(FIRST, model="/some/where.onnx"))
        # Its lane is there already, so it goes by its name.
        assert rig.worker.status().loading == "first"
        rig.worker.request_network(replace(FIRST, model="/else/where.onnx"))
        assert rig.worker.status().loading == "/else/where.onnx"


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
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
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
        session = rig.start()
        session.gate.close()
        rig.feed(N)
        session.gate.wait_until_reached(2)
        rig.begin_loading(SECOND)
        # The worker and the loader stand still: if any of these waited for them, the test would never end.
        rig.feed(3)
        rig.worker.configure(replace(FIRST, threshold=0.3))
        rig.worker.request_network(THIRD)
        rig.worker.reset()
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
        rig.networks.install(monkeypatch)
        rig.feed_and_wait()
        assert session.windows[-1] == [1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_asked_for_in_whatever_order_no_frame_is_lost_and_nothing_is_mixed(rig: Rig, seed: int) -> None:
    choose = random.Random(seed)
    rig.start()
    rig.fill()
    rig.feed_and_wait(4)
    wanted = FIRST
    labels = {name: network.labels for name, network in rig.networks.networks.items()}
    acts: list[Callable[[], Any]] = [
        lambda: rig.worker.request_network(replace(wanted, roi=choose.choice([(0.0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5)]))),
        lambda: rig.worker.configure(replace(wanted, threshold=choose.random())),
        rig.networks.gate.close,
        rig.networks.gate.open,
        rig.networks.gate.open,
    ]
    for _ in range(150):
        if choose.random() < 0.3:
            wanted = choose.choice([FIRST, SECOND, THIRD, LONG])
            rig.worker.request_network(wanted)
        elif choose.random() < 0.4:
            choose.choice(acts)()
        rig.feed(choose.randint(0, 2))
        rig.feed_and_wait()
    rig.finish_loading()
    assert rig.said.problems == []
    assert rig.frames == sorted(set(rig.frames)), "no frame twice, none out of order"
    assert rig.worker.status().overrun == 0
    for result in rig.said.classified:
        assert result.prediction.labels == labels[result.network.name]
        assert len(result.prediction.scores) == len(result.prediction.labels)
        assert result.header.stamp == pytest.approx(result.prediction.frame * 0.1)
    for session in rig.networks.sessions:
        for window in session.windows[1:]:
            assert [(b - a) % 256 for a, b in pairwise(window)] == [1] * (len(window) - 1)
    windows = sum(len(session.windows) - 1 for session in rig.networks.sessions)
    assert windows == len(rig.frames)
