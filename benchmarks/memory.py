"""Whether the node's memory stays flat: its resident size over tens of thousands of frames."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from support.clips import library_clip
from support.ros import running_node

MEGABYTE = 1e6


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--network", default="camera_motion")
    parser.add_argument("--every", type=int, default=2_500, help="frames from one reading to the next")
    options = parser.parse_args()
    clip = library_clip("bikes.mp4", 60)
    readings: list[tuple[int, float]] = []
    with running_node({"network": options.network, "skip_frames": 0}) as (node, probe):
        probe.wait_until_ready()
        memory = psutil.Process(node.process.pid).memory_info
        for index in range(options.frames + 1):
            probe.publish(clip[index % len(clip)], 1000 + index / 30)
            probe.spin()
            if index and index % options.every == 0:
                readings.append((index, memory().rss / MEGABYTE))
                print(f"{index:7} frames   {readings[-1][1]:.1f} MB", flush=True)
        values = probe.diagnosis(lambda _, v: int(v.get("frames received", 0)) > options.frames - 100, "of all frames")
    # The first readings are of a process that still warms up.
    settled = np.asarray(readings[len(readings) // 4 :])
    slope, _ = np.polyfit(settled[:, 0], settled[:, 1], 1)
    print(f"\n{values['frames received']} frames received, {values['classifications']} classifications")
    print(f"slope {slope * 10_000:+.2f} MB in 10,000 frames; readings {settled[:, 1].min():.1f} to ", end="")
    print(f"{settled[:, 1].max():.1f} MB")


if __name__ == "__main__":
    main()
