"""What a live change costs: the gap in the results, and how long the parameter services take meanwhile.

A 30 Hz stream runs through the node while the network is changed back and forth; then parameters are set and read
while inference runs flat out, and while a network is loading.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from support.ros import Probe, running_node, stamp_of

RATE = 30.0  # Hz


class Camera:
    """Publishes 640x480 noise at 30 Hz, and spins the probe in between."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.index = 0
        self.began = time.monotonic()
        random = np.random.default_rng(0)
        self.frames = [random.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(8)]

    def step(self) -> None:
        """Publishes the next frame when it is due."""
        self.probe.spin(max(0.0, self.began + self.index / RATE - time.monotonic()))
        self.probe.publish(self.frames[self.index % 8], 1000 + self.index / RATE)
        self.index += 1

    def run(self, frames: int) -> None:
        """Publishes `frames` frames in real time."""
        for _ in range(frames):
            self.step()


def gaps_of_changes(probe: Probe, camera: Camera, values: list[dict[str, object]], changes: int) -> list[float]:
    """For each change, the stamps (s) between the last result of the old network and the first of the new one."""
    gaps = []
    for change in range(changes):
        seen, networks = len(probe.classifications), len(probe.infos)
        for result in probe.set(**values[change % 2]):
            if not result.successful:
                raise SystemExit(f"live_change: refused: {result.reason}")
        while len(probe.infos) == networks:
            camera.step()
        camera.run(20)
        stamps = [stamp_of(message) for message in probe.classifications[max(0, seen - 1) :]]
        gaps.append(float(max(np.diff(stamps))))
        print(f"  change {change + 1:2}: longest gap between results {gaps[-1] * 1e3:.0f} ms", flush=True)
    return gaps


def service_times(probe: Probe, camera: Camera, calls: int) -> list[float]:
    """How long (s) each of `calls` parameter services takes, with the stream running."""
    times = []
    for call in range(calls):
        started = time.monotonic()
        if call % 2:
            probe.set(threshold=0.01 + call * 1e-6)
        else:
            probe.get("threshold")
        times.append(time.monotonic() - started)
        if time.monotonic() - camera.began > camera.index / RATE:
            camera.step()
    return times


def summarize(name: str, times: list[float]) -> str:
    """Median, 99th percentile and maximum of `times` (s) as a row of a table."""
    p99 = float(np.percentile(times, 99))
    return f"| {name} | {median(times) * 1e3:.1f} | {p99 * 1e3:.1f} | {max(times) * 1e3:.1f} | {len(times)} |"


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a ResNet-18 in ONNX, such as random_resnet makes")
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--calls", type=int, default=300)
    options = parser.parse_args()
    resnet: dict[str, object] = {"model": str(Path(options.model).resolve())}
    camera_motion: dict[str, object] = {"model": "", "network": "camera_motion"}
    with running_node({"network": "camera_motion"}) as (_, probe):
        probe.wait_until_ready()
        camera = Camera(probe)
        camera.run(60)
        gaps = gaps_of_changes(probe, camera, [resnet, camera_motion], options.changes)
        print(
            f"\nnormal interval {2 / RATE * 1e3:.0f} ms; longest gap of {len(gaps)} changes {max(gaps) * 1e3:.0f} ms\n"
        )
        rows = [summarize("camera_motion at 30 Hz", service_times(probe, camera, options.calls))]
        probe.set(skip_frames=0, **resnet)
        camera.run(60)
        rows.append(summarize("ResNet-18 flat out (30 Hz, every frame)", service_times(probe, camera, options.calls)))
        loading: list[float] = []
        for change in range(10):
            probe.set(**[camera_motion, resnet][change % 2])
            networks = len(probe.infos)
            while len(probe.infos) == networks:
                loading += service_times(probe, camera, 4)
        rows.append(summarize("while a network is loading", loading))
        print("| parameter services | median, ms | p99, ms | max, ms | calls |\n|---|---|---|---|---|")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
