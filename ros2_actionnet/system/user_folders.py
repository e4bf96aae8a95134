"""Folders of the user who runs the process."""

from __future__ import annotations

from pathlib import Path


def in_home(path: str | Path) -> Path:
    """Return `path` with "~" replaced by the user's home folder, or by "/" if the user has none.

    That is where a container with a user id of its own, without a name and HOME, has it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        parts = Path(path).parts
        return Path("/", *parts[1:]) if parts[0] == "~" else Path(path)
