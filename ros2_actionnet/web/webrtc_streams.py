"""Live pictures to browsers, and a browser's camera from one, over WebRTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ros2_actionnet.web.listening import ListenAddress
from ros2_actionnet.web.live_encoder import EncodedPicture, LiveEncoder, LiveStream, Picture
from ros2_actionnet.web.webrtc_library import check_libraries
from ros2_actionnet.web.webrtc_peers import Camera, Viewers
from ros2_actionnet.web.webrtc_server import WebOptions, WebRtcServer


class WebRtcOutput:
    """Shows pictures to the browsers that open its page.

    Attributes:
        link: URL of the page.

    Raises MediaError if a library is missing, or if it cannot listen.
    """

    def __init__(
        self,
        address: ListenAddress,
        options: WebOptions,
        report: Callable[[str], None],
        codec: str = "",
        rate: float = 30.0,
        bitrate: int = 0,
    ) -> None:
        """Listen; `codec` is h264 ("") or vp8, `rate` in Hz, `bitrate` in bits per second (0: the default)."""
        check_libraries()
        codec = codec or "h264"
        self._address, self._encoder = address, LiveEncoder(codec, rate, bitrate)
        self._viewers = Viewers(
            codec, options.ice_servers, self._encoder.request_key_frame, self._encoder.limit_bitrate
        )
        self._server = WebRtcServer.serve("whep", address, options, lambda: self._viewers)
        self.link = self._server.link(address)
        self._stream = LiveStream(self._encoder, self._deliver, lambda: self._viewers.watching > 0, report)

    @property
    def viewers(self) -> int:
        """Number of browsers that are connected."""
        return self._viewers.watching

    def publish(self, picture: Picture) -> None:
        """Show a picture; never waits."""
        self._stream.publish(picture)

    def close(self) -> None:
        """Disconnect the viewers; may be called twice."""
        self._stream.close()
        self._server.withdraw(self._address.name)

    def _deliver(self, picture: EncodedPicture) -> None:
        self._server.loop.call_soon_threadsafe(self._viewers.deliver, picture)


class WebRtcInput:
    """Receives the camera of a browser that opens its page.

    Attributes:
        link: URL of the page.

    Raises MediaError if a library is missing, or if it cannot listen.
    """

    def __init__(self, address: ListenAddress, options: WebOptions) -> None:
        check_libraries()
        self._address, self._camera = address, Camera(options.ice_servers)
        self._server = WebRtcServer.serve("whip", address, options, lambda: self._camera)
        self.link = self._server.link(address)

    def wait(self, seconds: float) -> bool:
        """Return True once a camera sends, or False after `seconds`."""
        return self._camera.wait(seconds)

    def frames(self) -> Iterator[Any]:
        """Yield the frames (PyAV's VideoFrame) of the camera that sends now, until it ends."""
        return self._camera.frames()

    def close(self) -> None:
        """Disconnect the camera and end `frames`; may be called twice, and from any thread."""
        self._camera.interrupt()
        self._server.withdraw(self._address.name)
