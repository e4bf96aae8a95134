"""A node that waits: for its lifecycle, for its network, and for images under another name."""

from __future__ import annotations

from pathlib import Path

import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Bool

from support.networks import save_brightness_network
from support.ros import _LATCHED, IMAGE_TOPIC, running_node

pytestmark = pytest.mark.integration


def test_ready_comes_with_the_network_and_silence_says_what_to_type(tmp_path: Path) -> None:
    model = save_brightness_network(tmp_path, ("dark", "dim", "bright"))
    with running_node({"model": model, "autostart": False}) as (process, probe):
        ready: list[bool] = []
        probe.node.create_subscription(Bool, "/actionnet/ready", lambda message: ready.append(message.data), _LATCHED)
        waits = "unconfigured; waiting for: ros2 lifecycle set /actionnet configure, then activate"
        probe.wait_for(lambda: waits in process.log, "what the node waits for")
        assert probe.change_state("configure")
        probe.wait_for(lambda: probe.infos, "the loaded network")
        probe.spin(1.5)
        assert ready == []
        assert probe.change_state("activate")
        probe.wait_for(lambda: ready, "readiness")
        probe.publisher(f"{IMAGE_TOPIC}/compressed", CompressedImage)
        told = f"set image_topic:={IMAGE_TOPIC}/compressed"
        probe.diagnosis(lambda message, _: message.endswith(told), "with what to type")
        probe.wait_for(lambda: told in process.log, "the same in the log")
        assert probe.change_state("deactivate")
        probe.wait_for(lambda: len(ready) > 1, "the end of readiness")
        assert ready == [True, False]
