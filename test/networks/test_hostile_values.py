"""No value of a setting raises anything but the package's own errors."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.errors import ActionNetError, MediaError, NetworkError, SettingsError
from ros2_actionnet.media.base import InputOptions
from ros2_actionnet.media.uris import open_source
from ros2_actionnet.networks import Catalogue, NetworkRequest
from ros2_actionnet.networks.resolve import resolve
from ros2_actionnet.settings import SETTINGS, Settings

PATHS = st.one_of(
    st.text(),
    st.text().map(lambda text: f"~{text}"),
    st.text().map(lambda text: f"/{text}.onnx"),
    st.text(alphabet=st.characters(codec=None, categories=("Cs", "Cc", "Lu"))),
    st.integers(200, 5000).map(lambda count: "x" * count),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 10**6000]),
    st.floats(),
    PATHS,
    st.lists(st.one_of(st.integers(), st.floats(), st.text(), st.none()), max_size=5),
    st.binary(max_size=8),
)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("~nouser/net", "the model ~nouser/net does not exist"),
        ("~\x00/net", r"the model ~\\x00/net does not exist: it has a character"),
        ("x" * 300, r"the model x+\.\.\. \(100 more characters\) cannot be opened \(File name too long\)"),
        ("/etc/passwd/net.onnx", "the model /etc/passwd/net.onnx does not exist"),
        ("\ud800.onnx", r"the model \\ud800.onnx does not exist"),
        ("a\x1b[2J.onnx", r"the model a\\x1b\[2J.onnx does not exist"),
    ],
    ids=ascii,
)
def test_models_that_cannot_be(model: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        resolve(NetworkRequest(model=model))


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").symlink_to("net.onnx")
    with pytest.raises(NetworkError, match="cannot be opened"):
        resolve(NetworkRequest(model=str(tmp_path / "net.onnx")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with pytest.raises(NetworkError, match=r"cannot be opened \(Permission denied\)"):
        resolve(NetworkRequest(model=str(folder / "net.onnx")))


def test_a_user_without_a_home_has_the_networks_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIONNET_NETWORKS", "~nouser/networks")
    assert resolve(NetworkRequest("camera_motion")).name == "camera_motion"
    with pytest.raises(NetworkError, match=r"home folder of ~nouser/networks is not known"):
        resolve(NetworkRequest("resnet-18"))


@given(network=PATHS, model=PATHS, labels=PATHS)
def test_any_request_is_resolved_or_refused(network: str, model: str, labels: str) -> None:
    catalogue = Catalogue.load()
    for request in (NetworkRequest(network, model, labels), NetworkRequest(network, model), NetworkRequest(network)):
        with suppress(ActionNetError):
            resolve(request, catalogue)


@given(name=st.sampled_from([setting.name for setting in SETTINGS]), value=VALUES)
def test_any_value_is_taken_or_refused_in_a_short_printable_message(name: str, value: object) -> None:
    try:
        Settings.from_values({name: value})
    except SettingsError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 2500


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["positive", "negative"])
def test_whole_numbers_that_ros_cannot_hold(value: int) -> None:
    with pytest.raises(SettingsError, match=r"skip_frames .*is out of range; ROS's whole numbers have 64 bits"):
        Settings(skip_frames=value)
    with pytest.raises(SettingsError, match="max_gap takes a number"):
        Settings(max_gap=value)


@pytest.mark.parametrize("uri", ["x" * 300, "a\x00b.mp4", "file://" + "y" * 5000, "http://[", "\ud800.mp4"], ids=ascii)
def test_inputs_that_cannot_be(uri: str) -> None:
    with pytest.raises(MediaError) as caught:
        open_source(uri, InputOptions(), lambda line: None)
    assert str(caught.value).isprintable()
