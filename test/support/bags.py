"""Bags for the tests: written by rosbags, by hand as Humble's `ros2 bag` does it, and taken apart without rosbags."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from backports import zstd
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from support.packets import Packet

IMAGE, COMPRESSED, IMU = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Imu"
VIDEO, PACKET = "foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
START = 1_700_000_000_000_000_000  # ns, of the first message
STORE = get_typestore(Stores.ROS2_HUMBLE)
for name, definition in {
    VIDEO: """\
# A single frame of a compressed video bitstream
builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format
""",
    PACKET: """\
std_msgs/Header header
int32 width       # original image width
int32 height      # original image height
string encoding	  # encoding used
uint64 pts        # packet pts
uint8  flags      # packet flags
bool is_bigendian # true if machine stores in big endian format
uint8[] data      # ffmpeg compressed payload
""",
}.items():
    STORE.register(get_types_from_msg(definition, name))
ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)
SENSOR_QOS = Qos(
    QosHistory.KEEP_LAST,
    5,
    QosReliability.BEST_EFFORT,
    QosDurability.VOLATILE,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


class Message(NamedTuple):
    """A message of a bag: its topic, the time of its reception (ns) and its bytes."""

    topic: str
    received: int
    data: bytes


@dataclass
class Topic:
    """A topic of a bag that is to be written."""

    name: str
    type_name: str
    messages: list[tuple[int, bytes]] = field(default_factory=list)  # received (ns), CDR
    qos: Sequence[Qos] = (SENSOR_QOS,)
    definition: str | None = None


def header(stamp: int, frame_id: str = "camera", store: Any = STORE, **more: Any) -> Any:
    """A std_msgs/Header; `stamp` in ns."""
    time = store.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
    return store.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **more)


def image(stamp: int, rows: NDArray[Any], height: int, width: int, encoding: str, big_endian: bool = False) -> bytes:
    """A serialized sensor_msgs/Image; `rows` as they lie in memory, the padding included."""
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
    step = rows[0].nbytes
    message = STORE.types[IMAGE](header(stamp), height, width, encoding, int(big_endian), step, data)
    return bytes(STORE.serialize_cdr(message, IMAGE))


def bgr_image(stamp: int, picture: NDArray[np.uint8]) -> bytes:
    """A serialized sensor_msgs/Image of a picture, BGR."""
    height, width, _ = picture.shape
    return image(stamp, picture, height, width, "bgr8")


def compressed(stamp: int, picture: NDArray[np.uint8], extension: str, quality: Sequence[int] = ()) -> bytes:
    """A serialized sensor_msgs/CompressedImage; `extension` .jpg or .png."""
    data = cv2.imencode(extension, picture, list(quality))[1].reshape(-1)
    format_ = {".jpg": "bgr8; jpeg compressed bgr8", ".png": "png"}[extension]
    message = STORE.types[COMPRESSED](header(stamp), format_, data)
    return bytes(STORE.serialize_cdr(message, COMPRESSED))


def video_message(stamp: int, packet: Packet, type_name: str, format_: str) -> bytes:
    """A serialized packet of a video; `type_name` COMPRESSED, VIDEO or PACKET."""
    data = np.frombuffer(packet.data, np.uint8)
    head = header(stamp)
    fields = {
        COMPRESSED: (head, format_, data),
        VIDEO: (head.stamp, head.frame_id, data, format_),
        PACKET: (head, 160, 120, format_, packet.shown, 0, False, data),
    }[type_name]
    return bytes(STORE.serialize_cdr(STORE.types[type_name](*fields), type_name))


def video_topic(packets: Iterable[Packet], type_name: str = COMPRESSED, format_: str = "h264") -> Topic:
    """A topic of the packets of a video at 25 Hz, each stamped with the time of its own frame."""
    messages = [
        (START + index * 40_000_000, video_message(START + packet.shown * 40_000_000, packet, type_name, format_))
        for index, packet in enumerate(packets)
    ]
    return Topic("/camera/video", type_name, messages)


def images_topic(
    pictures: Iterable[NDArray[np.uint8]], name: str = "/camera/image_raw", rate: float = 25.0, delay: int = 7_000_000
) -> Topic:
    """A topic of raw bgr8 images at `rate` Hz, each received `delay` ns after its stamp."""
    stamps = (START + round(index * 1e9 / rate) for index in range(10**9))
    messages = [(stamp + delay, bgr_image(stamp, picture)) for stamp, picture in zip(stamps, pictures, strict=False)]
    return Topic(name, IMAGE, messages)


def imu_topic(count: int, rate: float = 100.0) -> Topic:
    """A topic of something else."""
    types = STORE.types
    messages = []
    for index in range(count):
        stamp = START + round(index * 1e9 / rate)
        vector = types["geometry_msgs/msg/Vector3"](0.1, float(index), 9.81)
        turn = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        nothing = np.zeros(9)
        message = types[IMU](header(stamp, "imu"), turn, nothing, vector, nothing, vector, nothing)
        messages.append((stamp + 1_000_000, bytes(STORE.serialize_cdr(message, IMU))))
    return Topic("/imu", IMU, messages)


def in_order(topics: Iterable[Topic]) -> list[Message]:
    """All messages by the time of their reception."""
    return sorted(
        (Message(topic.name, received, data) for topic in topics for received, data in topic.messages),
        key=lambda message: message.received,
    )


def write_bag(
    path: Path,
    topics: Sequence[Topic],
    storage: Literal["mcap", "sqlite3"] = "mcap",
    version: Literal[8, 9] = 9,
    compression: str = "NONE",
) -> Path:
    """A bag as Jazzy's `ros2 bag record` leaves it, by rosbags; `compression` NONE, FILE, MESSAGE or STORAGE."""
    writer = Writer(path, version=version, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic in topics:
            kind: dict[str, Any] = {"typestore": STORE}
            if topic.definition is not None:
                kind = {"msgdef": topic.definition, "rihs01": "RIHS01_" + 64 * "1"}
            connections[topic.name] = writer.add_connection(
                topic.name, topic.type_name, offered_qos_profiles=topic.qos, **kind
            )
        for message in in_order(topics):
            writer.write(connections[message.topic], message.received, message.data)
    return path


_HUMBLE_QOS = """- history: 3
  depth: 0
  reliability: 1
  durability: 2
  deadline:
    sec: 9223372036
    nsec: 854775807
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: 1
  liveliness_lease_duration:
    sec: 9223372036
    nsec: 854775807
  avoid_ros_namespace_conventions: false"""


def write_humble_bag(path: Path, topics: Sequence[Topic]) -> Path:
    """A bag as Humble's `ros2 bag record` leaves it (SQLite, no definitions, no type hashes), by hand."""
    path.mkdir()
    file = path / f"{path.name}_0.db3"
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY,ros_distro TEXT NOT NULL);"
            "CREATE TABLE metadata(id INTEGER PRIMARY KEY,metadata_version INTEGER NOT NULL,metadata TEXT NOT NULL);"
            "CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT NOT NULL,type TEXT NOT NULL,"
            "serialization_format TEXT NOT NULL,offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL,"
            "timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
            "CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
            "INSERT INTO schema VALUES (3, 'humble');"
        )
        numbers = {topic.name: number for number, topic in enumerate(topics, 1)}
        database.executemany(
            "INSERT INTO topics VALUES (?, ?, ?, 'cdr', ?)",
            [(numbers[topic.name], topic.name, topic.type_name, _HUMBLE_QOS) for topic in topics],
        )
        database.executemany(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            [(numbers[message.topic], message.received, message.data) for message in in_order(topics)],
        )
    database.close()
    times = [message.received for message in in_order(topics)]
    span = f"    nanoseconds: {times[-1] - times[0]}\n"
    began = f"    nanoseconds_since_epoch: {times[0]}\n"
    qos = _HUMBLE_QOS.replace("\n", "\\n")
    listed = "".join(
        f"    - topic_metadata:\n        name: {topic.name}\n        type: {topic.type_name}\n"
        f'        serialization_format: cdr\n        offered_qos_profiles: "{qos}"\n'
        f"      message_count: {len(topic.messages)}\n"
        for topic in topics
    )
    (path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: sqlite3\n"
        f"  duration:\n{span}  starting_time:\n{began}  message_count: {len(times)}\n"
        f"  topics_with_message_count:\n{listed}"
        '  compression_format: ""\n  compression_mode: ""\n'
        f"  relative_file_paths:\n    - {file.name}\n"
        f"  files:\n    - path: {file.name}\n      starting_time:\n    {began}      duration:\n    {span}"
        f"      message_count: {len(times)}\n"
    )
    return path


