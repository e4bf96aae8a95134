"""Cameras: V4L2 through PyAV, CSI on a Jetson through OpenCV's GStreamer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.base import InputOptions, Report
from ros2_actionnet.media.decoder import Decoded, Decoder
from ros2_actionnet.media.live_source import LiveSource, numbered
from ros2_actionnet.media.opencv_capture import Capture
from ros2_actionnet.media.v4l2_modes import prefers_jpeg

V4L2_FORMATS: dict[str, str] = {
    "mjpeg": "mjpeg",
    "h264": "h264",
    "h265": "hevc",
    "raw": "yuyv422",
}
"""Formats that can be requested from a camera, with FFmpeg's names for them."""

_DEVICES = Path("/dev")
_TIMEOUT = 4.0  # s
_CSI_SIZE, _CSI_RATE = (1280, 720), 30.0  # pixels and Hz, the defaults of jetson-utils


def open_v4l2(device: str, options: InputOptions, report: Report) -> LiveSource:
    """Open a V4L2 camera by its device (/dev/video0) or number; frames are stamped at capture.

    From 1280x720 on it is asked for MJPEG if its uncompressed pictures come at less than 20 Hz.

    Raises MediaError if there is no such camera or it delivers no pictures.
    """
    path = Path(f"/dev/video{device}") if device.isdigit() else Path(device)
    asked: dict[str, str] = {}
    if options.width and options.height:
        asked["video_size"] = f"{options.width}x{options.height}"
    elif options.width or options.height:
        raise MediaError(
            "a camera takes a width and a height only together: give both --input-width and --input-height"
        )
    if options.rate:
        asked["framerate"] = f"{options.rate:g}"
    if options.codec:
        if options.codec.lower() not in V4L2_FORMATS:
            raise MediaError(f"cameras do not send {options.codec}; use one of {', '.join(V4L2_FORMATS)}")
        asked["input_format"] = V4L2_FORMATS[options.codec.lower()]
    elif prefers_jpeg(path, (options.width, options.height), options.rate):
        asked["input_format"] = V4L2_FORMATS["mjpeg"]
    # The kernel's stamps, in s since 1970 instead of since boot.
    asked["timestamps"] = "abs"
    address = Address(
        str(path),
        str(path),
        "check that it is plugged in, no other program uses it and you are in the group video; "
        f"`v4l2-ctl --device {path} --list-formats-ext` lists what it supports",
        format="v4l2",
        options=asked,
        timeout=options.timeout or _TIMEOUT,
        live=True,
    )

    def connect(number: int) -> Decoder:
        if not path.exists():
            raise MediaError(f"there is no camera '{path}'; {_present()}")
        return Decoder(address, report, save=numbered(options.save, number), hardware=options.decoder)

    return LiveSource(str(path), connect, report, absolute=True)


def _present() -> str:
    found = sorted(str(path) for path in _DEVICES.glob("video*"))
    return f"there are {', '.join(found)}" if found else "no camera was found: check that it is plugged in"


def open_csi(number: str, options: InputOptions, report: Report) -> LiveSource:
    """Open a CSI camera of a Jetson by its number; frames are stamped when they leave GStreamer.

    Raises MediaError if OpenCV was built without GStreamer, or the camera does not start.
    """
    name = f"csi://{number}"
    if not number.isdigit():
        raise MediaError(f"'{name}' does not name a camera; write csi://0")
    if not has_gstreamer():
        raise MediaError(
            f"'{name}' needs an OpenCV with GStreamer, such as JetPack's (python3-opencv); the one from pip has none: "
            "pip uninstall opencv-python opencv-python-headless"
        )
    pipeline = csi_pipeline(int(number), options)

    def connect(number: int) -> _CsiCamera:
        return _CsiCamera(name, pipeline, options.rate or _CSI_RATE)

    return LiveSource(name, connect, report)


def has_gstreamer() -> bool:
    """Return True if this OpenCV can open GStreamer pipelines."""
    return re.search(r"GStreamer:\s*YES", cv2.getBuildInformation()) is not None


def csi_pipeline(number: int, options: InputOptions) -> str:
    """Return the pipeline from the camera to OpenCV, which drops frames that are not read in time."""
    width, height = options.width or _CSI_SIZE[0], options.height or _CSI_SIZE[1]
    rate = f"{round((options.rate or _CSI_RATE) * 1000)}/1000"
    return " ! ".join(
        (
            f"nvarguscamerasrc sensor-id={number}",
            f"video/x-raw(memory:NVMM), width={width}, height={height}, framerate={rate}, format=NV12",
            "nvvidconv",
            "video/x-raw, format=BGRx",
            "videoconvert",
            "video/x-raw, format=BGR",
            "appsink drop=true max-buffers=2 sync=false",
        )
    )


class _CsiCamera:
    """A running pipeline; a connection of a `LiveSource`."""

    is_live = True

    def __init__(self, name: str, pipeline: str, rate: float) -> None:
        opened = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if not opened.isOpened():
            raise MediaError(
                f"'{name}' does not start; check whether `gst-launch-1.0 nvarguscamerasrc sensor-id={name[6:]} ! "
                "fakesink` does"
            )
        self._capture, self.rate, self.count = Capture(opened, name), rate, 0
        self.size = self._capture.size

    def frames(self) -> Iterator[Decoded]:
        for picture in self._capture.pictures():
            yield Decoded(self.count, None, RawImage.from_array(picture, "bgr8"))
            self.count += 1
        raise MediaError("it delivers no more frames")

    def close(self) -> None:
        self._capture.close()
