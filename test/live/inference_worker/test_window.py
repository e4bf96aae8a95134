"""The window: no sampled frame lost, the newest one inferred, settings and resets in their place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from support.fakes import LABELS
from support.worker_rig import FIRST, SECOND, MakeRig, N, Rig


class TestWindow:
    def test_the_first_result_is_of_the_first_whole_window_under_its_newest_frames_header(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [0.25, 0.75]
        rig.feed(N - 1)
        rig.fill(1)
        (result,) = rig.said.classified
        assert session.windows[1:] == [[0, 1, 2, 3]]
        assert result.header == FrameHeader(0, 300_000_000, "camera")
        assert (result.prediction.first_frame, result.prediction.frame) == (0, 3)
        assert result.prediction.scores.tolist() == [0.25, 0.75]
        assert (result.prediction.label, result.network.name) == (LABELS[1], "first")

    def test_frames_handed_over_while_the_first_network_loads_are_in_its_first_window(self, rig: Rig) -> None:
        rig.begin_loading(FIRST)
        rig.feed(N + 3)
        rig.finish_loading()
        session = rig.wait_for_network(1)
        rig.wait_for_frame(N + 2)
        assert session.windows[1:] == [[3, 4, 5, 6]]
        assert rig.stream.status().overrun == 0, "the newest window is all that was wanted"

    def test_a_slow_inference_loses_no_frame_and_the_newest_window_comes_next(self, rig: Rig) -> None:
        session = rig.start_and_hold()
        rig.feed(3)
        session.gate.open()
        rig.wait_for_frame(6)
        assert session.windows[1:] == [[0, 1, 2, 3], [3, 4, 5, 6]]
        assert rig.frames == [3, 6]
        status = rig.stream.status()
        assert (status.overtaken, status.overrun, status.sampled, status.classified) == (2, 0, 7, 2)

    def test_frames_beyond_a_window_leave_the_queue_and_are_counted(self, rig: Rig) -> None:
        session = rig.start_and_hold()
        rig.feed(N + 5)
        session.gate.open()
        rig.wait_for_frame(2 * N + 4)
        assert session.windows[-1] == [9, 10, 11, 12]
        assert rig.stream.status().overrun == 5

    def test_a_restart_that_left_the_queue_still_empties_the_window(self, rig: Rig) -> None:
        session = rig.start_and_hold()
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
            rig.wait_for_newest()
        assert rig.frames == [3, 6, 9, 12]
        assert rig.stream.status().overtaken == 0

    def test_the_times_are_from_hand_over_to_scores_and_of_the_inference(self, rig: Rig) -> None:
        session = rig.start_and_hold()
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
            rig.stream.submit(RawImage(b"", 4, 4, 12, "rgb8"), Sample(), FrameHeader(9, 9), 99, 9)
        rig.fill(1)
        assert session.windows[-1] == [0, 1, 2, 3]
        assert rig.stream.status().sampled == 4

    def test_without_a_network_frames_are_taken_and_nothing_is_said(self, rig: Rig) -> None:
        rig.feed(10)
        assert rig.worker.status().running is None
        assert rig.said.order == []


class TestSettings:
    def test_cheap_settings_act_on_the_next_frame(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [0.4, 0.6]
        rig.fill()
        rig.stream.configure(replace(FIRST, threshold=0.5))
        rig.feed_and_wait()
        rig.stream.configure(replace(FIRST, class_filter=("calm",)))
        rig.feed_and_wait()
        tops = [[c.label for c in result.prediction.top(5)] for result in rig.said.classified]
        assert tops == [["lively", "calm"], ["lively"], ["calm"]]

    def test_smoothing_is_the_mean_and_can_be_changed(self, rig: Rig) -> None:
        session = rig.start()
        session.scores = [1.0, 0.0]
        rig.fill()
        rig.stream.configure(replace(FIRST, smoothing=2))
        session.scores = [0.0, 1.0]
        rig.feed_and_wait(2)
        assert [r.prediction.scores.tolist() for r in rig.said.classified] == [[1, 0], [0.5, 0.5], [0, 1]]

    def test_a_filter_of_labels_that_the_network_has_not_is_told_and_the_rest_of_it_counts(self, rig: Rig) -> None:
        rig.start()
        rig.fill()
        rig.stream.configure(replace(FIRST, class_filter=("lively", "blue")))
        rig.feed_and_wait()
        assert "'blue' is no label" in rig.said.problems[0]
        allowed = rig.said.classified[-1].prediction.allowed
        assert allowed is not None
        assert allowed.tolist() == [False, True]


class TestReset:
    def test_frames_before_it_are_forgotten(self, rig: Rig) -> None:
        session = rig.start()
        rig.fill()
        rig.stream.reset()
        rig.fill()
        assert session.windows[1:] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    def test_frames_that_wait_in_the_queue_are_forgotten_too(self, rig: Rig) -> None:
        session = rig.start_and_hold()
        rig.feed(3)
        rig.stream.reset()
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
        rig.stream.reset()
        rig.feed(N)
        rig.wait_for_newest()
        second = rig.networks.sessions[-1]
        assert second.windows[1:] == [[6, 7, 8, 9]]

    def test_smoothing_forgets_as_well(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(FIRST, smoothing=10))
        session = rig.start()
        session.scores = [1.0, 0.0]
        rig.fill()
        rig.stream.reset()
        session.scores = [0.0, 1.0]
        rig.fill()
        assert rig.said.classified[-1].prediction.scores.tolist() == [0.0, 1.0]


class TestStatus:
    def test_it_tells_what_runs_and_what_loads(self, rig: Rig) -> None:
        status, stream = rig.worker.status(), rig.stream.status()
        assert (status.running, status.loading, stream.fill, stream.frames) == (None, "", 0, 0)
        rig.begin_loading(FIRST)
        assert rig.worker.status().loading == "first"
        rig.finish_loading()
        rig.wait_for_network(1)
        rig.fill()
        rig.begin_loading(SECOND)
        rig.feed_and_wait()
        status, stream = rig.worker.status(), rig.stream.status()
        assert status.running is not None
        assert (status.running.network.name, status.loading, stream.fill, stream.frames) == ("first", "second", 4, 4)
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
