"""What goes wrong on robots: each test says what was tried, and shows that nothing was lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from ros2_actionnet.networks import ACTIONNET_MEAN
from support import faulty_node
from support.networks import save_brightness_network
from support.ros import IMAGE_TOPIC, NodeProcess, Probe, running_node, stamp_of, unused_domain

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")
WINDOW = 4


@pytest.fixture(name="model")
def model_fixture(tmp_path: Path) -> Path:
    model = save_brightness_network(tmp_path / "network", LABELS, frames=WINDOW)
    # Stated, so that diagnostics have nothing to warn of.
    (model.parent / "network.yaml").write_text(f"mean: {list(ACTIONNET_MEAN)}\nstd: [1, 1, 1]\n")
    return model


@pytest.fixture(name="probe")
def probe_fixture(model: Path) -> Iterator[Probe]:
    with running_node({"model": model, "skip_frames": 0}) as (_, probe):
        probe.wait_until_ready()
        yield probe


class Stream:
    """Frames of one grey level under stamps that go on."""

    def __init__(self, probe: Probe, grey: int = 240) -> None:
        self.probe, self.grey, self.stamp = probe, grey, 100.0

    def publish(self, count: int) -> float:
        """Publishes `count` frames; the stamp of the last."""
        for _ in range(count):
            self.stamp += 1 / 30
            self.probe.publish(np.full((6, 10, 3), self.grey, np.uint8), self.stamp)
            self.probe.spin(0.01)
        return self.stamp

    def until(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        """Publishes until `condition` holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
            self.publish(1)

    def is_classified(self, label: str = "bright") -> None:
        """Shows that the node classifies, and rightly: the last frame published gets its result."""
        stamp = self.publish(2 * WINDOW)
        probe = self.probe
        probe.wait_for(
            lambda: probe.classifications and stamp_of(probe.classifications[-1]) == pytest.approx(stamp, abs=1e-6),
            "classification of the last frame",
        )
        assert probe.classifications[-1].results[0].class_id == label


def test_a_publisher_that_is_killed_and_restarted_twenty_times(probe: Probe) -> None:
    """Each publisher is a new process that is killed in mid-stream; the node classifies what each of them sends."""
    program = (
        "import itertools, sys, numpy, rclpy\n"
        "from support.ros import Probe\n"
        "probe = Probe(int(sys.argv[1]))\n"
        "probe.wait_for(lambda: probe.publisher().get_subscription_count(), 'subscription')\n"
        "for index in itertools.count():\n"
        "    probe.publish(numpy.full((6, 10, 3), 240, numpy.uint8), float(sys.argv[2]) + index / 30)\n"
        "    probe.spin(1 / 60)\n"
    )
    domain = probe.context.get_domain_id()
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    for life in range(20):
        start = 1000.0 * (life + 1)
        new = list[Any]()  # of this life: results of the one before may still arrive
        publisher = subprocess.Popen(
            [sys.executable, "-c", program, str(domain), str(start)], env={**os.environ, "PYTHONPATH": path}
        )
        try:
            while len(new) < 3:
                probe.wait_for(lambda: probe.classifications, "classification")
                new += [message for message in probe.classifications if stamp_of(message) >= start]
                probe.classifications.clear()
        finally:
            publisher.kill()
            publisher.wait()
        assert all(message.results[0].class_id == "bright" for message in new)
        # The first window of each life is made of that life's frames alone.
        assert stamp_of(new[0]) >= start + (WINDOW - 1) / 30 - 1e-6


def test_garbage_between_good_messages_is_counted_and_takes_nothing_along(probe: Probe) -> None:
    """Messages whose bytes do not fit their fields, and unknown encodings, come between good ones, at random."""
    random, stream, publisher = np.random.default_rng(3), Stream(probe), probe.publisher()
    garbage = 0
    for _ in range(60):
        stream.publish(1)
        if random.random() < 0.5:
            stamp = stream.stamp + 0.01
            message = Image(height=int(random.integers(0, 99)), width=int(random.integers(2, 99)), step=1)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(stamp * 1e9), 1_000_000_000)
            message.encoding = str(random.choice(["bgr8", "rgb8", "mono16", "hsv9", ""]))
            message.data = random.bytes(int(random.integers(0, 50)))
            publisher.publish(message)
            garbage += 1
    stream.is_classified()
    values = probe.diagnosis(lambda _, v: v.get("frames rejected") == str(garbage), f"of {garbage} rejected frames")
    assert values["inferences failed"] == "0"
    assert values["windows restarted"] == "0"
    assert {message.results[0].class_id for message in probe.classifications} == {"bright"}


