"""The rule that a network is a folder with all its files: none is read or copied that lies elsewhere."""

from __future__ import annotations

from pathlib import Path

from ros2_actionnet.errors import NetworkError


def path_inside(folder: Path, name: str | Path, who: str, named_in: Path | None = None) -> Path:
    """Return the path, relative to `folder`, of the file that `who` calls `name`, relative to `folder` or absolute.

    The folder may be one of links, as `colcon build --symlink-install` and download caches make them: a link is
    followed to where the file `named_in`, which names it, really is.

    Raises NetworkError unless the file is in `folder`, or in a folder there, once all links are followed.
    """
    try:
        root, given = folder.resolve(), folder / name
        place, real = given.parent.resolve() / given.name, given.resolve()
        roots = [root] if named_in is None else [root, named_in.resolve().parent]
        if place.is_relative_to(root) and any(real.is_relative_to(allowed) for allowed in roots):
            return place.relative_to(root)
    except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, or a circle of links
        pass
    raise NetworkError(
        f"{who} names the file {str(name)!r}, which is not in {folder}: a network is a folder with all its files; copy "
        "it there"
    )
