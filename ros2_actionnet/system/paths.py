"""Paths that a person types: none of them raises anything unexpected."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | Path) -> Path:
    """Return `path` with a leading `~` or `~user` expanded, unchanged if there is no such user.

    The home folder of a process whose user has none, as in a container with a user id of its own, is "/".
    """
    text = str(path)
    try:
        expanded = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises RuntimeError
    except ValueError:  # a NUL in the user's name
        return Path(text)
    return Path("/", expanded[2:]) if expanded == "~" or expanded.startswith("~/") else Path(expanded)


def why_unusable(path: Path) -> str:
    """Return the reason for which `path` is not a usable file, in words that follow its name."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    except ValueError:
        return "does not exist: it has a character that no file name can have"
    return "is not a file"


def is_file(path: Path) -> bool:
    """Return True if `path` is a file, False also for a path that the system refuses."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises OSError before Python 3.14


def is_dir(path: Path) -> bool:
    """Return True if `path` is a folder, False also for a path that the system refuses."""
    return os.path.isdir(path)  # noqa: PTH112 - as above
