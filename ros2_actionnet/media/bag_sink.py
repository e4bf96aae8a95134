"""Writing of results into ROS bags, next to the messages of the input bag, without a ROS installation."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.bag_reader import UNKNOWN_HASH, Bag, check_rosbags, definition_of, result_types
from ros2_actionnet.media.bag_source import BagSource
from ros2_actionnet.media.base import BagCompression, ClassifiedFrame, FrameSource, RunDetails
from ros2_actionnet.media.unfinished_mcap import ENDING
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.frame_header import FrameHeader, split_nanoseconds
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

_CLASSIFICATION = "vision_msgs/msg/Classification"
_EVENT = "ros2_actionnet/msg/ActionEvent"
_ACTIONS = "vision_msgs/msg/Detection2DArray"
_NAMESPACE = "/actionnet"  # as in the node
_DEPTH = 10  # as in the node's publishers
_FLUSH_INTERVAL = 0.5  # s; half of what may be lost when the process is killed


class BagSink:
    """Writes a bag of results that `ros2 bag` can read: an MCAP folder, or one file if `path` ends in .mcap.

    The topics are the node's, `/actionnet/classification`, `/actionnet/events` and, with detections,
    `/actionnet/actions`, or `/actionnet_2/...` if the input already has such topics. If the input is a bag, all its
    messages are copied unchanged, and each result gets the time of reception of its image. All but the last second is
    in the file at any moment, even if the process is killed.

    Raises MediaError if `path` exists or cannot be written, or if the input is a bag that cannot be copied.
    """

    wants_pictures = False

    def __init__(
        self, path: Path | str, source: FrameSource, details: RunDetails, compression: BagCompression = "zstd"
    ) -> None:
        self._path = Path(path)
        check_rosbags(self._path)
        # rosbags writes folders; the file of a single-file bag is taken out of its folder at once.
        self._is_file = self._path.suffix == ".mcap"
        self._folder = self._path.with_name(f"{self._path.stem}.part") if self._is_file else self._path
        for taken in (self._path, self._folder):
            if taken.exists():
                raise MediaError(f"'{taken}' already exists: remove it, or write the bag elsewhere")
        self._closed = False
        types = result_types()
        bag = _bag_behind(source)
        self._input = None if bag is None else _Input(bag)
        with self._errors():
            self._writer = _open_writer(self._folder, compression)
            if self._is_file:
                (self._folder / f"{self._folder.name}.mcap").rename(self._path)
                self._folder.rmdir()
            self._flusher = _Flusher(self._writer)
            namespace = _NAMESPACE
            if self._input is not None:
                self._input.copy_into(self._writer, types)
                namespace = _free_namespace(self._input.topics)
            self._results = _Results(self._writer, types, details, namespace)

    def write(self, result: ClassifiedFrame) -> None:
        """Write the new results of this frame. Raises MediaError on failure."""
        frame, message = result.frame, result.frame.message
        with self._errors():
            if self._input is None or message is None:
                header = FrameHeader.at(frame.stamp)
                self._results.write(result, header, received=max(frame.stamp, 0))
            else:
                self._results.write(result, message.header, received=self._input.copy_to(message.number))
            self._flusher.flush()

    def close(self) -> None:
        """Finish the bag, with the rest of the input if that was read to its end. Raises MediaError on failure."""
        if self._closed:
            return
        self._closed = True
        with self._errors():
            try:
                if self._input is not None:
                    self._input.finish()
            finally:
                self._finish()

    def _finish(self) -> None:
        if self._is_file:
            self._folder.mkdir()  # for the metadata.yaml that a file does not need
        try:
            self._writer.close()
        finally:
            if self._is_file:
                shutil.rmtree(self._folder)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from rosbags.rosbag2 import WriterError

        try:
            yield
        except (OSError, WriterError) as error:
            raise MediaError(f"the bag '{self._path}' cannot be written: {error}") from error


class _Flusher:
    """Keeps the file whole: what rosbags collects is written, and an ending after it, which the next write replaces."""

    def __init__(self, writer: Writer) -> None:
        self._storage: Any = writer.storage
        self._due = 0.0
        self._end = 0
        self.flush()

    def flush(self) -> None:
        """Write what has waited for the interval, and end the file if anything was written."""
        now, storage = time.monotonic(), self._storage
        if now >= self._due:
            self._due = now + _FLUSH_INTERVAL
            if storage.chunk.msgs:
                storage.close_chunk()
        end = storage.bio.tell()
        if end != self._end:
            storage.bio.write(ENDING)
            storage.bio.flush()
            self._end = storage.bio.seek(end)


class _Input:
    """Copies the messages of the input into the output, in step with the run."""

    def __init__(self, source: BagSource) -> None:
        if source.loop:
            raise MediaError(f"'{source.path}' cannot be copied into a bag more than once: omit --input-loop")
        self._source = source
        self._bag = Bag(source.path)
        if self._bag.is_ros_1:
            self._bag.close()
            raise MediaError(
                f"'{source.path}' is a ROS 1 bag, whose messages cannot be copied into a ROS 2 bag: convert it "
                "first with `rosbags-convert --src OLD.bag --dst NEW`, or write the results to another kind of file"
            )
        self.topics = {connection.topic for connection in self._bag.connections}
        self._images = 0  # copied messages of the source's topic
        self._received = 0  # time of reception of the newest of them, ns

    def copy_into(self, writer: Writer, types: Typestore) -> None:
        """Create the topics in the output."""
        self._writer = writer
        self._targets: dict[int, Connection] = {}
        made: dict[str, Connection] = {}
        for connection in self._bag.connections:
            extra: Any = connection.ext
            # A topic may occur several times, once per publisher; the writer accepts only one of equal connections.
            key = repr((connection.topic, connection.msgtype, extra))
            if key not in made:
                definition, type_hash = definition_of(connection, types)
                if type_hash == UNKNOWN_HASH:
                    self._source.report(
                        f"{connection.topic} is copied without the definition of its type {connection.msgtype}, which "
                        "is missing from the bag or not understood by rosbags"
                    )
                made[key] = writer.add_connection(
                    connection.topic,
                    connection.msgtype,
                    msgdef=definition,
                    rihs01=type_hash,
                    serialization_format=extra.serialization_format,
                    offered_qos_profiles=extra.offered_qos_profiles,
                )
            self._targets[connection.id] = made[key]
        self._messages = self._bag.messages()

    def copy_to(self, number: int) -> int:
        """Copy all messages through number `number` of the source's topic; return its time of reception (ns)."""
        while self._images <= number and self._copy_next():
            pass
        return self._received

    def finish(self) -> None:
        """Copy the rest if the source was read to its end, and close the input."""
        try:
            while self._source.ended and self._copy_next():
                pass
        finally:
            self._bag.close()

    def _copy_next(self) -> bool:
        message = next(self._messages, None)
        if message is None:
            return False
        connection, received, content = message
        self._writer.write(self._targets[connection.id], received, content)
        if connection.topic == self._source.topic:
            self._images += 1
            self._received = received
        return True


