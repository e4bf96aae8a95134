"""The executable `web_view`: a page in the browser on all nodes that recognize actions, in a process of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger

from ros2_actionnet import __version__
from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.networks.catalogue import Catalogue
from ros2_actionnet.ros.mailbox import Mailbox
from ros2_actionnet.ros.web_parameters import WebParameters, on_response, resolve
from ros2_actionnet.ros.web_stream import WebStream
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import DEFAULT_PORT, Access
from ros2_actionnet.web.hub import Hub
from ros2_actionnet.web.requests import MOST_STREAMS, Value
from ros2_actionnet.web.server import PageServer

MOST_NODES = 16
"""Largest number of nodes on the page."""

_MOST_VALUES = 100  # of a diagnostic status
_MOST_STATUSES = 20
_EVENT_TYPE = "ros2_actionnet/msg/ActionEvent"


@dataclass(frozen=True)
class Options:
    """The command line; `nodes` are those to show, all if it is empty."""

    listen: str
    token: str
    read_only: bool
    nodes: tuple[str, ...]


def parse_options(arguments: list[str]) -> Options:
    """Return the options in `arguments` (without the program's name and ROS's own)."""
    parser = argparse.ArgumentParser(
        prog="web_view", description="Serves a page with the video, scores, events, health and parameters of all nodes."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="ADDRESS[:PORT]",
        help="where to serve it; 0.0.0.0 for all of this machine's addresses (default: %(default)s)",
    )
    parser.add_argument(
        "--token", default="", help="secret in the link; one is made for addresses that other machines reach"
    )
    parser.add_argument("--read-only", action="store_true", help="show everything, change nothing")
    parser.add_argument(
        "--node", dest="nodes", action="append", default=[], metavar="NAME", help="show this node (default: all)"
    )
    found = parser.parse_args(arguments)
    names = tuple(f"/{name.strip('/')}" for name in found.nodes)
    return Options(found.listen, found.token, found.read_only, names)


class _ShownNode:
    """A node on the page: its cameras, by the topics they are under, and its parameters."""

    def __init__(self, parameters: WebParameters) -> None:
        self.parameters = parameters
        self.streams: dict[str, WebStream] = {}


class WebView(Node):
    """Finds nodes by their topics of action events, and passes what they publish on to `hub`.

    It also is the `Controls` of the page's server, which may be called from any thread.
    """

    def __init__(self, only: Iterable[str] = (), context: Any = None) -> None:
        super().__init__("web_view", context=context)
        self._only = frozenset(only)
        self._mailbox = Mailbox(self)
        self.hub = Hub(lambda streams: self._mailbox.post(lambda: self._watch(streams)))
        self._nodes: dict[str, _ShownNode] = {}
        self._watched = frozenset[int]()
        self._resets: dict[str, Any] = {}
        self._count = 0
        self._suggestions = {"network": _networks()}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_subscription(ParameterEvent, "/parameter_events", self._on_parameters, 100)
        self.create_timer(1.0, self._look)

    # The controls, called from the server's thread.

    def set_parameter(self, node: str, name: str, value: Value) -> Future[str]:
        """Set a parameter of a node that is shown."""
        answer: Future[str] = Future()

        def act() -> None:
            if node not in self._nodes:
                resolve(answer, f"there is no node {printable(node)} any more")
            else:
                self._nodes[node].parameters.set(name, value, answer)

        self._mailbox.post(act)
        return answer

    def reset(self, node: str, camera: str) -> Future[str]:
        """Empty the window of a camera that is shown, or of all ("")."""
        answer: Future[str] = Future()

        def act() -> None:
            cameras = {stream.camera for stream in self._nodes[node].streams.values()} if node in self._nodes else set()
            if camera not in cameras:
                resolve(answer, f"there is no camera {printable(camera)} of {printable(node)}")
                return
            service = f"{node}/{camera}/reset" if camera else f"{node}/reset"
            if service not in self._resets:
                self._resets[service] = self.create_client(Trigger, service)
            future = self._resets[service].call_async(Trigger.Request())
            on_response(future, lambda response: resolve(answer, "" if response.success else response.message))

        self._mailbox.post(act)
        return answer

    # In the executor's thread.

    def _look(self) -> None:
        """Find nodes and cameras that have come or gone."""
        found: dict[str, dict[str, str]] = {}
        for topic, types in self.get_topic_names_and_types():
            if _EVENT_TYPE not in types or not topic.endswith("/events"):
                continue
            base = topic.removesuffix("/events")
            for publisher in self.get_publishers_info_by_topic(topic):
                name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
                if not self._only or name in self._only:
                    camera = base.removeprefix(f"{name}/") if base.startswith(f"{name}/") else ""
                    found.setdefault(name, {})[base] = camera
        for name in [name for name in self._nodes if name not in found]:
            self._remove(name)
        for name, cameras in sorted(found.items())[:MOST_NODES]:
            self._update(name, cameras)
        nodes = [
            {"name": name, "streams": [{"id": s.number, "camera": s.camera} for s in node.streams.values()]}
            for name, node in sorted(self._nodes.items())
        ]
        self.hub.retain("nodes", {"type": "nodes", "nodes": nodes})
        for node in self._nodes.values():
            node.parameters.look()

    def _update(self, name: str, cameras: dict[str, str]) -> None:
        if name not in self._nodes:
            parameters = WebParameters(
                self,
                name,
                self._suggestions,
                lambda shown: self.hub.retain(
                    f"parameters {name}", {"type": "parameters", "node": name, "parameters": shown}
                ),
            )
            self._nodes[name] = _ShownNode(parameters)
        streams = self._nodes[name].streams
        for base in [base for base in streams if base not in cameras]:
            streams.pop(base).destroy()
        for base, camera in sorted(cameras.items()):
            if base not in streams and sum(len(node.streams) for node in self._nodes.values()) < MOST_STREAMS:
                self._count += 1
                streams[base] = WebStream(self, self.hub, self._count, base, camera)
                streams[base].watch(self._count in self._watched)

    def _remove(self, name: str) -> None:
        node = self._nodes.pop(name)
        node.parameters.destroy()
        for stream in node.streams.values():
            stream.destroy()
        for service in [service for service in self._resets if service.startswith(f"{name}/")]:
            self.destroy_client(self._resets.pop(service))
        for kind in ("parameters", "health"):
            self.hub.forget(f"{kind} {name}")

    def _watch(self, streams: frozenset[int]) -> None:
        self._watched = streams
        for node in self._nodes.values():
            for stream in node.streams.values():
                stream.watch(stream.number in streams)

    def _on_parameters(self, event: ParameterEvent) -> None:
        if event.node in self._nodes:
            self._nodes[event.node].parameters.on_event(event)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses: dict[str, list[dict[str, Any]]] = {}
        for status in message.status:
            node, _, about = status.name.partition(": ")
            if node in self._nodes and len(statuses.setdefault(node, [])) < _MOST_STATUSES:
                content = {
                    "name": printable(about),
                    "level": status.level[0] if isinstance(status.level, bytes) else int(status.level),
                    "message": printable(status.message, 2000),
                    "values": [(printable(v.key), printable(v.value, 2000)) for v in status.values[:_MOST_VALUES]],
                }
                statuses[node].append(content)
        for node, contents in statuses.items():
            self.hub.retain(f"health {node}", {"type": "health", "node": node, "statuses": contents})


def _networks() -> tuple[str, ...]:
    try:
        return tuple(entry.name for entry in Catalogue.load().entries)
    except ActionNetError:
        return ()


def main(args: list[str] | None = None) -> int:
    """Run the command."""
    arguments = sys.argv if args is None else ["web_view", *args]
    options = parse_options(remove_ros_args(arguments)[1:])
    rclpy.init(args=arguments)
    server = None
    try:
        view = WebView(options.nodes)
        server = PageServer(view.hub, None if options.read_only else view, Access.of(options.listen, options.token))
        server.start()
        print(f"web_view: open {server.link}", flush=True)
        rclpy.spin(view)
    except ActionNetError as error:
        print(f"web_view: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if server is not None:
            server.stop()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
