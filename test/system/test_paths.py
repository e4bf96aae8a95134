"""The home folder, also of users that have none."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from ros2_actionnet.backends.tensorrt.engine_cache import default_folder
from ros2_actionnet.networks import NetworkRequest, resolve
from ros2_actionnet.networks.catalogue import user_folder
from ros2_actionnet.system.paths import user_path


def test_the_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_path("~/a/b") == Path("/home/somebody/a/b")
    assert user_path("a/~") == Path("a/~")


def test_a_user_without_name_and_home_has_the_root_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    for name in ("HOME", "XDG_CACHE_HOME", "ACTIONNET_NETWORKS", "ACTIONNET_ENGINE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert user_path("~/a/b") == Path("/a/b")
    assert user_path("~") == Path("/")
    assert user_path("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")
    assert user_folder() == Path("/.cache/ros2_actionnet/networks")
    assert default_folder() == Path("/.cache/ros2_actionnet/engines")
    assert resolve(NetworkRequest("camera_motion")).name == "camera_motion"