@dataclass
class Mcap:
    """What is in an MCAP file: topic -> (type, definition, metadata), and the messages as they lie in it."""

    topics: dict[str, tuple[str, str, dict[str, str]]] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    compressions: set[str] = field(default_factory=set)


def read_mcap(path: Path) -> Mcap:
    """Takes an MCAP file apart (mcap.dev/spec), sharing nothing with rosbags."""
    content = path.read_bytes()
    assert content.startswith(b"\x89MCAP0\r\n")
    assert content.endswith(b"\x89MCAP0\r\n")
    mcap, schemas, channels = Mcap(), dict[int, tuple[str, str]](), dict[int, str]()

    def text(record: bytes, at: int) -> tuple[str, int]:
        (length,) = struct.unpack_from("<I", record, at)
        return record[at + 4 : at + 4 + length].decode(), at + 4 + length

    def take_apart(records: bytes) -> None:
        at = 0
        while at < len(records):
            kind, length = struct.unpack_from("<BQ", records, at)
            record, at = records[at + 9 : at + 9 + length], at + 9 + length
            if kind == 0x0F:  # the end of the data; an index of it follows
                return
            if kind == 0x03:
                name, after = text(record, 2)
                _, after = text(record, after)
                schemas[struct.unpack_from("<H", record)[0]] = name, text(record, after)[0]
            elif kind == 0x04:
                number, schema = struct.unpack_from("<HH", record)
                channels[number], after = text(record, 4)
                _, after = text(record, after)
                metadata, end = {}, after + 4 + struct.unpack_from("<I", record, after)[0]
                after += 4
                while after < end:
                    key, after = text(record, after)
                    metadata[key], after = text(record, after)
                mcap.topics[channels[number]] = (*schemas[schema], metadata)
            elif kind == 0x05:
                number, _, received, _ = struct.unpack_from("<HIQQ", record)
                mcap.messages.append(Message(channels[number], received, record[22:]))
            elif kind == 0x06:
                compression, after = text(record, 28)
                mcap.compressions.add(compression)
                content = record[after + 8 :]
                take_apart(zstd.decompress(content) if compression == "zstd" else content)

    take_apart(content[8:-8])
    return mcap
