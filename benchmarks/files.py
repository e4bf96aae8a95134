"""A video file through a network into an annotated file: our pipeline, its stages alone, and the usual way beside it.

    benchmarks/run files                                # about 5 minutes
    benchmarks/run files --sizes 1280x720 --no-peers

The usual way is what mmaction2's demonstrations do: the clip is decoded into a list, every window is resized,
normalized and stacked anew in NumPy, and inferring and writing take turns. Its windows, its network and the encoder's
settings are ours.

Inference, decoding and encoding on the CPU share its cores, so that no pipeline is faster than the cores divided by the
CPU time of all stages together: that bound is a row of the tables. The second network is a stand-in for one on a GPU,
which takes time but none of the CPU's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.camera import default_clip
from benchmarks.peer_node import LIBRARIES, MEAN, Network
from benchmarks.random_resnet import given_or_random
from benchmarks.report import Cell, Report, Table, frame_size, parser
from ros2_actionnet.backends import LoadOptions, Scores, Session
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.backends.ring import HostRing
from ros2_actionnet.images.overlay import OverlayLine, draw_overlay
from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.base import (
    ClassifiedFrame,
    FrameSource,
    InputOptions,
    MediaFrame,
    OutputOptions,
    ResultSink,
    RunDetails,
)
from ros2_actionnet.media.pipeline import Pipeline
from ros2_actionnet.media.uris import open_sink, open_source
from ros2_actionnet.networks import NetworkSpec, PreparedNetwork, prepare
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.allocator import keep_large_blocks

Picture = NDArray[np.uint8]
Work = Callable[[], None]

SETTINGS = Settings(skip_frames=1)  # every other frame is sampled, as actionNet does
_OURS, _RESULTS = "all, overlapping: ours", "decode and classify, overlapping: ours"
_IN_TURN = "the same stages, one after the other"
_KEPT = 30  # frames that a stage alone is fed with, again and again


@dataclass(frozen=True)
class Measured:
    """A run over a number of frames."""

    frames: int
    seconds: float
    cpu: float  # s, of all threads

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds

    @property
    def cpu_per_frame(self) -> float:
        """CPU time of a frame, s."""
        return self.cpu / self.frames


def measure(frames: int, work: Work) -> Measured:
    """Time and CPU time of `work` on `frames`."""
    process = psutil.Process()
    before, started = process.cpu_times(), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - started, process.cpu_times()
    return Measured(frames, seconds, after.user + after.system - before.user - before.system)


class DeviceSession(Session[Any]):
    """Stands in for a network on a GPU: each window takes `seconds`, and nothing of the CPU."""

    def __init__(self, network: PreparedNetwork, seconds: float) -> None:
        super().__init__(network, backend="stand-in", device="", precision="")
        self._seconds = seconds
        self._scores = np.full((1, network.num_classes), 1 / network.num_classes, np.float32)

    def create_ring(self) -> HostRing:
        """A ring in host memory."""
        return HostRing(self.network.frames, self.network.height, self.network.width)

    def _infer(self, windows: Sequence[Any]) -> Scores:
        time.sleep(self._seconds)
        return self._scores

    def close(self) -> None:
        """Nothing to free."""


def make_clip(path: Path, size: tuple[int, int], count: int) -> None:
    """Writes an H.264 video of `count` frames of a real clip, there and back again, in `size` (width, height)."""
    with av.open(str(default_clip())) as source:
        pictures = [cv2.resize(frame.to_ndarray(format="bgr24"), size) for frame in source.decode(video=0)]
    pictures += pictures[::-1]
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(count):
            picture = pictures[index % len(pictures)]
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        target.mux(stream.encode(None))


class Files:
    """What is done with one clip: our stages alone, our pipeline, and the usual way.

    Each method opens what it needs and gives back what does the work, which alone is measured.
    """

    def __init__(self, clip: Path, folder: Path, count: int) -> None:
        self._clip, self._folder, self.count = clip, folder, count
        source = self._source()
        self._kept = list(islice(source.frames(), _KEPT))
        self._pictures = [to_bgr(frame.image).copy() for frame in self._kept]
        self._rate = source.rate
        source.close()

    def decode(self) -> Work:
        """Only reads."""
        source = self._source()

        def work() -> None:
            for _ in source.frames():
                pass
            source.close()

        return work

    def classify(self, session: Session[Any]) -> Work:
        """Only samples, makes thumbnails and infers."""
        recognizer = Recognizer(session, SETTINGS)

        def work() -> None:
            for frame in self._frames():
                for _ in recognizer.recognize([frame], print):
                    pass

        return work

    def draw(self) -> Work:
        """Only copies and draws."""
        lines = [OverlayLine(f"action {number}", 0.2) for number in range(SETTINGS.top_k)]

        def work() -> None:
            for frame in self._frames():
                picture = np.empty((frame.image.height, frame.image.width, 3), np.uint8)
                draw_overlay(to_bgr(frame.image, picture), lines)

        return work

    def encode(self, session: Session[Any]) -> Work:
        """Only writes."""
        source = self._source()
        sink = self._sink(source, session)
        source.close()

        def work() -> None:
            for index, frame in enumerate(self._frames()):
                sink.write(ClassifiedFrame(frame, None, False, annotated=self._pictures[index % _KEPT]))
            sink.close()

        return work

    def run(self, session: Session[Any], *, writes: bool = True) -> Work:
        """All of it in overlapping threads, or all but drawing and writing."""
        source = self._source()
        sinks = {"write": self._sink(source, session)} if writes else {}
        pipeline = Pipeline(source, Recognizer(session, SETTINGS), sinks, print)

        def work() -> None:
            statistics = pipeline.run()
            assert statistics.frames == self.count, statistics

        return work

    def one_after_the_other(self, session: Session[Any]) -> Work:
        """All of it, as the same stages in one thread."""
        source, recognizer = self._source(), Recognizer(session, SETTINGS)
        sink = self._sink(source, session)

        def work() -> None:
            for frame in source.frames():
                for result in recognizer.recognize([frame], print):
                    picture = np.empty((frame.image.height, frame.image.width, 3), np.uint8)
                    annotation = recognizer.annotation()
                    draw_overlay(to_bgr(frame.image, picture), annotation.lines, fill=annotation.fill)
                    sink.write(ClassifiedFrame(frame, result.prediction, result.is_new, annotated=picture))
            source.close()
            sink.close()

        return work

    def usual(self, network: Network, labels: Sequence[str], session: Session[Any]) -> Work:
        """All of it, the usual way; `session` only describes the network to the sink."""
        source = self._source()
        sink = self._sink(source, session)
        source.close()
        step, length = SETTINGS.skip_frames + 1, session.network.frames

        def work() -> None:
            frames, texts = _read_all(self._clip), list[str]()
            for index, frame in enumerate(frames):
                first = index - step * (length - 1)
                if first >= 0 and index % step == 0:
                    texts = _classify_clip(network, [frames[i] for i in range(first, index + 1, step)], labels)
                for row, text in enumerate(texts):
                    cv2.putText(frame, text, (0, 40 + 20 * row), cv2.FONT_HERSHEY_COMPLEX_SMALL, 1, (255, 255, 255))
                taken = MediaFrame(index, index / self._rate, nanoseconds(index / self._rate), self._kept[0].image)
                sink.write(ClassifiedFrame(taken, None, False, annotated=frame))
            sink.close()

        return work

    def _frames(self) -> Iterator[MediaFrame]:
        for index in range(self.count):
            time_of_frame = index / self._rate
            yield MediaFrame(index, time_of_frame, nanoseconds(time_of_frame), self._kept[index % _KEPT].image)

    def _source(self) -> FrameSource:
        return open_source(str(self._clip), InputOptions(), print)

    def _sink(self, source: FrameSource, session: Session[Any]) -> ResultSink:
        details = RunDetails.of(source, session, SETTINGS)
        return open_sink(str(self._folder / "annotated.mp4"), OutputOptions(), source, details, print)


def _read_all(clip: Path) -> list[Picture]:
    video, frames = cv2.VideoCapture(str(clip)), list[Picture]()
    while True:
        read, frame = video.read()
        if not read:
            video.release()
            return frames
        frames.append(np.asarray(frame, np.uint8))


def _classify_clip(network: Network, clip: list[Picture], labels: Sequence[str]) -> list[str]:
    """The five best classes of a window, as text, preprocessed as a data pipeline for training does."""
    small = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (112, 112)) for frame in clip]
    pixels = [(frame.astype(np.float32) / np.float32(255) - MEAN).transpose(2, 0, 1) for frame in small]
    logits = network(np.stack(pixels, axis=1)[np.newaxis])[0]
    powers = np.exp(logits - logits.max())
    scores = powers / powers.sum()
    return [f"{labels[i]}: {scores[i]:.2f}" for i in np.argsort(scores)[::-1][:5]]


def table(
    title: str,
    files: Files,
    session: Session[Any],
    peers: dict[str, Network],
    labels: Sequence[str],
    rounds: int,
) -> Table:
    """All measurements of one clip and one network: the medians of `rounds`, in which all take turns."""
    stages: dict[str, Callable[[], Work]] = {
        "decode alone": files.decode,
        "classify alone": partial(files.classify, session),
        "draw alone": files.draw,
        "encode alone": partial(files.encode, session),
    }
    usual = {f"usual way, {name}": partial(files.usual, network, labels, session) for name, network in peers.items()}
    ours_and_in_turn: dict[str, Callable[[], Work]] = {
        _OURS: partial(files.run, session),
        _RESULTS: partial(files.run, session, writes=False),
        _IN_TURN: partial(files.one_after_the_other, session),
    }
    works = stages | ours_and_in_turn | usual
    runs = [{name: measure(files.count, work()) for name, work in works.items()} for _ in range(rounds)]
    found = {name: sorted((run[name] for run in runs), key=lambda run: run.rate)[rounds // 2] for name in works}
    alone, ours = [found[name] for name in stages], found[_OURS]
    cores = len(os.sched_getaffinity(0))
    slowest = min(stages, key=lambda name: found[name].rate)
    bound = min(found[slowest].rate, cores / sum(measured.cpu_per_frame for measured in alone))

    def row(name: str) -> tuple[Cell, ...]:
        got = found[name]
        return name, got.rate, got.cpu_per_frame * 1e3, got.cpu / got.seconds, _ratio(ours, got.rate)

    rows: list[tuple[Cell, ...]] = [row(name) for name in works]
    rows.insert(
        len(stages), ("the least of these, and of what the cores allow", bound, None, None, _ratio(ours, bound))
    )
    columns = ("what", "frames/s", "CPU ms/frame", "cores busy", "ours against it")
    without = found[_RESULTS].rate / min(found["decode alone"].rate, found["classify alone"].rate)
    note = (
        f"The slowest stage is '{slowest}': ours runs at {ours.rate / found[slowest].rate:.0%} of its rate, and where "
        f"no video is written at {without:.0%} of the slower of decoding and classifying."
    )
    return Table(title, columns, rows, (note,))


def _ratio(measured: Measured, rate: float) -> str:
    return f"{measured.rate / rate:.2f}"


def main() -> None:
    """Runs the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, help="an .onnx with labels.txt beside it (default: a random ResNet-18)"
    )
    arguments.add_argument(
        "--sizes", nargs="+", type=frame_size, default=[(640, 360), (1280, 720)], metavar="WxH", help="of the clips"
    )
    arguments.add_argument("--frames", type=int, default=200, help="of each clip (default: %(default)s)")
    arguments.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    arguments.add_argument("--precision", default="auto", help="of our network (default: %(default)s)")
    arguments.add_argument(
        "--device-ms",
        type=float,
        default=20.0,
        help="time of a window on the stand-in for a GPU (default: %(default)s)",
    )
    arguments.add_argument("--no-peers", action="store_true", help="leave the usual way out")
    options = arguments.parse_args()
    report = Report(options)
    keep_large_blocks()
    with TemporaryDirectory() as folder:
        model = given_or_random(options.model, Path(folder))
        for size in options.sizes:
            clip = Path(folder) / f"clip_{size[0]}x{size[1]}.mp4"
            make_clip(clip, size, options.frames)
            for result in tables(clip, model, Path(folder), options):
                report.add(result)
    report.close()


def tables(clip: Path, model: Path, folder: Path, options: argparse.Namespace) -> Iterator[Table]:
    """One table for the network on the CPU, one for the stand-in for a GPU."""
    network = prepare(NetworkSpec("network", model, model.parent / "labels.txt"))
    session = OpenVINOBackend().load(network, LoadOptions(precision=options.precision))
    device = DeviceSession(network, options.device_ms / 1e3)
    files, frames, rounds = Files(clip, folder, options.frames), options.frames, options.rounds
    peers: dict[str, Network] = {}
    wait: dict[str, Network] = {}
    if not options.no_peers:
        peers = {name: library(model) for name, library in LIBRARIES.items()}
        wait = {"the same stand-in": lambda window: device.infer([window])}
    size = clip.stem.partition("_")[2]
    files.run(session)()  # warms everything up
    on_cpu = f"{size}, {frames} frames, {model.stem} in {session.precision} under OpenVINO on the CPU"
    yield table(on_cpu, files, session, peers, network.labels, rounds)
    on_device = f"{size}, {frames} frames, a stand-in for a GPU: {options.device_ms:g} ms a window, none of the CPU's"
    yield table(on_device, files, device, wait, network.labels, rounds)
    session.close()


if __name__ == "__main__":
    main()
