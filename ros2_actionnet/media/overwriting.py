"""Checks, before anything is opened, that no output of a call overwrites an input or another output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeAlias

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.image_files import PLACEHOLDER, find_images, image_target, is_image
from ros2_actionnet.media.uris import is_file, is_file_output, is_image_output, path_of

_Identity: TypeAlias = tuple[int, int, str]


def check_overwriting(inputs: Sequence[str], outputs: Sequence[str], others: Sequence[Path] = ()) -> None:
    """Check all inputs and outputs of a call, given by their URIs or paths, and the `others` files that are read.

    Files are compared by device and inode: links, relative paths and `file://` are other names of the same file. A file
    is an input, too, if it is in a bag or a folder that is read, or matches a pattern.

    Raises MediaError for an output that would overwrite an input or another output.
    """
    files = [file for uri in inputs if is_file(uri) for file in _files_read(path_of(uri))]
    read = {_identity(file): file for file in files}
    needed = {_identity(file): file for file in others}
    written: set[_Identity] = set()
    for uri in outputs:
        if not is_file_output(uri):
            continue
        images = _ImageNames.of(uri)
        target = images.folder if images else path_of(uri)
        if target.exists() and not (target.is_file() or target.is_dir()):
            continue  # a device such as /dev/null
        identity = _identity(target, images.pattern.pattern if images else "")
        if identity in written:
            raise MediaError(f"'{uri}' is given for two outputs, of which one would be lost; give each its own")
        written.add(identity)
        overwritten = images.first_of(files) if images else read.get(identity)
        if overwritten is not None:
            raise MediaError(f"'{overwritten}' is the input, which would be overwritten; give another output")
        other = images.first_of(others) if images else needed.get(identity)
        if other is not None:
            raise MediaError(f"'{other}' is read by this run, and would be overwritten; give another output")
        if images and any(is_file(other) and images.would_be_read(path_of(other)) for other in inputs):
            raise MediaError(f"'{uri}' is read as input, too: the output would be mixed with it; give another folder")


@dataclass(frozen=True)
class _ImageNames:
    """The names of a sequence of images in `folder`, of which `example` is one."""

    folder: Path
    pattern: re.Pattern[str]
    example: str

    @classmethod
    def of(cls, uri: str) -> _ImageNames | None:
        """Return the names of an output; None if it is a single file."""
        if not is_image_output(uri):
            return None
        target = image_target(str(path_of(uri)) + "/" * uri.endswith("/"))
        number = PLACEHOLDER.search(target.name)
        if number is None:
            return None
        text, rest = target.name[: number.start()], target.name[number.end() :]
        return cls(target.parent, re.compile(f"{re.escape(text)}[0-9]+{re.escape(rest)}"), f"{text}0{rest}")

    def first_of(self, files: Sequence[Path]) -> Path | None:
        """Return the first of `files` that such an image would overwrite."""
        matching = (file for file in files if self.pattern.fullmatch(file.name))
        return next((file for file in matching if _identity(file.parent) == _identity(self.folder)), None)

    def would_be_read(self, path: Path) -> bool:
        """Return True if the folder or pattern `path` includes such images."""
        if path.is_dir():
            return not is_bag(path) and _identity(path) == _identity(self.folder)
        same_folder = not path.exists() and _identity(path.parent) == _identity(self.folder)
        return same_folder and fnmatch(self.example, path.name)


def _files_read(path: Path) -> Iterator[Path]:
    """Yield the existing files that an input consists of."""
    if path.is_dir():
        yield from (file for file in path.iterdir() if is_bag(path) or is_image(file))
    elif path.exists():
        yield path
    else:
        yield from find_images(path)


def _identity(path: Path, name: str = "") -> _Identity:
    """Return what all names of a file, which need not exist, have in common; `name` is a name in the folder `path`."""
    missing = list[str]()
    try:
        real = Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise MediaError(f"'{path}': the current folder was removed; change to another") from error
    while not real.exists() and real != real.parent:
        missing.insert(0, real.name)
        real = real.parent
    status = real.stat()
    return status.st_dev, status.st_ino, "/".join([*missing, name] if name else missing)
