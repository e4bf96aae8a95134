"""What goes wrong with a real server: no result is stale, no call takes too long, and all comes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends import LoadOptions, Session
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import PreparedNetwork, prepare
from ros2_actionnet.networks.user_networks import network_in
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.window_classifier import WindowClassifier
from ros2_actionnet.settings import Settings
from support.networks import save_brightness_network
from support.tcp_link import TcpLink
from support.triton_server import TritonServer, export, export_misbehaving, grey_frame, why_no_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_server()), reason=why_no_server()),
    pytest.mark.timeout(300),
]

LABELS = ("dark", "dim", "bright")
LEVELS = (20, 128, 240)
TIMEOUT = 1.0  # s, the default
MARGIN = 0.9  # s, by which a busy machine may exceed it; together less than the answers of a slow server take


class Robot:
    """A stream whose pictures are dark, dim and bright in turn, so that a stale result would be a wrong one."""

    def __init__(self, network: PreparedNetwork, device: str) -> None:
        options = LoadOptions(device, timeout=TIMEOUT)
        self.network = network
        self.session: Session[Any] = TritonBackend().load(network, options)
        self.window = WindowClassifier(self.session, Settings())
        self.turn = 0
        self.longest = 0.0  # s, of all inferences

    def see(self) -> int:
        """Fill a window of the next brightness, of which one frame is new in each inference; its class."""
        self.turn += 1
        expected = self.turn % 3
        for _ in range(self.network.frames):
            self.window.push(grey_frame(self.network, LEVELS[expected]), Sample())
        return expected

    def classify(self) -> None:
        """Classify a new window, and show that the result is of this one."""
        expected = self.see()
        started = time.monotonic()
        try:
            scores = self.window.classify()
        finally:
            self.longest = max(self.longest, time.monotonic() - started)
        assert int(scores.argmax()) == expected

    def fails(self) -> str:
        """Show that there is no result; the message."""
        with pytest.raises(BackendError) as caught:
            self.classify()
        return str(caught.value)

    def comes_back(self, within: float) -> None:
        """Show that a right result comes within so many seconds, of a stream that goes on."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self.classify()
            except BackendError as error:
                assert time.monotonic() < deadline, error
                time.sleep(0.03)


@pytest.fixture(name="network", scope="module")
def network_fixture(tmp_path_factory: pytest.TempPathFactory) -> PreparedNetwork:
    return brightness(tmp_path_factory.mktemp("networks") / "brightness")


def brightness(folder: Path, labels: tuple[str, ...] = LABELS) -> PreparedNetwork:
    return prepare(network_in(save_brightness_network(folder, labels).parent))


