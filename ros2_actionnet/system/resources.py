"""Finds the files that come with the package: networks/, config/, media/."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "ros2_actionnet"


def shared_folder(name: str) -> Path:
    """Return the folder `name` among the files that come with the package.

    Installed (by colcon or pip) it is under `<prefix>/share/ros2_actionnet`, where `<prefix>` is some parent of this
    module; in a source checkout it is beside the module's own folder.

    Raises FileNotFoundError if neither exists, which means that the installation is incomplete.
    """
    module = Path(__file__).absolute()
    source = module.parents[2]
    candidates = [parent / "share" / PACKAGE / name for parent in module.parents]
    if (source / "package.xml").is_file():
        candidates.insert(0, source / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(
        f"{PACKAGE} is installed without its folder '{name}', <prefix>/share/{PACKAGE}/{name}; install it again"
    )
