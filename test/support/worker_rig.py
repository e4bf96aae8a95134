"""A worker on fake networks, whose pace the test controls."""

from __future__ import annotations

from collections.abc import Callable

from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.settings import Settings
from support.fakes import TIMEOUT, FakeNetworks, FakeSession, RecordingListener, grey_image, make_network

N = 4  # frames of a window of every network but `long`, which has 6
FIRST, SECOND, THIRD, LONG = (Settings(network=name) for name in ("first", "second", "third", "long"))
SECOND_LABELS = ("red", "green", "blue")


class Rig:
    """A worker on fake networks, fed with frames whose grey level is their number, under a clock that stands still."""

    def __init__(self, settings: Settings = FIRST) -> None:
        self.now = 1000.0
        self.networks = FakeNetworks(
            make_network("first", frames=N),
            make_network("second", SECOND_LABELS, frames=N),
            make_network("third", ("x", "y"), frames=N),
            make_network("twins", ("run", "run"), frames=N),
            make_network("long", ("l", "m"), frames=6, size=5),
        )
        self.said = RecordingListener()
        self.fed = 0
        self.worker = InferenceWorker(self.said, self.networks.load_network, lambda: self.now)
        self.stream = self.worker.open_stream(settings, self.said)
        self.settings = settings

    def start(self) -> FakeSession:
        """Loads the first network and waits until it runs."""
        self.worker.request_network(self.settings)
        return self.wait_for_network(1)

    def start_and_hold(self) -> FakeSession:
        """Starts, and hands over a first window, whose inference waits for the session's gate."""
        session = self.start()
        session.gate.close()
        self.feed(N)
        session.gate.wait_until_reached(2)
        return session

    def wait_for_network(self, count: int) -> FakeSession:
        """Waits until `count` networks have taken over; the newest one's session."""
        self.said.wait_for(lambda: len(self.said.networks) >= count, f"network number {count}")
        assert len(self.said.networks) == count
        return self.networks.sessions[-1]

    def feed(self, count: int = 1, sample: Sample | None = None) -> None:
        """Hands over the next `count` frames; they come every 0.1 s."""
        for _ in range(count):
            header = FrameHeader(*divmod(self.fed * 100_000_000, 1_000_000_000), "camera")
            self.stream.submit(grey_image(self.fed), sample or Sample(), header, self.fed, header.stamp)
            self.fed += 1

    def feed_and_wait(self, count: int = 1) -> None:
        """Hands over the next `count` frames, each once the one before has been classified."""
        for _ in range(count):
            self.feed()
            self.wait_for_newest()

    def wait_for_frame(self, index: int) -> None:
        self.said.wait_for(lambda: self.frames[-1:] == [index], f"classification of frame {index} in {self.frames}")

    def wait_for_newest(self) -> None:
        """Waits for the classification of the newest frame handed over."""
        self.wait_for_frame(self.fed - 1)

    def fill(self, count: int = N) -> None:
        """Hands over a first window and waits for its classification."""
        self.feed(count)
        self.wait_for_newest()

    def begin_loading(self, settings: Settings) -> None:
        """Asks for another network, whose loading then waits for the gate, with its lane in place."""
        reached = self.networks.gate.reached
        self.networks.gate.close()
        self.worker.request_network(settings)
        self.networks.gate.wait_until_reached(reached + 1)

    def finish_loading(self) -> None:
        self.networks.gate.open()
        assert self.worker.wait_for_loader(TIMEOUT)

    def wait_for_problems(self, count: int) -> None:
        self.said.wait_for(lambda: len(self.said.problems) == count, f"problem {count}")

    @property
    def frames(self) -> list[int]:
        """The newest frame of each window that was classified."""
        return [result.prediction.frame for result in self.said.classified]

    @property
    def names(self) -> list[str]:
        """The network of each classification."""
        return [result.network.name for result in self.said.classified]

    def close(self) -> None:
        self.networks.gate.open()
        for session in self.networks.sessions:
            session.gate.open()
        self.worker.close(TIMEOUT)


MakeRig = Callable[..., Rig]