def test_a_hundred_impossible_requests_are_logged_and_the_node_goes_on(model: Path) -> None:
    """Each is refused and named in the log, 1 kB each: more than a pipe holds that nobody reads."""
    wishes = [f"{number}: {'please, ' * 128}" for number in range(100)]
    with running_node({"model": model, "skip_frames": 0}) as (process, probe):
        probe.wait_until_ready()
        assert not any(probe.change_state(wish) for wish in wishes)
        Stream(probe).is_classified()
    assert all(wish in process.log for wish in wishes)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["unconfigured", "loading", "waiting for images", "classifying", "changing"])
def test_a_signal_ends_the_process_at_any_stage(model: Path, tmp_path: Path, stage: str, by: signal.Signals) -> None:
    """SIGINT and SIGTERM: exit code 0, no traceback, and soon, whatever the node is doing."""
    domain = unused_domain()
    process = NodeProcess(domain, {"model": model, "skip_frames": 0, "autostart": stage != "unconfigured"})
    probe = Probe(domain)
    try:
        if stage == "unconfigured":
            assert probe.state() == "unconfigured"
        elif stage == "loading":
            # The network is loaded after that.
            probe.wait_for(lambda: "waiting for images" in process.log, "line 'waiting for images' in the log")
        else:
            probe.wait_until_ready()
        if stage in ("classifying", "changing"):
            Stream(probe).is_classified()
        if stage == "changing":
            probe.set(model=str(save_brightness_network(tmp_path / "other", LABELS, name="other")))
        asked = time.monotonic()
        code = process.stop(by)
        took = time.monotonic() - asked
    finally:
        probe.close()
        process.stop(signal.SIGKILL)
    assert code == 0, process.log
    assert "Traceback" not in process.log
    # 3 s is what is promised on a machine with nothing else to do; CI may be slower.
    assert took < 10


