"""The node with an inference that fails when a file says so: run as a program in place of the node.

The first argument is the file; while it holds a number above 0, each inference takes one off it and raises.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ros2_actionnet.backends.openvino import OpenVINOSession
from ros2_actionnet.ros.main import main


def break_inference(control: Path) -> None:
    """Has every inference fail as long as `control` says."""
    infer = OpenVINOSession._infer

    def infer_or_fail(session: OpenVINOSession, windows: Sequence[Any]) -> Any:
        left = int(control.read_text() or 0)
        if left > 0:
            control.write_text(str(left - 1))
            raise RuntimeError("the accelerator fell off the bus")
        return infer(session, windows)

    patched: Any = OpenVINOSession
    patched._infer = infer_or_fail


if __name__ == "__main__":
    break_inference(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
