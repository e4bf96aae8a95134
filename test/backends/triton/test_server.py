"""Both forms of a network on a real server: their scores are those of the network here, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends import LoadOptions, Session
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.backends.triton.sequences import SequenceSession
from ros2_actionnet.backends.triton.session import WindowSession
from ros2_actionnet.errors import BackendError, ServerError
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.window_classifier import WindowClassifier, classify_together
from ros2_actionnet.settings import Settings
from support.tcp_link import TcpLink
from support.triton_server import TritonServer

FORMS = {"stateful": ("", SequenceSession), "window": ("/brightness_windows", WindowSession)}


def load(network: PreparedNetwork, device: str, timeout: float = 10.0, **options: Any) -> Session[Any]:
    return TritonBackend().load(network, LoadOptions(device, timeout=timeout, **options))


@pytest.fixture(name="here", scope="module")
def here_fixture(network: PreparedNetwork) -> Iterator[Session[Any]]:
    session = OpenVINOBackend().load(network, LoadOptions(precision="fp32"))
    yield session
    session.close()


@pytest.fixture(name="there", params=list(FORMS))
def there_fixture(
    request: pytest.FixtureRequest, network: PreparedNetwork, server: TritonServer
) -> Iterator[Session[Any]]:
    suffix, kind = FORMS[request.param]
    session = load(network, server.address + suffix, max_batch=8)
    assert type(session) is kind
    yield session
    session.close()


def random_frames(network: PreparedNetwork, count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, network.height, network.width, 3), np.uint8)


class TestScores:
    def test_they_are_those_of_the_network_here_over_gaps_repeats_and_restarts(
        self, network: PreparedNetwork, here: Session[Any], there: Session[Any]
    ) -> None:
        settings = Settings(infer_every=1)
        local, remote = WindowClassifier(here, settings), WindowClassifier(there, settings)
        samples = [Sample()] * 9 + [Sample(steps=3), Sample(), Sample(steps=9), Sample(restart=True)] + [Sample()] * 9
        compared = 0
        for frame, sample in zip(random_frames(network, len(samples)), samples, strict=True):
            for classifier in (local, remote):
                classifier.push(frame, sample)
            if local.due:
                np.testing.assert_allclose(remote.classify(), local.classify(), atol=1e-6)
                compared += 1
        assert compared == 6 + 3 + 7

    def test_windows_left_out_and_infer_every_change_nothing(
        self, network: PreparedNetwork, here: Session[Any], there: Session[Any]
    ) -> None:
        settings = Settings(infer_every=3)
        local, remote = WindowClassifier(here, settings), WindowClassifier(there, settings)
        for index, frame in enumerate(random_frames(network, 40, seed=1)):
            for classifier in (local, remote):
                classifier.push(frame, Sample())
            if local.due and index % 2:
                np.testing.assert_allclose(remote.classify(), local.classify(), atol=1e-6)

    def test_windows_of_several_streams_are_not_mixed(
        self, network: PreparedNetwork, here: Session[Any], there: Session[Any]
    ) -> None:
        streams = [(WindowClassifier(here, Settings()), WindowClassifier(there, Settings())) for _ in range(11)]
        for step in range(8):
            for number, (local, remote) in enumerate(streams):
                frame = np.full((network.height, network.width, 3), (number * 23 + step * 5) % 256, np.uint8)
                local.push(frame, Sample())
                remote.push(frame, Sample())
            if streams[0][0].due:
                expected = classify_together([local for local, _ in streams])
                np.testing.assert_allclose(classify_together([remote for _, remote in streams]), expected, atol=1e-6)

    def test_the_same_window_scores_the_same_again(self, network: PreparedNetwork, there: Session[Any]) -> None:
        ring = there.create_ring()
        for slot, frame in enumerate(random_frames(network, network.frames)):
            ring.write(slot, frame)
        first = there.infer([ring.window(0)])
        np.testing.assert_array_equal(there.infer([ring.window(0)]), first)

    def test_the_first_scores_are_not_overwritten_by_the_next(
        self, network: PreparedNetwork, there: Session[Any]
    ) -> None:
        ring = there.create_ring()
        for slot in range(network.frames):
            ring.write(slot, np.zeros((network.height, network.width, 3), np.uint8))
        dark = there.infer([ring.window(0)])
        kept = dark.copy()
        for slot in range(network.frames):
            ring.write(slot, np.full((network.height, network.width, 3), 255, np.uint8))
        bright = there.infer([ring.window(0)])
        assert (int(dark.argmax()), int(bright.argmax())) == (0, 2)
        np.testing.assert_array_equal(dark, kept)


def test_the_stateful_form_sends_one_frame_in_place_of_a_window(network: PreparedNetwork, server: TritonServer) -> None:
    sent = {}
    frames = random_frames(network, 4 + 50)
    for form, (suffix, _) in FORMS.items():
        link = TcpLink(server.address)
        session = load(network, link.address + suffix)
        classifier = WindowClassifier(session, Settings())
        for frame in frames[:4]:
            classifier.push(frame, Sample())
        classifier.classify()
        before = link.bytes_sent
        for frame in frames[4:]:
            classifier.push(frame, Sample())
            classifier.classify()
        sent[form] = (link.bytes_sent - before) / 50
        session.close()
        link.close()
    frame = network.height * network.width * 3
    overhead = sent["window"] - network.frames * frame
    assert 0 < overhead < 400
    assert frame < sent["stateful"] < frame + 400


class TestLoad:
    def test_a_model_that_is_not_there(self, network: PreparedNetwork, server: TritonServer) -> None:
        with pytest.raises(ServerError, match="has no model 'nothing' loaded: export it"):
            load(network, f"{server.address}/nothing")

    def test_another_precision_than_the_servers(self, network: PreparedNetwork, server: TritonServer) -> None:
        with pytest.raises(BackendError, match=r"precision bf16 is not what .* computes brightness in \(fp32\)"):
            load(network, server.address, precision="bf16")

    def test_nobody_at_the_address(self, network: PreparedNetwork, server: TritonServer) -> None:
        with pytest.raises(ServerError, match=r"127.0.0.1:1 cannot be reached: see that the server runs"):
            load(network, "127.0.0.1:1")

    def test_batches_are_as_large_as_the_server_takes(self, network: PreparedNetwork, server: TritonServer) -> None:
        session = load(network, server.address, max_batch=64)
        assert session.max_batch == 8
        assert (session.device, session.precision) == (f"{server.address}/brightness", "fp32")
        session.close()
