"""What the node says of its health: the worst first, with the remedy; and rates under a clock of the test's."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.live.inference_rounds import RunningNetwork, WorkerStatus
from ros2_actionnet.live.stream import Classified, StreamStatus
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.ros import diagnostics
from ros2_actionnet.ros.diagnostics import SILENCE, CameraMonitor, Health, HealthMonitor, Level, status_message, summary
from ros2_actionnet.settings import Settings
from support.fakes import make_network

pytestmark = pytest.mark.ros

NETWORK = make_network("tiny", frames=16)
RUNNING = RunningNetwork(Settings(), NETWORK, "openvino", "CPU", "bf16", "openvino (as asked)")
WORKING = WorkerStatus(
    running=RUNNING,
    loading="",
    progress="",
    inferences=84,
    failed=4,
    failing=False,
)
STREAM = StreamStatus(fill=16, frames=16, sampled=100, classified=85, overtaken=2, overrun=3)
NODE = Health(state="active", worker=WORKING, name="/actionnet")
WELL = Health(
    state="active",
    worker=WORKING,
    stream=STREAM,
    topic="/camera/image_raw",
    reliability="reliable",
    publishers=("/camera (reliable)",),
    received=200,
    name="/actionnet",
)


class TestSummary:
    def test_all_well_names_the_network(self) -> None:
        assert summary(WELL) == (Level.OK, "classifying with tiny")

    def test_a_mean_that_is_assumed_is_a_lasting_warning(self) -> None:
        assuming = replace(NETWORK, spec=replace(NETWORK.spec, mean_from=""))
        health = replace(WELL, worker=replace(WORKING, running=replace(RUNNING, network=assuming)))
        level, text = summary(health)
        assert level is Level.WARN
        assert text.startswith("classifying with tiny, but no mean is stated for network tiny: actionNet's is assumed")
        assert {value.key: value.value for value in status_message(health).values}["mean and std"] == "assumed"
        assert {value.key: value.value for value in status_message(WELL).values}["mean and std"] == "here"

    def test_a_filter_that_is_not_the_networks_is_a_lasting_warning(self) -> None:
        level, text = summary(replace(WELL, stream=replace(STREAM, filter_problem="class_filter 'runing' is no label")))
        assert (level, text) == (Level.WARN, "classifying with tiny, but class_filter 'runing' is no label")

    def test_a_network_that_loads_beside_it_is_named_too(self) -> None:
        level, text = summary(replace(WELL, worker=replace(WORKING, loading="resnet18")))
        assert (level, text) == (Level.OK, "classifying with tiny, loading resnet18")
        building = replace(WORKING, loading="resnet18", progress="building engine, 40 s so far")
        level, text = summary(replace(WELL, worker=building))
        assert text == "classifying with tiny, loading resnet18: building engine, 40 s so far"

    def test_a_window_that_fills(self) -> None:
        level, text = summary(replace(WELL, stream=replace(STREAM, fill=7)))
        assert level is Level.OK
        assert "7 of 16 frames" in text

    @pytest.mark.parametrize("state", ["unconfigured", "inactive", "finalized"])
    def test_a_node_that_is_not_active_is_well_unless_something_went_wrong(self, state: str) -> None:
        idle = replace(WELL, state=state, worker=None)
        assert summary(idle) == (Level.OK, state)
        assert summary(replace(idle, last_error="no such file")) == (Level.ERROR, "no such file")

    def test_failing_inference_goes_before_all_that_is_less(self) -> None:
        health = replace(WELL, worker=replace(WORKING, failing=True), silent_for=100, last_error="device lost")
        assert summary(health) == (Level.ERROR, "inference fails: device lost")

    def test_without_a_network_it_is_an_error_unless_one_is_loading(self) -> None:
        missing = replace(WORKING, running=None)
        assert summary(replace(WELL, worker=missing, last_error="truncated")) == (
            Level.ERROR,
            "no network: truncated",
        )
        loading = replace(missing, loading="resnet18")
        assert summary(replace(WELL, worker=loading)) == (Level.WARN, "loading resnet18")

    def test_a_topic_that_cannot_be_read_goes_before_its_silence(self) -> None:
        problem = "foxglove_msgs/msg/CompressedVideo needs the package foxglove_msgs"
        assert summary(replace(WELL, silent_for=60, topic_problem=problem)) == (
            Level.WARN,
            f"/camera/image_raw cannot be read: {problem}",
        )

    def test_silence_without_a_publisher_says_to_remap(self) -> None:
        level, text = summary(replace(WELL, silent_for=SILENCE + 1.4, publishers=()))
        assert level is Level.WARN
        assert "no image on /camera/image_raw for 6 s" in text
        assert "remap" in text

    def test_silence_of_a_publisher_names_it_its_qos_and_ours(self) -> None:
        level, text = summary(replace(WELL, silent_for=60, publishers=("/cam (best_effort)",)))
        assert level is Level.WARN
        for word in ("/cam (best_effort)", "subscribed reliable", "ros2 topic hz /camera/image_raw"):
            assert word in text

    def test_silence_with_a_known_cause_says_what_to_type(self) -> None:
        advice = "nobody publishes there; set image_topic:=/cam/image_raw image_transport:=compressed"
        level, text = summary(replace(WELL, silent_for=60, advice=advice, publishers=("/cam (reliable)",)))
        assert (level, text) == (Level.WARN, f"no image on /camera/image_raw for 60 s: {advice}")

    def test_a_short_silence_is_none(self) -> None:
        assert summary(replace(WELL, silent_for=SILENCE - 0.1))[0] is Level.OK

    def test_two_publishers_are_named(self) -> None:
        level, text = summary(replace(WELL, publishers=("/one (reliable)", "/two (best_effort)")))
        assert level is Level.WARN
        assert "2 publishers" in text
        assert "/one (reliable), /two (best_effort)" in text

    def test_a_window_that_is_emptied_again_and_again_says_why(self) -> None:
        restless = replace(WELL, restarts_without_result=3, restart_reason="time ran backwards by 0.100 s")
        level, text = summary(restless)
        assert level is Level.WARN
        assert "time ran backwards by 0.100 s" in text
        assert summary(replace(restless, restarts_without_result=2))[0] is Level.OK

    def test_restarts_between_which_there_are_results_cost_results_too(self) -> None:
        restless = replace(WELL, restarts_recently=3, restart_reason="gap of 1.200 s")
        assert summary(restless) == (
            Level.WARN,
            "the window is emptied again and again: gap of 1.200 s; see whether the images' stamps are right, or raise "
            "max_gap",
        )
        assert summary(replace(restless, restarts_recently=2))[0] is Level.OK

    def test_late_images_are_complained_of_where_there_is_no_result(self) -> None:
        late = replace(WELL, late=500, late_without_result=11)
        level, text = summary(late)
        assert level is Level.WARN
        assert "11 images on /camera/image_raw were left out: their stamps do not go on" in text
        assert summary(replace(late, late_without_result=10))[0] is Level.OK

    def test_stamps_that_do_not_change_are_told_of(self) -> None:
        level, text = summary(replace(WELL, stamps_are_stuck=True))
        assert level is Level.WARN
        assert "the stamps of the images on /camera/image_raw do not change" in text

    def test_many_lost_images_are_explained_while_more_are_being_lost(self) -> None:
        lossy = replace(WELL, lost=50, lost_recently=5)
        level, text = summary(lossy)
        assert level is Level.WARN
        assert "50 images on /camera/image_raw were lost" in text
        assert summary(replace(lossy, lost_recently=0))[0] is Level.OK
        assert summary(replace(lossy, lost=2, lost_recently=2))[0] is Level.OK


def test_the_message_has_the_level_the_name_and_every_number() -> None:
    message = status_message(
        replace(
            WELL,
            rejected=5,
            lost=6,
            late=8,
            restarts=7,
            restart_reason="gap of 2.000 s",
            rate_in=29.97,
            rate_out=14.96,
            inference=0.0123,
            latency=0.0456,
            last_error="image rejected",
        )
    )
    assert message.level == b"\0"
    assert message.name == "/actionnet: action recognition"
    assert message.message == "classifying with tiny"
    values = {pair.key: pair.value for pair in message.values}
    assert values == {
        "state": "active",
        "network": "tiny",
        "mean and std": "here",
        "backend": "openvino CPU bf16",
        "backend chosen": "openvino (as asked)",
        "loading": "",
        "loading progress": "",
        "inferences": "84",
        "inferences failed": "4",
        "window fill": "16/16",
        "frames sampled": "100",
        "classifications": "85",
        "inferences overtaken": "2",
        "thumbnails overrun": "3",
        "image topic": "/camera/image_raw",
        "image publishers": "/camera (reliable)",
        "image QoS": "reliable",
        "frames received": "200",
        "frames rejected": "5",
        "frames lost by the middleware": "6",
        "frames late": "8",
        "windows restarted": "7",
        "last restart": "gap of 2.000 s",
        "rate in (Hz)": "30.0",
        "rate out (Hz)": "15.0",
        "inference (ms)": "12.3",
        "latency (ms)": "45.6",
        "last error": "image rejected",
    }


@pytest.mark.parametrize(("state", "level"), [("active", b"\0"), ("broken", b"\2")])
def test_the_level_is_one_byte_as_ros_wants_it(state: str, level: bytes) -> None:
    health = WELL if state == "active" else replace(WELL, worker=replace(WORKING, failing=True))
    assert status_message(health).level == level


class TestMonitor:
    @pytest.fixture(name="clock")
    def clock_fixture(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr(diagnostics, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    def parts(self) -> tuple[Any, Any, Any]:
        """A stream, an intake and a subscription as the monitor sees them."""
        status = SimpleNamespace(value=replace(STREAM, classified=0))
        stream = SimpleNamespace(status=lambda: status.value, now=status)
        intake = SimpleNamespace(
            received=0,
            rejected=0,
            restarts=0,
            restart_reason="",
            last_arrival=-float("inf"),
            sampler=SimpleNamespace(late=0),
            clock=SimpleNamespace(is_stuck=False),
        )
        subscription = SimpleNamespace(
            problem="",
            topic="/image",
            reliability="reliable",
            lost=0,
            publishers=("/camera (reliable)",),
            advice=lambda: "set it right",
        )
        return stream, intake, subscription

    def test_rates_are_those_since_the_last_look(self, clock: SimpleNamespace) -> None:
        monitor, parts = CameraMonitor("front"), self.parts()
        stream, intake, subscription = parts
        clock.now += 2.0
        intake.received, stream.now.value = 60, replace(STREAM, classified=30)
        health = monitor.look(NODE, *parts)
        assert (health.rate_in, health.rate_out, health.received) == (30.0, 15.0, 60)
        clock.now += 1.0
        intake.received, intake.restarts, subscription.lost = 65, 4, 9
        health = monitor.look(NODE, *parts)
        assert (health.rate_in, health.rate_out) == (5.0, 0.0)
        assert (health.restarts, health.lost) == (4, 9)

    def test_restarts_are_in_vain_until_a_window_is_classified(self, clock: SimpleNamespace) -> None:
        """As with a skip_frames that makes every gap longer than max_gap: one restart a second, for ever."""
        monitor, parts = CameraMonitor("front"), self.parts()
        stream, intake, _ = parts
        for restarts in (1, 2, 3):
            clock.now += 1.0
            intake.restarts = restarts
            assert monitor.look(NODE, *parts).restarts_without_result == restarts
        stream.now.value = replace(STREAM, classified=1)
        assert monitor.look(NODE, *parts).restarts_without_result == 0

    def test_restarts_of_the_last_ten_looks_count_whether_or_not_there_were_results(
        self, clock: SimpleNamespace
    ) -> None:
        monitor, parts = CameraMonitor("front"), self.parts()
        stream, intake, _ = parts
        counts = []
        for look in range(1, 21):
            clock.now += 1.0
            intake.restarts = min(look, 5)
            intake.sampler.late = 3 * look
            stream.now.value = replace(STREAM, classified=look // 10)
            health = monitor.look(NODE, *parts)
            counts.append((health.restarts_recently, health.late_without_result))
        assert [restarts for restarts, _ in counts] == [1, 2, 3, 4] + [5] * 6 + [4, 3, 2, 1] + [0] * 6
        assert [late for _, late in counts] == [3 * n for n in [*range(1, 10), 0, *range(1, 10), 0]]

    def test_counts_that_begin_again_give_no_negative_rate(self, clock: SimpleNamespace) -> None:
        monitor, parts = CameraMonitor("front"), self.parts()
        _, intake, _ = parts
        intake.received = 500
        monitor.look(NODE, *parts)
        clock.now += 1.0
        intake.received = 10
        assert monitor.look(NODE, *parts).rate_in == 0.0

    def test_silence_counts_from_the_last_image_or_from_activation(self, clock: SimpleNamespace) -> None:
        monitor, parts = CameraMonitor("front"), self.parts()
        _, intake, _ = parts
        clock.now += 50.0
        monitor.activated()
        clock.now += 7.0
        health = monitor.look(NODE, *parts)
        assert (health.silent_for, health.advice) == (7.0, "set it right")
        intake.last_arrival = clock.now - 2.0
        health = monitor.look(NODE, *parts)
        assert (health.silent_for, health.advice) == (2.0, "")
        monitor.activated()
        assert monitor.look(NODE, *parts).silent_for == 0.0

    def test_times_are_means_over_the_last_classifications(self, clock: SimpleNamespace) -> None:
        monitor, parts = CameraMonitor("front"), self.parts()
        assert monitor.look(NODE, *parts).latency == 0.0
        prediction = Prediction(np.zeros(2, np.float32), NETWORK.labels, 0)
        for inference, latency in ((0.01, 0.02), (0.03, 0.06)):
            monitor.classified(Classified(prediction, NETWORK, FrameHeader(0, 0), (), inference, latency))
        health = monitor.look(NODE, *parts)
        assert (health.inference, health.latency) == pytest.approx((0.02, 0.04))

    def test_without_its_parts_there_is_only_the_state_and_the_last_error(self, clock: SimpleNamespace) -> None:
        monitor = HealthMonitor()
        monitor.last_error = "no such file"
        health = monitor.look("unconfigured", None)
        assert (health.state, health.last_error, health.worker, health.topic) == (
            "unconfigured",
            "no such file",
            None,
            "",
        )
        assert health.silent_for == 0.0


def test_a_librarys_message_is_short_and_printable_in_the_status() -> None:
    health = Health(state="inactive", last_error="bad\x1b[2J\n" + "x" * 10_000_000)
    message = status_message(health)
    values = {value.key: value.value for value in message.values}
    assert message.message.startswith(r"bad\x1b[2J\nxxx")
    for text in (message.message, values["last error"]):
        assert text.isprintable()
        assert len(text) < 2100
