"""Our node with something changed in its process that is no setting of it: what `latency` compares.

    python varied_node.py [--nice N] [--batch] [--inference-cores N] [--property NAME=VALUE] [--switch-interval S]
        [--whole]

What follows `--ros-args` goes to the node.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import Any

from ros2_actionnet.backends import BACKENDS
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.live.network_loader import NetworkLoader


def vary_threads(owner: Any, options: argparse.Namespace) -> None:
    """Let the thread of `owner`, and those of the inference library that it starts, run as `options` say."""
    run = owner._run

    def varied(self: Any) -> None:
        if options.nice:
            os.setpriority(os.PRIO_PROCESS, 0, options.nice)  # of this thread; those that it starts inherit it
        if options.batch:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        if options.inference_cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.inference_cores :])
        run(self)

    owner._run = varied


def vary_properties(changes: list[str]) -> None:
    """Compile every network with these properties of OpenVINO, NAME=VALUE, too."""
    import openvino

    compile_model = openvino.Core.compile_model

    def varied(self: Any, model: Any, device: str, properties: dict[str, Any]) -> Any:
        return compile_model(self, model, device, properties | dict(change.split("=", 1) for change in changes))

    openvino.Core.compile_model = varied


def main() -> int:
    """Run the node."""
    parser = argparse.ArgumentParser(description="Runs the node, with something changed in its process.")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the threads that infer")
    parser.add_argument("--batch", action="store_true", help="SCHED_BATCH for the threads that infer")
    parser.add_argument("--inference-cores", type=int, default=0, metavar="N", help="keep them on the last N cores")
    parser.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of OpenVINO")
    parser.add_argument("--switch-interval", type=float, default=0.0, metavar="S", help="of Python's threads")
    parser.add_argument("--whole", action="store_true", help="compute every window whole: no stem's results again")
    end = sys.argv.index("--ros-args") if "--ros-args" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:end])
    for owner in (InferenceWorker, NetworkLoader):
        vary_threads(owner, options)
    if options.property:
        vary_properties(options.property)
    if options.whole:
        BACKENDS["openvino"] = partial(OpenVINOBackend, reuse_stem=False)  # type: ignore[assignment]
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    from ros2_actionnet.ros.main import main as run_node

    return run_node(sys.argv[end:])


if __name__ == "__main__":
    sys.exit(main())
