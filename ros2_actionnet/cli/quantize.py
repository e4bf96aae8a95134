"""Makes the int8 model of a network from the user's own clips, and judges it on other windows of the same clips."""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ros2_actionnet import __version__
from ros2_actionnet.backends import LoadOptions, Scores, Session, choose_backend
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.cli.clips import WindowStore, find_clips
from ros2_actionnet.cli.flags import add_setting
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.cli.progress_bar import with_progress_bar
from ros2_actionnet.errors import MediaError, NetworkError
from ros2_actionnet.networks import NetworkSpec, PreparedNetwork, prepare
from ros2_actionnet.networks.int8 import Int8Record, int8_file, record_file, write_record
from ros2_actionnet.networks.model_files import is_engine, is_ir
from ros2_actionnet.recognition.agreement import Agreement
from ros2_actionnet.recognition.score_check import score_window
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.paths import is_file
from ros2_actionnet.system.text import printable

SETTINGS = ("backend", "device", "skip_frames", "sample_rate", "max_gap", "resize_mode", "roi")
"""The settings that have a flag: where it is judged, and how windows are sampled."""

WINDOWS = 400
FEWEST = 10
"""Least number of windows to calibrate on, and to judge on."""

AGREEMENT = 0.99
_TIMED = 50  # windows, limit of the measurement
_MOST_LEFT_OUT = 2  # layers, unless the user names more


@dataclass(frozen=True)
class Judged:
    """An int8 model in a file, what was left out of it, and how it did.

    Attributes:
        file: The model.
        left_out: Names of the layers in floating point.
        agreement: With fp32, on the held-out windows.
        milliseconds: Median time of a window, by precision.
    """

    file: Path
    left_out: tuple[str, ...]
    agreement: Agreement
    milliseconds: dict[str, float]

    def __str__(self) -> str:
        """The result in one line."""
        found = self.agreement
        times = ", ".join(f"{name} {time:.2f} ms" for name, time in self.milliseconds.items())
        without = f"without {', '.join(map(printable, self.left_out))}" if self.left_out else "all layers"
        return (
            f"{without}: {found.best_class:.1%} with the best class of fp32, scores differ by "
            f"{found.mean_difference:.2g} on average and {found.largest_difference:.2g} at most; a window takes {times}"
        )


class Judge:
    """Judges int8 models of one network, with the windows held out in a store."""

    def __init__(self, network: PreparedNetwork, settings: Settings, store: WindowStore, held_out: list[int]) -> None:
        """Score the held-out windows in fp32. Raises BackendError if the network cannot be run."""
        self._network, self._settings = network, settings
        self._store, self._held_out = store, held_out
        with self._loaded(network, "fp32") as session:
            self.machine = f"{processor()}, {session.backend} on {session.device}"
            self._reference = self._scores(session, "fp32")

    def judge(self, file: Path, left_out: tuple[str, ...]) -> Judged:
        """Compare an int8 model with fp32, and its time with that of the precision that is taken without it."""
        spec = replace(self._network.spec, int8_of=self._network.spec.model)
        int8 = replace(self._network, spec=spec, model=b"", file=file, digest=sha256_of(file))
        with self._loaded(int8, "int8") as candidate, self._loaded(self._network, "auto") as usual:
            agreement = Agreement.of(self._reference, self._scores(candidate, "int8"))
            return Judged(file, left_out, agreement, self._times(usual, candidate))

    @contextmanager
    def _loaded(self, network: PreparedNetwork, precision: str) -> Iterator[Session[Any]]:
        settings = self._settings
        backend = choose_backend(settings.backend, settings.device).backend
        with LoadProgress() as monitor:
            session = backend.load(network, LoadOptions(settings.device, precision), monitor)
        with closing(session):
            yield session

    def _scores(self, session: Session[Any], name: str) -> Scores:
        ring: FrameRing[Any] = session.create_ring()
        places = with_progress_bar(self._held_out, f"judging {name}")
        return np.stack([score_window(session, ring, self._store.read(place)) for place in places])

    def _times(self, *sessions: Session[Any]) -> dict[str, float]:
        """Measure the sessions in turns; return milliseconds by precision."""
        rings: list[FrameRing[Any]] = [session.create_ring() for session in sessions]
        times: list[list[float]] = [[] for _ in sessions]
        for place in self._held_out[:_TIMED]:
            window = self._store.read(place)
            for session, ring, found in zip(sessions, rings, times, strict=True):
                score_window(session, ring, window)  # also warms up
                began = time.perf_counter()
                session.infer([ring.window(0)])
                found.append(time.perf_counter() - began)
        return {
            session.precision: round(statistics.median(found) * 1e3, 3)
            for session, found in zip(sessions, times, strict=True)
        }


