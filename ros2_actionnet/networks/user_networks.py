"""The user's own networks: from a folder with a model file to a named network."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.catalogue import Catalogue, user_folder
from ros2_actionnet.networks.model_files import default_model, is_engine, is_ir, weights_of
from ros2_actionnet.networks.network_folder import path_inside
from ros2_actionnet.networks.network_yaml import read_network_yaml
from ros2_actionnet.networks.resolve import resolve
from ros2_actionnet.networks.spec import NetworkRequest, NetworkSpec
from ros2_actionnet.system.files import file_lock, replace_folder, scratch_folder, write_atomically
from ros2_actionnet.system.paths import user_path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def network_in(folder: Path, model: Path | None = None) -> NetworkSpec:
    """Find the network in `folder`: its network.yaml, its default model, or its only model, unless `model` is given.

    The model's checksum is omitted: it may have been exported again.

    Raises:
        NetworkError: there is none, there are several, files are outside the folder, or `resolve` rejects it.
    """
    if not folder.is_dir():
        raise NetworkError(f"{folder} is not a folder; give the one that holds the model and its labels.txt")
    path_inside(folder, "network.yaml", str(folder))
    path = folder
    if model is not None:
        path = file_in(folder, model)
    elif not (folder / "network.yaml").is_file() and default_model(folder) is None:
        path = _only_model(folder)
    spec = resolve(NetworkRequest(model=str(path)))
    for file in filter(None, [spec.model, spec.labels]):
        path_inside(folder, file.absolute(), str(folder))
    return replace(spec, name=str(_description(folder).get("name") or folder.resolve().name), sha256="")


def file_in(folder: Path, file: Path) -> Path:
    """Resolve `file`, given relative to `folder` or to the current folder.

    Raises NetworkError if it does not exist, or is not in `folder`.
    """
    path = next((path for path in (folder / file, user_path(file)) if path.is_file()), None)
    if path is None:
        raise NetworkError(f"there is no {file} in {folder}")
    if path.resolve().parent != folder.resolve():
        raise NetworkError(f"{file} must lie in {folder}: a network is a folder with all its files; copy it there")
    return folder / path.name


def place_for(name: str, folder: Path, *, again: bool) -> Path:
    """Return the target folder, among the user's networks, of the network in `folder`.

    Raises NetworkError if `name` is invalid or taken, unless it is taken by one of the user's own networks and `again`.
    """
    if not _NAME.fullmatch(name):
        raise NetworkError(
            f"'{name}' cannot be a network's name, which is made of letters, digits, '_', '-' and '.'; "
            "give one with --name"
        )
    for entry in Catalogue.load():
        taken = (entry.name, entry.folder, *entry.aliases)
        if not entry.own and name.lower() in [other.lower() for other in taken]:
            raise NetworkError(f"'{name}' is a name of the network {entry.name}; give another with --name")
    target = user_folder() / name
    if target.exists() and target.resolve() != folder.resolve() and not again:
        raise NetworkError(f"there is a network {name} already, {target}; replace it with --again, or give --name")
    return target


def install(spec: NetworkSpec, description: str, folder: Path, target: Path) -> None:
    """Write `description` as the network.yaml of `folder`, and copy the network's files from there to `target`.

    A folder of that name never exists without all of its files. An error leaves both folders as they were.

    Raises:
        NetworkError: a file of the network is not in `folder`, or the copy is incomplete.
        OSError: the files cannot be written.
    """
    original = folder / "network.yaml"
    if target.resolve() == folder.resolve():
        write_atomically(original, description.encode())
        return
    copies = _copies(spec, folder)
    with file_lock(target.with_name(f".{target.name}.lock"), lambda _: None), scratch_folder(target) as scratch:
        for name, file in copies.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, scratch / name)
        (scratch / original.name).write_text(description, encoding="utf-8")
        resolve(NetworkRequest(model=str(scratch)))
        before = original.read_bytes() if original.exists() else None
        write_atomically(original, description.encode())
        try:
            replace_folder(target, scratch)
        except OSError:
            original.unlink() if before is None else write_atomically(original, before)
            raise


def _only_model(folder: Path) -> Path:
    models = sorted([*folder.glob("*.onnx"), *(file for file in folder.glob("*.xml") if weights_of(file).is_file())])
    if len(models) != 1:
        found = f"{len(models)} models: {', '.join(path.name for path in models)}" if models else "no .onnx file"
        raise NetworkError(f"{folder} has {found}; it needs one, or say which with --model")
    return models[0]


def _description(folder: Path) -> dict[str, object]:
    path = folder / "network.yaml"
    return read_network_yaml(path) if path.is_file() else {}


def _copies(spec: NetworkSpec, folder: Path) -> dict[Path, Path]:
    """Return the files of a network other than its network.yaml, by their paths relative to `folder`."""
    from ros2_actionnet.networks.graph.external_data import external_files

    weights = list[Path]()
    if is_ir(spec.model):
        weights = [weights_of(spec.model)]
    elif not is_engine(spec.model):
        weights = external_files(spec.model)
    files = [spec.model, *weights, *filter(None, [spec.labels])]
    return {path_inside(folder, file.absolute(), spec.name): file for file in files}
