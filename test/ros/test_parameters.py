"""The table of settings on a real node: declared, checked, told of, set back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rclpy.parameter import Parameter

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.ros.node_settings import NodeSettings
from ros2_actionnet.ros.parameters import LABELS_PARAMETER, Parameters
from ros2_actionnet.settings import SETTINGS, Effect, Settings
from support.own_domain import Domain

pytestmark = pytest.mark.ros


class Rig:
    """Parameters on a node, with a check that can be told to refuse."""

    def __init__(self, domain: Domain, **options: Any) -> None:
        self.domain = domain
        self.node = domain.node("actionnet", **options)
        self.checked: list[tuple[NodeSettings, NodeSettings]] = []
        self.refusal: Exception | None = None
        self.told: list[Settings] = []
        self.parameters = Parameters(self.node, self.check, lambda: self.told.append(self.parameters.settings().node))

    def check(self, before: NodeSettings, after: NodeSettings) -> None:
        self.checked.append((before, after))
        if self.refusal is not None:
            raise self.refusal

    def set(self, **values: Any) -> list[Any]:
        """Sets one by one; the results."""
        return list(self.node.set_parameters([Parameter(name, value=value) for name, value in values.items()]))

    def set_atomically(self, **values: Any) -> Any:
        return self.node.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])

    def get(self, name: str) -> Any:
        return self.node.get_parameter(name).value

    def wait_until_told(self, times: int) -> None:
        self.domain.spin_until(lambda: len(self.told) >= times, "change")


@pytest.fixture(name="rig")
def rig_fixture(domain: Domain) -> Rig:
    return Rig(domain)


def overridden(domain: Domain, **values: Any) -> Rig:
    """A node that was started with other values, as by a parameter file."""
    return Rig(domain, parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


class TestDeclaration:
    def test_every_setting_has_its_default(self, rig: Rig) -> None:
        assert rig.parameters.settings().node == Settings()
        for setting in SETTINGS:
            assert rig.node.has_parameter(setting.name)

    def test_types_are_those_of_the_table(self, rig: Rig) -> None:
        kinds = {setting.name: rig.node.get_parameter(setting.name).type_.name.lower() for setting in SETTINGS}
        assert kinds == {setting.name: setting.kind for setting in SETTINGS}

    def test_descriptors_say_what_it_is_what_is_allowed_and_what_is_not_live(self, rig: Rig) -> None:
        for setting in SETTINGS:
            descriptor = rig.node.describe_parameter(setting.name)
            assert setting.description in descriptor.description
            assert descriptor.additional_constraints == setting.limits
            assert ("Not live" in descriptor.description) == (not setting.live)

    def test_whole_ranges_become_sliders_and_half_ranges_words(self, rig: Rig) -> None:
        (threshold,) = rig.node.describe_parameter("threshold").floating_point_range
        assert (threshold.from_value, threshold.to_value) == (0.0, 1.0)
        (width,) = rig.node.describe_parameter("annotated_width").integer_range
        assert (width.from_value, width.to_value, width.step) == (0, 4096, 1)
        skip = rig.node.describe_parameter("skip_frames")
        assert not list(skip.integer_range)
        assert skip.additional_constraints == ">= 0"

    def test_values_given_at_the_start_are_taken(self, domain: Domain) -> None:
        rig = overridden(domain, threshold=0.3, skip_frames=4, class_filter=["a"], roi=[0.0, 0.5, 1.0, 0.5])
        assert rig.parameters.settings().node == Settings(
            threshold=0.3, skip_frames=4, class_filter=("a",), roi=(0.0, 0.5, 1.0, 0.5)
        )

    def test_an_integer_given_at_the_start_is_taken_for_a_double(self, domain: Domain) -> None:
        assert overridden(domain, threshold=1).parameters.settings().node.threshold == 1.0

    def test_a_device_given_as_a_number_is_taken_at_the_start_and_later(self, domain: Domain) -> None:
        rig = overridden(domain, device=0)
        assert rig.parameters.settings().node.device == "0"
        for device in (1, "0", 2):
            (result,) = rig.set(device=device)
            assert result.successful, result.reason
            assert rig.parameters.settings().node.device == str(device)

    def test_what_cannot_be_used_at_the_start_is_named_and_can_be_mended(self, domain: Domain) -> None:
        rig = overridden(domain, backend="tensorflow")
        with pytest.raises(SettingsError, match="'tensorflow'"):
            rig.parameters.settings()
        (result,) = rig.set(backend="openvino")
        assert result.successful, result.reason
        assert rig.parameters.settings().node.backend == "openvino"


class TestSetting:
    def test_a_good_value_is_checked_taken_and_told_of_later(self, rig: Rig) -> None:
        (result,) = rig.set(threshold=0.25)
        assert result.successful
        assert rig.told == []
        rig.wait_until_told(1)
        assert rig.told == [Settings(threshold=0.25)]
        assert [(before.node, after.node) for before, after in rig.checked] == [(Settings(), Settings(threshold=0.25))]

    def test_an_integer_is_taken_where_a_double_is_meant(self, rig: Rig) -> None:
        (result,) = rig.set(threshold=1)
        assert result.successful
        assert rig.parameters.settings().node.threshold == 1.0

    def test_several_sets_in_a_row_are_one_change(self, rig: Rig) -> None:
        assert all(result.successful for result in rig.set(model="a.onnx", labels="b.txt", output_blob="198"))
        rig.wait_until_told(1)
        rig.domain.executor.spin_once(timeout_sec=0)
        assert rig.told == [Settings(model="a.onnx", labels="b.txt", output_blob="198")]

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("threshold", 1.5, ["threshold", "1.5", "1.0"]),
            ("threshold", "high", ["threshold takes a number", "'high'"]),
            ("threshold", True, ["threshold takes a number", "True"]),
            ("skip_frames", -1, ["-1", ">= 0"]),
            ("skip_frames", 1.0, ["whole number", "1.0"]),
            ("resize_mode", "squeeze", ["'squeeze'", "stretch", "crop", "letterbox"]),
            ("roi", [0.0, 0.0, 1.0], ["four numbers"]),
            ("event_off", 0.9, ["event_off 0.9", "event_on 0.5"]),
            ("autostart", 1, ["true or false"]),
            ("class_filter", [1.5, 2.0], ["list of strings"]),
        ],
    )
    def test_a_bad_value_is_refused_with_a_reason_and_changes_nothing(
        self, rig: Rig, name: str, value: Any, words: list[str]
    ) -> None:
        (result,) = rig.set(**{name: value})
        assert not result.successful
        for word in words:
            assert word in result.reason
        assert rig.parameters.settings().node == Settings()
        assert rig.checked == []
        rig.set(threshold=0.5)
        rig.wait_until_told(1)
        assert rig.told == [Settings(threshold=0.5)], "the refused one was not told of"

    def test_what_the_node_refuses_is_not_set(self, rig: Rig) -> None:
        rig.refusal = SettingsError("no such network; there are two")
        (result,) = rig.set(network="resnet99")
        assert (result.successful, result.reason) == (False, "no such network; there are two")
        assert rig.get("network") == Settings().network

    def test_an_atomic_set_is_checked_as_a_whole(self, rig: Rig) -> None:
        # Neither order would do one by one: event_off must stay under event_on.
        assert rig.set_atomically(event_off=0.8, event_on=0.9).successful
        assert rig.set_atomically(event_on=0.2, event_off=0.1).successful
        assert (rig.get("event_on"), rig.get("event_off")) == (0.2, 0.1)

    def test_an_atomic_set_with_one_bad_value_sets_none(self, rig: Rig) -> None:
        assert not rig.set_atomically(threshold=0.5, top_k=0).successful
        assert rig.parameters.settings().node == Settings()

    def test_a_list_can_be_emptied_and_filled_again(self, rig: Rig) -> None:
        for value, expected in ((["a", "b"], ("a", "b")), ([], ()), (["c"], ("c",))):
            parameter = Parameter("class_filter", Parameter.Type.STRING_ARRAY, value)
            assert rig.node.set_parameters([parameter])[0].successful
            assert rig.parameters.settings().node.class_filter == expected

    def test_a_filter_of_all_labels_is_a_list_that_rqt_can_edit(self, rig: Rig) -> None:
        assert rig.get("class_filter") == [""]
        assert rig.set(class_filter=["walk"])[0].successful
        assert rig.set(class_filter=[""])[0].successful
        assert rig.parameters.settings().node == Settings()

    def test_a_setting_cannot_be_deleted(self, rig: Rig) -> None:
        (result,) = rig.node.set_parameters([Parameter("threshold", Parameter.Type.NOT_SET)])
        assert not result.successful
        assert rig.get("threshold") == Settings().threshold

    def test_parameters_of_others_are_left_to_them(self, rig: Rig) -> None:
        rig.node.declare_parameter("use_something_else", 1)
        (result,) = rig.set(use_something_else=2)
        assert result.successful
        assert rig.checked == []


class TestByTheNode:
    def test_labels_are_shown_and_cannot_be_set_by_others(self, rig: Rig) -> None:
        rig.parameters.show_labels(("still", "pan_left"))
        assert rig.get(LABELS_PARAMETER) == ["still", "pan_left"]
        (result,) = rig.set(class_labels=["x"])
        assert not result.successful
        assert "set by the node" in result.reason
        assert rig.get(LABELS_PARAMETER) == ["still", "pan_left"]

    def test_what_was_dumped_can_be_loaded(self, rig: Rig) -> None:
        rig.parameters.show_labels(("still", "pan_left"))
        (labels,) = rig.set(class_labels=["still", "pan_left"])
        assert (labels.successful, rig.get(LABELS_PARAMETER)) == (True, ["still", "pan_left"])

    def test_restoring_sets_back_what_has_that_effect_and_nothing_else(self, rig: Rig) -> None:
        rig.set(network="camera_motion", roi=[0.0, 0.0, 0.5, 0.5], threshold=0.7)
        rig.wait_until_told(1)
        checks, told = len(rig.checked), len(rig.told)
        running = replace(Settings(), network="resnet34")
        rig.parameters.restore(running, [Effect.NEW_NETWORK])
        settings = rig.parameters.settings().node
        assert (settings.network, settings.roi, settings.threshold) == ("resnet34", (0.0, 0.0, 0.5, 0.5), 0.7)
        rig.parameters.restore(running, {Effect.NEW_NETWORK, Effect.NEW_WINDOW})
        assert rig.parameters.settings().node == replace(running, threshold=0.7)
        rig.domain.executor.spin_once(timeout_sec=0.05)
        assert (len(rig.checked), len(rig.told)) == (checks, told), "it is so already: nothing is to be done"


@pytest.mark.parametrize(
    "error", [RuntimeError("no\x1b[2Jhome"), OSError(36, "File name too long"), RecursionError("deep")]
)
def test_any_exception_of_a_check_refuses_the_change(error: Exception, rig: Rig) -> None:
    rig.refusal = error
    (result,) = rig.set(model="~nouser/net")
    assert not result.successful
    assert type(error).__name__ in result.reason
    assert result.reason.isprintable()
    assert rig.get("model") == ""
    rig.refusal = None
    assert rig.set(threshold=0.5)[0].successful


class TestCameras:
    def rig(self, domain: Domain, **values: Any) -> Rig:
        rig = overridden(domain, cameras=["front", "rear"], **values)
        rig.parameters.settings()
        return rig

    def cameras(self, rig: Rig, name: str) -> list[Any]:
        return [getattr(settings, name) for settings in rig.parameters.settings().cameras.values()]

    def test_each_has_its_settings_with_the_value_that_it_falls_back_on(self, domain: Domain) -> None:
        rig = self.rig(domain, threshold=0.2)
        assert rig.get("front.threshold") == rig.get("rear.threshold") == 0.2
        descriptor = rig.node.describe_parameter("front.threshold")
        assert "until it is set to another value it follows threshold" in descriptor.description
        assert descriptor.floating_point_range[0].to_value == 1.0

    def test_a_value_given_at_the_start_is_its_own(self, domain: Domain) -> None:
        rig = self.rig(domain, **{"rear.threshold": 0.5})
        assert self.cameras(rig, "threshold") == [0.01, 0.5]

    def test_one_that_is_set_stays_when_the_nodes_changes_and_the_other_follows(self, domain: Domain) -> None:
        rig = self.rig(domain)
        (result,) = rig.set(**{"front.threshold": 0.3})
        assert result.successful, result.reason
        rig.wait_until_told(1)
        for value in (0.6, 0.3, 0.4):
            rig.set(threshold=value)
            assert self.cameras(rig, "threshold") == [0.3, value]
            assert (rig.get("front.threshold"), rig.get("rear.threshold")) == (0.3, value)
        rig.set(**{"front.threshold": 0.4})
        rig.set(threshold=0.9)
        assert self.cameras(rig, "threshold") == [0.9, 0.9], "it was set to the node's, and follows again"

    def test_a_value_that_cannot_be_used_is_refused_and_names_the_camera(self, domain: Domain) -> None:
        rig = self.rig(domain)
        (result,) = rig.set(**{"front.skip_frames": -1})
        assert not result.successful
        assert result.reason == "camera front: skip_frames -1 is out of range; give a value >= 0"
        (result,) = rig.set(**{"rear.event_on": 0.1})
        assert result.reason.startswith("camera rear: event_off 0.3 is above event_on 0.1")
        (result,) = rig.set(event_on=0.2)
        assert not result.successful, "the node's own would not fit either"
        assert self.cameras(rig, "event_on") == [0.5, 0.5]

    def test_a_camera_that_does_not_exist_is_named_at_the_start(self, domain: Domain) -> None:
        rig = overridden(domain, cameras=["front"], **{"reer.threshold": 0.5})
        with pytest.raises(SettingsError, match=r"there is no camera reer for reer.threshold; the cameras are front"):
            rig.parameters.settings()

    def test_other_cameras_have_other_parameters(self, domain: Domain) -> None:
        rig = self.rig(domain)
        rig.set(**{"rear.threshold": 0.5})
        rig.set(cameras=["rear", "left"])
        settings = rig.parameters.settings()
        assert list(settings.cameras) == ["rear", "left"]
        assert self.cameras(rig, "threshold") == [0.5, 0.01]
        assert not rig.node.has_parameter("front.threshold")
        assert rig.parameters.refusal_of_unknown(["front.threshold"]).startswith("there is no camera front")
        assert rig.parameters.refusal_of_unknown(["left.threshold"]) == ""