class _Results:
    """The topics of the results."""

    def __init__(self, writer: Writer, types: Typestore, details: RunDetails, namespace: str) -> None:
        self._writer, self._types, self._details = writer, types, details
        self._classification = self._topic(f"{namespace}/classification", _CLASSIFICATION)
        self._events = self._topic(f"{namespace}/events", _EVENT)
        self._actions_name = f"{namespace}/actions"
        self._actions: Connection | None = None  # made for the first people

    def write(self, result: ClassifiedFrame, header: FrameHeader, received: int) -> None:
        """Write the new results, with the frame's header and the time (ns) at which the bag received the frame."""
        if result.is_new and result.prediction is not None:
            self._write(self._classification, self._classified(result.prediction, header), received)
        for event in result.events:
            self._write(self._events, self._event(event, header), received)
        if any(subject.is_new for subject in result.subjects):
            self._actions = self._actions or self._topic(self._actions_name, _ACTIONS)
            self._write(self._actions, self._people(result.subjects, header), received)
        for subject in result.subjects:
            for event in subject.events:
                self._write(self._events, self._event(event, header, subject.track_id), received)

    def _topic(self, name: str, type_name: str) -> Connection:
        return self._writer.add_connection(name, type_name, typestore=self._types, offered_qos_profiles=[_qos()])

    def _write(self, topic: Connection, message: object, received: int) -> None:
        self._writer.write(topic, received, self._types.serialize_cdr(message, topic.msgtype))

    # The messages, with the same contents as the node's with its default class_id_format; see ros/messages.py.

    def _classified(self, prediction: Prediction, header: FrameHeader) -> object:
        return self._make(
            _CLASSIFICATION,
            header=self._header(header),
            results=[
                self._make("vision_msgs/msg/ObjectHypothesis", class_id=result.label, score=result.score)
                for result in prediction.top(self._details.settings.top_k)
            ],
        )

    def _people(self, subjects: Iterable[SubjectResult], header: FrameHeader) -> object:
        detections = [self._person(subject, header) for subject in subjects if subject.is_on]
        return self._make(_ACTIONS, header=self._header(header), detections=detections)

    def _person(self, subject: SubjectResult, header: FrameHeader) -> object:
        top = [] if subject.prediction is None else subject.prediction.top(self._details.settings.top_k)
        place = self._make("vision_msgs/msg/Point2D", x=float(subject.box.x), y=float(subject.box.y))
        return self._make(
            "vision_msgs/msg/Detection2D",
            header=self._header(header),
            results=[
                self._make(
                    "vision_msgs/msg/ObjectHypothesisWithPose",
                    hypothesis=self._make("vision_msgs/msg/ObjectHypothesis", class_id=one.label, score=one.score),
                    pose=self._no_pose(),
                )
                for one in top
            ],
            bbox=self._make(
                "vision_msgs/msg/BoundingBox2D",
                center=self._make("vision_msgs/msg/Pose2D", position=place, theta=0.0),
                size_x=float(subject.box.width),
                size_y=float(subject.box.height),
            ),
            id=subject.track_id,
        )

    def _no_pose(self) -> object:
        """Return a pose as rclpy makes it: nowhere, not turned."""
        point = self._make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
        turn = self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self._make("geometry_msgs/msg/Pose", position=point, orientation=turn)
        return self._make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))

    def _event(self, event: Event, header: FrameHeader, subject: str = "") -> object:
        return self._make(
            _EVENT,
            header=self._header(header),
            type=event.type.value,
            label=self._details.labels[event.class_index],
            class_index=event.class_index,
            score=float(event.score),
            start=self._make("builtin_interfaces/msg/Time", **split_nanoseconds(event.start)),
            duration=self._make("builtin_interfaces/msg/Duration", **split_nanoseconds(event.duration)),
            subject=subject,
        )

    def _header(self, header: FrameHeader) -> object:
        stamp = self._make("builtin_interfaces/msg/Time", sec=header.sec, nanosec=header.nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=header.frame_id)

    def _make(self, type_name: str, **fields: Any) -> Any:
        return self._types.types[type_name](**fields)


