"""Transitions through the real service: the impossible is refused, what fails is logged, and the node lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.ros.lifecycle import GuardedLifecycleNode, LifecycleState, TransitionCallbackReturn
from support.own_domain import Domain

pytestmark = pytest.mark.ros


class Managed(GuardedLifecycleNode):
    """Does in each transition what it is told to."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.work: dict[str, Callable[[], None]] = {}
        self.done: list[str] = []

    def _attempt(self, transition: str) -> TransitionCallbackReturn:
        def work() -> None:
            self.done.append(transition)
            self.work.get(transition, lambda: None)()

        return self.attempt(transition, work)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("configure")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("activate")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("deactivate")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("cleanup")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("error")


class Rig:
    def __init__(self, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.domain = domain
        self.node: Managed = domain.node("managed", Managed)
        self.client = domain.node("client")
        self.logged: list[str] = []
        logger = self.node.get_logger()
        monkeypatch.setattr(logger, "error", lambda text, **_: self.logged.append(text))
        monkeypatch.setattr(self.node, "get_logger", lambda: logger)

    def ask(self, label: str = "", number: int = 0) -> bool:
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        return bool(self.domain.call(self.client, ChangeState, "/managed/change_state", request).success)

    def state(self) -> str:
        answer = self.domain.call(self.client, GetState, "/managed/get_state", GetState.Request())
        assert answer.current_state.label == self.node.state
        return self.node.state


@pytest.fixture(name="rig")
def rig_fixture(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(domain, monkeypatch)


def test_the_usual_way_there_and_back(rig: Rig) -> None:
    assert rig.state() == "unconfigured"
    for label, state in (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
    ):
        assert rig.ask(label)
        assert rig.state() == state
    assert rig.node.done == ["configure", "activate", "deactivate", "cleanup"]
    assert rig.logged == []


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("", Transition.TRANSITION_ACTIVATE),
        ("", Transition.TRANSITION_CLEANUP),
        ("", 250),
        ("activate", 0),
        ("no_such_transition", 0),
    ],
)
def test_an_impossible_transition_is_refused_and_the_node_lives(rig: Rig, label: str, number: int) -> None:
    assert not rig.ask(label, number)
    assert rig.state() == "unconfigured"
    assert rig.node.done == []
    assert rig.ask("configure")
    assert rig.state() == "inactive"


def test_the_refusal_says_which_transition_in_which_state(rig: Rig) -> None:
    rig.ask(number=Transition.TRANSITION_ACTIVATE)
    # Since Kilted, rclpy refuses by itself and in its own words.
    (text,) = rig.logged
    assert str(Transition.TRANSITION_ACTIVATE) in text
    assert "'unconfigured'" in text


def raise_network_error() -> None:
    raise NetworkError("/models/x.onnx is truncated; copy it again")


def divide_by_zero() -> None:
    print(1 // 0)  # noqa: T201


def test_what_is_the_users_to_mend_leaves_the_state_as_it_was_and_can_be_tried_again(rig: Rig) -> None:
    rig.node.work["configure"] = raise_network_error
    assert not rig.ask("configure")
    assert rig.state() == "unconfigured"
    assert rig.logged == ["cannot configure: /models/x.onnx is truncated; copy it again"]
    del rig.node.work["configure"]
    assert rig.ask("configure")
    assert rig.state() == "inactive"


def test_an_activation_that_fails_leaves_it_inactive(rig: Rig) -> None:
    rig.ask("configure")
    rig.node.work["activate"] = raise_network_error
    assert not rig.ask("activate")
    assert rig.state() == "inactive"


def test_any_other_exception_is_logged_with_its_cause_and_leads_through_on_error_to_unconfigured(rig: Rig) -> None:
    rig.ask("configure")
    rig.node.work["activate"] = divide_by_zero
    assert not rig.ask("activate")
    assert rig.state() == "unconfigured"
    assert rig.node.done == ["configure", "activate", "error"]
    (text,) = rig.logged
    assert text.startswith("cannot activate:\n")
    assert "ZeroDivisionError" in text
    assert "in divide_by_zero" in text
    assert rig.ask("configure")


def test_where_recovering_fails_too_the_node_is_finalized_and_still_answers(rig: Rig) -> None:
    rig.node.work["configure"] = rig.node.work["error"] = divide_by_zero
    assert not rig.ask("configure")
    assert rig.state() == "finalized"
    assert not rig.ask("configure")
    assert rig.state() == "finalized"
