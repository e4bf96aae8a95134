"""What other threads post runs in the executor's thread, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ros2_actionnet.ros.mailbox import Mailbox
from support.own_domain import Domain, own_domain

pytestmark = pytest.mark.ros


@pytest.fixture(name="domain", scope="module")
def domain_fixture() -> Iterator[Domain]:
    with own_domain() as domain:
        yield domain


@pytest.fixture(name="mailbox", scope="module")
def mailbox_fixture(domain: Domain) -> Mailbox:
    return Mailbox(domain.node())


def test_tasks_of_other_threads_run_in_the_executors_thread_in_their_order(domain: Domain, mailbox: Mailbox) -> None:
    ran: list[tuple[int, int]] = []

    def post_all() -> None:
        for number in range(50):
            mailbox.post(lambda number=number: ran.append((number, threading.get_ident())))  # type: ignore[misc]

    thread = threading.Thread(target=post_all)
    thread.start()
    domain.spin_until(lambda: len(ran) == 50, "all tasks")
    thread.join()
    assert ran == [(number, threading.get_ident()) for number in range(50)]


def test_nothing_runs_in_the_thread_that_posts(domain: Domain, mailbox: Mailbox) -> None:
    ran: list[int] = []
    mailbox.post(lambda: ran.append(1))
    assert ran == []
    domain.spin_until(lambda: ran == [1], "the task")


def test_a_task_may_post_another(domain: Domain, mailbox: Mailbox) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        mailbox.post(lambda: ran.append("second"))

    mailbox.post(first)
    domain.spin_until(lambda: ran == ["first", "second"], "both tasks")
