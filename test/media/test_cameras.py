"""Cameras: what a device is asked for, and CSI cameras over a double of OpenCV's GStreamer.

There is no device here: what V4L2 itself does with the questions is not tested. Losing one is, in test_live.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media import cameras
from ros2_actionnet.media import live_source as live
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.base import InputOptions, Report
from ros2_actionnet.media.cameras import csi_pipeline, open_csi, open_v4l2
from ros2_actionnet.media.decoder import Decoded
from support.videos import Reports, grey, level


class FakeDecoder:
    """Stands in for the decoder of a device: three frames, then it is unplugged."""

    opened: list[tuple[Address, str]]
    is_live = True

    def __init__(
        self, address: Address, report: Report, size: tuple[int, int] = (0, 0), save: str = "", hardware: str = ""
    ) -> None:
        FakeDecoder.opened.append((address, save))
        self.rate, self.size, self.count = 30.0, (64, 48), 0
        self.begin = 1e9 + 100 * len(FakeDecoder.opened)

    def frames(self) -> Iterator[Decoded]:
        for index in range(3):
            self.count = index + 1
            yield Decoded(index, self.begin + index / 30, RawImage.from_array(grey(index), "bgr8"))
        raise MediaError("No such device")

    def close(self) -> None:
        """Does nothing."""


@pytest.fixture(name="device")
def device_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a device that is there."""
    FakeDecoder.opened = []
    monkeypatch.setattr(cameras, "Decoder", FakeDecoder)
    monkeypatch.setattr(live, "back_off", lambda: itertools.repeat(0.0))
    device = tmp_path / "video7"
    device.touch()
    return device


class TestV4l2:
    def test_a_device_is_asked_for_what_the_user_wants(self, device: Path) -> None:
        options = InputOptions(width=1280, height=720, rate=29.5, codec="MJPEG", save="kept.mkv")
        source = open_v4l2(str(device), options, print)
        ((address, save),) = FakeDecoder.opened
        assert (address.url, address.format, address.live) == (str(device), "v4l2", True)
        assert address.options == {
            "video_size": "1280x720",
            "framerate": "29.5",
            "input_format": "mjpeg",
            "timestamps": "abs",
        }
        assert save == "kept.mkv"
        assert (source.name, source.rate, source.size, source.is_live) == (str(device), 30.0, (64, 48), True)

    def test_else_it_gives_what_it_likes(self, device: Path) -> None:
        open_v4l2(str(device), InputOptions(), print)
        assert FakeDecoder.opened[0][0].options == {"timestamps": "abs"}

    def test_jpeg_is_asked_for_where_raw_pictures_come_slowly(
        self, device: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[Any, ...]] = []
        monkeypatch.setattr(cameras, "prefers_jpeg", lambda *arguments: not asked.append(arguments))  # type: ignore[func-returns-value]
        open_v4l2(str(device), InputOptions(width=1280, height=720, rate=15.0), print)
        assert asked == [(device, (1280, 720), 15.0)]
        assert FakeDecoder.opened[0][0].options["input_format"] == "mjpeg"
        open_v4l2(str(device), InputOptions(codec="raw", timeout=9.0), print)
        address = FakeDecoder.opened[1][0]
        assert (address.options["input_format"], address.timeout, len(asked)) == ("yuyv422", 9.0, 1)

    def test_frames_are_stamped_when_they_were_taken_and_go_on_when_it_is_plugged_in_again(self, device: Path) -> None:
        reports = Reports()
        source = open_v4l2(str(device), InputOptions(save="kept.mkv"), reports)
        frames = list(itertools.islice(source.frames(), 6))
        assert [frame.stamp / 1e9 - 1e9 for frame in frames] == pytest.approx(
            [100, 100 + 1 / 30, 100 + 2 / 30, 200, 200 + 1 / 30, 200 + 2 / 30]
        )
        assert [frame.index for frame in frames] == list(range(6))
        assert [save for _, save in FakeDecoder.opened] == ["kept.mkv", "kept-2.mkv"]
        assert reports.lines == [
            f"'{device}' is lost: No such device; it is reopened as soon as it is back",
            f"'{device}' is back after 0 s",
        ]

    def test_a_number_is_a_device(self) -> None:
        with pytest.raises(MediaError, match=r"there is no camera '/dev/video63'; (no camera was found|there are )"):
            open_v4l2("63", InputOptions(), print)

    def test_one_that_is_not_there_is_named_with_those_that_are(
        self, device: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cameras, "_DEVICES", device.parent)
        with pytest.raises(MediaError, match=rf"there is no camera '/nowhere/video0'; there are {device}"):
            open_v4l2("/nowhere/video0", InputOptions(), print)
        device.unlink()
        with pytest.raises(MediaError, match="no camera was found: check that it is plugged in"):
            open_v4l2("/nowhere/video0", InputOptions(), print)

    def test_half_a_size_and_an_unknown_codec_are_refused(self, device: Path) -> None:
        with pytest.raises(MediaError, match="give both --input-width and --input-height"):
            open_v4l2(str(device), InputOptions(width=640), print)
        with pytest.raises(MediaError, match="cameras do not send divx; use one of mjpeg, h264, h265, raw"):
            open_v4l2(str(device), InputOptions(codec="divx"), print)

    def test_what_is_no_camera_is_refused_by_ffmpeg_itself(self, tmp_path: Path) -> None:
        (tmp_path / "video0").write_text("not a device")
        with pytest.raises(MediaError, match=r"video0' cannot be opened: .*; check that it is plugged in, no other"):
            open_v4l2(str(tmp_path / "video0"), InputOptions(width=640, height=480, rate=30, codec="mjpeg"), print)

    def test_this_pyav_has_v4l2(self) -> None:
        assert av.ContainerFormat("v4l2", "r").is_input


