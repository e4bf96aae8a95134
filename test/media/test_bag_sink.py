"""Results into bags, beside the input's messages; read back by hand and by rclpy, never by rosbags alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Reader

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media import bag_sink
from ros2_actionnet.media.bag_reader import UNKNOWN_HASH, result_types
from ros2_actionnet.media.bag_sink import BagSink
from ros2_actionnet.media.bag_source import BagSource
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, MediaFrame, RunDetails
from ros2_actionnet.media.filters import Flipped, Thinned
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.settings import Settings
from support.bags import (
    IMAGE,
    ROS1_STORE,
    SENSOR_QOS,
    START,
    Message,
    Topic,
    header,
    images_topic,
    imu_topic,
    in_order,
    read_mcap,
    write_bag,
    write_humble_bag,
)
from support.clips import Clip, library_clip

COUNT = 20
LABELS = ("walk", "run", "ride")
CLASSIFICATION, EVENTS = "/actionnet/classification", "/actionnet/events"
NEW = ("vision_msgs/msg/Classification", "ros2_actionnet/msg/ActionEvent")


@pytest.fixture(name="clip", scope="module")
def clip_fixture() -> Clip:
    return [np.asarray(cv2.resize(frame, (160, 90)), np.uint8) for frame in library_clip("bikes.mp4", COUNT)]


@pytest.fixture(name="topics", scope="module")
def topics_fixture(clip: Clip) -> list[Topic]:
    """Images, and something else that begins before them and goes on after them."""
    return [imu_topic(120), images_topic(clip)]


@pytest.fixture(name="bag", scope="module")
def bag_fixture(topics: list[Topic], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", topics)


def fail(message: str) -> None:
    raise AssertionError(message)


def open_bag(path: Path, **options: Any) -> BagSource:
    return BagSource(path, InputOptions(**options), fail)


def details(source: FrameSource | None = None, **settings: Any) -> RunDetails:
    name, rate, size = (source.name, source.rate, source.size) if source else ("clip.mp4", 25.0, (160, 90))
    return RunDetails("test", LABELS, 4, "fake", "CPU", "fp32", Settings(**settings), name, rate, size)


def scores_at(index: int) -> tuple[float, float, float]:
    """Scores that differ from frame to frame; the last is under the threshold."""
    run = 0.25 + index / 100
    return 0.745 - index / 100, run, 0.005


def classified(frames: Iterable[MediaFrame], every: int = 2) -> Iterable[ClassifiedFrame]:
    """Every other frame from the third on is classified; an action begins with frame 4 and ends with frame 12."""
    prediction = None
    for frame in frames:
        is_new = frame.index >= 2 and frame.index % every == 0
        if is_new:
            scores = np.array(scores_at(frame.index), np.float32)
            prediction = Prediction(scores, LABELS, frame.index, threshold=0.01, top_k=2)
        events: tuple[Event, ...] = ()
        if frame.index == 4:
            events = (Event(EventType.BEGAN, 0, 0.7, frame.stamp - 80_000_000, 80_000_000),)
        if frame.index == 12:
            events = (Event(EventType.ENDED, 0, 0.675, frame.stamp - 400_000_000, 320_000_000),)
        yield ClassifiedFrame(frame, prediction, is_new, events, frame.picture)


def run(path: Path, source: BagSource, upto: int | None = None, **settings: Any) -> None:
    sink = BagSink(path, source, details(source, **settings))
    for result in classified(source.frames()):
        sink.write(result)
        if result.frame.index == upto:
            break
    sink.close()
    sink.close()
    source.close()


def decoded(messages: Iterable[Message], topic: str, type_name: str) -> list[tuple[int, Any]]:
    """Time of reception and content of the messages on a topic."""
    types = result_types()
    return [(m.received, types.deserialize_cdr(m.data, type_name)) for m in messages if m.topic == topic]


class TestBesideABag:
    def test_every_message_of_the_input_is_there_byte_for_byte_at_its_time(
        self, bag: Path, topics: list[Topic], tmp_path: Path
    ) -> None:
        run(tmp_path / "out", open_bag(bag))
        written = read_mcap(tmp_path / "out" / "out.mcap")
        copied = [message for message in written.messages if message.topic in ("/imu", "/camera/image_raw")]
        assert copied == in_order(topics)
        assert [message.received for message in written.messages] == sorted(m.received for m in written.messages)

    def test_types_and_quality_of_service_are_the_inputs(self, bag: Path, tmp_path: Path) -> None:
        run(tmp_path / "out", open_bag(bag))
        before, after = read_mcap(bag / "drive.mcap"), read_mcap(tmp_path / "out" / "out.mcap")
        for topic, (type_name, definition, metadata) in before.topics.items():
            assert after.topics[topic][:2] == (type_name, definition)
            assert yaml.safe_load(after.topics[topic][2]["offered_qos_profiles"])[0]["reliability"] == 2  # best effort
            assert "best_effort" in metadata["offered_qos_profiles"], "or this test shows nothing"
        with Reader(bag) as old, Reader(tmp_path / "out") as new:
            assert {(c.topic, c.digest, repr(c.ext)) for c in old.connections} < {
                (c.topic, c.digest, repr(c.ext)) for c in new.connections
            }
            (qos,) = next(c for c in new.connections if c.topic == "/imu").ext.offered_qos_profiles  # type: ignore[union-attr]
            assert qos == SENSOR_QOS

    def test_each_classification_has_its_images_header_and_time(
        self, bag: Path, topics: list[Topic], tmp_path: Path
    ) -> None:
        run(tmp_path / "out", open_bag(bag))
        messages = read_mcap(tmp_path / "out" / "out.mcap").messages
        found = decoded(messages, CLASSIFICATION, NEW[0])
        assert len(found) == 9
        for (received, message), index in zip(found, range(2, COUNT, 2), strict=True):
            assert received == topics[1].messages[index][0]
            assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, index * 40_000_000)
            assert message.header.frame_id == "camera"
            walk, ride, _ = np.array(scores_at(index), np.float32)
            assert [(r.class_id, r.score) for r in message.results] == [("walk", walk), ("run", ride)]
        # Who plays the bag gets the image first.
        at = [message.topic for message in messages].index(CLASSIFICATION)
        assert messages[at - 1].topic == "/camera/image_raw"

    def test_events_say_when_and_how_long(self, bag: Path, tmp_path: Path) -> None:
        run(tmp_path / "out", open_bag(bag))
        (_, began), (_, ended) = decoded(read_mcap(tmp_path / "out" / "out.mcap").messages, EVENTS, NEW[1])
        assert (began.type, began.label, began.class_index, began.score) == (began.BEGAN, "walk", 0, 0.7)
        assert (ended.type, ended.label, ended.class_index, ended.score) == (ended.ENDED, "walk", 0, 0.675)
        assert ended.header.stamp.nanosec == 480_000_000
        assert ended.start.sec == 1_700_000_000
        assert ended.start.nanosec == pytest.approx(80_000_000, abs=1000)  # a stamp in seconds is a double
        assert (ended.duration.sec, ended.duration.nanosec) == (0, 320_000_000)

    def test_a_run_that_was_stopped_leaves_a_bag_up_to_there(
        self, bag: Path, topics: list[Topic], tmp_path: Path
    ) -> None:
        run(tmp_path / "out", open_bag(bag), upto=10)
        messages = read_mcap(tmp_path / "out" / "out.mcap").messages
        assert len(decoded(messages, CLASSIFICATION, NEW[0])) == 5
        copied = [message for message in messages if not message.topic.startswith("/actionnet/")]
        assert copied == [m for m in in_order(topics) if m.received <= topics[1].messages[10][0]]

    def test_a_topic_of_the_robots_own_results_stays_as_it_is(self, bag: Path, tmp_path: Path) -> None:
        run(tmp_path / "once", open_bag(bag))
        run(tmp_path / "twice", open_bag(tmp_path / "once"), top_k=1)
        once, twice = (read_mcap(tmp_path / name / f"{name}.mcap") for name in ("once", "twice"))
        assert [message for message in twice.messages if not message.topic.startswith("/actionnet_2/")] == once.messages
        found = decoded(twice.messages, "/actionnet_2/classification", NEW[0])
        assert [[r.class_id for r in message.results] for _, message in found] == [["walk"]] * 9
        assert "/actionnet_2/events" in twice.topics

    def test_a_bag_of_humble_is_given_the_definitions_that_it_lacks(
        self, bag: Path, topics: list[Topic], tmp_path: Path
    ) -> None:
        own = Topic("/own", "robot_msgs/msg/Own", [(START + 5, b"\0\1\0\0\7")])
        humble = write_humble_bag(tmp_path / "humble", [*topics, own])
        reports: list[str] = []
        run(tmp_path / "out", BagSource(humble, InputOptions(), reports.append))
        written, jazzys = read_mcap(tmp_path / "out" / "out.mcap"), read_mcap(bag / "drive.mcap")
        for topic in ("/imu", "/camera/image_raw"):
            assert written.topics[topic][:2] == jazzys.topics[topic][:2]
        copied = [message for message in written.messages if not message.topic.startswith("/actionnet/")]
        assert copied == in_order([*topics, own])
        with Reader(bag) as old, Reader(tmp_path / "out") as new:
            hashes = {c.topic: c.digest for c in new.connections}
            assert {c.topic: c.digest for c in old.connections}.items() < hashes.items()
        assert hashes["/own"] == UNKNOWN_HASH
        assert len(reports) == 1
        assert "/own is copied without the definition of its type robot_msgs/msg/Own" in reports[0]

    @pytest.mark.parametrize("bare", [False, True])
    def test_a_type_of_the_robots_own_keeps_its_definition_and_hash(
        self, topics: list[Topic], tmp_path: Path, bare: bool
    ) -> None:
        own = Topic("/own", "robot_msgs/msg/Own", [(START + 5, b"\0\1\0\0\7")], definition="uint8 value # of ours\n")
        source = write_bag(tmp_path / "in", [*topics, own])
        run(tmp_path / "out", open_bag(source / "in.mcap" if bare else source))
        assert read_mcap(tmp_path / "out" / "out.mcap").topics["/own"][:2] == ("robot_msgs/msg/Own", own.definition)
        with Reader(tmp_path / "out") as reader:
            found = next(c.digest for c in reader.connections if c.topic == "/own")
        # A file alone does not hold the hash: it is that of the definition.
        assert (found == "RIHS01_" + 64 * "1") == (not bare)
        assert found.startswith("RIHS01_")
        assert found != UNKNOWN_HASH

    def test_broken_messages_are_copied_too(self, clip: Clip, tmp_path: Path) -> None:
        topic = images_topic(clip)
        topic.messages[5] = topic.messages[5][0], topic.messages[5][1][:99]
        reports: list[str] = []
        run(tmp_path / "out", BagSource(write_bag(tmp_path / "in", [topic]), InputOptions(), reports.append))
        assert len(reports) == 1
        messages = read_mcap(tmp_path / "out" / "out.mcap").messages
        assert [message for message in messages if message.topic == topic.name] == in_order([topic])
        found = decoded(messages, CLASSIFICATION, NEW[0])
        assert found[-1][0] == topic.messages[18][0], "the results would slip against the images"

    def test_a_source_that_changes_the_frames_of_a_bag_is_the_bag(
        self, bag: Path, topics: list[Topic], tmp_path: Path
    ) -> None:
        source = Flipped(Thinned(open_bag(bag), rate=25 / 3), "vertical")
        sink = BagSink(tmp_path / "out", source, details(source))
        for result in classified(source.frames()):
            sink.write(result)
        sink.close()
        messages = read_mcap(tmp_path / "out" / "out.mcap").messages
        assert [message for message in messages if not message.topic.startswith("/actionnet/")] == in_order(topics)
        found = decoded(messages, CLASSIFICATION, NEW[0])
        assert [received for received, _ in found] == [topics[1].messages[number][0] for number in (6, 12, 18)]
        assert [message.header.stamp.nanosec for _, message in found] == [n * 40_000_000 for n in (6, 12, 18)]


class TestUnfinished:
    """What a killed process leaves: the file as it is while it is written."""

    @pytest.mark.parametrize("name", ["out", "out.mcap"])
    def test_all_but_the_last_moments_is_in_the_file_and_can_be_read(
        self, bag: Path, topics: list[Topic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr(bag_sink, "time", SimpleNamespace(monotonic=lambda: clock.now))
        source = open_bag(bag)
        sink = BagSink(tmp_path / name, source, details(source))
        file = tmp_path / name / "out.mcap" if name == "out" else tmp_path / name
        found = 0
        for result in classified(source.frames()):
            clock.now += 0.1
            sink.write(result)
            written = read_mcap(file)
            images = [message for message in written.messages if message.topic == "/camera/image_raw"]
            assert len(images) >= result.frame.index + 1 - 5
            if len(images) > found:
                found = len(images)
                reports: list[str] = []
                again = BagSource(tmp_path / name, InputOptions(), reports.append)
                assert len(list(again.frames())) == found
                again.close()
                assert len(reports) == 1
                assert f"the {len(written.messages)} whole messages are read" in reports[0]
        assert images == in_order([topics[1]])[:found]
        sink.close()
        assert len(read_mcap(file).messages) == len(in_order(topics)) + 9 + 2
        assert [path.name for path in tmp_path.iterdir()] == [name]


class TestCompression:
    @pytest.mark.parametrize(("compression", "stored"), [("zstd", "zstd"), ("none", "")])
    def test_it_is_zstd_unless_told_otherwise(
        self, bag: Path, topics: list[Topic], tmp_path: Path, compression: Any, stored: str
    ) -> None:
        source = open_bag(bag)
        sink = BagSink(tmp_path / "out", source, details(source), compression)
        for result in classified(source.frames()):
            sink.write(result)
        sink.close()
        written = read_mcap(tmp_path / "out" / "out.mcap")
        assert written.compressions == {stored}
        assert [message for message in written.messages if not message.topic.startswith("/actionnet/")] == in_order(
            topics
        )


class TestAlone:
    def test_results_of_a_video_have_the_videos_time(self, clip: Clip, tmp_path: Path) -> None:
        sink = BagSink(tmp_path / "out", VideoDouble(), details())
        frames = (
            MediaFrame(index, index / 25, index * 40_000_000, RawImage.from_array(picture, "bgr8"))
            for index, picture in enumerate(clip)
        )
        for result in classified(frames):
            sink.write(result)
        sink.close()
        written = read_mcap(tmp_path / "out" / "out.mcap")
        assert set(written.topics) == {CLASSIFICATION, EVENTS}
        found = decoded(written.messages, CLASSIFICATION, NEW[0])
        assert [received for received, _ in found] == [index * 40_000_000 for index in range(2, COUNT, 2)]
        assert [message.header.stamp.nanosec for _, message in found] == [r for r, _ in found]
        assert found[0][1].header.frame_id == ""

    def test_a_name_that_ends_in_mcap_makes_one_file(self, bag: Path, topics: list[Topic], tmp_path: Path) -> None:
        run(tmp_path / "out.mcap", open_bag(bag))
        assert [file.name for file in tmp_path.iterdir()] == ["out.mcap"]
        assert len(read_mcap(tmp_path / "out.mcap").messages) == len(in_order(topics)) + 9 + 2

    def test_the_metadata_are_of_a_version_that_humble_reads(self, bag: Path, tmp_path: Path) -> None:
        run(tmp_path / "out", open_bag(bag))
        metadata = yaml.safe_load((tmp_path / "out" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        assert metadata["version"] == 8
        assert metadata["storage_identifier"] == "mcap"
        assert metadata["message_count"] == 120 + COUNT + 9 + 2
        topic = next(
            topic["topic_metadata"]
            for topic in metadata["topics_with_message_count"]
            if topic["topic_metadata"]["name"] == CLASSIFICATION
        )
        (qos,) = yaml.safe_load(topic["offered_qos_profiles"])  # text up to version 8, a list from 9 on
        assert (qos["history"], qos["depth"], qos["reliability"], qos["durability"]) == (1, 10, 1, 2)


class VideoDouble:
    """A source that is no bag."""

    name, rate, size, length, is_live = "clip.mp4", 25.0, (160, 90), COUNT, False

    def frames(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class TestRefusals:
    @pytest.mark.parametrize("name", ["out", "out.mcap"])
    def test_what_exists_is_not_touched(self, bag: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("precious")
        with pytest.raises(MediaError, match=f"{name}' already exists: remove it, or write the bag elsewhere"):
            BagSink(tmp_path / name, open_bag(bag), details())
        assert (tmp_path / name).read_text() == "precious"

    def test_a_bag_of_ros_1_must_be_converted(self, clip: Clip, tmp_path: Path) -> None:
        with Writer1(tmp_path / "old.bag") as writer:
            connection = writer.add_connection("/image", IMAGE, typestore=ROS1_STORE)
            picture = clip[0]
            message = ROS1_STORE.types[IMAGE](
                header(START, store=ROS1_STORE, seq=0), 90, 160, "bgr8", 0, 480, picture.reshape(-1)
            )
            writer.write(connection, START, ROS1_STORE.serialize_ros1(message, IMAGE))
        with pytest.raises(MediaError, match=r"is a ROS 1 bag, .* `rosbags-convert --src OLD.bag --dst NEW`"):
            BagSink(tmp_path / "out", open_bag(tmp_path / "old.bag"), details())
        assert not (tmp_path / "out").exists()

    def test_a_bag_that_is_played_again_cannot_be_copied(self, bag: Path, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="cannot be copied into a bag more than once"):
            BagSink(tmp_path / "out", open_bag(bag, loop=1), details())

    def test_a_folder_that_cannot_be_made_is_named(self, bag: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MediaError, match=r"the bag '.*file/out' cannot be written: "):
            BagSink(tmp_path / "file" / "out", open_bag(bag), details())


@pytest.mark.ros
class TestAgainstRos:
    def test_rclpy_reads_what_the_node_would_have_sent(self, bag: Path, clip: Clip, tmp_path: Path) -> None:
        from rclpy.serialization import deserialize_message
        from vision_msgs.msg import Classification

        from ros2_actionnet.msg import ActionEvent
        from ros2_actionnet.ros.messages import classification_message, event_message
        from support.fakes import make_network

        run(tmp_path / "out", open_bag(bag))
        messages = read_mcap(tmp_path / "out" / "out.mcap").messages
        settings, network = Settings(), make_network(labels=LABELS)
        expected: list[tuple[str, Any]] = []
        for result in classified(list(open_bag(bag).frames())):
            assert result.frame.message is not None
            head = result.frame.message.header
            if result.is_new and result.prediction:
                expected.append((CLASSIFICATION, classification_message(result.prediction, head, settings)))
            expected += [(EVENTS, event_message(event, network, head)) for event in result.events]
        found = [message for message in messages if message.topic.startswith("/actionnet/")]
        assert [message.topic for message in found] == [topic for topic, _ in expected]
        types = {CLASSIFICATION: Classification, EVENTS: ActionEvent}
        for message, (topic, wanted) in zip(found, expected, strict=True):
            assert deserialize_message(message.data, types[topic]) == wanted

    @pytest.mark.parametrize("type_name", NEW)
    def test_the_type_hashes_are_those_that_rosidl_makes(self, type_name: str) -> None:
        from ament_index_python.packages import get_package_share_directory

        package, _, name = type_name.split("/")
        description = Path(get_package_share_directory(package), "msg", f"{name}.json")
        if not description.exists():
            pytest.skip("this ROS 2 knows no type hashes (Humble)")
        hashes = {
            entry["type_name"]: entry["hash_string"] for entry in json.loads(description.read_text())["type_hashes"]
        }
        assert type_name in hashes
        types = result_types()
        assert {known: types.hash_rihs01(known) for known in hashes} == hashes
