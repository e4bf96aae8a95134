"""A server for many robots: what a link carries in each form of the network, and what many clients get of one server.

    benchmarks/run fleet                  # two minutes; needs scripts/setup --for-tests, and unshare, ip and tc

The server is Triton's own binary on this computer. The links are its loopback in a network namespace of its own, shaped
by tc, so that requests and answers share the rate.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.random_resnet import build_trivial, save
from benchmarks.report import Report, Table, milliseconds, parser, percentile
from ros2_actionnet.backends import LoadOptions, Session
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import NetworkRequest, NetworkSpec, PreparedNetwork, prepare, resolve
from support.triton_server import TritonServer, export

RATE = 15.0  # windows a second of one camera: 30 Hz, every other frame
_INSIDE = "ACTIONNET_BENCHMARK_NAMESPACE"
_FORMS = {"window": "_windows", "stateful": ""}


class Stream:
    """One camera's frames, pushed one by one."""

    def __init__(self, session: Session[Any], seed: int) -> None:
        network = session.network
        self._frames = np.random.default_rng(seed).integers(0, 256, (8, network.height, network.width, 3), np.uint8)
        self.ring = session.create_ring()
        self._pushed = 0
        for _ in range(network.frames):
            self.push()

    def push(self) -> Any:
        """Take a frame in; the window that ends with it."""
        size = self.ring.frames
        self.ring.write(self._pushed % size, self._frames[self._pushed % len(self._frames)])
        self._pushed += 1
        return self.ring.window(self._pushed % size)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--links", type=int, nargs="*", default=[10, 100, 1000], metavar="MBIT", help="rates of links")
    options.add_argument("--clients", type=int, nargs="*", default=[1, 8], metavar="N", help="numbers of clients")
    options.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    given = options.parse_args()
    if os.environ.get(_INSIDE) != "1":
        sys.exit(_run_in_namespace())
    _shell("ip link set lo mtu 1500 up")
    with TemporaryDirectory() as folder:
        report = Report(given)
        links(report, Path(folder), given)
        clients(report, Path(folder), given)
        report.close()


def _run_in_namespace() -> int:
    environment = {**os.environ, _INSIDE: "1"}
    command = ["unshare", "--net", *(["--map-root-user"] if os.getuid() else []), sys.executable, *sys.argv]
    return subprocess.run(command, env=environment, check=False).returncode


def _shell(command: str) -> None:
    subprocess.run(command.split(), check=True)


def links(report: Report, folder: Path, given: argparse.Namespace) -> None:
    """Measure how many windows a second go through links of each rate, with a network that computes next to nothing."""
    model = save(build_trivial(), folder / "trivial")
    network = prepare(NetworkSpec("trivial", model, model.with_name("labels.txt")))
    table = Table(
        f"What a link carries: {network.frames} frames of {network.width}x{network.height}, uint8",
        ("link", "form", "KB/window", "windows/s", f"cameras at {RATE:g}/s", "ms, one camera", "p95"),
        notes=(
            "KB/window: bytes on the loopback, both ways, with all headers. windows/s: eight streams of one client, "
            "as fast as they go. ms: from the request to the scores, one camera alone at 15 windows a second; "
            "-: it does not keep up.",
        ),
    )
    with _serving(network, folder / "links") as address:
        for rate in given.links:
            _shell(f"tc qdisc replace dev lo root tbf rate {rate}mbit burst 128kb latency 100ms")
            for form, suffix in _FORMS.items():
                table.rows.append((f"{rate} Mbit/s", form, *_link_row(network, address + suffix, given.seconds)))
        _shell("tc qdisc del dev lo root")
    report.add(table)


def _link_row(network: PreparedNetwork, device: str, seconds: float) -> tuple[Any, ...]:
    session = TritonBackend().load(network, LoadOptions(device, max_batch=8, timeout=30.0))
    streams = [Stream(session, seed) for seed in range(8)]
    session.infer([stream.push() for stream in streams])
    before, began, count = _bytes_sent(), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        session.infer([stream.push() for stream in streams])
        count += len(streams)
    elapsed, size = time.perf_counter() - began, (_bytes_sent() - before) / count
    paced = _paced(session, streams[0], seconds)
    session.close()
    kept_up = len(paced) >= 0.95 * seconds * RATE
    times = (milliseconds(percentile(paced, 50)), milliseconds(percentile(paced, 95))) if kept_up else ("-", "-")
    return f"{size / 1e3:.1f}", f"{count / elapsed:.0f}", int(count / elapsed / RATE), *times


def _paced(session: Session[Any], stream: Stream, seconds: float) -> list[float]:
    """Classify one camera in real time; the seconds of each inference."""
    times = []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        session.infer([stream.push()])
        times.append(time.perf_counter() - now)
        time.sleep(max(0.0, began + len(times) / RATE - time.perf_counter()))
    return times


def clients(report: Report, folder: Path, given: argparse.Namespace) -> None:
    """Measure what several client processes get of one server that runs `camera_motion` on this computer."""
    network = prepare(resolve(NetworkRequest("camera_motion")))
    table = Table(
        "Clients of one server: camera_motion, server and clients on this computer",
        ("clients", "form", "windows/s", "of one", "ms", "p95"),
        notes=("Each client is a process that asks for its next window as soon as it has the scores of the last.",),
    )
    with _serving(network, folder / "clients") as address:
        for form, suffix in _FORMS.items():
            single = 0.0
            for count in given.clients:
                with get_context("spawn").Pool(count) as pool:
                    jobs = [(address + suffix, seed, given.seconds) for seed in range(count)]
                    found = pool.starmap(_client, jobs, chunksize=1)
                rate = sum(len(times) for times in found) / given.seconds
                single = single or rate
                times = [value for one in found for value in one]
                typical, slow = (milliseconds(percentile(times, percent)) for percent in (50, 95))
                table.rows.append((count, form, f"{rate:.0f}", f"{rate / single:.2f}", typical, slow))
    report.add(table)


def _client(device: str, seed: int, seconds: float) -> list[float]:
    """Ask for one window after the other; the seconds of each."""
    network = prepare(resolve(NetworkRequest("camera_motion")))
    session = TritonBackend().load(network, LoadOptions(device, timeout=30.0))
    stream = Stream(session, seed)
    for _ in range(10):  # until the other clients have started too
        session.infer([stream.push()])
    times = []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        with suppress(BackendError):
            session.infer([stream.push()])
            times.append(time.perf_counter() - now)
    session.close()
    return times


@contextmanager
def _serving(network: PreparedNetwork, repository: Path) -> Iterator[str]:
    """A server of `network` in both forms; the context's value is HOST:PORT/NAME."""
    export(network, repository, stateful=True)
    with TritonServer(repository) as server:
        yield f"{server.address}/{network.name}"


def _bytes_sent() -> int:
    # /sys shows the namespace in which it was mounted.
    (line,) = (line for line in Path("/proc/self/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[9])


if __name__ == "__main__":
    main()
