"""Which source and which sink a URI gets, and what is said where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media import bag_sink
from ros2_actionnet.media import bag_source as bags
from ros2_actionnet.media import uris as opening
from ros2_actionnet.media.base import InputOptions, OutputOptions, RunDetails
from ros2_actionnet.media.encoder import CONTAINERS
from ros2_actionnet.media.filters import Flipped, Thinned
from ros2_actionnet.media.image_files import ImageSink, ImageSource
from ros2_actionnet.media.streams import INPUTS, OUTPUTS
from ros2_actionnet.media.uris import open_sink, open_source
from ros2_actionnet.media.video_files import VideoSink, VideoSource
from ros2_actionnet.settings import Settings
from support.videos import PictureSource, Reports, annotated, grey, levels, write_video

COUNT = 12
DETAILS = RunDetails("net", ("a",), 4, "fake", "", "", Settings(), "pictures", 25.0, (64, 48))


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """A clip, a folder of images and a folder that is a bag."""
    write_video(tmp_path / "my clip.mp4", map(grey, range(COUNT)))
    write_video(tmp_path / "no_suffix.mkv", map(grey, range(COUNT)))
    (tmp_path / "no_suffix.mkv").rename(tmp_path / "no_suffix")
    (tmp_path / "images").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), grey(index))
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    return tmp_path


def opened(uri: object, **options: Any) -> Any:
    return open_source(str(uri), InputOptions(**options), Reports())


@dataclass
class Called:
    """Stands in for a class or function: what it was called with."""

    arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        self.arguments = arguments
        return PictureSource([grey(0)])


class TestSources:
    @pytest.mark.parametrize("name", ["my clip.mp4", "no_suffix"])
    def test_a_video_is_one_whatever_it_is_called(self, name: str, folder: Path) -> None:
        source = opened(folder / name)
        assert isinstance(source, VideoSource)
        assert levels(source) == list(range(COUNT))

    @pytest.mark.parametrize(("name", "length"), [("images", 3), ("images/1.png", 1), ("images/[01].png", 2)])
    def test_images(self, name: str, length: int, folder: Path) -> None:
        source = opened(folder / name)
        assert isinstance(source, ImageSource)
        assert source.length == length

    def test_a_file_as_a_uri(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uris = [f"file://{folder}/my clip.mp4", f"file://{folder}/my%20clip.mp4", f"FILE://{folder}/my clip.mp4"]
        monkeypatch.chdir(folder)
        for uri in (*uris, "file://my clip.mp4", "my clip.mp4"):  # jetson-utils takes relative ones, too
            assert levels(opened(uri)) == list(range(COUNT))

    @pytest.mark.parametrize("name", ["bag", "some.mcap", "some.db3"])
    def test_bags(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(bags, "BagSource", called)
        (folder / "some.mcap").touch()
        (folder / "some.db3").touch()
        options = InputOptions(topic="/camera")
        open_source(str(folder / name), options, print)
        assert called.arguments == (folder / name, options, print)

    @pytest.mark.parametrize(
        ("uri", "device"),
        [
            ("/dev/video3", "/dev/video3"),
            ("v4l2:///dev/video3", "/dev/video3"),
            ("V4L2://3", "3"),
            ("3", "3"),
        ],
    )
    def test_v4l2_cameras(self, uri: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(opening, "open_v4l2", called)
        opened(uri, rate=10.0, save="kept.mkv")
        assert called.arguments[:2] == (device, InputOptions(rate=10.0, save="kept.mkv"))

    def test_csi_cameras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(opening, "open_csi", called)
        opened("csi://1")
        assert called.arguments[0] == "1"
        with pytest.raises(MediaError, match=r"'csi://1' sends uncompressed video; save the output"):
            opened("csi://1", save="kept.mkv")

    @pytest.mark.parametrize("scheme", [scheme for scheme in INPUTS if not scheme.startswith("http")])
    def test_streams(self, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setitem(opening._SOURCES, scheme, called)
        opened(f"{scheme}://host:1234/path")
        assert called.arguments[0] == f"{scheme}://host:1234/path"

    def test_web_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        file, stream = Called(), Called()
        monkeypatch.setattr(opening, "VideoSource", type("VideoSource", (), {"__new__": lambda cls, *a: file(*a)}))
        monkeypatch.setattr(opening, "open_stream", stream)
        opened("https://host/clips/clip.MP4?token=x.y")
        assert (file.arguments[0], stream.arguments) == ("https://host/clips/clip.MP4?token=x.y", ())
        opened("http://camera/video.mjpg")
        assert stream.arguments[0] == "http://camera/video.mjpg"


class TestSourceErrors:
    def test_a_file_that_is_not_there_is_named_with_those_that_are_near(self, folder: Path) -> None:
        with pytest.raises(MediaError, match=r"no file or folder '.*my_clip\.mp4'; did you mean '.*/my clip\.mp4'\?"):
            opened(folder / "my_clip.mp4")
        with pytest.raises(MediaError, match=rf"the folder '{folder}/video' does not exist either"):
            opened(folder / "video" / "clip.mp4")
        with pytest.raises(MediaError, match="xyz'; check its name"):
            opened(folder / "xyz")
        with pytest.raises(MediaError, match=r"there is no file or folder '.*/images/x\.png'"):
            opened(f"file://{folder}/images/x.png")

    def test_a_pattern_that_names_nothing(self, folder: Path) -> None:
        with pytest.raises(MediaError, match=r"\*\.jpg' contains no images"):
            opened(folder / "images" / "*.jpg")

    @pytest.mark.parametrize("uri", ["gopher://@:8554/a", "display://0", "gopher://host"])
    def test_a_scheme_that_cannot_be_read(self, uri: str) -> None:
        scheme = uri.partition(":")[0]
        with pytest.raises(MediaError, match=rf"begins with {scheme}://, which cannot be read; use one of file://"):
            opened(uri)

    def test_a_file_that_may_not_be_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "letter.mp4").write_text("dear robot")
        with pytest.raises(MediaError, match=r"letter\.mp4' cannot be opened: Invalid data"):
            opened(folder / "letter.mp4")
        (folder / "letter.png").write_text("dear robot")
        with pytest.raises(MediaError, match=r"none of the 1 images of '.*letter\.png' can be read: "):
            opened(folder / "letter.png")

    def test_images_are_not_kept(self, folder: Path) -> None:
        with pytest.raises(MediaError, match="images' is already saved; omit --input-save"):
            opened(folder / "images", save="kept.mkv")


class TestOptions:
    def test_a_flip_turns_any_source(self, folder: Path) -> None:
        cv2.imwrite(str(folder / "half.png"), np.concatenate([grey(0), grey(9)], axis=1))
        source = opened(folder / "half.png", flip="clockwise")
        assert source.size == (48, 128)
        (frame,) = source.frames()
        assert frame.picture.shape == (128, 48, 3)
        assert [int(frame.picture[row, 20, 0]) for row in (10, 110)] == [10, 82]

    def test_a_flip_that_is_none_closes_the_source_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = PictureSource()
        monkeypatch.setattr(opening, "open_v4l2", lambda *_: source)
        with pytest.raises(MediaError, match="there is no flip 'left'"):
            opened("0", flip="left")
        assert source.closed == 1

    def test_a_rate_thins_a_video_out(self, folder: Path) -> None:
        source = opened(folder / "my clip.mp4", rate=12.5)
        assert (source.rate, source.length) == (12.5, 6)
        assert levels(source) == [0, 2, 4, 6, 8, 10]

    def test_a_rate_is_when_images_come(self, folder: Path) -> None:
        assert [frame.time for frame in opened(folder / "images", rate=2.0).frames()] == [0.0, 0.5, 1.0]

    def test_a_size_scales_a_video(self, folder: Path) -> None:
        assert opened(folder / "my clip.mp4", width=32).size == (32, 24)


def sink_of(uri: object, source: Any = None, **options: Any) -> Any:
    return open_sink(str(uri), OutputOptions(**options), source or PictureSource(), DETAILS, Reports())


class TestSinks:
    @pytest.mark.parametrize("suffix", CONTAINERS)
    def test_videos(self, suffix: str, tmp_path: Path) -> None:
        for uri in (tmp_path / f"out{suffix.upper()}", f"file://{tmp_path}/out{suffix}"):
            sink = sink_of(uri)
            assert isinstance(sink, VideoSink)
            sink.close()

    @pytest.mark.parametrize("name", ["out", "out/", "out.png", "out_%04d.jpg", "out.mp4/"])
    def test_images(self, name: str, tmp_path: Path) -> None:
        assert isinstance(sink_of(f"{tmp_path}/{name}"), ImageSink)

    def test_a_bag(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(bag_sink, "BagSink", called)
        source = PictureSource()
        sink_of(tmp_path / "out.mcap", Flipped(Thinned(source, 5.0), "vertical"))
        assert called.arguments == (str(tmp_path / "out.mcap"), source, DETAILS, "zstd")

    @pytest.mark.parametrize("uri", ["display://0", "display"])
    def test_a_window(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(opening, "DisplaySink", called)
        source = PictureSource()
        sink_of(uri, source)
        assert called.arguments == (source,)

    @pytest.mark.parametrize("scheme", OUTPUTS)
    def test_streams(self, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        called = Called()
        monkeypatch.setattr(opening, "StreamSink", called)
        sink_of(f"{scheme}://host:1234/path")
        assert called.arguments[0] == f"{scheme}://host:1234/path"

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("out.db3", r"'out\.db3' ends in \.db3, which cannot be written; use a video \(\.mp4, .*a bag \(\.mcap\)"),
            ("out.xyz", r"'out\.xyz' ends in \.xyz, which cannot be written"),
            ("srt://@:8554/a", r"begins with srt://, which cannot be written; use one of file://, display://, r"),
            ("csi://0", r"begins with csi://, which cannot be written"),
        ],
    )
    def test_what_cannot_be_written_is_named_with_what_can(self, uri: str, message: str) -> None:
        with pytest.raises(MediaError, match=message):
            sink_of(uri)


class TestSave:
    def test_both_are_written(self, tmp_path: Path) -> None:
        sink = sink_of(tmp_path / "images", save=str(tmp_path / "kept.mkv"))
        assert sink.wants_pictures
        for index in range(3):
            sink.write(annotated(grey(index), index, index / 25))
        sink.close()
        assert levels(opened(tmp_path / "images")) == [0, 1, 2]
        assert levels(opened(tmp_path / "kept.mkv")) == [0, 1, 2]

    def test_the_same_file_is_written_once(self, tmp_path: Path) -> None:
        sink = sink_of(tmp_path / "out.mp4", save=str(tmp_path / "out.mp4"))
        assert isinstance(sink, VideoSink)
        sink.close()

    def test_if_it_cannot_be_kept_nothing_is_left(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"kept\.xyz' is not a video format that can be written"):
            sink_of(tmp_path / "out.mp4", save=str(tmp_path / "kept.xyz"))
        assert list(tmp_path.iterdir()) == []

    def test_both_are_closed_even_if_one_cannot_be(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sink = sink_of(tmp_path / "images", save=str(tmp_path / "kept.mkv"))
        sink.write(annotated(grey(4)))

        def fail(self: ImageSink) -> None:
            raise MediaError("the disk is full")

        monkeypatch.setattr(ImageSink, "close", fail)
        with pytest.raises(MediaError, match="the disk is full"):
            sink.close()
        assert levels(opened(tmp_path / "kept.mkv")) == [4]