def _bag_behind(source: FrameSource) -> BagSource | None:
    """Return the bag that `source` is or wraps; None if there is none."""
    inner: object = source
    while inner is not None and not isinstance(inner, BagSource):
        inner = getattr(inner, "source", None)
    return inner


def _open_writer(folder: Path, compression: BagCompression) -> Writer:
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    # Humble reads only this one of the two versions of metadata.yaml that rosbags writes.
    writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
    if compression == "zstd":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    writer.open()
    return writer


def _free_namespace(topics: Iterable[str]) -> str:
    """Return the node's namespace, numbered if the input has topics in it (such as the robot's own results)."""
    candidates = itertools.chain([_NAMESPACE], (f"{_NAMESPACE}_{number}" for number in itertools.count(2)))
    taken = tuple(topics)
    return next(name for name in candidates if not any(topic.startswith(f"{name}/") for topic in taken))


def _qos() -> Qos:
    """Return the QoS of the node's publishers: reliable, volatile, depth 10."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    for_ever = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
    return Qos(
        QosHistory.KEEP_LAST,
        _DEPTH,
        QosReliability.RELIABLE,
        QosDurability.VOLATILE,
        for_ever,
        for_ever,
        QosLiveliness.AUTOMATIC,
        for_ever,
        False,
    )
