"""Changing the network while a stream runs: nothing is lost, nothing is mixed, and a failed change changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.networks import save_brightness_network
from support.ros import Probe, running_node, stamp_of

pytestmark = pytest.mark.integration

RATE = 30.0
DAY, NIGHT = ("dusk", "day"), ("black", "grey", "white")  # darkest first


class Camera:
    """A 30 Hz camera that goes on through all tests."""

    def __init__(self, probe: Probe, models: dict[str, Path]) -> None:
        self.probe = probe
        self.models = models
        self.index = 0

    def run(self, until: Any, what: str, most: int = 900) -> None:
        """Publishes in real time until `until` holds."""
        for _ in range(most):
            if until():
                return
            self.probe.publish(np.full((6, 10, 3), 240, np.uint8), 100 + self.index / RATE)
            self.index += 1
            self.probe.spin(1 / RATE)
        pytest.fail(f"no {what} in {most / RATE:.0f} s of stream")

    def run_for(self, frames: int) -> None:
        end = self.index + frames
        self.run(lambda: self.index >= end, "end")

    def labels(self, since: int = 0) -> list[str]:
        """The best label of every classification from number `since` on."""
        return [message.results[0].class_id for message in self.probe.classifications[since:]]


@pytest.fixture(name="camera")
def camera_fixture(tmp_path: Path) -> Iterator[Camera]:
    models = {
        "day": save_brightness_network(tmp_path / "day", DAY, frames=8, size=8, name="day"),
        "night": save_brightness_network(tmp_path / "night", NIGHT, frames=4, size=16, name="night"),
    }
    with running_node({"model": models["day"]}) as (_, probe):
        probe.wait_until_ready()
        camera = Camera(probe, models)
        camera.run(lambda: len(probe.classifications) >= 5, "classification")
        yield camera


def test_no_sampled_frame_is_lost_and_no_result_is_mixed_over_ten_changes(camera: Camera) -> None:
    probe = camera.probe
    for change in range(10):
        model = camera.models["night" if change % 2 == 0 else "day"]
        (result,) = probe.set(model=str(model))
        assert result.successful, result.reason
        camera.run(lambda: len(probe.infos) == change + 2, "vision_info of the change")  # noqa: B023 - used at once
        camera.run_for(6)
    values = probe.diagnosis(lambda _, v: int(v.get("frames received", 0)) == camera.index, "of all frames")
    # Stamps of the classifications: every second frame, without a hole but for inferences that were overtaken.
    stamps = [stamp_of(message) for message in probe.classifications]
    assert stamps == sorted(set(stamps))
    expected = round((stamps[-1] - stamps[0]) * RATE / 2) + 1
    assert expected - len(stamps) <= int(values["inferences overtaken"])
    assert values["thumbnails overrun"] == values["frames rejected"] == values["windows restarted"] == "0"
    # Each result speaks of one network: its labels are all of one set, and the sets follow the changes.
    sets: list[str] = []
    for message in probe.classifications:
        labels = {result.class_id for result in message.results}
        assert labels <= set(DAY) or labels <= set(NIGHT)
        name = "day" if labels <= set(DAY) else "night"
        if not sets or sets[-1] != name:
            sets.append(name)
    assert sets == ["day", "night"] * 5 + ["day"]
    assert [info.database_version for info in probe.infos] == list(range(11))


def test_several_parameters_in_one_request_are_one_change(camera: Camera, tmp_path: Path) -> None:
    labels = tmp_path / "other.txt"
    labels.write_text("noir\ngris\nblanc\n")
    results = camera.probe.set(labels=str(labels), model=str(camera.models["night"]), output_blob="logits")
    assert [result.successful for result in results] == [True] * 3, results
    camera.run(lambda: len(camera.probe.infos) > 1, "vision_info")
    camera.run_for(6)
    assert camera.labels()[-1] == "blanc"
    assert [info.database_version for info in camera.probe.infos] == [0, 1]


def test_a_change_supersedes_one_that_is_still_loading(camera: Camera) -> None:
    camera.probe.set(model=str(camera.models["night"]))
    camera.probe.set(model=str(camera.models["day"]))
    camera.run_for(60)
    assert set(camera.labels()) == {"day"}
    assert camera.probe.get("model") == [str(camera.models["day"])]


def test_the_region_of_interest_changes_without_loading_anything(camera: Camera) -> None:
    (result,) = camera.probe.set(roi=[0.25, 0.25, 0.5, 0.5])
    assert result.successful, result.reason
    before = len(camera.probe.classifications)
    camera.run(lambda: len(camera.probe.classifications) > before + 10, "classification")
    assert len(camera.probe.infos) == 1
    stamps = [stamp_of(message) for message in camera.probe.classifications]
    assert stamps == sorted(set(stamps))


def test_a_model_that_shows_only_on_loading_that_it_is_broken_leaves_the_old_one(
    camera: Camera, tmp_path: Path
) -> None:
    good = camera.models["day"]
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(good.read_bytes()[:200])
    (result,) = camera.probe.set(model=str(truncated))
    assert result.successful, "it has the first bytes of a model: what is wrong shows on loading"
    camera.run(lambda: camera.probe.get("model") == [str(good)], "parameter set back")
    values = camera.probe.diagnosis(lambda _, v: "truncated.onnx" in v.get("last error", ""), "that names the model")
    assert values["network"] == "day"
    camera.run_for(12)
    assert set(camera.labels()) == {"day"}


@pytest.mark.parametrize(("content", "word"), [(b"", "empty"), (b"<html>not found</html>", "onnx")])
def test_a_file_that_is_plainly_no_model_is_refused_at_once(
    camera: Camera, tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(content)
    (result,) = camera.probe.set(model=str(path))
    assert not result.successful
    assert "wrong.onnx" in result.reason
    assert word in result.reason.lower()
    camera.run_for(12)
    assert set(camera.labels()) == {"day"}


def test_labels_that_do_not_fit_leave_the_old_network_and_set_the_parameters_back(
    camera: Camera, tmp_path: Path
) -> None:
    labels = tmp_path / "four.txt"
    labels.write_text("a\nb\nc\nd\n")
    results = camera.probe.set(model=str(camera.models["night"]), labels=str(labels))
    assert all(result.successful for result in results)
    camera.run(lambda: camera.probe.get("model", "labels") == [str(camera.models["day"]), ""], "parameters set back")
    values = camera.probe.diagnosis(lambda _, v: "four.txt" in v.get("last error", ""), "that names the label file")
    assert "4" in values["last error"]
    camera.run_for(12)
    assert set(camera.labels()) == {"day"}
    assert len(camera.probe.infos) == 1


def test_a_class_filter_may_be_meant_for_the_network_that_is_loading(camera: Camera) -> None:
    results = camera.probe.set(model=str(camera.models["night"]), class_filter=["white"])
    assert [result.successful for result in results] == [True, True], results
    camera.run(lambda: len(camera.probe.infos) > 1, "vision_info")
    camera.run_for(6)
    assert [result.class_id for result in camera.probe.classifications[-1].results] == ["white"]
    (result,) = camera.probe.set(class_filter=["wihte"])
    assert "did you mean 'white'?" in result.reason, "it is known again what there is"


def test_a_class_filter_left_from_another_network_does_not_keep_other_parameters_from_being_set(camera: Camera) -> None:
    camera.probe.set(class_filter=["day"])
    camera.probe.set(model=str(camera.models["night"]))
    camera.run(lambda: len(camera.probe.infos) > 1, "vision_info")
    (result,) = camera.probe.set(top_k=1)
    assert result.successful, result.reason
