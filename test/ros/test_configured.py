"""A configuration owns its worker: what that still reports after the end reaches nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from vision_msgs.msg import Classification, VisionInfo

from ros2_actionnet.live.inference_rounds import RunningNetwork
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.ros.configured import Callbacks, Configured
from ros2_actionnet.ros.diagnostics import HealthMonitor
from ros2_actionnet.ros.node_settings import NodeSettings
from ros2_actionnet.ros.publishers import _LATCHED
from ros2_actionnet.settings import Settings
from support.fakes import FakeNetworks, grey_image, make_network
from support.own_domain import Domain

pytestmark = pytest.mark.ros
N = 4


class Rig:
    """A node that is configured again and again, and a node that listens."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.networks = FakeNetworks(make_network("first", frames=N), make_network("second", frames=N))
        self.node = domain.node("actionnet")
        self.versions = itertools.count()
        self.changes: list[str] = []
        self.health = HealthMonitor()
        self.made: list[Configured] = []
        listener = domain.node("listener")
        self.results: list[Classification] = []
        self.infos: list[VisionInfo] = []
        listener.create_subscription(Classification, "/actionnet/classification", self.results.append, 10)
        listener.create_subscription(VisionInfo, "/actionnet/vision_info", self.infos.append, _LATCHED)

    def configure(self, network: str) -> Configured:
        """A configuration whose network runs and whose topics have found the listener."""
        count = len(self.infos)
        callbacks = Callbacks(self.changed, lambda failed, error: None)
        settings = Settings(network=network, threshold=0.0)
        load = self.networks.load_network
        self.made.append(Configured(self.node, NodeSettings.of(settings), self.health, self.versions, callbacks, load))
        self.domain.spin_until(lambda: len(self.infos) > count, f"{network} runs")
        self.domain.spin_until(
            lambda: self.node.count_subscribers("/actionnet/classification") == 1, "the listener is there"
        )
        return self.made[-1]

    def changed(self, running: RunningNetwork) -> None:
        self.changes.append(running.network.name)

    def feed(self, configured: Configured, second: int, count: int = N) -> None:
        for index in range(count):
            header = FrameHeader(second, index)
            configured.cameras[0].stream.submit(
                grey_image(index), Sample(restart=index == 0), header, index, header.stamp
            )


@pytest.fixture(name="rig")
def rig_fixture(domain: Domain) -> Iterator[Rig]:
    rig = Rig(domain)
    yield rig
    for session in rig.networks.sessions:
        session.gate.open()
    for configured in rig.made:
        configured.worker.close(10.0)


def test_an_inference_that_outlasts_its_configuration_publishes_nothing(rig: Rig) -> None:
    old = rig.configure("first")
    session = rig.networks.sessions[-1]
    session.gate.close()
    rig.feed(old, 1)
    session.gate.wait_until_reached(2)  # the first time was the warm-up
    assert not old.close(), "its thread is still inside the inference, and says so"

    new = rig.configure("second")
    session.gate.open()
    assert old.worker.close(10.0), "now it has ended"
    rig.feed(new, 2)
    rig.domain.spin_until(lambda: bool(rig.results), "a classification of the second network")
    assert [result.header.stamp.sec for result in rig.results] == [2]
    assert rig.changes == ["first", "second"]
    assert rig.health.last_error == "", "nor was it tried on topics that are gone"


def test_networks_are_numbered_over_all_configurations(rig: Rig) -> None:
    assert rig.configure("first").close()
    assert rig.configure("second").close()
    assert [(info.method, info.database_version) for info in rig.infos] == [("first", 0), ("second", 1)]


def test_what_a_load_reports_after_the_end_reaches_nobody(rig: Rig) -> None:
    configured = rig.configure("first")
    assert configured.close()
    running = configured.worker.status().running
    configured.on_problem("too late")
    configured.on_load_progress(Settings(), "too late")
    assert running is None
    assert rig.health.last_error == ""
