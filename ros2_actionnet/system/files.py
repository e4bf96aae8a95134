"""Files and folders that several processes use: checksums, locks, and changes that are complete or did not happen."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL = 0.1  # s, interval of `wait` while another process holds a lock
_UNLOCKED = -1  # stands for a lock that is not available here


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_bounded(file: Path, limit: int) -> bytes | None:
    """Return the content of a file that came with others; None for one that is larger than `limit` bytes, or no file.

    A pipe may never end, and a device may never say how large it is. Raises OSError for a file that cannot be read.
    """
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        content = stream.read(limit + 1)
    return content if len(content) <= limit else None


@contextmanager
def file_lock(path: Path, wait: Callable[[float], None] | None = None) -> Iterator[bool]:
    """Hold the lock `path`, which one process or thread at a time can, and yield True.

    The file is created with its folder, and may be removed by the holder. If its folder is read-only or its file system
    has no locks, everybody continues without.

    Args:
        path: The lock's file.
        wait: Called every 0.1 s with the seconds since the call while another holds the lock; what it raises ends the
            waiting. None does not wait: False is yielded if another holds the lock.
    """
    started = time.monotonic()
    descriptor = _try_lock(path)
    while descriptor is None and wait is not None:
        wait(time.monotonic() - started)
        time.sleep(_POLL)
        descriptor = _try_lock(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor not in (None, _UNLOCKED):
            os.close(descriptor)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is complete or as it was, even after a power failure. Raises OSError, and leaves nothing.

    A killed process may leave `<start of the name>.<random>.part` beside it.
    """
    replace_file(path, content, durable=True)
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_file(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file that is complete or as it was, after a power failure only if `durable`, which takes longer.

    What is no file, such as a pipe, is written to. So is a file that cannot be replaced, as its folder may not be
    changed or it is mounted, unless it is to be `durable`. Raises OSError, and leaves nothing.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    try:
        _replace(path, content, durable)
    except OSError as error:
        if durable or error.errno not in (errno.EACCES, errno.EPERM, errno.EBUSY) or not path.exists():
            raise
        path.write_bytes(content)


def _replace(path: Path, content: bytes | memoryview, durable: bool) -> None:
    part = path.with_name(f"{path.stem[:32]}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, for what is to become its content; it is removed at the end.

    Call it with a lock of `target` held: the name is the same each time, so that what a killed process left is removed.
    """
    scratch = target.with_name(f".{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace_folder(target: Path, new: Path) -> None:
    """Rename the folder `new` to `target`, and remove what had that name. Raises OSError, with `target` as it was."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock until it is closed, or _UNLOCKED; None if another process holds it."""
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (ImportError, OSError) as error:
        logger.debug("no lock %s: %s", path, error)
        return _UNLOCKED
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        logger.debug("no lock %s: %s", path, error)
        return _UNLOCKED
    try:
        is_current = os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        is_current = False
    if not is_current:  # its holder removed the file after we opened it and before we locked it
        os.close(descriptor)
        return _try_lock(path)
    return descriptor
