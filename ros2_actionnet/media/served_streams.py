"""Streams that this process serves: pictures for browsers and RTSP clients, and the camera of a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.av_support import import_av
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, InputOptions, OutputOptions, Picture, Report
from ros2_actionnet.media.decoder import Decoded
from ros2_actionnet.media.live_source import LiveSource, Pace
from ros2_actionnet.media.opencv_capture import DEFAULT_RATE
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.web.listening import parse_listen_address
from ros2_actionnet.web.rtsp_output import RtspOutput
from ros2_actionnet.web.webrtc_library import check_libraries
from ros2_actionnet.web.webrtc_streams import WebRtcInput, WebRtcOutput

_POLL = 0.5  # s


class _Output(Protocol):
    link: str

    def publish(self, picture: Picture) -> None: ...
    def close(self) -> None: ...


class ServedSink:
    """Shows annotated pictures to all viewers of a served stream, those of a file in real time; never waits for any.

    Raises MediaError if it cannot be served.
    """

    wants_pictures = True

    def __init__(self, uri: str, options: OutputOptions, source: FrameSource, report: Report) -> None:
        import_av()
        address, self._pace = parse_listen_address(uri), Pace(source.is_live)
        codec = options.codec.lower()
        self._output: _Output
        if uri.lower().startswith("rtsp:"):
            self._output = RtspOutput(address, report, codec, source.rate, options.bitrate)
        else:
            self._output = WebRtcOutput(address, options.web, report, codec, source.rate, options.bitrate)
        report(f"watch it at {self._output.link} ({address.reach})")

    def write(self, result: ClassifiedFrame) -> None:
        """Show a picture."""
        time.sleep(self._pace.wait(result.frame.time))
        if result.annotated is not None:
            self._output.publish(result.annotated)

    def close(self) -> None:
        """End the stream."""
        self._output.close()


def check_served(uri: str) -> None:
    """Raise MediaError if `uri` is no address to listen at, or if a library is missing."""
    import_av()
    parse_listen_address(uri)
    if not uri.lower().startswith("rtsp:"):
        check_libraries()


def open_browser_camera(uri: str, options: InputOptions, report: Report) -> LiveSource:
    """Wait for a browser that sends its camera, and open it. Raises MediaError if it cannot be served."""
    import_av()
    if options.save:
        raise MediaError(
            f"'{without_password(uri)}' cannot be saved as it comes, since a browser changes size and quality; "
            "save the output with --output-save"
        )
    address = parse_listen_address(uri)
    camera = WebRtcInput(address, options.web)
    report(f"open {camera.link} on the device that has the camera ({address.reach})")
    try:
        return _BrowserCamera(without_password(uri), camera, (options.width, options.height), report)
    except BaseException:
        camera.close()
        raise


class _BrowserCamera(LiveSource):
    """A source that a browser, and later perhaps another one, sends."""

    def __init__(self, name: str, camera: WebRtcInput, size: tuple[int, int], report: Report) -> None:
        self._camera = camera

        def connect(number: int) -> _Connection:
            while not camera.wait(_POLL):
                if number:  # the caller tries again
                    raise MediaError("no browser sends its camera")
            return _Connection(camera, size)

        super().__init__(name, connect, report)

    def close(self) -> None:
        """Disconnect the browser."""
        super().close()
        self._camera.close()


class _Connection:
    """The camera of one browser."""

    rate = DEFAULT_RATE
    is_live = True

    def __init__(self, camera: WebRtcInput, size: tuple[int, int]) -> None:
        """Takes the first frame; `size` is the width and height to scale to, 0 for the frame's own."""
        self._frames, self._wanted, self.count = camera.frames(), size, 0
        self._first = next(self._frames, None)
        if self._first is None:
            raise MediaError("the browser has left")
        self.size = self._first.width, self._first.height

    def frames(self) -> Iterator[Decoded]:
        """Yield the frames until the browser leaves."""
        frame, self._first = self._first, None
        while frame is not None:
            self.count += 1
            yield Decoded(self.count - 1, frame.time, self._image(frame))
            frame = next(self._frames, None)

    def close(self) -> None:
        """Do nothing: the source closes the camera."""

    def _image(self, frame: Any) -> RawImage:
        width, height = self._wanted
        if width or height:
            width = width or round(height * frame.width / frame.height)
            height = height or round(width * frame.height / frame.width)
            frame = frame.reformat(width, height)
        return RawImage.from_array(frame.to_ndarray(format="bgr24"), "bgr8")
