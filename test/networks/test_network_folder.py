"""A network's files lie in its folder, which may be one of links."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.network_folder import path_inside


@pytest.fixture(name="linked")
def linked_fixture(tmp_path: Path) -> Path:
    """A folder whose files are links to those of another one, as colcon's --symlink-install makes them."""
    source, linked = tmp_path / "source", tmp_path / "install"
    source.mkdir()
    linked.mkdir()
    for name in ("network.yaml", "model.onnx"):
        (source / name).write_text(name)
        (linked / name).symlink_to(source / name)
    (tmp_path / "secret").write_text("not of the network")
    (linked / "labels.txt").symlink_to(tmp_path / "secret")
    return linked


def test_links_to_where_the_naming_file_is_are_followed(linked: Path) -> None:
    description = linked / "network.yaml"
    assert path_inside(linked, "model.onnx", "it", description) == Path("model.onnx")
    with pytest.raises(NetworkError, match="which is not in"):
        path_inside(linked, "model.onnx", "it")


def test_links_to_elsewhere_are_refused(linked: Path) -> None:
    for name in ("labels.txt", "../source/model.onnx", "../secret", "/etc/passwd"):
        with pytest.raises(NetworkError, match="which is not in"):
            path_inside(linked, name, "it", linked / "network.yaml")
