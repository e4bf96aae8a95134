"""The topic ~/ready."""

from __future__ import annotations

from dataclasses import replace

import pytest
from std_msgs.msg import Bool

from ros2_actionnet.live.inference_rounds import RunningNetwork, WorkerStatus
from ros2_actionnet.ros.diagnostics import Health
from ros2_actionnet.ros.readiness import _LATCHED, Readiness, awaited, is_ready
from ros2_actionnet.settings import Settings
from support.fakes import make_network
from support.own_domain import Domain

pytestmark = pytest.mark.ros

WORKER = WorkerStatus(
    running=RunningNetwork(Settings(), make_network("tiny", frames=16), "openvino", "CPU", "fp32", ""),
    loading="",
    progress="",
    inferences=0,
    failed=0,
    failing=False,
)
READY = Health(state="active", worker=WORKER)


def test_ready_is_active_with_a_network_that_works() -> None:
    assert is_ready(READY)
    assert is_ready(replace(READY, worker=replace(WORKER, loading="resnet18")))  # the running one goes on meanwhile
    assert not is_ready(replace(READY, worker=replace(WORKER, running=None, loading="resnet18")))
    assert not is_ready(replace(READY, worker=replace(WORKER, failing=True)))
    assert not is_ready(replace(READY, state="inactive"))
    assert not is_ready(Health())


def test_changes_are_published_latched_and_nothing_before_the_first(domain: Domain) -> None:
    node = domain.node("actionnet")
    readiness = Readiness(node)
    early: list[bool] = []
    node.create_subscription(Bool, "/actionnet/ready", lambda message: early.append(message.data), _LATCHED)
    domain.spin_until(lambda: node.count_subscribers("/actionnet/ready"), "subscription")
    for health in (Health(), READY, READY, Health(state="inactive"), READY):
        readiness.update(health)
        domain.executor.spin_once(timeout_sec=0.1)
    domain.spin_until(lambda: len(early) >= 3, "changes")
    assert early == [True, False, True]
    late: list[bool] = []
    node.create_subscription(Bool, "/actionnet/ready", lambda message: late.append(message.data), _LATCHED)
    domain.spin_until(lambda: late, "the latched value")
    assert late == [True]


def test_a_node_that_does_not_start_by_itself_says_what_it_waits_for() -> None:
    waits = "unconfigured; waiting for: ros2 lifecycle set /robot/actionnet configure, then activate"
    assert awaited("unconfigured", "/robot/actionnet") == waits
    assert awaited("inactive", "/actionnet").endswith("ros2 lifecycle set /actionnet activate")
    assert awaited("active", "/actionnet") == ""
