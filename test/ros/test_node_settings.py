"""The settings of the cameras: what is their own, what follows the node's, and what does not exist."""

from __future__ import annotations

import pytest

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.node_settings import CAMERA_SETTINGS, NodeSettings, refusal_of_unknown
from ros2_actionnet.settings import Effect, Settings

TWO = Settings(cameras=("front", "rear"), threshold=0.2)


def test_one_camera_has_no_name_and_the_settings_of_the_node() -> None:
    settings = NodeSettings.of(Settings(threshold=0.2))
    assert settings.cameras == {"": Settings(threshold=0.2)}


def test_a_camera_has_its_own_values_and_follows_the_node_in_the_rest() -> None:
    settings = NodeSettings.of(TWO, {("front", "threshold"): 0.7, ("rear", "roi"): [0.0, 0.0, 0.5, 1.0]})
    front, rear = settings.cameras["front"], settings.cameras["rear"]
    assert (front.threshold, front.roi) == (0.7, (0.0, 0.0, 1.0, 1.0))
    assert (rear.threshold, rear.roi) == (0.2, (0.0, 0.0, 0.5, 1.0))


def test_values_that_do_not_fit_each_other_name_the_camera() -> None:
    with pytest.raises(SettingsError, match=r"camera rear: event_off 0.3 is above event_on 0.1"):
        NodeSettings.of(TWO, {("rear", "event_on"): 0.1})


def test_a_change_in_one_camera_has_its_effect() -> None:
    before = NodeSettings.of(TWO)
    assert before.changed(NodeSettings.of(TWO, {("rear", "roi"): (0.0, 0.0, 0.5, 1.0)})) == {Effect.NEW_WINDOW}
    assert before.changed(NodeSettings.of(TWO, {("rear", "image_transport"): "compressed"})) == {Effect.CONFIGURE}


def test_a_camera_has_all_settings_of_a_stream_and_none_of_the_network() -> None:
    names = {setting.name for setting in CAMERA_SETTINGS}
    assert {
        "threshold",
        "roi",
        "sample_rate",
        "class_filter",
        "event_on",
        "image_transport",
        "annotated_width",
    } <= names
    assert not names & {"network", "model", "backend", "precision", "cameras", "autostart", "class_id_format"}


@pytest.mark.parametrize(
    ("parameter", "settings", "words"),
    [
        ("tresholt", TWO, "there is no parameter tresholt; did you mean threshold?"),
        ("back.threshold", TWO, "there is no camera back for back.threshold; the cameras are front, rear"),
        ("front.threshold", Settings(), "there is no camera front for front.threshold; no cameras are set"),
        ("front.tresholt", TWO, "one camera has no tresholt of its own; did you mean threshold?"),
        ("front.network", TWO, "one camera has no network of its own; "),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(parameter: str, settings: Settings, words: str) -> None:
    assert refusal_of_unknown(parameter, settings).startswith(words)


@pytest.mark.parametrize(
    ("cameras", "words"),
    [
        (("front", "front"), "front is there twice"),
        (("a/b",), "'a/b' cannot be part of a topic's name"),
        (("1st",), "'1st' cannot be part"),
        (("left cam",), "'left cam' cannot be part"),
        (("a__b",), "'a__b' cannot be part"),
        (("ü",), "cannot be part"),
    ],
)
def test_names_that_no_topic_can_have_are_refused(cameras: tuple[str, ...], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings(cameras=cameras)


def test_an_empty_name_stands_for_none() -> None:
    assert Settings(cameras=("",)).cameras == ()
