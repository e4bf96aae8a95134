"""A link between a client and a server that a test can cut without either noticing."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class TcpLink:
    """Forwards the connections to a port of its own to `target` (HOST:PORT).

    While it is cut, what is sent on it is lost, and connections neither open nor close. What was open then stays
    half-open for good: only connections made after `restore` work, as after a router was restarted.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.bytes_sent = 0  # by the client
        self._generation = 0
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        self._generation += 1

    def restore(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self._is_cut = True
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self._is_cut:
                    continue  # accepted by the system, and answered by nobody
                try:
                    server = socket.create_connection(self._target, 1)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._sockets.append(server)
                for ends in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._forward, args=(*ends, self._generation, ends[0] is client), daemon=True
                    ).start()

    def _forward(self, source: socket.socket, target: socket.socket, generation: int, is_from_client: bool) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                if generation != self._generation:
                    continue
                if is_from_client:
                    self.bytes_sent += len(content)
                target.sendall(content)
            if generation == self._generation:
                target.shutdown(socket.SHUT_WR)
                if not is_from_client:
                    source.close()