class FakeCapture:
    """Stands in for cv2.VideoCapture on a pipeline: two pictures each time it is opened."""

    opened: list[tuple[str, int]]
    works = True

    def __init__(self, pipeline: str, api: int) -> None:
        FakeCapture.opened.append((pipeline, api))
        self.left = 2

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's
        return FakeCapture.works

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}.get(name, 0.0)

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, grey(self.left)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        """Does nothing."""


class TestCsi:
    @pytest.fixture(name="gstreamer")
    def gstreamer_fixture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeCapture.opened, FakeCapture.works = [], True
        monkeypatch.setattr(cameras, "has_gstreamer", lambda: True)
        monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
        monkeypatch.setattr(live, "back_off", lambda: itertools.repeat(0.0))

    @pytest.mark.usefixtures("gstreamer")
    def test_pictures_come_stamped_and_go_on_after_a_loss(self) -> None:
        reports = Reports()
        source = open_csi("1", InputOptions(width=640, height=480, rate=15.0), reports)
        assert (source.name, source.rate, source.size) == ("csi://1", 15.0, (64, 48))
        frames = list(itertools.islice(source.frames(), 4))
        source.close()
        assert [frame.index for frame in frames] == [0, 1, 2, 3]
        assert [int(frame.picture[0, 0, 0]) for frame in frames] == [level(1), level(0), level(1), level(0)]
        assert all(0 <= frame.time < 10 and frame.stamp > 1e18 for frame in frames)
        assert (np.diff([frame.time for frame in frames]) > 0).all()
        assert reports.lines[0].startswith("'csi://1' is lost: it delivers no more frames")
        assert {api for _, api in FakeCapture.opened} == {cv2.CAP_GSTREAMER}

    @pytest.mark.usefixtures("gstreamer")
    def test_one_that_does_not_start_is_named(self) -> None:
        FakeCapture.works = False
        with pytest.raises(MediaError, match=r"'csi://0' does not start; check whether `gst-launch-1\.0 nvargus"):
            open_csi("0", InputOptions(), print)

    def test_the_pipeline_is_made_of_what_is_wanted(self) -> None:
        assert csi_pipeline(0, InputOptions()) == (
            "nvarguscamerasrc sensor-id=0"
            " ! video/x-raw(memory:NVMM), width=1280, height=720, framerate=30000/1000, format=NV12"
            " ! nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR"
            " ! appsink drop=true max-buffers=2 sync=false"
        )
        pipeline = csi_pipeline(2, InputOptions(width=1920, height=1080, rate=59.94))
        assert "sensor-id=2 ! " in pipeline
        assert "width=1920, height=1080, framerate=59940/1000" in pipeline

    def test_an_opencv_without_gstreamer_says_which_has_it(self) -> None:
        if cameras.has_gstreamer():
            pytest.skip("this OpenCV has GStreamer")
        with pytest.raises(MediaError, match=r"'csi://0' needs an OpenCV with GStreamer, such as JetPack's"):
            open_csi("0", InputOptions(), print)

    @pytest.mark.parametrize(("word", "has"), [("YES (1.20.3)", True), ("NO", False)])
    def test_opencv_says_whether_it_has_gstreamer(self, word: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: f"  Video I/O:\n    GStreamer:    {word}\n")
        assert cameras.has_gstreamer() is has

    def test_a_name_that_is_no_number_is_refused(self) -> None:
        with pytest.raises(MediaError, match="'csi://front' does not name a camera; write csi://0"):
            open_csi("front", InputOptions(), print)
