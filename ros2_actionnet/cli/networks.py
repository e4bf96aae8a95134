"""The command `actionnet-networks`, which lists, describes, fetches, checks, adds, quantizes and exports networks."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.cli.networks"))

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet import __version__
from ros2_actionnet.cli.export import add_flags as add_export_flags
from ros2_actionnet.cli.export import export_network
from ros2_actionnet.cli.flags import add_setting
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.cli.network_check import best_of, compare, load_window, understood
from ros2_actionnet.cli.quantize import add_flags, quantize_network
from ros2_actionnet.cli.trial import Trial, try_out
from ros2_actionnet.errors import ActionNetError, NetworkError
from ros2_actionnet.load_monitor import megabytes
from ros2_actionnet.networks import (
    Catalogue,
    CatalogueEntry,
    NetworkRequest,
    NetworkSpec,
    fetch,
    prepare,
    resolve,
)
from ros2_actionnet.networks.catalogue import user_folder
from ros2_actionnet.networks.fetch import pin_of
from ros2_actionnet.networks.layout import LAYOUTS
from ros2_actionnet.networks.network_yaml import NOTES, description_of, notes_of
from ros2_actionnet.networks.normalization import in_unit_range, three_numbers
from ros2_actionnet.networks.resolve import find_folder
from ros2_actionnet.networks.spec import COLORS, NORMALIZATIONS, NORMALIZED_INSIDE, SCORE_KINDS
from ros2_actionnet.networks.user_networks import file_in, install, network_in, place_for
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.logs import LIMIT, log_to_terminal
from ros2_actionnet.system.paths import is_dir, is_file, user_path
from ros2_actionnet.system.terminal import leave_closed_pipe, print_in_any_encoding
from ros2_actionnet.system.termination import TERMINATED
from ros2_actionnet.system.text import printable

_SETTINGS = ("backend", "device", "precision")
_WIDTH = 12  # of the names in what is printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    print_in_any_encoding()
    log_to_terminal("actionnet-networks: ")
    options = _parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return leave_closed_pipe()
    except (ActionNetError, OSError) as error:
        print(f"actionnet-networks: {printable(error, LIMIT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return TERMINATED


# The subcommands; each returns the exit code. The first line of each docstring is the help text.


def list_networks(options: argparse.Namespace) -> int:
    """Lists the networks that can be selected by name."""
    entries = list(Catalogue.load())
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{width}}  {_presence(entry):<21} {_summary(entry)}")
        if entry.aliases:
            print(f"{'':<{width}}  {'':<21} also {', '.join(entry.aliases)}")
    print(f"\nDownloaded and added networks are kept in {user_folder()}")
    return 0


def show_info(options: argparse.Namespace) -> int:
    """Prints everything known about a network."""
    _print_rows(_facts(options.name))
    return 0


def fetch_networks(options: argparse.Namespace) -> int:
    """Downloads networks."""
    catalogue = Catalogue.load()
    for entry in [catalogue.find(name) for name in options.names]:
        with LoadProgress() as monitor:
            folder = fetch(entry, monitor, again=options.again)
        print(f"{entry.name}: {folder}, {megabytes(_size(folder))}")
    return 0


def verify_networks(options: argparse.Namespace) -> int:
    """Checks networks: their checksums, and that they run."""
    names = options.names or [entry.name for entry in Catalogue.load() if find_folder(entry) is not None]
    failed = 0
    for name in names:
        try:
            spec = resolve(_request(name))
            with LoadProgress() as monitor:
                trial = try_out(spec, _settings(options), monitor)
        except ActionNetError as error:
            print(f"{name}: FAILED: {printable(error, LIMIT)}")
            failed += 1
            continue
        checksum = "the checksum matches" if spec.sha256 else "there is no checksum to compare with"
        print(f"{name}: {checksum}, {_in_a_line(trial)}")
        _print_doubts(trial)
    return 1 if failed else 0


def add_network(options: argparse.Namespace) -> int:
    """Checks a network folder from end to end, writes its network.yaml, and adds it to the networks with a name."""
    folder = user_path(options.folder)
    spec, notes = _described(folder, options), _notes(folder, options)
    name = options.name or spec.name
    target = place_for(name, folder, again=options.again)
    with LoadProgress() as monitor:
        trial = try_out(spec, _settings(options), monitor)
    spec = replace(trial.network.spec, name=name, sha256=sha256_of(spec.model))
    _print_rows(understood(replace(trial.network, spec=spec)))
    print(f"{'run':<{_WIDTH}} {_in_a_line(trial)}")
    _print_doubts(trial)
    install(spec, description_of(spec, notes, folder), folder, target)
    print(f"\nwrote {folder / 'network.yaml'}")
    if target.resolve() != folder.resolve():
        print(f"copied to {target}")
    print(
        f"\nUse it: network:={name} for the node, --network {name} for the command, ActionNet({name!r}) in Python;\n"
        f"or, from where it is, model:={folder.resolve()}"
    )
    return 0


def check_network(options: argparse.Namespace) -> int:
    """Shows what is understood of a network, tries it on a window, and compares it with your own framework."""
    path = user_path(options.network)
    if is_dir(path):
        spec = _described(path, options)
    elif is_file(path):
        spec = _described(path.parent, options, path)
    else:
        spec = _overridden(resolve(_request(options.network)), options)
    with LoadProgress() as monitor:
        trial = try_out(spec, _settings(options), monitor, lambda network: load_window(options.window, network))
    network, scores = trial.network, trial.scores
    assert scores is not None
    _print_rows(understood(network))
    print(f"{'run':<{_WIDTH}} {_in_a_line(trial)}")
    for place, found in enumerate(best_of(scores, network.labels)):
        print(f"{'best five' if place == 0 else '':<{_WIDTH}} {found.score:.4f} {printable(found.label, 60)}")
    _print_doubts(trial)
    if options.reference is None:
        return 0
    comparison = compare(options.reference, scores, kind=network.spec.scores or "logits")
    print(f"{'reference':<{_WIDTH}} {comparison}")
    if not comparison.agrees:
        print(
            "  note: a difference this large is no rounding: see whether mean, std, layout and the order of the colors "
            "above are those of your framework, and whether --window holds the frames that the reference is of"
        )
    return 0 if comparison.agrees else 1


def quantize(options: argparse.Namespace) -> int:
    """Makes the int8 model of a network from clips, and judges it on other windows of the same clips."""
    return quantize_network(resolve(_request(options.network)), options)


# Shared by the subcommands.


def _print_rows(rows: Iterable[tuple[str, Any]]) -> None:
    for key, value in rows:
        print(f"{key:<{_WIDTH}} {printable(value, 1000)}")


def _request(name: str) -> NetworkRequest:
    """Return a request for `name`: a path if it looks like one, otherwise a network of the catalog."""
    return NetworkRequest(model=name) if "/" in name or name.endswith(".onnx") else NetworkRequest(name)


def _settings(options: argparse.Namespace) -> Settings:
    return Settings.from_values({name: getattr(options, name) for name in _SETTINGS})


def _presence(entry: CatalogueEntry) -> str:
    folder = find_folder(entry)
    if folder is not None:
        return f"yes, {megabytes(_size(folder))}"
    return "no, to be downloaded" if entry.archive else "no"


def _summary(entry: CatalogueEntry) -> str:
    """Return a one-line summary of a network, for user networks from their network.yaml."""
    folder = find_folder(entry)
    if not entry.own or folder is None:
        return entry.description
    try:
        said = notes_of(folder).get("description")
    except NetworkError as error:
        said = f"its network.yaml cannot be used: {printable(error)}"
    return f"your own: {said}" if said else entry.description


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _in_a_line(trial: Trial) -> str:
    rate = 1e3 / trial.milliseconds
    return (
        f"{trial.network.num_classes} classes, {trial.device}: {trial.milliseconds:.1f} ms per window "
        f"({rate:.0f} per second), scores add up to {trial.total:.3f}"
    )


def _print_doubts(trial: Trial) -> None:
    for doubt in trial.doubts:
        print(f"  note: {doubt}")


def _facts(name: str) -> Iterator[tuple[str, Any]]:
    """Yield the known facts about the network `name`, in display order."""
    request = _request(name)
    entry = None if request.model else Catalogue.load().find(name)
    if entry is not None:
        yield "name", entry.name
        yield "aliases", ", ".join(entry.aliases) or "none"
        yield "description", _summary(entry)
        yield "on disk", _presence(entry)
    if entry is None or find_folder(entry) is not None:
        yield from _facts_on_disk(resolve(request))
    if entry is not None and entry.archive is not None:
        pin = pin_of(entry.archive)
        pinned = (
            f"{pin.read_text().split()[0]} (recorded at the first download: {pin})"
            if pin.is_file()
            else "not known yet"
        )
        yield "archive", f"{entry.archive.file} from {entry.archive.url}"
        yield "  sha256", entry.archive.sha256 or pinned


def _facts_on_disk(found: NetworkSpec) -> Iterator[tuple[str, Any]]:
    network = prepare(found)
    spec = network.spec
    yield from understood(network)
    stated = "as expected" if spec.sha256 else "nothing to compare with"
    yield "sha256", f"{sha256_of(spec.model)} ({stated})"
    for key, value in notes_of(spec.model.parent).items():
        if value and key != "description":
            yield key, value


def _described(folder: Path, options: argparse.Namespace, model: Path | None = None) -> NetworkSpec:
    """Return the spec of the network in `folder`, or of `model` there; the options override its network.yaml."""
    spec = _overridden(network_in(folder, model or options.model), options)
    return replace(spec, labels=file_in(folder, options.labels)) if options.labels else spec


def _overridden(spec: NetworkSpec, options: argparse.Namespace) -> NetworkSpec:
    said = {
        "frames": options.frames,
        "height": options.size and options.size[0],
        "width": options.size and options.size[1],
        "layout": options.layout,
        "colors": options.colors,
        "colors_from": options.colors and "--colors",
        "input_blob": options.input_blob,
        "output_blob": options.output_blob,
        "scores": options.scores,
    }
    return replace(spec, **{key: value for key, value in said.items() if value is not None}, **_normalization(options))


def _normalization(options: argparse.Namespace) -> dict[str, Any]:
    """Return the attributes of a NetworkSpec that `--mean`, `--std` and `--normalization` state."""
    given = {key: three_numbers(f"--{key}", key, value) for key in ("mean", "std") if (value := getattr(options, key))}
    if options.normalization == "inside":
        if given:
            raise NetworkError("--normalization inside leaves mean and std to the network; omit --mean and --std")
        return NORMALIZED_INSIDE | {"mean_from": "--normalization inside"}
    if not given and options.normalization is None:
        return {}
    return {"normalization": "outside", **in_unit_range(given, "--mean, --std")}


def _notes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(options, key) for key in NOTES}
    return notes_of(folder) | {key: value for key, value in given.items() if value is not None}


# The command line.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="actionnet-networks",
        description="Lists, describes, fetches, checks, adds, quantizes and exports the networks of ros2_actionnet.",
        epilog="ACTIONNET_NETWORKS: folder for downloaded and added networks. ACTIONNET_MIRROR: a folder, "
        "or the URL of one, with archives to fetch instead of those on the internet. HTTP_PROXY, HTTPS_PROXY: a proxy.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "list", list_networks)
    _command(commands, "info", show_info).add_argument("name", metavar="NAME", help="a network's name, or a path")
    command = _command(commands, "fetch", fetch_networks)
    command.add_argument("names", nargs="+", metavar="NAME")
    command.add_argument("--again", action="store_true", help="replace local copies")
    command = _command(commands, "verify", verify_networks)
    command.add_argument("names", nargs="*", metavar="NAME", help="names or paths (default: all local networks)")
    _add_device_flags(command)
    command = _command(commands, "check", check_network)
    command.add_argument("network", metavar="MODEL", help="a model file, a network folder, or a network's name")
    command.add_argument(
        "--window",
        type=Path,
        metavar="FILE",
        help="a video, or a .npy, uint8 [T, H, W, 3] in RGB (default: a clip)",
    )
    command.add_argument(
        "--reference", type=Path, metavar="SCORES.npy", help="what your own framework gives for that window"
    )
    _add_description_flags(command)
    _add_device_flags(command)
    _add_flags_of_add(_command(commands, "add", add_network))
    add_flags(_command(commands, "quantize", quantize))
    add_export_flags(_command(commands, "export", export_network), _request, _count)
    return parser


def _command(commands: Any, name: str, run: Any) -> argparse.ArgumentParser:
    summary = (run.__doc__ or "").splitlines()[0]
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    return command


def _add_flags_of_add(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder with a model and its labels.txt")
    command.add_argument("--name", help="name to add it under (default: the folder's)")
    command.add_argument("--again", action="store_true", help="replace a network that was added under that name")
    _add_description_flags(command)
    notes = command.add_argument_group("notes for the network.yaml")
    for note in ("description", "source", "license"):
        notes.add_argument(f"--{note}", metavar="TEXT")
    _add_device_flags(command)


def _add_description_flags(command: argparse.ArgumentParser) -> None:
    what = command.add_argument_group("what cannot be read from the model, or is read incorrectly")
    what.add_argument("--model", type=Path, metavar="FILE", help="which model of the folder")
    what.add_argument("--labels", type=Path, metavar="FILE", help="which label file of the folder")
    what.add_argument("--frames", type=_count, metavar="T", help="frames in a window")
    what.add_argument("--size", type=_count, nargs=2, metavar=("H", "W"), help="height and width of a frame")
    what.add_argument("--layout", choices=LAYOUTS, help="order of the input's dimensions")
    what.add_argument("--colors", choices=COLORS, help="order of the colors in the input, and of mean and std")
    what.add_argument("--mean", type=float, nargs=3, metavar="X", help="subtracted from the colors in [0, 1]")
    what.add_argument("--std", type=float, nargs=3, metavar="X", help="divides the difference")
    what.add_argument(
        "--normalization", choices=NORMALIZATIONS, help="inside: the network takes [0, 255] and normalizes it itself"
    )
    what.add_argument("--input-blob", metavar="NAME", help="the model's input")
    what.add_argument("--output-blob", metavar="NAME", help="the model's output")
    what.add_argument("--scores", choices=SCORE_KINDS, help="what the model gives for its classes")


def _add_device_flags(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("where to run it")
    for name in _SETTINGS:
        add_setting(group, name)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is below 1")
    return value


_count.__name__ = "number"
