"""Parameters through the real parameter services: what is live acts, what is wrong is refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ros2_actionnet.settings import SETTINGS
from support.networks import save_brightness_network
from support.ros import Probe, running_node, stamp_of

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")


class Stream:
    """Publishes frames of one grey level with stamps that go on at 30 Hz, as fast as the node takes them."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.stamp = 500.0

    def classify(self, grey: int, count: int = 24) -> list[list[tuple[str, float]]]:
        """What the node says of `count` frames: the results of each classification."""
        probe = self.probe
        probe.classifications.clear()
        for _ in range(count):
            probe.publish(np.full((6, 10, 3), grey, np.uint8), self.stamp)
            self.stamp += 1 / 30
            probe.spin(0.01)
        probe.wait_for(lambda: self._settled(), "classification of the last sampled frames")
        return [[(r.class_id, r.score) for r in c.results] for c in probe.classifications]

    def _settled(self) -> bool:
        done = self.probe.classifications
        return bool(done) and self.stamp - stamp_of(done[-1]) < 0.11


@pytest.fixture(name="stream", scope="module")
def stream_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    model = save_brightness_network(tmp_path_factory.mktemp("network"), LABELS)
    with running_node({"model": model, "skip_frames": 0}) as (_, probe):
        probe.wait_until_ready()
        yield Stream(probe)


def test_every_setting_is_declared_with_its_description_and_limits(stream: Stream) -> None:
    descriptors = stream.probe.describe(*[setting.name for setting in SETTINGS])
    for setting, descriptor in zip(SETTINGS, descriptors, strict=True):
        assert setting.description in descriptor.description
        assert descriptor.additional_constraints == setting.limits
        assert not descriptor.read_only


def test_the_class_follows_the_picture(stream: Stream) -> None:
    assert stream.classify(20)[-1][0][0] == "dark"
    assert stream.classify(128)[-1][0][0] == "dim"
    assert stream.classify(240)[-1][0][0] == "bright"


def test_threshold_acts_and_takes_an_integer_for_a_double(stream: Stream) -> None:
    (result,) = stream.probe.set(threshold=1)
    assert result.successful, result.reason
    assert stream.classify(85)[-1] == []
    stream.probe.set(threshold=0.01)
    assert stream.classify(85)[-1]


def test_top_k_and_class_id_format_act(stream: Stream) -> None:
    stream.probe.set(top_k=1, class_id_format="index", threshold=0.0)
    assert [class_id for class_id, _ in stream.classify(240)[-1]] == ["2"]
    stream.probe.set(top_k=5, class_id_format="label")
    assert [class_id for class_id, _ in stream.classify(240)[-1]] == ["bright", "dim", "dark"]
    stream.probe.set(threshold=0.01)


def test_skip_frames_acts_on_the_next_frame(stream: Stream) -> None:
    stream.probe.set(skip_frames=2)
    stream.classify(20)
    stamps = [stamp_of(message) for message in stream.probe.classifications]
    assert np.diff(stamps[1:]) == pytest.approx(0.1, abs=1e-6)
    stream.probe.set(skip_frames=0)


def test_class_filter_leaves_the_others_out(stream: Stream) -> None:
    stream.probe.set(class_filter=["dim"])
    assert {class_id for results in stream.classify(240) for class_id, _ in results} <= {"dim"}
    (result,) = stream.probe.set(class_filter=["bight"])
    assert not result.successful
    assert "'bight'" in result.reason
    assert "'bright'" in result.reason
    stream.probe.set(class_filter=[""][:0])


def test_infer_every_acts(stream: Stream) -> None:
    stream.probe.set(infer_every=4)
    stream.classify(20)
    stamps = [stamp_of(message) for message in stream.probe.classifications]
    assert np.diff(stamps[1:]) == pytest.approx(4 / 30, abs=1e-6)
    stream.probe.set(infer_every=1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("threshold", 1.5, ["1.5"]),
        ("threshold", "high", ["threshold takes a number", "'high'"]),
        ("skip_frames", -1, ["-1", ">= 0"]),
        ("skip_frames", 1.5, ["a whole number", "1.5"]),
        ("backend", "tensorflow", ["'tensorflow'", "openvino"]),
        ("network", "resnet-19", ["resnet-19", "camera_motion"]),
        ("model", "/nowhere/my.onnx", ["/nowhere/my.onnx"]),
        ("labels", "/nowhere/labels.txt", ["/nowhere/labels.txt"]),
        ("roi", [0.5, 0.0, 0.6, 1.0], ["roi", "0.6"]),
        ("event_off", 0.9, ["event_off 0.9", "event_on 0.5"]),
        ("image_transport", "compressed", ["image_transport", "ros2 lifecycle set /actionnet"]),
        ("class_labels", ["x"], ["set by the node"]),
    ],
)
def test_what_is_wrong_is_refused_with_a_reason_and_changes_nothing(
    stream: Stream, name: str, value: object, words: list[str]
) -> None:
    before = stream.probe.get(name)
    (result,) = stream.probe.set(**{name: value})
    assert not result.successful
    for word in words:
        assert word in result.reason
    assert stream.probe.get(name) == before
    assert stream.classify(240)[-1][0][0] == "bright"


def test_a_device_may_be_a_number_and_a_network_a_path(stream: Stream, tmp_path: Path) -> None:
    before = stream.probe.get("network", "model", "device")
    (result,) = stream.probe.set(network=str(save_brightness_network(tmp_path, ("dull", "clear"))))
    assert result.successful, result.reason
    (result,) = stream.probe.set(model="camera_motion")
    assert result.successful, result.reason
    (result,) = stream.probe.set(device=7)
    assert "device 7" in result.reason or "'7'" in result.reason, "a device that is not here, but no wrong type"
    assert "takes text" not in result.reason
    for name, value in zip(("model", "network"), (before[1], before[0]), strict=True):
        (result,) = stream.probe.set(**{name: value})
        assert result.successful, result.reason


def test_an_atomic_set_is_all_or_nothing(stream: Stream) -> None:
    result = stream.probe.set_atomically(threshold=0.7, skip_frames=-1)
    assert not result.successful
    assert stream.probe.get("threshold", "skip_frames") == [0.01, 0]


def test_reset_empties_the_window(stream: Stream) -> None:
    stream.classify(20)
    stream.probe.classifications.clear()
    assert stream.probe.reset().success
    first = stream.stamp
    stream.classify(20, count=8)
    # Four frames make a window: the first result after the reset is on the fourth frame.
    assert stamp_of(stream.probe.classifications[0]) == pytest.approx(first + 3 / 30, abs=1e-6)


def test_a_model_file_is_swapped_in_live(stream: Stream, tmp_path: Path) -> None:
    other = save_brightness_network(tmp_path, ("night", "day"), frames=6, size=12)
    count = len(stream.probe.infos)
    (result,) = stream.probe.set(model=str(other))
    assert result.successful, result.reason
    while len(stream.probe.infos) == count:
        stream.classify(240, count=4)
    assert stream.probe.infos[-1].database_version == stream.probe.infos[-2].database_version + 1
    assert stream.classify(240)[-1][0][0] == "day"
