"""Reading of ROS bags, with errors that include a remedy, and the definitions of their messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.unfinished_mcap import FinishedPath, is_unfinished
from ros2_actionnet.system.resources import shared_folder
from ros2_actionnet.system.text import printable

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

UNKNOWN_HASH = "RIHS01_" + 64 * "0"
"""Placeholder in a bag for the hash of a type whose definition is unknown."""

_STORAGES = (".mcap", ".db3")  # of ROS 2; in a folder with a metadata.yaml or alone
_ROS_1 = ".bag"

_MENDING = {
    ".mcap": "`mcap recover` of the MCAP tools repairs a truncated recording",
    ".db3": "`sqlite3 OLD.db3 .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 NEW.db3` recovers what can be read",
    _ROS_1: "`rosbag reindex` repairs a truncated recording",
}
_REINDEXING = "`ros2 bag reindex FOLDER` writes a new metadata.yaml"

# Definitions of the messages that we write: a folder shipped with the package, and a path in it.
_DEFINITIONS = {
    "ros2_actionnet/msg/ActionEvent": ("msg", "ActionEvent.msg"),
    "vision_msgs/msg/Classification": ("ros_from_wheels", "vision_msgs/msg/Classification.msg"),
    "vision_msgs/msg/ObjectHypothesis": ("ros_from_wheels", "vision_msgs/msg/ObjectHypothesis.msg"),
    "vision_msgs/msg/Detection2DArray": ("ros_from_wheels", "vision_msgs/msg/Detection2DArray.msg"),
    "vision_msgs/msg/Detection2D": ("ros_from_wheels", "vision_msgs/msg/Detection2D.msg"),
    "vision_msgs/msg/ObjectHypothesisWithPose": ("ros_from_wheels", "vision_msgs/msg/ObjectHypothesisWithPose.msg"),
    "vision_msgs/msg/BoundingBox2D": ("ros_from_wheels", "vision_msgs/msg/BoundingBox2D.msg"),
    "vision_msgs/msg/Pose2D": ("ros_from_wheels", "vision_msgs/msg/Pose2D.msg"),
    "vision_msgs/msg/Point2D": ("ros_from_wheels", "vision_msgs/msg/Point2D.msg"),
}


def is_bag(path: Path) -> bool:
    """Return True if `path` looks like a bag: a file .mcap, .db3 or .bag, or a folder with a ROS 2 bag."""
    if not path.is_dir():
        return path.suffix in (*_STORAGES, _ROS_1)
    return (path / "metadata.yaml").exists() or bool(_storages(path))


def list_topics(connections: list[Connection]) -> str:
    """Return a description of topics with their types and numbers of messages."""
    counts: dict[tuple[str, str], int] = {}
    for connection in connections:
        key = connection.topic, connection.msgtype
        counts[key] = counts.get(key, 0) + connection.msgcount
    return (
        ", ".join(
            f"{printable(topic, 80)} ({printable(kind, 80)}, {count})"
            for (topic, kind), count in sorted(counts.items())
        )
        or "no topic"
    )


def check_rosbags(path: Path) -> None:
    """Raise MediaError if the library that reads and writes bags is not installed."""
    if find_spec("rosbags") is None:
        raise MediaError(f"'{path}' is a ROS bag, which needs rosbags: pip install rosbags")


class Bag:
    """An open bag, of ROS 2 or ROS 1; used by one thread at a time.

    Attributes:
        connections: Recorded publishers: topic, type and its definition, number of messages, QoS.
        is_unfinished: True for an MCAP file without an index, as a killed writer leaves; all whole messages are read.

    Raises MediaError, on opening and while reading, if rosbags is not installed or the bag cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _storage(path)
        self.is_ros_1 = self._file.suffix == _ROS_1
        check_rosbags(path)
        from rosbags.rosbag1 import Reader as Reader1
        from rosbags.rosbag2 import Reader as Reader2
        from rosbags.typesys import Stores, get_typestore

        self._types = get_typestore(Stores.ROS1_NOETIC if self.is_ros_1 else Stores.ROS2_HUMBLE)
        self._closed = self.is_unfinished = False
        _check_profile(self._file)
        with self._errors():
            self.is_unfinished = self._file.suffix == ".mcap" and self._file.is_file() and is_unfinished(self._file)
            file = FinishedPath(self._file) if self.is_unfinished else self._file
            self._reader = Reader1(file) if self.is_ros_1 else Reader2(file)
            self._reader.open()
            self.connections: list[Connection] = list(self._reader.connections)
            if self.is_unfinished and not self.message_count:
                self._reader.close()
                raise ValueError("it is cut before the end of its first messages")

    @property
    def message_count(self) -> int:
        """Number of messages."""
        return sum(connection.msgcount for connection in self.connections)

    def messages(
        self, connections: Collection[Connection] = (), start: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield the connection, time of reception (ns since 1970) and bytes of each message, in order of reception.

        `connections` selects some of the bag's connections; empty selects all. `start`: first time of reception.
        """
        with self._errors():
            yield from self._reader.messages(connections, start)

    def learn(self, connection: Connection, usual: str) -> None:
        """Make `deserialize` understand a connection's type, as the bag defines it, else by its `usual` definition."""
        from rosbags.interfaces import MessageDefinitionFormat
        from rosbags.typesys import get_types_from_idl, get_types_from_msg

        name, definition = connection.msgtype, connection.msgdef
        with self._errors():
            if definition.data and definition.format is MessageDefinitionFormat.IDL:
                types = get_types_from_idl(definition.data)
            else:
                types = get_types_from_msg(definition.data or usual, name)
            known = self._types.types
            self._types.register({name: fields for name, fields in types.items() if name not in known})

    def deserialize(self, message: bytes, type_name: str) -> Any:
        """Deserialize a message of a type that ROS ships or that was learned.

        Raises rosbags.serde.SerdeError if the bytes are invalid.
        """
        read = self._types.deserialize_ros1 if self.is_ros_1 else self._types.deserialize_cdr
        return read(message, type_name)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if not self._closed:
            self._closed = True
            self._reader.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from rosbags, SQLite, zstd, lz4 or YAML: anything that a damaged file triggers
            what = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise MediaError(f"'{self.path}' cannot be read as a bag: {what}; {self._remedy()}") from error

    def _remedy(self) -> str:
        if not self._file.is_dir():
            return _MENDING[self._file.suffix]
        return "; ".join([_REINDEXING, *sorted({_MENDING[file.suffix] for file in _storages(self._file)})])


def _storages(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _STORAGES)


def _storage(path: Path) -> Path:
    """Return the path to open for the bag at `path`: a folder with a complete recording, or a file."""
    if not path.exists():
        raise MediaError(f"there is no bag '{path}'")
    if not is_bag(path):
        raise MediaError(
            f"'{path}' is not a ROS bag: give a folder written by `ros2 bag`, or a .mcap, .db3 or .bag file"
        )
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return path
    files = _storages(path)
    if len(files) > 1:
        raise MediaError(
            f"the bag '{path}' has no metadata.yaml and {len(files)} files: {_REINDEXING}; or give one of its files"
        )
    return files[0]


def _check_profile(path: Path) -> None:
    """Raise MediaError for an MCAP file with a recording of ROS 1, as `mcap convert` makes it of a .bag file."""
    for file in _storages(path) if path.is_dir() else [path]:
        with suppress(OSError):
            if file.suffix == ".mcap" and _profile(file) == b"ros1":
                raise MediaError(
                    f"'{file}' is a recording of ROS 1 in an MCAP file (profile ros1), which cannot be read: give the "
                    ".bag file that it was made from, or convert that: rosbags-convert --src OLD.bag --dst FOLDER"
                )


def _profile(path: Path) -> bytes:
    """Return the profile in the header of an MCAP file: magic, opcode, length of the record, length of the profile."""
    with path.open("rb") as file:
        beginning = file.read(21 + 8)
    length = int.from_bytes(beginning[17:21], "little")
    return beginning[21 : 21 + length]


def result_types() -> Typestore:
    """Return the types of ROS 2 and of the results: Classification and Detection2DArray, and our ActionEvent."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    definitions = {}
    for name, (folder, file) in _DEFINITIONS.items():
        definitions.update(get_types_from_msg((shared_folder(folder) / file).read_text(), name))
    types.register(definitions)
    return types


def definition_of(connection: Connection, types: Typestore) -> tuple[str, str]:
    """Return the definition and type hash (RIHS01) of a ROS 2 connection's messages, to store with a copy of them.

    They come from the bag if it has them, as since Iron, otherwise from `types`. A type that is in neither gets an
    empty definition and `UNKNOWN_HASH`: its messages can still be played where the type is installed, as before.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    name, text, type_hash = connection.msgtype, connection.msgdef.data, connection.digest
    try:
        if not text:
            text = types.generate_msgdef(name, ros_version=2)[0]
            type_hash = type_hash or types.hash_rihs01(name)
        elif not type_hash and connection.msgdef.format is MessageDefinitionFormat.MSG:
            own = get_typestore(Stores.EMPTY)
            own.register(get_types_from_msg(text, name))
            type_hash = own.hash_rihs01(name)
    except Exception:  # of any type, for a definition that rosbags cannot parse
        type_hash = UNKNOWN_HASH
    return text, type_hash or UNKNOWN_HASH