@pytest.fixture(name="faulty")
def faulty_fixture(model: Path, tmp_path: Path) -> Iterator[tuple[Probe, Path]]:
    """A node whose inference fails as often as the number in the file says."""
    control = tmp_path / "failures"
    control.write_text("0")
    domain = unused_domain()
    arguments = ["--ros-args", "-r", f"image:={IMAGE_TOPIC}", "-p", f"model:={model}", "-p", "skip_frames:=0"]
    process = subprocess.Popen(
        [sys.executable, str(faulty_node.__file__), str(control), *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    probe = Probe(domain)
    try:
        probe.wait_until_ready()
        yield probe, control
    finally:
        probe.close()
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_an_inference_that_fails_once_is_counted_and_the_node_goes_on(faulty: tuple[Probe, Path]) -> None:
    """The backend raises once; the next window is classified."""
    probe, control = faulty
    stream = Stream(probe)
    stream.is_classified()
    control.write_text("1")
    stream.until(lambda: control.read_text() == "0", "failure")
    stream.is_classified()
    values = probe.diagnosis(lambda _, v: v.get("inferences failed") == "1", "of one failed inference")
    assert "fell off the bus" in values["last error"]
    assert values["level"] == "0"


@pytest.mark.parametrize("recovery", ["param set", "lifecycle"])
def test_an_inference_that_always_fails_is_an_error_that_can_be_recovered_from(
    faulty: tuple[Probe, Path], recovery: str
) -> None:
    """The backend raises for good; diagnostics name it; setting the model again, or a lifecycle restart, mends it."""
    probe, control = faulty
    stream = Stream(probe)
    stream.is_classified()
    control.write_text("1000000")
    stream.publish(3 * WINDOW)
    values = probe.diagnosis(lambda message, _: message.startswith("inference fails"), "of a failing network")
    assert values["level"] == "2"
    assert "fell off the bus" in values["message"]
    control.write_text("0")
    if recovery == "param set":
        (model,) = probe.get("model")
        assert probe.set(model=model)[0].successful
        stream.until(lambda: len(probe.infos) == 2, "vision_info of the network loaded again")
    else:
        assert all(probe.change_state(transition) for transition in ("deactivate", "cleanup", "configure", "activate"))
        probe.wait_for(lambda: len(probe.infos) == 2, "vision_info of the network loaded again")
        publisher = probe.publisher()
        probe.wait_for(lambda: publisher.get_subscription_count() >= 1, "subscription")
    stream.is_classified()


def test_two_nodes_of_one_name_both_classify_and_say_so(probe: Probe, model: Path) -> None:
    """A second node is started under the same name in the same domain, and ended again."""
    second = NodeProcess(probe.context.get_domain_id(), {"model": model, "skip_frames": 0})
    try:
        probe.wait_for(lambda: len(probe.infos) == 2, "vision_info of the second node")
        values = probe.diagnosis(lambda message, _: "are called" in message, "that names the double name")
        assert "2 nodes are called /actionnet" in values["message"]
        Stream(probe).is_classified()
    finally:
        assert second.stop() == 0
    Stream(probe).is_classified()


def test_lifecycle_a_hundred_times_leaks_nothing(probe: Probe) -> None:
    """Round after round through all states, and impossible transitions in between."""
    import psutil

    (process,) = [p for p in psutil.Process().children(recursive=True) if "ros2_actionnet.ros.main" in p.cmdline()]

    def a_round() -> None:
        assert probe.change_state("deactivate")
        assert not probe.change_state("deactivate"), "not possible when inactive"
        assert probe.change_state("cleanup")
        assert not probe.change_state("activate"), "not possible when unconfigured"
        assert probe.change_state("configure")
        assert probe.change_state("activate")

    def rounds(count: int) -> None:
        for _ in range(count):
            a_round()
        probe.infos.clear()
        a_round()
        probe.wait_for(lambda: len(probe.infos) == 1, "vision_info of the last round")

    rounds(19)
    threads, memory = process.num_threads(), process.memory_info().rss
    rounds(79)
    probe.wait_for(lambda: process.num_threads() <= threads, f"return to {threads} threads")
    assert process.memory_info().rss - memory < 30e6
    assert probe.node.count_subscribers(IMAGE_TOPIC) == 1
    probe.wait_for(lambda: probe.publisher().get_subscription_count() == 1, "subscription")
    Stream(probe).is_classified()


def test_random_parameter_sets_leave_a_node_that_classifies(probe: Probe, model: Path, tmp_path: Path) -> None:
    """Valid and invalid values for every parameter, against a stream; for ACTIONNET_FUZZ_SECONDS (10)."""
    other = save_brightness_network(tmp_path / "other", ("low", "high"), frames=6, size=12, name="other")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:300])
    values: dict[str, list[object]] = {
        "network": ["camera_motion", "resnet18", "nonsense", ""],
        "model": [str(model), str(other), str(broken), "/nowhere.onnx", 3],
        "labels": ["", str(model.parent / "labels.txt"), str(broken), "/nowhere.txt"],
        "output_blob": ["", "logits", "nonsense"],
        "precision": ["auto", "fp32", "fp16", "bf16", "int3"],
        "device": ["", "CPU", "GPU", "TPU"],
        "backend": ["auto", "openvino", "tensorrt", "x"],
        "threshold": [0.0, 0.5, 1, 2.0, "a", float("nan")],
        "skip_frames": [0, 1, 3, -1, 0.5],
        "sample_rate": [0.0, 10.0, 30, -1.0],
        "infer_every": [1, 2, 0],
        "top_k": [1, 5, 0],
        "smoothing": [1, 4, 0],
        "warmup": ["wait", "repeat", "x"],
        "max_gap": [1.0, 0.5, -1.0],
        "roi": [[0.0, 0.0, 1.0, 1.0], [0.2, 0.2, 0.5, 0.5], [0.0, 0.0, 2.0, 1.0], [0.0]],
        "resize_mode": ["stretch", "crop", "letterbox", "x"],
        "class_filter": [["bright"], ["nonsense"], ["high", "low"]],
        "class_id_format": ["label", "index", "x"],
        "event_on": [0.5, 0.1, 2.0],
        "annotated_width": [0, 32, -1],
        "image_transport": ["compressed", "raw"],
    }
    random, stream = np.random.default_rng(7), Stream(probe)
    deadline = time.monotonic() + float(os.environ.get("ACTIONNET_FUZZ_SECONDS", 10))
    accepted = refused = 0
    while time.monotonic() < deadline:
        chosen = random.choice(list(values), size=int(random.integers(1, 4)), replace=False)
        changes = {str(name): values[name][int(random.integers(len(values[name])))] for name in chosen}
        for result in probe.set(**changes):
            assert result.successful or result.reason
            accepted, refused = accepted + result.successful, refused + (not result.successful)
        stream.publish(int(random.integers(0, 6)))
    assert accepted > 20
    assert refused > 20
    sane = {"model": str(model), "labels": "", "output_blob": "", "precision": "auto", "device": "", "backend": "auto"}
    cheap = {"threshold": 0.01, "skip_frames": 0, "sample_rate": 0.0, "infer_every": 1, "smoothing": 1, "max_gap": 1.0}
    view = {"roi": [0.0, 0.0, 1.0, 1.0], "resize_mode": "stretch", "class_id_format": "label", "warmup": "wait"}
    for result in probe.set(**sane, **cheap, **view):
        assert result.successful, result.reason
    (result,) = probe.set(class_filter=["bright"])
    assert result.successful, result.reason
    stream.until(lambda: probe.get("model") == [str(model)], "model set")
    stream.until(
        lambda: probe.classifications and [r.class_id for r in probe.classifications[-1].results] == ["bright"],
        "right classification",
    )
    stream.is_classified()
