"""Builds TensorRT engines ahead of time, and looks after those that are kept."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.cli.engine"))

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ros2_actionnet import __version__
from ros2_actionnet.backends import BACKENDS, LoadOptions
from ros2_actionnet.backends.tensorrt.builder import onnx_for
from ros2_actionnet.backends.tensorrt.engine_cache import CachedEngine, EngineCache, NotCached
from ros2_actionnet.backends.tensorrt.engines import EngineRequest, engine_for
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.cli.flags import add_setting, with_dashes
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.errors import ActionNetError, BackendError, SettingsError
from ros2_actionnet.load_monitor import LoadMonitor
from ros2_actionnet.networks import INPUT_NAME, PreparedNetwork
from ros2_actionnet.recognition.loading import load_options, network_request, prepared_in_process
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.logs import LIMIT, log_to_terminal
from ros2_actionnet.system.terminal import leave_closed_pipe, print_in_any_encoding
from ros2_actionnet.system.text import printable

_SETTINGS = ("network", "model", "labels", "input_blob", "output_blob", "scores", "precision", "device")

SHOWN = 12  # digits of a key shown in the list
LEAST_DIGITS = 4  # of a key, to select an engine

# Target of an ONNX model if no TensorRT is installed: the versions that take the types from the model.
_ANY_NEWER = TensorRT(None, "10")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    print_in_any_encoding()
    options = make_parser().parse_args(with_dashes(sys.argv[1:] if arguments is None else arguments))
    log_to_terminal("actionnet-engine: ")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        return leave_closed_pipe()
    except (ActionNetError, OSError) as error:
        print(f"actionnet-engine: {printable(error, LIMIT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `run` in its result is the subcommand's function."""
    parser = argparse.ArgumentParser(prog="actionnet-engine", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build_parser = commands.add_parser("build", help="build the engine of a network, unless it already exists")
    _add_network_flags(build_parser)
    build_parser.add_argument(
        "--onnx-only", type=Path, metavar="FILE", help="only write the prepared ONNX model, for trtexec"
    )
    build_parser.set_defaults(run=build)

    profile_parser = commands.add_parser("profile", help="print the slowest layers and the times of the stages")
    _add_network_flags(profile_parser)
    profile_parser.set_defaults(run=profile)

    list_parser = commands.add_parser("list", help="list the cached engines, most recently used first")
    list_parser.set_defaults(run=list_engines)
    verify_parser = commands.add_parser("verify", help="check the engines for damage; exit code 1 if one is damaged")
    verify_parser.set_defaults(run=verify)
    remove_parser = commands.add_parser("remove", help="remove engines")
    remove_parser.add_argument("engine", nargs="*", help="the first digits of a key, or the name of a network")
    remove_parser.add_argument("--all", action="store_true", help="remove all engines")
    remove_parser.add_argument(
        "--stale", action="store_true", help="remove damaged engines, and those of other versions of TensorRT"
    )
    remove_parser.set_defaults(run=remove)
    for command in (build_parser, profile_parser, list_parser, verify_parser, remove_parser):
        command.add_argument(
            "--cache", default="", metavar="FOLDER", help="folder of the engines (default: the user's cache folder)"
        )
    return parser


def _add_network_flags(parser: argparse.ArgumentParser) -> None:
    for name in _SETTINGS:
        add_setting(parser, name)
    parser.add_argument(
        "--max-batch",
        type=int,
        default=LoadOptions.max_batch,
        metavar="N",
        help="largest number of windows per inference (default: %(default)s, the node's)",
    )


def build(options: argparse.Namespace) -> int:
    """Build an engine as the node would, or write its ONNX model."""
    settings = _settings(options)
    with LoadProgress() as monitor, prepared_in_process(network_request(settings), monitor) as network:
        if options.onnx_only is not None:
            write_onnx(network, options)
            return 0
        started = time.monotonic()
        engine = _build(network, settings, options.max_batch, monitor)
    print(f"the engine of {network.name} is ready after {time.monotonic() - started:.1f} s: {engine}")
    print(f"it is stored in {EngineCache(options.cache).folder}")
    return 0


def _build(network: PreparedNetwork, settings: Settings, max_batch: int, monitor: LoadMonitor) -> str:
    """Build and cache the engine; return its description for the user."""
    backend = BACKENDS["tensorrt"]()
    reason = backend.unavailable(settings.device)
    if reason is None:
        session = backend.load(network, load_options(settings, max_batch), monitor)
        session.close()
        return f"{session.precision}, GPU {session.device}"
    tensorrt = find_tensorrt()
    if not tensorrt.has_portable_engines:
        raise BackendError(f"engines of {tensorrt.name} are built on the GPU that they are for, and {reason}")
    precision = "fp16" if settings.precision == "auto" else settings.precision
    request = EngineRequest(network, precision, max_batch)
    monitor.progress(f"it cannot be tried here: {reason}")
    engine_for(tensorrt, request, None, EngineCache(settings.engine_cache), monitor, lambda plan: plan)
    return f"{precision}, any GPU that TensorRT for RTX supports, from SM 8.0 on"


def write_onnx(network: PreparedNetwork, options: argparse.Namespace) -> None:
    """Write the ONNX model for the installed TensorRT, else for 10 or later, and print the trtexec command for it."""
    try:
        tensorrt = find_tensorrt()
    except BackendError:
        tensorrt = _ANY_NEWER
    precision = "fp32" if options.precision == "auto" else options.precision
    request = EngineRequest(network, precision, options.max_batch)
    path: Path = options.onnx_only
    path.write_bytes(onnx_for(tensorrt, request))
    command = ["trtexec", f"--onnx={path}", f"--saveEngine={path.with_suffix('.engine')}"]
    if network.max_batch != 1:  # otherwise its shape is fixed
        shapes = ("x".join(map(str, shape)) for shape in request.shapes)
        command += [
            f"--{kind}Shapes={INPUT_NAME}:{shape}" for kind, shape in zip(("min", "opt", "max"), shapes, strict=True)
        ]
    if precision == "fp32":
        command.append("--noTF32")
    else:
        command.append("--stronglyTyped" if tensorrt.has_strong_typing else "--fp16")
    version = "10 and later" if tensorrt.has_strong_typing else "8"
    print(f"wrote {path}, for TensorRT {version}; build an engine from it with")
    print(shlex.join(command))


def profile(options: argparse.Namespace) -> int:
    """Print the times of a network's layers."""
    from ros2_actionnet.backends.tensorrt.profile import profile_network

    settings = _settings(options)
    with LoadProgress() as monitor, prepared_in_process(network_request(settings), monitor) as network:
        table = profile_network(network, load_options(settings, options.max_batch))
    print(table)
    return 0


def list_engines(options: argparse.Namespace) -> int:
    """Print a table of the engines."""
    cache = EngineCache(options.cache)
    engines = cache.engines()
    if not engines:
        print(f"there are no engines in {cache.folder}")
        return 0
    rows: list[tuple[str, ...]] = [("KEY", "NETWORK", "PRECISION", "BATCH", "MB", "TENSORRT", "GPU", "LAST USED")]
    rows += [_row(engine) for engine in reversed(engines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"{sum(engine.size for engine in engines) / 1e6:.0f} MB in {cache.folder}")
    return 0


def _row(engine: CachedEngine) -> tuple[str, ...]:
    names = ("network", "precision", "max_batch")
    size, used = f"{engine.size / 1e6:.1f}", time.strftime("%Y-%m-%d %H:%M", time.localtime(engine.used))
    said = {name: printable(value, 40) for name, value in engine.description.items()}
    library = said.get("tensorrt", "?").removeprefix("TensorRT ")
    return (engine.key[:SHOWN], *(said.get(name, "?") for name in names), size, library, said.get("gpu", "?"), used)


def verify(options: argparse.Namespace) -> int:
    """Check every engine against its sidecar."""
    cache = EngineCache(options.cache)
    damaged = 0
    for engine in cache.engines():
        problem = _problem(cache, engine)
        damaged += problem is not None
        print(f"{engine.key[:SHOWN]}  {engine.description.get('network', '?')}  {problem or 'intact'}")
    return 1 if damaged else 0


def _problem(cache: EngineCache, engine: CachedEngine) -> str | None:
    try:
        cache.read(engine.key, touch=False)
    except NotCached as error:
        return str(error)
    return None


def remove(options: argparse.Namespace) -> int:
    """Remove the selected engines, except those in use by another process."""
    if not (options.engine or options.all or options.stale):
        raise SettingsError("no engines given: give keys or names of networks (see list), or --stale, or --all")
    cache = EngineCache(options.cache)
    chosen = {engine.key: engine for engine in _chosen(cache, options)}
    left = 0
    for engine in chosen.values():
        gone = cache.remove(engine.key)
        left += not gone
        name = engine.description.get("network", "?")
        print(f"{engine.key[:SHOWN]}  {name}  {'removed' if gone else 'kept: another process is using it'}")
    if options.all:
        cache.remove_timing_caches()
    if not chosen:
        print("nothing to remove")
    return 1 if left else 0


def _chosen(cache: EngineCache, options: argparse.Namespace) -> list[CachedEngine]:
    engines = cache.engines()
    if options.all:
        return engines
    chosen = [engine for engine in engines if options.stale and _is_stale(cache, engine)]
    for name in options.engine:
        meant = [engine for engine in engines if _is_meant(engine, name)]
        if not meant:
            raise SettingsError(
                f"no engine in {cache.folder} has a key that begins with '{name}' or is of such a network; of a key, "
                f"give at least {LEAST_DIGITS} digits"
            )
        chosen += meant
    return chosen


def _is_meant(engine: CachedEngine, name: str) -> bool:
    begins = len(name) >= LEAST_DIGITS and engine.key.startswith(name.lower())
    return begins or engine.description.get("network") == name


def _is_stale(cache: EngineCache, engine: CachedEngine) -> bool:
    try:
        installed = find_tensorrt().name
    except BackendError:
        installed = None  # then engines of all versions may still be useful
    other = installed is not None and engine.description.get("tensorrt") != installed
    return other or _problem(cache, engine) is not None


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings of the command line, which names a device under TensorRT."""
    given = {name: getattr(options, name) for name in _SETTINGS}
    return Settings(backend="tensorrt", engine_cache=options.cache, **given)
