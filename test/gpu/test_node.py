"""The node, over ROS, on the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.system.resources import shared_folder
from support.clips import demo_clip

pytestmark = pytest.mark.gpu

START = 1000.25  # s
RATE = 30.0


def test_the_node_recognizes_the_bundled_clip_under_tensorrt(
    backend: TensorRTBackend, camera_motion: PreparedNetwork, cache: Path, announcer: Any, measured: Any
) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not sourced")
    pytest.importorskip("ros2_actionnet.msg", reason="the package is not built: colcon build, and source it")
    from support.ros import running_node, stamp_of

    backend.load(camera_motion, LoadOptions(engine_cache=str(cache)), announcer).close()  # so that it is there
    parameters = {"network": "camera_motion", "backend": "tensorrt", "engine_cache": str(cache)}
    with running_node(parameters) as (_, probe):
        probe.wait_until_ready()
        clip = demo_clip()
        probe.play(clip, START)
        end = START + len(clip) / RATE
        probe.wait_for(
            lambda: probe.classifications and stamp_of(probe.classifications[-1]) > end - 0.2,
            "result at the clip's end",
        )
        values = probe.diagnosis(lambda _, v: int(v.get("classifications", 0)) > 0, "with classifications")
    assert values["backend"].startswith("tensorrt ")
    segments = yaml.safe_load((shared_folder("media") / "camera_motion_demo.yaml").read_text())["segments"]
    right = whole = 0
    for segment in segments:
        begin = START + segment["start"] + (2 * camera_motion.frames - 1) / RATE
        inside = [c for c in probe.classifications if begin <= stamp_of(c) < START + segment["end"]]
        right += sum(c.results[0].class_id == segment["label"] for c in inside)
        whole += len(inside)
    measured("the node: classifications of the clip that are right", f"{right} of {whole}")
    for key in sorted(key for key in values if key.endswith("(ms)")):
        measured(f"the node: {key}", values[key])
    assert whole > 50
    assert right == whole
