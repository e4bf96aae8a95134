from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from ros2_actionnet.ros.fastdds import PROFILE_VARIABLES, image_profile, loss_remedy, silence_cause, use_image_profile

SPACE = "{http://www.eprosima.com}"


def profiles() -> ElementTree.Element:
    found = ElementTree.parse(image_profile()).getroot().find(f"{SPACE}profiles")
    assert found is not None
    return found


def test_the_profile_is_every_participants_and_keeps_the_network() -> None:
    participant = profiles().find(f"{SPACE}participant")
    assert participant is not None
    assert participant.get("is_default_profile") == "true"
    used = [e.text for e in participant.findall(f"{SPACE}rtps/{SPACE}userTransports/{SPACE}transport_id")]
    transports = {
        e.findtext(f"{SPACE}transport_id"): e.findtext(f"{SPACE}type")
        for e in profiles().findall(f"{SPACE}transport_descriptors/{SPACE}transport_descriptor")
    }
    assert [transports[name] for name in used] == ["SHM", "UDPv4"]


def test_the_segment_holds_images_of_4k() -> None:
    transport = profiles().find(f"{SPACE}transport_descriptors/{SPACE}transport_descriptor")
    assert transport is not None
    assert int(transport.findtext(f"{SPACE}segment_size", "0")) == 64 << 20
    assert int(transport.findtext(f"{SPACE}maxMessageSize", "0")) == 16 << 20


@pytest.mark.parametrize("others", [{}, {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, {"ROS_LOCALHOST_ONLY": "0"}])
def test_the_profile_is_taken_where_nothing_was_chosen(others: dict[str, str]) -> None:
    environment = dict(others)
    assert use_image_profile(environment)
    assert environment == others | dict.fromkeys(PROFILE_VARIABLES, str(image_profile()))


@pytest.mark.parametrize(
    "chosen",
    [
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
        {"ROS_LOCALHOST_ONLY": "1"},
    ],
)
def test_what_was_chosen_is_kept(chosen: dict[str, str]) -> None:
    environment = dict(chosen)
    assert not use_image_profile(environment)
    assert environment == chosen


def test_the_remedy_for_losses_fits_the_middleware() -> None:
    remedy = loss_remedy("rmw_fastrtps_cpp")
    assert f"FASTRTPS_DEFAULT_PROFILES_FILE={image_profile()}" in remedy
    assert "reliable" in remedy
    assert "Fast DDS" not in loss_remedy("rmw_cyclonedds_cpp")
    assert "reliable" in loss_remedy("rmw_zenoh_cpp")


class TestSilence:
    def test_memory_of_another_user_is_named_with_both(self, tmp_path: Path) -> None:
        (tmp_path / "fastrtps_port7411").touch()
        mine = tmp_path.stat().st_uid
        text = silence_cause("rmw_fastrtps_cpp", tmp_path, mine + 1, False)
        assert f"belongs to another user (uid {mine}, this node has {mine + 1})" in text
        assert "FASTDDS_BUILTIN_TRANSPORTS=UDPv4" in text
        assert silence_cause("rmw_fastrtps_cpp", tmp_path, mine, False) == ""

    def test_memory_of_other_programs_is_none_of_ours(self, tmp_path: Path) -> None:
        (tmp_path / "pulse-shm-1").touch()
        assert silence_cause("rmw_fastrtps_cpp", tmp_path, tmp_path.stat().st_uid + 1, False) == ""

    def test_in_a_container_ipc_is_named(self, tmp_path: Path) -> None:
        text = silence_cause("rmw_fastrtps_cpp", tmp_path, 1000, True)
        assert "--ipc=host" in text
        assert silence_cause("rmw_cyclonedds_cpp", tmp_path, 1000, True) == ""
        assert silence_cause("rmw_fastrtps_cpp", tmp_path / "none", 1000, False) == ""
