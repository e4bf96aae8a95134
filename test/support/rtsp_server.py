"""A small RTSP server on loopback, over TCP: what is announced and sent to it, each player gets from the beginning.

It is a process of its own, because PyAV holds the interpreter's lock while it connects.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO


class RtspServer:
    """The server's process.

    Attributes:
        port: of the server, the same after it was restarted.
        url: of its one stream.
    """

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.url = f"rtsp://127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        """Starts it, with nothing to play yet."""
        program = [sys.executable, __file__, str(self.port)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """Cuts everybody off."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Stream:
    """What was sent: the description, and channel and bytes of each RTP or RTCP packet."""

    def __init__(self) -> None:
        self.description = b""
        self.packets: list[tuple[int, bytes]] = []
        self.is_complete = False  # the sender has taken leave
        self.changed = threading.Condition()

    def begin(self, description: bytes) -> None:
        with self.changed:
            self.description, self.packets, self.is_complete = description, [], False

    def take(self, channel: int, packet: bytes) -> None:
        with self.changed:
            self.packets.append((channel, packet))
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.is_complete = True
            self.changed.notify_all()

    def play(self, connection: socket.socket) -> None:
        """Sends all packets, until there are no more or the player is gone."""
        sent = 0
        while True:
            with self.changed:
                while len(self.packets) == sent and not self.is_complete:
                    self.changed.wait()
                waiting = self.packets[sent:]
            if not waiting:
                return
            for channel, packet in waiting:
                connection.sendall(struct.pack(">BBH", ord("$"), channel, len(packet)) + packet)
            sent += len(waiting)


def _serve(connection: socket.socket, stream: _Stream) -> None:
    with suppress(OSError), connection, connection.makefile("rb") as received:
        while first := received.read(1):
            if first == b"$":
                channel, length = struct.unpack(">BH", received.read(3))
                stream.take(channel, received.read(length))
            elif not _answer(connection, first + received.readline(), received, stream):
                return


def _answer(connection: socket.socket, line: bytes, received: BinaryIO, stream: _Stream) -> bool:
    """Answers a request; False if it was the last one."""
    method = line.split()[0].decode()
    headers = dict[str, str]()
    while header := received.readline().strip():
        name, _, value = header.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    body = received.read(int(headers.get("content-length", 0)))
    answer, content, status = {"CSeq": headers["cseq"], "Session": "1"}, b"", "200 OK"
    if method == "OPTIONS":
        answer["Public"] = "OPTIONS, ANNOUNCE, DESCRIBE, SETUP, RECORD, PLAY, TEARDOWN"
    elif method == "ANNOUNCE":
        stream.begin(body)
    elif method == "DESCRIBE" and stream.description:
        content = stream.description
        answer |= {"Content-Type": "application/sdp", "Content-Length": str(len(content))}
    elif method == "DESCRIBE":
        status = "404 Not Found"
    elif method == "SETUP":
        channels = re.search(r"interleaved=(\d+-\d+)", headers["transport"])
        if channels is None:
            status = "461 Unsupported Transport"
        else:
            answer["Transport"] = f"RTP/AVP/TCP;unicast;interleaved={channels[1]}"
    lines = [f"RTSP/1.0 {status}", *(f"{name}: {value}" for name, value in answer.items()), "", ""]
    connection.sendall("\r\n".join(lines).encode() + content)
    if method == "PLAY":
        stream.play(connection)
    elif method == "TEARDOWN":
        stream.end()
    return method not in ("PLAY", "TEARDOWN")


def _main() -> None:
    stream = _Stream()
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, stream), daemon=True).start()


if __name__ == "__main__":
    _main()
