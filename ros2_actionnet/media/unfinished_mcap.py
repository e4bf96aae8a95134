"""MCAP files whose writer was killed: they are read up to their last whole record, as if they had been finished."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path, PosixPath
from typing import Any, BinaryIO

_MAGIC = b"\x89MCAP0\r\n"
_HEADER, _DATA_END, _FOOTER, _LAST = 0x01, 0x0F, 0x02, 0x0F  # kinds of records; the last that the format defines
_START = struct.Struct("<BQ")  # of a record: its kind and the length of what follows
_TAIL = 37  # bytes of a footer and the magic

ENDING = _START.pack(_DATA_END, 4) + bytes(4) + _START.pack(_FOOTER, 20) + bytes(20) + _MAGIC
"""What a file has after its data; the footer says that there is no index."""


def is_unfinished(path: Path) -> bool:
    """Return True if `path` is an MCAP file that lacks its end, or the index that a finished one has there."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(_MAGIC), size - _TAIL))
        tail = file.read()
        return tail == ENDING[-_TAIL:] or not tail.endswith(_MAGIC)


class FinishedPath(PosixPath):
    """The path of an unfinished MCAP file, which is finished when it is opened for reading; the file is not changed."""

    def open(self, *arguments: Any, **options: Any) -> Any:
        """Return the file for reading, as bytes."""
        return io.BufferedReader(_Finished(Path(self).open("rb")))


class _Finished(io.RawIOBase):
    """The whole records of a file, and the ending that it lacks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = _end_of_records(file)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end + len(ENDING)}[whence]
        self._position = max(0, begin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position < self._end:
            self._file.seek(self._position)
            content = self._file.read(min(len(buffer), self._end - self._position))
        else:
            start = self._position - self._end
            content = ENDING[start : start + len(buffer)]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _end_of_records(file: BinaryIO) -> int:
    """Return the offset at which the whole records of the data end."""
    size = file.seek(0, os.SEEK_END)
    end = len(_MAGIC)
    while end + _START.size <= size:
        file.seek(end)
        kind, length = _START.unpack(file.read(_START.size))
        # Zeros are what a machine leaves that lost its power; an index or a footer begins after the end of the data.
        if not _HEADER <= kind <= _LAST or kind in (_DATA_END, _FOOTER) or end + _START.size + length > size:
            break
        end += _START.size + length
    return end
