"""The table of settings: types, limits, messages, and what a change takes."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.settings import SETTINGS, Effect, Setting, Settings

BY_NAME = {setting.name: setting for setting in SETTINGS}
NUMBERS = [s for s in SETTINGS if s.kind in ("integer", "double")]
CHOICES = [s for s in SETTINGS if s.choices]


def refusal(**values: Any) -> str:
    """Why `values` are refused."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_values(values)
    return str(raised.value)


def test_the_table_is_the_fields_in_their_order() -> None:
    assert [s.name for s in SETTINGS] == list(Settings.__dataclass_fields__)
    assert {s.name: getattr(Settings(), s.name) for s in SETTINGS} == {s.name: s.default for s in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_default_is_one_that_its_own_setting_takes_unchanged(setting: Setting) -> None:
    value = setting.coerce(setting.default)
    assert value == setting.default
    assert type(value) is type(setting.default)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_setting_is_described_in_one_line(setting: Setting) -> None:
    assert setting.description.endswith(".")
    assert "\n" not in setting.description


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("autostart", "bool"),
        ("top_k", "integer"),
        ("threshold", "double"),
        ("network", "string"),
        ("roi", "double_array"),
        ("class_filter", "string_array"),
    ],
)
def test_kinds_have_ros_names(name: str, kind: str) -> None:
    assert BY_NAME[name].kind == kind


@pytest.mark.parametrize(
    ("name", "limits"),
    [("threshold", "0 to 1"), ("top_k", ">= 1"), ("warmup", "wait / repeat"), ("network", ""), ("roi", "0 to 1")],
)
def test_limits_in_words(name: str, limits: str) -> None:
    assert BY_NAME[name].limits == limits


def test_what_acts_only_on_configuring_is_not_live() -> None:
    assert {s.name for s in SETTINGS if not s.live} == {
        "image_transport",
        "image_reliability",
        "detections",
        "cameras",
        "autostart",
    }


@given(value=st.integers(0, 1))
def test_an_integer_is_taken_where_a_double_is_meant(value: int) -> None:
    threshold = Settings(threshold=value).threshold
    assert threshold == value
    assert type(threshold) is float


def test_lists_become_tuples_of_the_right_type() -> None:
    settings = Settings.from_values({"roi": [0, 0.5, 1, 0.5], "class_filter": ["running"]})
    assert settings.roi == (0.0, 0.5, 1.0, 0.5)
    assert {type(x) for x in settings.roi} == {float}
    assert settings.class_filter == ("running",)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("threshold", "0.5", "a number"),
        ("threshold", True, "a number"),
        ("top_k", 2.0, "a whole number"),
        ("top_k", True, "a whole number"),
        ("autostart", 1, "true or false"),
        ("autostart", "true", "true or false"),
        ("device", 0.5, "text"),
        ("device", True, "text"),
        ("network", None, "text"),
        ("roi", "0 0 1 1", "a list of numbers"),
        ("roi", [0, 0, 1, "1"], "a list of numbers"),
        ("roi", 1.0, "a list of numbers"),
        ("class_filter", "running", "a list of strings"),
        ("class_filter", b"running", "a list of strings"),
        ("class_filter", {"running": 1}, "a list of strings"),
        ("class_filter", ["running", 7.5], "a list of strings"),
    ],
)
def test_another_type_is_refused_naming_the_value_and_what_is_meant(name: str, value: Any, expected: str) -> None:
    assert refusal(**{name: value}) == f"{name} takes {expected}, not {value!r}"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda s: s.name)
def test_limits_are_inclusive(setting: Setting) -> None:
    assert setting.minimum is not None
    kind = int if setting.kind == "integer" else float
    assert setting.coerce(kind(setting.minimum)) == setting.minimum
    if setting.maximum is not None:
        assert setting.coerce(kind(setting.maximum)) == setting.maximum


@given(data=st.data())
@pytest.mark.parametrize("setting", NUMBERS, ids=lambda s: s.name)
def test_any_number_is_kept_or_refused_by_its_limits(setting: Setting, data: st.DataObject) -> None:
    value = data.draw(st.integers(-(10**6), 10**6) if setting.kind == "integer" else st.floats(allow_nan=False))
    assert setting.minimum is not None
    if setting.minimum <= value <= (math.inf if setting.maximum is None else setting.maximum):
        assert setting.coerce(value) == value
    else:
        with pytest.raises(SettingsError) as raised:
            setting.coerce(value)
        assert str(raised.value) == f"{setting.name} {value!r} is out of range; give a value {setting.limits}"


@pytest.mark.parametrize("name", [s.name for s in NUMBERS if s.kind == "double"])
def test_nan_is_refused(name: str) -> None:
    assert refusal(**{name: math.nan}).startswith(f"{name} nan is out of range; give a value ")


def test_limits_hold_for_each_element_of_a_list() -> None:
    assert refusal(roi=[0, 0, 1, 1.5]) == "roi [0, 0, 1, 1.5] is out of range; give a value 0 to 1"
    assert refusal(roi=[0, math.nan, 1, 1]).startswith("roi [0, nan, 1, 1] is out of range")


@pytest.mark.parametrize("setting", CHOICES, ids=lambda s: s.name)
def test_only_choices_are_taken_and_the_refusal_lists_them(setting: Setting) -> None:
    for choice in setting.choices:
        assert setting.coerce(choice) == choice
    message = refusal(**{setting.name: "nonsense"})
    assert message == f"{setting.name} 'nonsense' is unknown; choose {' or '.join(setting.choices)}"


fractions = st.floats(0, 1)


