"""Another network, or another view of the image, takes over between two frames."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.errors import BackendError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from support.fakes import LABELS
from support.worker_rig import FIRST, LONG, SECOND, SECOND_LABELS, THIRD, MakeRig, N, Rig


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

    def test_a_filter_that_is_meant_for_the_new_network_waits_for_it(self, rig: Rig) -> None:
        rig.start().scores = [0.3, 0.2]
        rig.fill()
        wanted = replace(SECOND, class_filter=("red",))
        rig.begin_loading(wanted)
        rig.stream.configure(wanted)
        rig.feed_and_wait(3)
        rig.finish_loading()
        rig.feed_and_wait()
        tops = [[c.label for c in result.prediction.top()] for result in rig.said.classified]
        assert tops == [list(LABELS)] * 4 + [["red"]]
        assert rig.said.problems == []

    def test_a_filter_whose_network_cannot_be_loaded_is_told_and_counts(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        wanted = replace(SECOND, class_filter=("green",))
        rig.networks.cannot_load = BackendError("no memory")
        rig.begin_loading(wanted)
        rig.stream.configure(wanted)
        rig.feed_and_wait()
        rig.finish_loading()
        rig.wait_for_problems(1)
        assert "'green' is no label" in rig.said.problems[0]
        assert rig.stream.status().filter_problem == rig.said.problems[0], "for as long as it is so"
        rig.feed_and_wait()
        assert rig.said.classified[-2].prediction.top()
        assert rig.said.classified[-1].prediction.top() == []

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
        assert rig.stream.status().overrun == 0

    def test_frames_lost_under_the_old_network_are_still_counted_under_the_new(self, rig: Rig) -> None:
        session = rig.start_and_hold()
        rig.feed(N + 5)
        session.gate.open()
        rig.wait_for_frame(2 * N + 4)
        rig.begin_loading(SECOND)
        rig.feed_and_wait(3)
        rig.finish_loading()
        rig.feed_and_wait()
        assert rig.names[-1] == "second"
        assert rig.stream.status().overrun == 5

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
        assert rig.stream.status().fill == 0

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
        rig.stream.configure(replace(FIRST, roi=(0.25, 0.25, 0.5, 0.5)))
        assert len(rig.stream.lanes) == 2
        rig.feed_and_wait(N)
        rig.feed_and_wait(2)
        assert len(rig.stream.lanes) == 1
        assert rig.networks.sessions == [session]
        assert len(rig.said.networks) == 1
        assert rig.frames == list(range(3, 10))
        assert not session.closed

    def test_pixels_of_both_views_are_never_in_one_window(self, rig: Rig) -> None:
        session = rig.start()
        pixels = np.zeros((4, 8, 3), np.uint8)
        pixels[:, 4:] = 200
        image = RawImage.from_array(pixels, "rgb8")
        left, right = replace(FIRST, roi=(0.0, 0.0, 0.5, 1.0)), replace(FIRST, roi=(0.5, 0.0, 0.5, 1.0))
        rig.stream.configure(left)
        for index in range(12):
            if index == 6:
                rig.stream.configure(right)
            rig.stream.submit(image, Sample(), FrameHeader(index, 0), index, FrameHeader(index, 0).stamp)
            if index >= N - 1:
                rig.wait_for_frame(index)
        assert session.windows[1:] == [[0] * N] * 6 + [[200] * N] * 3

    def test_going_back_to_the_view_that_runs_keeps_its_window(self, rig: Rig) -> None:
        session = rig.start()
        rig.fill()
        rig.stream.configure(replace(FIRST, resize_mode="crop"))
        rig.feed_and_wait(2)
        rig.stream.configure(replace(FIRST, resize_mode="letterbox"))
        rig.feed_and_wait(2)
        rig.stream.configure(FIRST)
        assert len(rig.stream.lanes) == 1
        rig.feed_and_wait(N)
        assert session.windows[1:] == [[i - 3, i - 2, i - 1, i] for i in range(3, 12)]

    def test_another_view_does_not_wait_for_a_network_that_loads(self, rig: Rig) -> None:
        first = rig.start()
        image = RawImage.from_array(np.tile(np.repeat([0, 200], 4).astype(np.uint8)[:, None], (4, 1, 3)), "rgb8")

        def feed(count: int) -> None:
            for _ in range(count):
                header = FrameHeader(rig.fed, 0)
                rig.stream.submit(image, Sample(), header, rig.fed, header.stamp)
                rig.fed += 1
                if rig.fed >= N:
                    rig.wait_for_newest()

        feed(N)
        rig.begin_loading(SECOND)
        rig.stream.configure(replace(SECOND, roi=(0.5, 0.0, 0.5, 1.0)))
        feed(N)
        assert first.windows[-1] == [200] * N
        rig.finish_loading()
        feed(1)
        assert rig.names == ["first"] * (N + 1) + ["second"] * (len(rig.names) - N - 1)
        assert rig.names[-1] == "second"
        assert rig.networks.sessions[-1].windows[-1] == [200] * N


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_asked_for_in_whatever_order_no_frame_is_lost_and_nothing_is_mixed(rig: Rig, seed: int) -> None:
    choose = random.Random(seed)
    rig.start()
    rig.fill()
    rig.feed_and_wait(4)
    wanted = FIRST
    labels = {name: network.labels for name, network in rig.networks.networks.items()}
    acts: list[Callable[[], Any]] = [
        lambda: rig.stream.configure(replace(wanted, roi=choose.choice([(0.0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5)]))),
        lambda: rig.stream.configure(replace(wanted, threshold=choose.random())),
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
    assert rig.stream.status().overrun == 0
    for result in rig.said.classified:
        assert result.prediction.labels == labels[result.network.name]
        assert len(result.prediction.scores) == len(result.prediction.labels)
        assert result.header.stamp == result.prediction.frame * 100_000_000
    for session in rig.networks.sessions:
        for window in session.windows[1:]:
            assert [(b - a) % 256 for a, b in pairwise(window)] == [1] * (len(window) - 1)
    windows = sum(len(session.windows) - 1 for session in rig.networks.sessions)
    assert windows == len(rig.frames)
