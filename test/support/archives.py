"""Archives of networks as they are published, and a server on the loopback that hands them out well or badly."""

from __future__ import annotations

import io
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx

from support.networks import save_brightness_network

RESNET_18 = ("Action-ResNet18.tar.gz", "resnet-18-kinetics-moments.onnx", "0", "198")


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz with plain files."""
    return archive_of_members((tarfile.TarInfo(name), content) for name, content in files.items())


def archive_of_members(members: Any) -> bytes:
    """A .tar.gz with members as they are given: (TarInfo, content). Their size is the content's, unless set."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for member, content in members:
            member.size = member.size or len(content)
            tar.addfile(member, io.BytesIO(content) if content else None)
    return out.getvalue()


def resnet_18_archive(
    folder: Path, labels: tuple[str, ...], top: str = "Action-ResNet18/", filler: bytes = b""
) -> bytes:
    """An archive with the names that jetson-inference's ResNet-18 has, whose network tells how bright a window is."""
    path = save_brightness_network(folder, labels)
    model = onnx.load(str(path))
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [{"input": RESNET_18[2], "logits": RESNET_18[3]}.get(name, name) for name in names]
    model.graph.input[0].name, model.graph.output[0].name = RESNET_18[2:]
    files = {RESNET_18[1]: model.SerializeToString(), "labels.txt": "\n".join(labels).encode()}
    if filler:
        files["filler"] = filler
    return archive_of({top + name: content for name, content in files.items()})


@dataclass
class Server:
    """Answers every request with `content`, in parts if asked to, unless `answers` has something else for it."""

    content: bytes = b""
    answers: deque[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)  # path (a URL, if it was asked as a proxy) and Range
    takes_ranges: bool = True
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.requests.append((handler.path, asked))
        if self.answers:
            self.answers.popleft()(handler)
        else:
            self.serve(handler)

    def serve(
        self, handler: BaseHTTPRequestHandler, cut_after: int | None = None, headers: Mapping[str, str] = {}
    ) -> None:
        """The content, or what is asked for of it; the connection is cut after `cut_after` bytes."""
        asked, total = handler.headers.get("Range", ""), len(self.content)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.takes_ranges else 0
        if start and start >= total:
            send(handler, 416, b"", headers={"Content-Range": f"bytes */{total}"})
            return
        if start:
            headers = {**headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
        body = self.content[start:]
        send(handler, 206 if start else 200, body, body[:cut_after], headers)

    def cut(self, after: int) -> None:
        """Cuts the connection of the next request not yet spoken for."""
        self.answers.append(lambda handler: self.serve(handler, cut_after=after))

    def say(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        """Answers the next request not yet spoken for with `status`."""
        self.answers.append(lambda handler: send(handler, status, body, headers=headers))


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    sent: bytes | None = None,
    headers: Mapping[str, str] = {},
) -> None:
    """Sends a response that promises `body`, and of it no more than `sent`."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body if sent is None else sent)
    handler.close_connection = True


@contextmanager
def serving(content: bytes = b"") -> Iterator[Server]:
    """A `Server` that runs until the block ends."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
