"""The package's files are found wherever it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.system import resources
from ros2_actionnet.system.resources import shared_folder


def installed(monkeypatch: pytest.MonkeyPatch, module: Path) -> None:
    """As if the module lay there."""
    module.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(resources, "__file__", str(module))


@pytest.mark.parametrize(("folder", "file"), [("config", "actionnet.yaml"), ("media", "camera_motion_demo.mp4")])
def test_the_files_that_come_with_it_are_there(folder: str, file: str) -> None:
    assert (shared_folder(folder) / file).is_file()


@pytest.mark.parametrize(
    "site",
    ["lib/python3.10/site-packages", "local/lib/python3.10/dist-packages", "lib/python3/dist-packages"],
)
def test_installed_they_lie_under_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    share = tmp_path / "share" / "ros2_actionnet" / "config"
    share.mkdir(parents=True)
    installed(monkeypatch, tmp_path / site / "ros2_actionnet" / "system" / "resources.py")
    assert shared_folder("config") == share


def test_in_a_checkout_they_lie_beside_the_module_even_where_a_prefix_has_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share" / "ros2_actionnet" / "config").mkdir(parents=True)
    checkout = tmp_path / "src" / "ros2_actionnet"
    (checkout / "config").mkdir(parents=True)
    (checkout / "package.xml").write_text("<package/>")
    installed(monkeypatch, checkout / "ros2_actionnet" / "system" / "resources.py")
    assert shared_folder("config") == checkout / "config"


def test_a_folder_of_that_name_beside_an_installed_module_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    (site / "config").mkdir(parents=True)
    share = tmp_path / "share" / "ros2_actionnet" / "config"
    share.mkdir(parents=True)
    installed(monkeypatch, site / "ros2_actionnet" / "system" / "resources.py")
    assert shared_folder("config") == share


def test_a_missing_folder_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tmp_path / "lib" / "ros2_actionnet" / "system" / "resources.py")
    with pytest.raises(FileNotFoundError, match=r"'networks'.*share/ros2_actionnet/networks; install it again"):
        shared_folder("networks")
