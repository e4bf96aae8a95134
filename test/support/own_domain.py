"""Nodes in the test's own process, in a context and a domain of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from support.ros import TIMEOUT, unused_domain


class Domain:
    """A ROS domain that no other test is in, and one executor for its nodes."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=unused_domain())
        self.executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Any] = []

    def node(self, name: str = "node", kind: Callable[..., Any] = Node, **options: Any) -> Any:
        """A new node, which the executor runs."""
        return self.add(kind(name, context=self.context, **options))

    def add(self, node: Any) -> Any:
        """Has the executor run `node`."""
        self.executor.add_node(node)
        self._nodes.append(node)
        return node

    def spin_until(self, condition: Callable[[], Any], what: str) -> None:
        """Runs the nodes until `condition` holds; fails with `what` was waited for otherwise."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {TIMEOUT:g} s"
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, node: Any, kind: Any, name: str, request: Any) -> Any:
        """The answer of the service `name`, asked for by `node`."""
        client = node.create_client(kind, name)
        self.spin_until(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.spin_until(future.done, f"answer of {name}")
        node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        """Takes everything down."""
        self.executor.shutdown()
        for node in self._nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@contextmanager
def own_domain() -> Iterator[Domain]:
    """A `Domain` that ends with the block."""
    domain = Domain()
    try:
        yield domain
    finally:
        domain.close()