@given(x=fractions, y=fractions, width=fractions, height=fractions)
def test_a_region_is_taken_exactly_if_it_lies_in_the_image(x: float, y: float, width: float, height: float) -> None:
    region = [x, y, width, height]
    if width > 0 and height > 0 and x + width <= 1 and y + height <= 1:
        assert list(Settings.from_values({"roi": region}).roi) == region
    elif width == 0 or height == 0 or x + width > 1.001 or y + height > 1.001:
        assert refusal(roi=region).startswith(f"roi {region} does not lie in the image; ")


@pytest.mark.parametrize("tenths", range(1, 10))
def test_fractions_that_do_not_add_up_exactly_are_a_whole(tenths: int) -> None:
    Settings.from_values({"roi": [tenths * 0.1, 0.7, (10 - tenths) * 0.1, 0.3]})


@pytest.mark.parametrize("region", [[], [0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0, 1.0]])
def test_a_region_has_four_numbers(region: list[float]) -> None:
    assert refusal(roi=region) == f"roi takes four numbers (x, y, width, height), not {len(region)}"


@given(on=fractions, off=fractions)
def test_an_event_never_ends_above_where_it_begins(on: float, off: float) -> None:
    if off <= on:
        assert Settings(event_on=on, event_off=off).event_off == off
    else:
        message = refusal(event_on=on, event_off=off)
        assert f"event_off {off:g} is above event_on {on:g}" in message


def test_an_unknown_name_is_refused_and_the_known_ones_named() -> None:
    message = refusal(treshold=0.5, network="resnet18")
    assert message.startswith("there is no setting treshold; the settings are network, model, ")
    assert "threshold" in message


def test_settings_cannot_be_changed_past_the_check() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().threshold = 2.0  # type: ignore[misc]


def test_nothing_changed_takes_nothing() -> None:
    # Equal in value, whatever the type it was given in.
    assert Settings().changed(Settings.from_values({"roi": [0, 0, 1, 1], "max_gap": 1})) == set()


OTHER: dict[str, Any] = {
    "integer": 7,
    "double": 0.4,
    "string": "other",
    "double_array": (0.0, 0.0, 0.5, 0.5),
    "string_array": ("other",),
}


def other(setting: Setting) -> Any:
    """A value that is not the default."""
    if setting.kind == "bool":
        return not setting.default
    if setting.name == "intensity_range":
        return "auto"
    return setting.choices[-1] if setting.choices else OTHER[setting.kind]


@given(names=st.sets(st.sampled_from([s.name for s in SETTINGS])))
def test_a_change_takes_what_each_changed_setting_takes(names: set[str]) -> None:
    changes = {name: other(BY_NAME[name]) for name in names}
    before, after = Settings(), Settings.from_values(changes)
    effects = {BY_NAME[name].effect for name in names}
    assert before.changed(after) == after.changed(before) == effects


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("threshold", Effect.NEXT_FRAME),
        ("class_filter", Effect.NEXT_FRAME),
        ("roi", Effect.NEW_WINDOW),
        ("network", Effect.NEW_NETWORK),
        ("image_transport", Effect.CONFIGURE),
    ],
)
def test_effects(name: str, effect: Effect) -> None:
    assert BY_NAME[name].effect is effect


def test_a_name_made_of_digits_may_be_a_number() -> None:
    settings = Settings.from_values({"device": 0, "network": 18, "class_filter": [2, "run"]})
    assert (settings.device, settings.network, settings.class_filter) == ("0", "18", ("2", "run"))


def test_paths_and_numpy_numbers_are_taken() -> None:
    settings = Settings.from_values(
        {
            "model": Path("a/b.onnx"),
            "threshold": np.float32(0.25),
            "top_k": np.int64(3),
            "roi": np.array([0, 0, 0.5, 1]),
        }
    )
    assert (settings.model, settings.threshold, settings.top_k, settings.roi) == ("a/b.onnx", 0.25, 3, (0, 0, 0.5, 1))
    assert type(settings.top_k) is int
    assert {type(value) for value in settings.roi} == {float}


def test_empty_labels_of_a_filter_are_ignored() -> None:
    assert Settings.from_values({"class_filter": [""]}) == Settings()
    assert Settings.from_values({"class_filter": ["", "walk"]}).class_filter == ("walk",)


@pytest.mark.parametrize("value", ["auto", "full", "0,65535", "7000, 9000", "0,1"])
def test_an_intensity_range_is_auto_full_or_two_numbers(value: str) -> None:
    assert Settings.from_values({"intensity_range": value}).intensity_range == value


@pytest.mark.parametrize(
    "value",
    ["", "Auto", "9000,7000", "5,5", "0,65536", "-1,5", "1.5,9", "1,2,3", "7000", "0," + "9" * 5000, "\u0663,\u0665"],
)
def test_any_other_intensity_range_is_refused(value: str) -> None:
    message = refusal(intensity_range=value)
    assert message.startswith("intensity_range '")
    assert "give auto, full, or two whole numbers from 0 to 65535" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"cameras": ["front", "rear", "left"]}, 3),
        ({"cameras": [f"camera_{number}" for number in range(9)]}, 8),
        ({"max_subjects": 3}, 1),
        ({"detections": True, "max_subjects": 3}, 4),
        ({"detections": True, "max_subjects": 2, "cameras": ["front", "rear"]}, 6),
        ({"detections": True}, 8),
        ({"detections": True, "max_batch": 16}, 16),
    ],
)
def test_the_largest_batch_is_the_number_of_streams_up_to_eight(changes: dict[str, Any], expected: int) -> None:
    assert Settings.from_values(changes).largest_batch == expected


def test_an_empty_string_stands_for_an_empty_list_of_classes() -> None:
    assert Settings().subject_classes == ("person",)
    assert Settings.from_values({"subject_classes": [""]}).subject_classes == ()