@pytest.fixture(name="server", scope="module")
def server_fixture(network: PreparedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("server") / "repository"
    export(network, repository, stateful=True)
    with TritonServer(repository) as server:
        yield server


@pytest.fixture(name="robots")
def robots_fixture(network: PreparedNetwork, server: TritonServer) -> Iterator[list[Robot]]:
    """One robot for each form of the network."""
    robots = [Robot(network, server.address + model) for model in ("", "/brightness_windows")]
    for robot in robots:
        robot.comes_back(within=10)
        robot.comes_back(within=10)
    yield robots
    for robot in robots:
        assert robot.longest < TIMEOUT + MARGIN
        robot.session.close()


def test_killed_and_restarted_twenty_times(server: TritonServer, robots: list[Robot]) -> None:
    for _ in range(20):
        server.kill()
        for robot in robots:
            assert "cannot be reached" in robot.fails() or "answers" in robot.fails()
        server.start()
        for robot in robots:
            robot.comes_back(within=5)
            robot.comes_back(within=5)


def test_a_server_that_stands_still(server: TritonServer, robots: list[Robot]) -> None:
    server.pause()
    try:
        for robot in robots:
            for _ in range(3):
                assert f"no answer from {server.address} within 1 s" in robot.fails()
    finally:
        server.resume()
    for robot in robots:
        robot.comes_back(within=5)
        robot.comes_back(within=5)


def test_models_that_are_unloaded(server: TritonServer, robots: list[Robot]) -> None:
    with server.client() as client:
        for model in ("brightness", "brightness_windows"):
            client.unload_model(model)
        for robot in robots:
            assert "brightness" in robot.fails()
            assert "has no model 'brightness" in robot.fails()
        for model in ("brightness_windows", "brightness"):
            client.load_model(model)
    for robot in robots:
        robot.comes_back(within=5)
        robot.comes_back(within=5)


def test_the_network_behind_the_windows_is_unloaded(server: TritonServer, robots: list[Robot]) -> None:
    stateful = robots[0]
    with server.client() as client:
        client.unload_model("brightness_windows")
        assert "brightness_windows" in stateful.fails()
        client.load_model("brightness_windows")
    for robot in robots:
        robot.comes_back(within=5)


@pytest.mark.parametrize("model", ["", "/brightness_windows"])
def test_a_link_that_is_cut_and_connections_that_stay_half_open(
    network: PreparedNetwork, server: TritonServer, model: str
) -> None:
    link = TcpLink(server.address)
    robot = Robot(network, link.address + model)
    for _ in range(3):
        robot.comes_back(within=5)
        link.cut()
        cut_until = time.monotonic() + 2
        while time.monotonic() < cut_until:
            assert "no answer" in robot.fails()
        link.restore()
        robot.comes_back(within=5)
    assert robot.longest < TIMEOUT + MARGIN
    robot.session.close()
    link.close()


def test_another_network_under_the_name_is_refused_until_the_right_one_is_back(
    network: PreparedNetwork, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    export(network, repository)
    with TritonServer(repository) as server:
        robot = Robot(network, server.address)
        robot.classify()
        export(brightness(tmp_path / "brightness", ("a", "b", "c")), repository, again=True)
        server.kill()
        server.start()
        assert "has the same brightness with other labels" in robot.fails()
        export(brightness(tmp_path / "other" / "brightness", (*LABELS, "glaring")), repository, again=True)
        server.kill()
        server.start()
        message = robot.fails()
        assert "the robot's is the old one; copy or fetch the network again on the robot" in message
        export(network, repository, again=True)
        server.kill()
        server.start()
        robot.comes_back(within=5)
        robot.session.close()


@pytest.fixture(name="behave", scope="module")
def behave_fixture(
    network: PreparedNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Callable[[str], object], TritonServer]]:
    repository = tmp_path_factory.mktemp("misbehaving") / "repository"
    behavior = export_misbehaving(network, repository)
    with TritonServer(repository) as server:
        yield behavior.write_text, server


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        ("2", "no answer from .* within 1 s: the link is cut, or the server is stopped or overloaded"),
        ("shape", r"gives scores float32 \[1, 6\] in place of float32 \[1, 3\]"),
        ("nan", "gave scores that are not numbers under triton"),
    ],
)
def test_a_model_that_misbehaves_gives_no_result(
    network: PreparedNetwork,
    behave: tuple[Callable[[str], object], TritonServer],
    behavior: str,
    message: str,
) -> None:
    tell, server = behave
    tell("")
    session = TritonBackend().load(network, LoadOptions(server.address, timeout=TIMEOUT))
    ring = session.create_ring()
    assert session.infer([ring.window(0)]).shape == (1, 3)
    tell(behavior)
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(BackendError, match=message):
            session.infer([ring.window(0)])
        assert time.monotonic() - started < TIMEOUT + MARGIN, "it waited for the slow server"
    tell("")
    deadline = time.monotonic() + 10
    while True:
        try:
            scores = session.infer([ring.window(0)])
            break
        except BackendError:
            assert time.monotonic() < deadline
    np.testing.assert_allclose(scores, 1 / 3)
    session.close()
