"""Unpacks an untrusted archive: only plain files, inside their folder, within limits."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.system.text import printable

MAX_MEMBERS = 100
MAX_DEPTH = 8
_LARGEST_HEADER = 1 << 20  # bytes; a name, a comment and the padding between members are far smaller
_BLOCK = 1 << 18


def largest_content(archive_size: int) -> int:
    """Return the largest unpacked size of an archive of `archive_size` bytes: a network's weights hardly compress."""
    return 64_000_000 + 20 * archive_size


def unpack(archive: Path, folder: Path, on_block: Callable[[], None] = lambda: None) -> None:
    """Unpack the .tar.gz `archive` into `folder`, which must be empty.

    Files are written by name and content alone, whatever owner, mode or time the archive specifies. tarfile's own
    unpacking is not used, so the checks do not depend on the version of Python. `on_block` is called regularly; an
    exception that it raises ends the unpacking.

    Raises:
        NetworkError: the archive is damaged or no .tar.gz, or contains anything but files and folders that stay in
            `folder`, or more of them, or larger ones, than a network has.
        OSError: the files cannot be written.
    """
    with archive.open("rb") as file:
        start = file.read(8)
        if start[:2] != b"\x1f\x8b":
            what = (
                "a web page, not an archive; is there a login between here and the server?"
                if b"<" in start
                else f"no .tar.gz (it begins with {start!r})"
            )
            raise NetworkError(f"{archive.name} is {what}")
        file.seek(0)
        stream = _Allowance(gzip.GzipFile(fileobj=file), largest_content(archive.stat().st_size))
        try:
            _unpack(stream, folder, on_block)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
            raise NetworkError(f"{archive.name} is damaged or incomplete ({printable(error)})") from error
        except _Refused as error:
            raise NetworkError(f"{archive.name} is refused: {error}") from error


class _Refused(Exception):  # noqa: N818
    """An archive that violates a rule; the message is the reason."""


class _Allowance:
    """A stream with a limit on the bytes that may be read: an allowance that is renewed, and a limit on the total."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._left = 0

    def allow(self, size: int) -> None:
        """Allow reading `size` bytes from now on, and a header's worth around them."""
        self._left = size + _LARGEST_HEADER

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; return none at the end."""
        block = self._stream.read(size)
        self._left -= len(block)
        self._limit -= len(block)
        if self._left < 0 or self._limit < 0:
            raise _Refused("it unpacks to far more than it says or than a network has")
        return block


def _unpack(stream: _Allowance, folder: Path, on_block: Callable[[], None]) -> None:
    stream.allow(0)
    # Read as a stream, so that nothing in the archive can make tarfile seek.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=tarfile.RECORDSIZE) as tar:  # type: ignore[call-overload]
        count = 0
        while (member := tar.next()) is not None:
            count += 1
            if count > MAX_MEMBERS:
                raise _Refused(f"it holds more than {MAX_MEMBERS} files")
            target = folder / _checked_name(member)
            try:
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    stream.allow(member.size)
                    _write(tar, member, target, on_block)
                    stream.allow(0)
            except (FileExistsError, NotADirectoryError):
                raise _Refused(f"it holds '{printable(member.name)}' twice") from None
    while stream.read(_BLOCK):  # to the end, where gzip's checksum is
        on_block()


def _checked_name(member: tarfile.TarInfo) -> PurePosixPath:
    """Return a member's path relative to the folder; refuse anything but plain files and folders inside it."""
    name = PurePosixPath(member.name)
    if not member.isdir() and (not member.isreg() or member.issparse()):
        kind = "a link" if member.issym() or member.islnk() else "no plain file"
        raise _Refused(f"'{printable(member.name)}' is {kind}")
    if name.is_absolute() or ".." in name.parts or not (name.parts or member.isdir()):
        raise _Refused(f"'{printable(member.name)}' leads out of the folder")
    if len(name.parts) > MAX_DEPTH or any(len(os.fsencode(part)) > 255 for part in name.parts):
        raise _Refused(f"the name '{printable(member.name, 80)}' is too long")
    return name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, on_block: Callable[[], None]) -> None:
    content = tar.extractfile(member)
    assert content is not None, "it is a plain file"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while block := content.read(_BLOCK):
            on_block()
            file.write(block)
        file.flush()
        os.fsync(file.fileno())  # before the folder gets its name: robots are switched off
