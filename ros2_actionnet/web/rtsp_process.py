"""Serves an H.264 stream with GStreamer's RTSP server, as a program of its own for the system's Python.

    python3 rtsp_process.py HOST PORT NAME USER

A virtual environment does not see python3-gi, which Debian builds for its own Python alone; so this program uses only
the standard library and gi. It reads pictures from standard input (length as 4 bytes, big-endian, then H.264 in Annex B
format) until its end. It writes lines to standard output: `ready` once it listens, `error REASON` if it cannot,
`watched` when a client opens the stream, and `idle` when the last one has left.
"""

import os
import struct
import sys
import threading
import time
from typing import Any

PASSWORD_VARIABLE = "ACTIONNET_RTSP_PASSWORD"
_MOST_SESSIONS = 16
_MOST_CLIENTS = 64  # connections, those without a session among them
_SESSION_WITHIN = 10  # s from the connection to a session
_LONGEST = 1 << 16  # bytes of a request's content
_WAITING = 1 << 20  # bytes of pictures that wait in GStreamer; the oldest are dropped
_KEY_FRAME = b"\0\0\0\1\x67"  # begins with the sequence parameter set
_CLEANUP_INTERVAL = 5  # s between removals of sessions whose client is gone

_PIPELINE = (
    "( appsrc name=pictures is-live=true format=time do-timestamp=true leaky-type=downstream "
    f"max-bytes={_WAITING} caps=video/x-h264,stream-format=byte-stream,alignment=au ! "
    "rtph264pay name=pay0 pt=96 )"
)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Pictures:
    """Passes the pictures of standard input to the pipeline, if there is one."""

    def __init__(self, gst: Any) -> None:
        self._gst, self._source, self._lock = gst, None, threading.Lock()
        self._plays, self._needs_key = False, False

    def prepare(self, _: Any, media: Any) -> None:
        """Begin to fill the pipeline of `media`, which all clients share: its description holds the parameter sets."""
        with self._lock:
            self._source, self._plays = media.get_element().get_child_by_name("pictures"), False
        media.connect("unprepared", self._end)
        _say("watched")

    def play(self, _: Any, __: Any) -> None:
        """Begin with a whole picture: of the one that prepared the pipeline, the first client would get a rest."""
        with self._lock:
            self._needs_key, self._plays = not self._plays, True
        _say("watched")

    def _end(self, _: Any) -> None:
        with self._lock:
            self._source = None
        _say("idle")

    def read(self) -> None:
        """Read standard input to its end, which ends this process."""
        stream = sys.stdin.buffer
        while len(head := stream.read(4)) == 4:
            data = stream.read(*struct.unpack(">I", head))
            with self._lock:
                self._needs_key &= not data.startswith(_KEY_FRAME)
                if self._source is not None and not self._needs_key:
                    self._source.emit("push-buffer", self._gst.Buffer.new_wrapped(data))
        os._exit(0)


class _Clients:
    """Bounds the number of connections, and closes those that open no session."""

    def __init__(self, glib: Any, pictures: _Pictures) -> None:
        self._glib, self._pictures = glib, pictures
        self._since = dict[Any, float]()  # by client, the monotonic time of its connection
        glib.timeout_add_seconds(1, self._close_idle)

    def connected(self, _: Any, client: Any) -> None:
        """Take a client in."""
        if len(self._since) >= _MOST_CLIENTS:
            self._glib.timeout_add(0, client.close)  # it is not ready to be closed here
            return
        self._since[client] = time.monotonic()
        client.connect("closed", lambda one: self._since.pop(one, None))
        client.connect("play-request", self._pictures.play)

    def _close_idle(self) -> bool:
        late = time.monotonic() - _SESSION_WITHIN
        for client, since in list(self._since.items()):
            if since < late and not client.session_filter(None):
                client.close()
        return True


def main(host: str, port: str, name: str, user: str) -> None:
    """Serve until standard input ends."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, Gst, GstRtspServer
    except (ImportError, ValueError) as error:
        _say(f"error {error}")
        return
    Gst.init(None)
    missing = [element for element in ("appsrc", "rtph264pay") if Gst.ElementFactory.find(element) is None]
    if missing:
        _say(f"error GStreamer has no element {missing[0]}")
        return
    server = GstRtspServer.RTSPServer.new()
    server.set_address(host or "0.0.0.0")
    server.set_service(port)
    if hasattr(server, "set_content_length_limit"):  # since GStreamer 1.18
        server.set_content_length_limit(_LONGEST)
    server.get_session_pool().set_max_sessions(_MOST_SESSIONS)
    pictures = _Pictures(Gst)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(_PIPELINE)
    factory.set_shared(True)
    factory.set_latency(0)
    factory.connect("media-configure", pictures.prepare)
    server.connect("client-connected", _Clients(GLib, pictures).connected)
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if password:
        _require_password(Gst, GstRtspServer, server, factory, user, password)
    server.get_mount_points().add_factory(f"/{name}", factory)
    if not server.attach(None):
        _say("error the address is in use")
        return
    GLib.timeout_add_seconds(_CLEANUP_INTERVAL, lambda: server.get_session_pool().cleanup() >= 0)
    threading.Thread(target=pictures.read, daemon=True).start()
    _say("ready")
    GLib.MainLoop().run()


def _require_password(gst: Any, rtsp: Any, server: Any, factory: Any, user: str, password: str) -> None:
    role = "viewer"
    allowed = f"{role}, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    auth = rtsp.RTSPAuth.new()
    token = rtsp.RTSPToken()
    token.set_string(rtsp.RTSP_TOKEN_MEDIA_FACTORY_ROLE, role)
    auth.add_basic(rtsp.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    factory.add_role_from_structure(gst.Structure.from_string(allowed)[0])


if __name__ == "__main__":
    main(*sys.argv[1:5])
