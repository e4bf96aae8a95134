"""Live pictures to RTSP clients, served by GStreamer's RTSP server in a process of the system's Python."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ros2_actionnet.errors import MediaError
from ros2_actionnet.system.text import printable
from ros2_actionnet.web import rtsp_process
from ros2_actionnet.web.listening import ListenAddress
from ros2_actionnet.web.live_encoder import EncodedPicture, LiveEncoder, LiveStream, Picture

INSTALL = "apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
_SYSTEM_PYTHON = Path("/usr/bin/python3")  # the one that python3-gi is built for
_END_TIMEOUT = 2.0  # s


class RtspOutput:
    """Shows pictures to the RTSP clients that open its address.

    Attributes:
        link: The address.
        is_watched: True while a client plays it.

    Raises MediaError if GStreamer's RTSP server is not installed, or if it cannot listen.
    """

    def __init__(
        self,
        address: ListenAddress,
        report: Callable[[str], None],
        codec: str = "",
        rate: float = 30.0,
        bitrate: int = 0,
        python: Path = _SYSTEM_PYTHON,
    ) -> None:
        """Listen; `codec` is h264 or "", `rate` in Hz, `bitrate` in bits per second (0: the default)."""
        if codec not in ("", "h264"):
            raise MediaError(f"RTSP is served as h264, not as '{printable(codec)}'; omit --output-codec")
        self._report, self.is_watched, self._closed = report, False, False
        self._encoder = LiveEncoder("h264", rate, bitrate)
        self.link = f"rtsp://{address.shown_host}:{address.port}/{address.name}"
        environment = dict(os.environ) | {rtsp_process.PASSWORD_VARIABLE: address.password}
        environment.pop("PYTHONPATH", None)  # of another Python
        program = python if python.exists() else Path(sys.executable)
        self._process = subprocess.Popen(
            [program, "-I", rtsp_process.__file__, address.host, str(address.port), address.name, address.user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C ends it through its input
        )
        answer = self._read_line()
        if answer != "ready":
            self._end_process()
            reason = printable(answer.removeprefix("error ") or "its process ended")
            if "in use" in reason:
                raise MediaError(f"port {address.port} cannot be listened at: {reason}; give another port")
            raise MediaError(
                f"serving RTSP needs GStreamer's RTSP server ({reason}): {INSTALL}; or push to a server at rtsp://HOST/NAME"
            )
        self._stream = LiveStream(self._encoder, self._deliver, lambda: self.is_watched, report)
        self._listener = threading.Thread(target=self._listen, name="RTSP server", daemon=True)
        self._listener.start()

    def publish(self, picture: Picture) -> None:
        """Show a picture; never waits."""
        self._stream.publish(picture)

    def close(self) -> None:
        """Disconnect the clients; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._end_process()
        self._stream.close()
        self._listener.join()

    def _deliver(self, picture: EncodedPicture) -> None:
        """Write a picture to the process; only the thread of the encoder waits while it is busy."""
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack(">I", len(picture.data)) + picture.data)
        self._process.stdin.flush()

    def _listen(self) -> None:
        while line := self._read_line():
            self.is_watched = line == "watched"
            if self.is_watched:
                self._encoder.request_key_frame()
        self.is_watched = False
        if not self._closed:
            self._report(f"'{self.link}' is no longer served: GStreamer's RTSP server has ended")

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode(errors="replace").strip()

    def _end_process(self) -> None:
        assert self._process.stdin is not None
        self._process.terminate()
        try:
            self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(OSError, ValueError):
            self._process.stdin.close()
