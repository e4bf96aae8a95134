"""The main job over real DDS: images in, the right classes out, under the images' own stamps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.system.resources import shared_folder
from support.clips import demo_clip, library_clip
from support.ros import IMAGE_TOPIC, Probe, running_node, stamp_of

pytestmark = pytest.mark.integration

START = 1000.25  # s, a stamp that no clock here would give
RATE = 30.0
WINDOW = 16


@pytest.fixture(name="probe", scope="module")
def probe_fixture() -> Iterator[Probe]:
    with running_node({"network": "camera_motion"}) as (_, probe):
        probe.wait_until_ready()
        probe.subscribe_annotated()
        yield probe


@pytest.fixture(name="played", scope="module")
def played_fixture(probe: Probe) -> Probe:
    """The probe after the bundled clip has been played once."""
    clip = demo_clip()
    probe.play(clip, START)
    newest = pytest.approx(sampled_stamps()[-1], abs=1e-6)
    probe.wait_for(
        lambda: probe.classifications and stamp_of(probe.classifications[-1]) == newest,
        "classification of the last sampled frame",
    )
    return probe


def sampled_stamps() -> list[float]:
    return [START + index / RATE for index in range(0, len(demo_clip()), 2)]


def segments() -> list[tuple[str, float, float]]:
    text = (shared_folder("media") / "camera_motion_demo.yaml").read_text()
    return [(s["label"], s["start"], s["end"]) for s in yaml.safe_load(text)["segments"]]


def test_one_classification_for_every_window_under_its_newest_frames_header(played: Probe) -> None:
    expected = [round(stamp, 6) for stamp in sampled_stamps()[WINDOW - 1 :]]
    stamps = [round(stamp_of(c), 6) for c in played.classifications]
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(expected)
    # On a machine too busy for 15 a second some inferences are overtaken by newer ones; each of these is counted.
    values = played.diagnosis(lambda _, v: v.get("classifications") == str(len(stamps)), "of all classifications")
    assert len(expected) - len(stamps) == int(values["inferences overtaken"])
    assert {c.header.frame_id for c in played.classifications} == {"camera"}


def test_every_segment_is_recognized_in_its_order(played: Probe) -> None:
    window_seconds = (2 * (WINDOW - 1) + 1) / RATE
    for label, start, end in segments():
        whole = [c for c in played.classifications if start + window_seconds <= stamp_of(c) - START < end]
        assert whole, label
        right = sum(c.results[0].class_id == label for c in whole)
        assert right == len(whole), f"{label}: {right} of {len(whole)}"


def test_results_are_sorted_thresholded_and_at_most_top_k(played: Probe) -> None:
    for message in played.classifications:
        scores = [result.score for result in message.results]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) <= 5
        assert all(0.01 <= score <= 1.0 for score in scores)


def test_events_begin_and_end_in_the_clips_order(played: Probe) -> None:
    labels = [label for label, _, _ in segments()]
    began = [e for e in played.events if e.type == ActionEvent.BEGAN]
    ended = [e for e in played.events if e.type == ActionEvent.ENDED]
    assert [e.label for e in began if e.label in labels][: len(labels)] == labels
    for event in ended:
        assert 0 <= event.duration.sec + event.duration.nanosec * 1e-9 < 4
        start = event.start.sec + event.start.nanosec * 1e-9
        assert START <= start < stamp_of(event)
        assert 0.3 <= event.score <= 1.0


def test_annotated_pixels_differ_in_the_panel_and_nowhere_else(played: Probe) -> None:
    clip = demo_clip()
    assert len(played.annotated) > len(clip) / 2, "newest-wins may leave frames out, but not most of them"
    for message in played.annotated[40::40]:
        index = round((stamp_of(message) - START) * RATE)
        assert (message.height, message.width, message.encoding) == (*clip[index].shape[:2], "bgr8")
        pixels = np.frombuffer(message.data, np.uint8).reshape(clip[index].shape)
        changed = (pixels != clip[index]).any(axis=2)
        rows, columns = np.nonzero(changed)
        height, width = changed.shape
        assert changed.mean() > 0.02
        assert rows.max() < 0.75 * height
        assert columns.max() < 0.75 * width
        assert np.array_equal(pixels[:, -width // 4 :], clip[index][:, -width // 4 :])


def test_vision_info_names_the_network_and_the_parameter_with_its_labels(played: Probe) -> None:
    (info,) = played.infos
    assert (info.method, info.database_version) == ("camera_motion", 0)
    node, _, parameter = info.database_location.rpartition("/")
    assert node == "/actionnet"
    (labels,) = played.get(parameter)
    assert list(labels)[:3] == ["still", "pan_left", "pan_right"]
    assert len(labels) == 9


def test_diagnostics_tell_what_runs_and_count_every_frame(played: Probe) -> None:
    values = played.diagnosis(lambda message, v: v.get("network") == "camera_motion", "of the running network")
    assert int(values["frames received"]) == len(demo_clip())
    assert int(values["frames sampled"]) == (len(demo_clip()) + 1) // 2
    assert int(values["classifications"]) == len(played.classifications)
    assert values["frames rejected"] == values["inferences failed"] == "0"
    assert values["backend"].startswith("openvino CPU")
    assert values["image topic"] == IMAGE_TOPIC


def test_a_slow_pan_over_real_video_is_seen(played: Probe) -> None:
    clip = library_clip("bigbuckbunny.mp4", 100)
    width = clip[0].shape[1]
    view = round(width * 0.6)
    played.classifications.clear()
    moved = [np.ascontiguousarray(frame[:, 4 * i : 4 * i + view]) for i, frame in enumerate(clip)]
    assert 4 * len(clip) + view <= width
    played.play(moved, START + 100)
    played.wait_for(lambda: len(played.classifications) >= 30, "classifications of the pan")
    labels = [c.results[0].class_id for c in played.classifications]
    # The window moves right over the scene, as if the camera turned right.
    assert labels.count("pan_right") >= 0.9 * len(labels), labels