def quantize_network(spec: NetworkSpec, options: argparse.Namespace) -> int:
    """Make, judge and write the int8 model of `spec`; return the exit code, which is 1 if `auto` will not take it.

    Nothing is written before it is judged, and nothing is left if that ends early.
    """
    from ros2_actionnet.networks.graph.quantization import layers_of, quantize, with_named_nodes

    if is_ir(spec.model) or is_engine(spec.model) or spec.int8_of is not None:
        raise NetworkError(f"{printable(spec.model)} cannot be quantized; give the network's .onnx file, or its folder")
    settings = Settings.from_values({name: getattr(options, name) for name in SETTINGS})
    place = (options.out or spec.model.parent) / spec.model.name
    _check_free(place, options)
    network = prepare(spec)
    model = with_named_nodes(network.model)
    layers = layers_of(model)
    clips = find_clips(options.clips)
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".quantize-", dir=place.parent) as work:
        most = max(2, -(-options.windows // len(clips)))
        with closing(WindowStore(network, settings, Path(work) / "windows", most)) as store:
            for clip in with_progress_bar(clips, "reading clips"):
                store.add(clip, _report)
            calibration, held_out = store.parts()
            if len(held_out) < FEWEST:
                raise MediaError(
                    f"the clips have {len(calibration) + len(held_out)} windows of {network.frames} sampled frames; at "
                    f"least {2 * FEWEST} are needed, and hundreds to judge well: give more or longer clips"
                )
            judge = Judge(network, settings, store, held_out)

            def make(left_out: tuple[str, ...]) -> Judged:
                file = Path(work) / "-".join(["model", *(str(layers.index(name)) for name in left_out)])
                windows = (store.read(place) for place in with_progress_bar(calibration, "calibrating"))
                quantize(model, windows, file, left_out, ranges=Path(work) / "ranges.json")
                return judge.judge(file, left_out)

            best = _search(make, layers, options)
        counts = len(calibration), len(held_out)
        record = _record(network, best, options.agreement, counts, store.clips, judge.machine)
        shutil.move(best.file, int8_file(place))
        write_record(record, place)
    print(f"wrote {int8_file(place)} and {record_file(place).name}: {record.windows} windows to calibrate on, and "
          f"{record.held_out} others to judge on, of {len(record.clips)} clips")  # fmt: skip
    if place.parent.resolve() != spec.model.parent.resolve():
        print(f"copy both to {spec.model.parent} to use them")
    return _verdict(record, layers)


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of the subcommand `quantize`."""
    command.add_argument("network", metavar="NETWORK", help="a network's name, its folder, or its .onnx file")
    command.add_argument(
        "--clips",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="videos, bags and folders of images of what the network is used on",
    )
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: beside the model)")
    command.add_argument("--again", action="store_true", help="replace an int8 model that is there")
    command.add_argument(
        "--windows",
        type=_count,
        default=WINDOWS,
        metavar="N",
        help="windows to use, half of them to judge on (default: %(default)s)",
    )
    command.add_argument(
        "--agreement",
        type=_part,
        default=AGREEMENT,
        metavar="PART",
        help="part of the windows that must keep fp32's best class for `auto` to take it (default: %(default)s)",
    )
    command.add_argument(
        "--leave-out",
        nargs="*",
        metavar="LAYER",
        help="layers that stay in floating point: first, last, or names (default: none, and if that is not good "
        "enough, the one or two whose absence helps most)",
    )
    group = command.add_argument_group("where to judge it, and how windows are sampled")
    for name in SETTINGS:
        add_setting(group, name)


def processor() -> str:
    """Return the processor's name."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _search(make: Callable[[tuple[str, ...]], Judged], layers: list[str], options: argparse.Namespace) -> Judged:
    """Return the int8 model with the fewest layers left out that is good enough, or the best of those tried.

    One layer after the other is left out, each time the one whose absence brings the scores closest to fp32's.
    """
    best = make(_asked(layers, options.leave_out or ()))
    print(best, flush=True)
    while (
        options.leave_out is None
        and best.agreement.best_class < options.agreement
        and len(best.left_out) < min(_MOST_LEFT_OUT, len(layers) - 1)
    ):
        others = [layer for layer in layers if layer not in best.left_out]
        tried = [make((*best.left_out, layer)) for layer in with_progress_bar(others, "leaving out a layer")]
        best = min(tried, key=lambda each: each.agreement.mean_difference)
        print(best, flush=True)
    return best


def _asked(layers: list[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the layers that the user leaves out. Raises NetworkError if a name is no layer's."""
    if not layers:
        raise NetworkError("the network has no layer that can be quantized: no convolution or product with weights")
    aliases = {"first": layers[0], "last": layers[-1]}
    found = tuple(dict.fromkeys(aliases.get(name, name) for name in names))
    for name in found:
        if name not in layers:
            raise NetworkError(
                f"--leave-out {printable(name)} is no layer; give first, last, or some of "
                f"{printable(', '.join(layers), 2000)}"
            )
    return found


def _check_free(place: Path, options: argparse.Namespace) -> None:
    for path in (int8_file(place), record_file(place)):
        if is_file(path) and not options.again:
            raise NetworkError(f"{printable(path)} is there already; replace it with --again, or give --out FOLDER")


def _record(
    network: PreparedNetwork,
    best: Judged,
    required: float,
    counts: tuple[int, int],
    clips: dict[str, int],
    machine: str,
) -> Int8Record:
    spec, found = network.spec, best.agreement
    return Int8Record(
        model_sha256=sha256_of(spec.model),
        int8_sha256=sha256_of(best.file),
        frames=network.frames,
        height=network.height,
        width=network.width,
        classes=network.num_classes,
        max_batch=network.max_batch,
        scores="sigmoid" if spec.scores == "sigmoid" else "probabilities",
        output_blob=spec.output_blob,
        original_scores=spec.scores or "logits",
        windows=counts[0],
        held_out=counts[1],
        clips={printable(Path(name).name): count for name, count in clips.items()},
        left_out=list(best.left_out),
        agreement=round(found.best_class, 5),
        required_agreement=required,
        mean_difference=found.mean_difference,
        largest_difference=found.largest_difference,
        milliseconds=best.milliseconds,
        machine=machine,
        tools={"ros2_actionnet": __version__, **{name: _version(name) for name in ("onnx", "onnxruntime", "openvino")}},
    )


def _verdict(record: Int8Record, layers: list[str]) -> int:
    if record.is_accepted:
        print("precision auto takes it where it is faster than the others, and precision int8 everywhere")
        return 0
    print(
        f"precision auto does not take it, because only {record.agreement:.1%} of the windows keep their best class; "
        f"{record.required_agreement:.1%} are required. Leave out more layers with --leave-out (from the first to the "
        f"last: {printable(', '.join(layers), 2000)}), or give more clips"
    )
    return 1


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _count(text: str) -> int:
    value = int(text)
    if value < 2 * FEWEST:
        raise argparse.ArgumentTypeError(f"'{text}' is below {2 * FEWEST}")
    return value


def _part(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a part of 1, such as 0.99")
    return value


_count.__name__, _part.__name__ = "number", "number"
