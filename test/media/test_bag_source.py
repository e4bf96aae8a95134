"""Frames out of bags: a real clip, written in every way that bags are written, and read back pixel by pixel."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Writer1

from ros2_actionnet.errors import ImageError, MediaError
from ros2_actionnet.images.raw_image import RawImage, to_bgr
from ros2_actionnet.media import bag_reader as bag_files
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.bag_source import BagSource
from ros2_actionnet.media.base import BagMessage, InputOptions, MediaFrame
from ros2_actionnet.recognition.frame_header import FrameHeader
from support.bags import (
    COMPRESSED,
    IMAGE,
    IMU,
    ROS1_STORE,
    START,
    STORE,
    Topic,
    bgr_image,
    compressed,
    header,
    image,
    images_topic,
    imu_topic,
    write_bag,
    write_humble_bag,
)
from support.clips import Clip, library_clip

COUNT = 20
Pictures = list[NDArray[np.uint8]]


@pytest.fixture(name="clip", scope="module")
def clip_fixture() -> Clip:
    """Frames of bikes.mp4 at a quarter of their size, which is odd: 159 x 91."""
    return [np.asarray(cv2.resize(frame, (159, 91)), np.uint8) for frame in library_clip("bikes.mp4", COUNT)]


@pytest.fixture(name="bag", scope="module")
def bag_fixture(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", [images_topic(clip), imu_topic(60)])


def fail(message: str) -> None:
    raise AssertionError(message)


def open_bag(path: Path, **options: Any) -> BagSource:
    """The bag, of which nothing may be left out."""
    return BagSource(path, InputOptions(**options), fail)


def read(path: Path, **options: Any) -> list[MediaFrame]:
    source = open_bag(path, **options)
    frames = list(source.frames())
    source.close()
    return frames


def assert_equal(frames: list[MediaFrame], pictures: Pictures) -> None:
    assert len(frames) == len(pictures)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.array_equal(frame.picture, picture)


class TestStorages:
    def test_a_bag_of_jazzy_gives_the_clip_and_what_is_known_of_it(self, bag: Path, clip: Clip) -> None:
        source = open_bag(bag)
        assert source.name == f"{bag} /camera/image_raw"
        assert source.rate == pytest.approx(25.0)
        assert source.size == (159, 91)
        assert source.length == COUNT
        assert not source.is_live
        assert not source.ended
        frames = list(source.frames())
        assert source.ended
        assert_equal(frames, clip)
        assert [frame.index for frame in frames] == list(range(COUNT))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(COUNT)])
        assert [frame.stamp for frame in frames] == [START + i * 40_000_000 for i in range(COUNT)]
        assert [frame.message.header.nanosec for frame in frames if frame.message] == [
            i * 40_000_000 for i in range(COUNT)
        ]
        assert {frame.message.header.frame_id for frame in frames if frame.message} == {"camera"}
        source.close()

    @pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
    def test_a_bare_file_and_a_folder_without_metadata_do_too(self, clip: Clip, tmp_path: Path, storage: Any) -> None:
        bag = write_bag(tmp_path / "bag", [images_topic(clip)], storage)
        (bag / "metadata.yaml").unlink()
        assert_equal(read(bag), clip)
        (file,) = bag.iterdir()
        assert_equal(read(file), clip)
        assert open_bag(file).length == COUNT

    def test_a_bag_of_humble_does_too(self, clip: Clip, tmp_path: Path) -> None:
        bag = write_humble_bag(tmp_path / "bag", [imu_topic(30), images_topic(clip)])
        assert_equal(read(bag), clip)
        assert_equal(read(bag / "bag_0.db3"), clip)
        assert open_bag(bag).length == COUNT

    @pytest.mark.parametrize("mode", ["FILE", "MESSAGE", "STORAGE"])
    def test_a_compressed_one_does_too(self, clip: Clip, tmp_path: Path, mode: str) -> None:
        assert_equal(read(write_bag(tmp_path / "bag", [images_topic(clip)], compression=mode)), clip)

    def test_one_of_several_files_does_too(self, clip: Clip, tmp_path: Path) -> None:
        split_bag(tmp_path / "bag", clip)
        assert_equal(read(tmp_path / "bag"), clip)

    def test_a_bag_of_ros_1_does_too(self, clip: Clip, tmp_path: Path) -> None:
        with Writer1(tmp_path / "old.bag") as writer:
            connection = writer.add_connection("/camera/image_raw", IMAGE, typestore=ROS1_STORE)
            for index, picture in enumerate(clip):
                stamp = START + index * 40_000_000
                message = ROS1_STORE.types[IMAGE](
                    header(stamp, store=ROS1_STORE, seq=index),
                    *picture.shape[:2],
                    "bgr8",
                    0,
                    picture.strides[0],
                    picture.reshape(-1),
                )
                writer.write(connection, stamp, ROS1_STORE.serialize_ros1(message, IMAGE))
        frames = read(tmp_path / "old.bag")
        assert_equal(frames, clip)
        assert frames[-1].time == pytest.approx((COUNT - 1) / 25)

    @pytest.mark.ros
    def test_messages_that_rclpy_serialized_do_too(self, clip: Clip, tmp_path: Path) -> None:
        from rclpy.serialization import serialize_message

        from ros2_actionnet.ros.messages import compressed_message, image_message

        raw, png = Topic("/raw", IMAGE), Topic("/png", COMPRESSED)
        for index, picture in enumerate(clip):
            head = FrameHeader(1_700_000_000, index * 40_000_000, "optical frame")
            received = START + index * 40_000_000
            data = cv2.imencode(".png", picture)[1].reshape(-1)
            raw.messages.append((received, serialize_message(image_message(picture, "bgr8", head))))
            png.messages.append((received, serialize_message(compressed_message(data, "png", head))))
        bag = write_bag(tmp_path / "bag", [raw, png])
        for topic in ("/raw", "/png"):
            frames = read(bag, topic=topic)
            assert_equal(frames, clip)
            assert frames[3].message == BagMessage(FrameHeader(1_700_000_000, 120_000_000, "optical frame"), 3)


def split_bag(path: Path, clip: Clip) -> None:
    """A bag of two files, as `ros2 bag record --max-bag-size` leaves it: of 12 frames and of the rest."""
    topic = images_topic(clip)
    parts = [topic.messages[:12], topic.messages[12:]]
    for number, messages in enumerate(parts):
        write_bag(path.with_name(f"{path.name}_{number}"), [Topic(topic.name, topic.type_name, messages)], version=8)
    path.mkdir()
    for number in range(2):
        part = path.with_name(f"{path.name}_{number}")
        (part / f"{part.name}.mcap").rename(path / f"{part.name}.mcap")
    text = (path.with_name(f"{path.name}_0") / "metadata.yaml").read_text()
    text = text.replace("message_count: 12", f"message_count: {len(clip)}")
    (path / "metadata.yaml").write_text(text.replace("- bag_0.mcap", "- bag_0.mcap\n  - bag_1.mcap"))


def encoded(picture: NDArray[np.uint8], encoding: str) -> NDArray[Any]:
    """The rows of `picture` in another encoding, as cv2 makes them."""
    deep = picture.astype(np.uint16) * 256 + 77  # the two bytes differ
    code = {"rgb8": cv2.COLOR_BGR2RGB, "mono8": cv2.COLOR_BGR2GRAY, "bgra8": cv2.COLOR_BGR2BGRA}
    if encoding in code:
        return np.asarray(cv2.cvtColor(picture, code[encoding]))
    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture[: height // 2 * 2, : width // 2 * 2], cv2.COLOR_BGR2YUV_I420)
    luma, u, v = np.split(planar.reshape(-1), [planar.size * 2 // 3, planar.size * 5 // 6])
    match encoding:
        case "bgr8":
            return picture
        case "bgr16":
            return deep
        case "mono16":
            return deep[..., 0]
        case "bayer_rggb8":
            mosaic = picture[..., 1].copy()
            mosaic[::2, ::2], mosaic[1::2, 1::2] = picture[::2, ::2, 2], picture[1::2, 1::2, 0]
            return mosaic
        case "nv12":
            return np.concatenate([luma, np.stack([u, v], 1).reshape(-1)]).reshape(-1, width // 2 * 2)
        case _:
            raise AssertionError(encoding)


class TestEncodings:
    @pytest.mark.parametrize("padding", [0, 6])
    @pytest.mark.parametrize(
        ("encoding", "big_endian"),
        [
            ("bgr8", False),
            ("rgb8", False),
            ("bgra8", False),
            ("mono8", False),
            ("bgr16", False),
            ("bgr16", True),
            ("mono16", True),
            ("bayer_rggb8", False),
            ("nv12", False),
        ],
    )
    def test_raw_images_of_any_encoding_are_what_they_were(
        self, clip: Clip, tmp_path: Path, encoding: str, big_endian: bool, padding: int
    ) -> None:
        topic, expected = Topic("/image", IMAGE), []
        for index, picture in enumerate(clip[:5]):
            rows = encoded(picture[:90, :158], encoding)
            rows = rows.astype(rows.dtype.newbyteorder(">" if big_endian else "<"))
            expected.append(to_bgr(RawImage.from_array(rows, encoding)))
            octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
            octets = np.pad(octets, ((0, 0), (0, padding)), constant_values=0xAB)
            topic.messages.append((START + index, image(START + index, octets, 90, 158, encoding, big_endian)))
        frames = read(write_bag(tmp_path / "bag", [topic]))
        assert_equal(frames, expected)
        assert frames[0].image.step == octets.shape[1]
        # The reference is not to be far from the picture itself, where color was kept.
        if encoding not in ("mono8", "mono16"):
            assert np.abs(expected[0].astype(int) - clip[0][:90, :158]).mean() < 8

    def test_jpeg_is_decoded_at_full_size_and_png_exactly(self, clip: Clip, tmp_path: Path) -> None:
        jpeg, png = Topic("/jpeg/compressed", COMPRESSED), Topic("/png/compressed", COMPRESSED)
        expected = []
        for index, picture in enumerate(clip):
            stamp = START + index * 40_000_000
            jpeg.messages.append((stamp, compressed(stamp, picture, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90])))
            png.messages.append((stamp, compressed(stamp, picture, ".png")))
            code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            expected.append(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8))
        bag = write_bag(tmp_path / "bag", [jpeg, png])
        assert_equal(read(bag, topic="/jpeg/compressed"), expected)
        assert_equal(read(bag, topic="/png/compressed"), clip)
        assert open_bag(bag, topic="/jpeg/compressed").size == (159, 91)


class TestTime:
    def test_unstamped_images_have_the_time_of_their_reception(self, clip: Clip, tmp_path: Path) -> None:
        messages = [(START + index * 100_000_000, bgr_image(0, picture)) for index, picture in enumerate(clip)]
        source = open_bag(write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)]))
        frames = list(source.frames())
        assert source.rate == pytest.approx(10)
        assert [frame.time for frame in frames] == pytest.approx([index / 10 for index in range(COUNT)])
        assert frames[2].stamp == START + 200_000_000
        assert frames[2].message is not None
        assert frames[2].message.header.stamp == 0, "the header stays the camera's, by which others find the image"

    def test_a_first_stamp_of_zero_among_others_is_a_time_like_any(self, clip: Clip, tmp_path: Path) -> None:
        stamps = [index * 40_000_000 for index in range(COUNT)]  # of a simulation, which begins at zero
        messages = [(START + stamp, bgr_image(stamp, picture)) for stamp, picture in zip(stamps, clip, strict=True)]
        frames = read(write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)]))
        assert [frame.stamp for frame in frames] == stamps

    @pytest.mark.parametrize("jump", [30_000, -1_000, -START // 10**9])
    def test_a_clock_that_is_set_leaves_no_hole_and_the_stamps_as_they_were(
        self, jump: int, clip: Clip, tmp_path: Path
    ) -> None:
        stamps = [START + index * 40_000_000 + (index >= 8) * jump * 10**9 for index in range(COUNT)]
        messages = [(START + index, bgr_image(stamp, clip[index])) for index, stamp in enumerate(stamps)]
        frames = read(write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)]))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(COUNT)])
        assert [frame.stamp for frame in frames] == stamps

    @pytest.mark.parametrize("stamped", [0, 18])
    def test_stamps_that_never_change_or_become_zero_midway_are_replaced_by_receptions(
        self, stamped: int, clip: Clip, tmp_path: Path
    ) -> None:
        stamps = [START + index * 40_000_000 if index < stamped else 0 for index in range(2 * COUNT)]
        stamps[0] = stamps[0] or 5
        stamps[1:] = [stamp or 5 * (not stamped) for stamp in stamps[1:]]
        received = [START + index * 40_000_000 for index in range(2 * COUNT)]
        messages = [(time, bgr_image(stamp, clip[0])) for time, stamp in zip(received, stamps, strict=True)]
        reports: list[str] = []
        source = BagSource(
            write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)]), InputOptions(), reports.append
        )
        frames = list(source.frames())
        assert reports == ["the stamps on /image do not change, so that the times of reception count"]
        assert [frame.stamp for frame in frames][stamped + 5 :] == received[stamped + 5 :]
        assert source.rate == pytest.approx(25, 0.01)
        assert frames[-1].time == pytest.approx((2 * COUNT - 1) / 25, abs=0.25)

    def test_the_rate_is_the_cameras_whatever_was_lost_and_however_it_jitters(self, clip: Clip, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        kept = [0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 30, 31, 32, 33]
        messages = [
            (START + index, image(START + round(number * 1e9 / 30 + random.normal(0, 5e5)), clip[0], 91, 159, "bgr8"))
            for index, number in enumerate(kept)
        ]
        assert open_bag(write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)])).rate == pytest.approx(30, 0.02)

    def test_one_image_alone_has_a_rate_too(self, clip: Clip, tmp_path: Path) -> None:
        assert open_bag(write_bag(tmp_path / "bag", [images_topic(clip[:1])])).rate == 30.0

    def test_a_loop_goes_on_counting_while_the_stamps_begin_again(self, bag: Path, clip: Clip) -> None:
        source = open_bag(bag, loop=2)
        assert source.length == 3 * COUNT
        frames = list(source.frames())
        assert_equal(frames, clip * 3)
        assert [frame.index for frame in frames] == list(range(3 * COUNT))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(3 * COUNT)])
        assert frames[COUNT].stamp == frames[0].stamp

    def test_for_ever_has_no_length(self, bag: Path) -> None:
        source = open_bag(bag, loop=-1)
        assert source.length is None
        indices = [frame.index for frame, _ in zip(source.frames(), range(5 * COUNT), strict=False)]
        assert indices == list(range(5 * COUNT))


class TestTopics:
    def test_several_image_topics_must_be_chosen_from(self, clip: Clip, tmp_path: Path) -> None:
        png = Topic("/left/compressed", COMPRESSED, [(START, compressed(START, clip[0], ".png"))])
        bag = write_bag(tmp_path / "bag", [images_topic(clip, "/left"), png, imu_topic(3)])
        expected = rf"--topic: /left \({IMAGE}, {COUNT}\), /left/compressed \({COMPRESSED}, 1\)$"
        with pytest.raises(MediaError, match=expected):
            open_bag(bag)
        assert_equal(read(bag, topic="left/compressed"), clip[:1])

    @pytest.mark.parametrize(("topic", "what"), [("", "image topic"), ("/imu", "image topic /imu")])
    def test_a_bag_without_images_says_what_it_has(self, tmp_path: Path, topic: str, what: str) -> None:
        bag = write_bag(tmp_path / "bag", [imu_topic(3)])
        with pytest.raises(MediaError, match=rf"has no {what}; it has /imu \({IMU}, 3\)$"):
            open_bag(bag, topic=topic)

    def test_a_slip_of_the_pen_is_shown_what_there_is(self, bag: Path) -> None:
        with pytest.raises(MediaError, match=rf"no image topic /camera; it has /camera/image_raw \({IMAGE}, 20\)$"):
            open_bag(bag, topic="/camera")

    def test_a_topic_on_which_nothing_came_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"no message of /image in .* was recorded"):
            open_bag(write_bag(tmp_path / "bag", [Topic("/image", IMAGE), imu_topic(3)]))


class TestDamage:
    def test_broken_messages_are_reported_and_left_out_but_counted(self, clip: Clip, tmp_path: Path) -> None:
        topic = images_topic(clip)
        for index in (0, 7):
            topic.messages[index] = topic.messages[index][0], topic.messages[index][1][:1000]
        topic.messages[9] = topic.messages[9][0], b""
        reports: list[str] = []
        source = BagSource(write_bag(tmp_path / "bag", [topic]), InputOptions(), reports.append)
        assert source.size == (159, 91)
        frames = list(source.frames())
        left = [index for index in range(COUNT) if index not in (0, 7, 9)]
        assert [frame.index for frame in frames] == left
        assert_equal(frames, [clip[index] for index in left])
        assert frames[0].time == 0.0
        assert len(reports) == 3
        assert reports[1].startswith("message 7 of /camera/image_raw is skipped: ")

    def test_a_jpeg_that_is_cut_short_is_one(self, clip: Clip, tmp_path: Path) -> None:
        topic = Topic("/image", COMPRESSED)
        for index, picture in enumerate(clip):
            topic.messages.append((START + index, compressed(START + index, picture, ".jpg")))
        whole = STORE.deserialize_cdr(topic.messages[4][1], COMPRESSED)
        whole.data = whole.data[:500]  # type: ignore[attr-defined]
        topic.messages[4] = topic.messages[4][0], bytes(STORE.serialize_cdr(whole, COMPRESSED))
        reports: list[str] = []
        source = BagSource(write_bag(tmp_path / "bag", [topic]), InputOptions(), reports.append)
        assert [frame.index for frame in source.frames()] == [index for index in range(COUNT) if index != 4]
        assert reports == [
            "message 4 of /image is skipped: a compressed image of 500 bytes with format 'bgr8; jpeg compressed bgr8' "
            "is damaged or truncated; check the camera's driver and the connection"
        ]

    def test_a_depth_image_is_left_to_who_looks_at_its_pixels(self, clip: Clip, tmp_path: Path) -> None:
        depth = clip[0].astype(np.float32)[..., 0]
        messages = [(START, image(START, depth, 91, 159, "32FC1"))]
        (frame,) = read(write_bag(tmp_path / "bag", [Topic("/depth", IMAGE, messages)]))
        with pytest.raises(ImageError, match="'32FC1' is not supported"):
            _ = frame.picture

    def test_a_bag_that_begins_with_damaged_images_is_read_on(self, tmp_path: Path, clip: Clip) -> None:
        topic = images_topic(clip)
        bad = [(received - 10**9, data[:50]) for received, data in topic.messages]
        topic.messages = bad + topic.messages
        reports: list[str] = []
        source = BagSource(write_bag(tmp_path / "bag", [topic]), InputOptions(), reports.append)
        assert source.size == (159, 91)
        assert_equal(list(source.frames()), clip)
        assert len(reports) == COUNT

    def test_where_no_message_is_an_image_it_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        message = STORE.types[COMPRESSED](header(START), "h264", np.arange(50, dtype=np.uint8))
        data = bytes(STORE.serialize_cdr(message, COMPRESSED))
        bag = write_bag(tmp_path / "bag", [Topic("/image", COMPRESSED, [(START, data)] * 3)])
        with pytest.raises(
            MediaError,
            match=r"no message of /image in .* is an image: a packet of H\.264 .* no start code",
        ):
            open_bag(bag)

    def test_a_recording_that_was_cut_short_is_refused_with_the_remedy(self, bag: Path, tmp_path: Path) -> None:
        content = (bag / "drive.mcap").read_bytes()
        (tmp_path / "cut.mcap").write_bytes(content[: len(content) // 2])
        with pytest.raises(
            MediaError, match=r"cut.mcap' cannot be read as a bag: .*; `mcap recover` of the MCAP tools"
        ):
            open_bag(tmp_path / "cut.mcap")

    @pytest.mark.parametrize("compression", ["NONE", "STORAGE"])
    def test_one_that_has_whole_messages_is_read_up_to_the_last_of_them(self, tmp_path: Path, compression: str) -> None:
        pictures = library_clip("bikes.mp4", COUNT)  # at full size: three in a chunk
        bag = write_bag(tmp_path / "bag", [images_topic(pictures)], compression=compression)
        content = (bag / "bag.mcap").read_bytes()
        (tmp_path / "cut").mkdir()
        file = tmp_path / "cut" / "cut_0.mcap"
        for end in (len(content) // 2, len(content) - 8, len(content) - 1):
            file.write_bytes(content[:end])
            for path in (file, file.parent):
                reports: list[str] = []
                frames = list(BagSource(path, InputOptions(), reports.append).frames())
                assert (len(frames) == COUNT) if end > len(content) // 2 else (COUNT // 2 - 3 <= len(frames) < COUNT)
                assert_equal(frames, pictures[: len(frames)])
                assert reports == [
                    f"'{path}' has no index, as its writer was killed or wrote none: the {len(frames)} whole messages "
                    "are read"
                ]
        assert file.read_bytes() == content[:end], "it is not changed"

    def test_zeros_that_a_lost_power_leaves_are_no_messages(self, clip: Clip, tmp_path: Path) -> None:
        content = (write_bag(tmp_path / "bag", [images_topic(clip)]) / "bag.mcap").read_bytes()
        end_of_data = content.rindex(b"\x0f" + (4).to_bytes(8, "little") + bytes(4))
        (tmp_path / "cut.mcap").write_bytes(content[:end_of_data] + bytes(5000))
        frames = list(BagSource(tmp_path / "cut.mcap", InputOptions(), lambda line: None).frames())
        assert_equal(frames, clip)

    def test_a_damaged_database_is_too(self, clip: Clip, tmp_path: Path) -> None:
        write_bag(tmp_path / "bag", [images_topic(clip)], "sqlite3")
        file = tmp_path / "bag" / "bag.db3"
        content = file.read_bytes()
        file.write_bytes(content[: len(content) * 3 // 4])
        with pytest.raises(MediaError, match=r"bag.db3' cannot be read as a bag: .*malformed; `sqlite3 OLD.db3 .dump"):
            open_bag(file)
        with pytest.raises(MediaError, match=r"malformed; `ros2 bag reindex FOLDER` .*; `sqlite3 OLD.db3 .dump"):
            open_bag(tmp_path / "bag")

    def test_damage_further_on_is_met_after_the_frames_before_it(self, clip: Clip, tmp_path: Path) -> None:
        pictures = library_clip("bikes.mp4", COUNT)  # at full size: three in a chunk, two in the last
        bag = write_bag(tmp_path / "bag", [images_topic(pictures)], compression="STORAGE")
        beginning_of_zstd = b"\x28\xb5\x2f\xfd"
        before, _, after = (bag / "bag.mcap").read_bytes().rpartition(beginning_of_zstd)
        (bag / "bag.mcap").write_bytes(before + b"ruin" + after)
        frames = []
        with pytest.raises(MediaError, match="cannot be read as a bag"):
            for frame in open_bag(bag).frames():
                frames.append(frame)
        assert_equal(frames, pictures[:18])

    def test_several_files_without_metadata_must_be_reindexed(self, clip: Clip, tmp_path: Path) -> None:
        split_bag(tmp_path / "bag", clip)
        (tmp_path / "bag" / "metadata.yaml").unlink()
        with pytest.raises(MediaError, match=r"has no metadata.yaml and 2 files: `ros2 bag reindex FOLDER`"):
            open_bag(tmp_path / "bag")
        assert_equal(read(tmp_path / "bag" / "bag_1.mcap"), clip[12:])

    @pytest.mark.parametrize(
        ("text", "why"), [("", "metadata"), ("rosbag2_bagfile_information: {version: 99}", "version 99"), ("[", "YAML")]
    )
    def test_metadata_that_make_no_sense_are_refused(self, tmp_path: Path, text: str, why: str) -> None:
        (tmp_path / "metadata.yaml").write_text(text)
        with pytest.raises(MediaError, match=rf"cannot be read as a bag: .*{why}.*; `ros2 bag reindex FOLDER`"):
            open_bag(tmp_path)

    def test_what_is_no_bag_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"there is no bag '.*nowhere.mcap'"):
            open_bag(tmp_path / "nowhere.mcap")
        with pytest.raises(MediaError, match="is not a ROS bag: give a folder"):
            open_bag(tmp_path)
        (tmp_path / "empty.db3").touch()
        with pytest.raises(MediaError, match=r"empty.db3' cannot be read as a bag"):
            open_bag(tmp_path / "empty.db3")

    def test_without_rosbags_it_says_what_to_install(self, bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bag_files, "find_spec", lambda name: None)
        with pytest.raises(MediaError, match="pip install rosbags"):
            open_bag(bag)

    def test_what_goes_into_a_bag_need_not_be_kept_again(self, bag: Path) -> None:
        with pytest.raises(MediaError, match="already saved"):
            open_bag(bag, save="copy.mcap")


def test_bags_are_told_from_other_files(bag: Path, tmp_path: Path) -> None:
    assert is_bag(bag)
    assert is_bag(bag / "drive.mcap")
    shutil.copy(bag / "drive.mcap", tmp_path / "file.mcap")
    assert is_bag(tmp_path), "a recording that was killed has no metadata.yaml"
    assert is_bag(tmp_path / "old.bag")
    (tmp_path / "images").mkdir()
    assert not is_bag(tmp_path / "images")
    assert not is_bag(tmp_path / "video.mp4")


class TestClosing:
    @pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
    def test_from_another_thread_it_ends_the_frames(self, clip: Clip, tmp_path: Path, storage: Any) -> None:
        source = open_bag(write_bag(tmp_path / "bag", [images_topic(clip)], storage), loop=-1)
        under_way, count = threading.Event(), 0

        def consume() -> None:
            nonlocal count
            for _ in source.frames():
                count += 1
                under_way.set()

        consumer = threading.Thread(target=consume)
        consumer.start()
        assert under_way.wait(20)
        source.close()
        source.close()
        consumer.join(20)
        assert not consumer.is_alive()
        assert count > 0
        assert not source.ended

    def test_before_the_first_frame_there_is_none(self, bag: Path) -> None:
        source = open_bag(bag)
        source.close()
        assert list(source.frames()) == []

    def test_a_refused_bag_is_left_closed(self, tmp_path: Path) -> None:
        write_bag(tmp_path / "bag", [imu_topic(3)], "sqlite3")
        with pytest.raises(MediaError):
            open_bag(tmp_path / "bag")
        with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
            database.execute("DELETE FROM messages")


def test_a_bag_whose_first_images_are_damaged_is_read_on(clip: Clip, tmp_path: Path) -> None:
    messages = [
        (
            START + index * 40_000_000,
            b"\0\1\0\0damaged" if index < 30 else bgr_image(START + index * 40_000_000, picture),
        )
        for index, picture in enumerate([clip[0]] * 30 + clip)
    ]
    reports: list[str] = []
    source = BagSource(write_bag(tmp_path / "bag", [Topic("/image", IMAGE, messages)]), InputOptions(), reports.append)
    assert source.size == (159, 91)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(30, 30 + COUNT))
    assert all(np.array_equal(frame.picture, picture) for frame, picture in zip(frames, clip, strict=True))
    assert len(reports) == 30


def test_a_recording_of_ros_1_in_an_mcap_file_is_named(tmp_path: Path) -> None:
    record = b"\4\0\0\0ros1\0\0\0\0"  # profile and library of the header
    (tmp_path / "old.mcap").write_bytes(b"\x89MCAP0\r\n\x01" + len(record).to_bytes(8, "little") + record)
    with pytest.raises(MediaError, match=r"old\.mcap' is a recording of ROS 1 in an MCAP file .*: give the \.bag file"):
        open_bag(tmp_path / "old.mcap")
