"""From a user's request to the files: all checks that do not need to open the model."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import NetworkError, NetworkNotFetched, about
from ros2_actionnet.networks.catalogue import Catalogue, CatalogueEntry, network_folders, user_folder
from ros2_actionnet.networks.engine_file import check_described
from ros2_actionnet.networks.int8 import resolve_int8
from ros2_actionnet.networks.labels import LARGEST
from ros2_actionnet.networks.model_files import check_model, default_model, is_engine, is_ir
from ros2_actionnet.networks.network_yaml import _spec_values
from ros2_actionnet.networks.normalization import normalization_beside
from ros2_actionnet.networks.spec import SCORE_KINDS, NetworkRequest, NetworkSpec, ScoreKind
from ros2_actionnet.system.files import read_bounded
from ros2_actionnet.system.paths import is_dir, is_file, user_path, why_unusable
from ros2_actionnet.system.text import printable

logger = logging.getLogger(__name__)

_MODEL_SUFFIXES = (".onnx", ".xml", ".engine", ".plan", ".yaml")


def resolve(request: NetworkRequest, catalogue: Catalogue | None = None) -> NetworkSpec:
    """Find a network's files and read its network.yaml. Takes milliseconds: no model is opened.

    `catalogue` defaults to the package's own (passing one saves reading it).

    Raises:
        NetworkNotFetched: the network has to be downloaded first (`obtain` does this); no other problem was found.
        NetworkError: no such network, a file is missing, empty or obviously of the wrong kind, or a network.yaml has an
            invalid value.
    """
    request = as_meant(request, catalogue)
    labels = user_path(request.labels) if request.labels else None
    with about("labels"):
        if labels is not None:
            _check_labels(labels)
    # A catalogued network counts only without a model, so that both settings can be at fault.
    with about("model") if request.model else about("network", "model"):
        if request.model:
            spec = _custom(user_path(request.model))
        else:
            spec = _catalogued((catalogue or Catalogue.load()).find(request.network))
        check_model(spec.model)
        if is_engine(spec.model):
            check_described(replace(spec, labels=labels or spec.labels))
        if labels is None and spec.labels is not None:
            _check_labels(spec.labels)
    spec = replace(
        spec,
        labels=labels or spec.labels,
        is_downloaded=spec.is_downloaded and labels is None,
        input_blob=request.input_blob or spec.input_blob,
        output_blob=request.output_blob or spec.output_blob,
        scores=score_kind(request.scores) or spec.scores,
    )
    return resolve_int8(spec, request) if request.precision == "int8" else spec


def as_meant(request: NetworkRequest, catalogue: Catalogue | None = None) -> NetworkRequest:
    """Return `request` with a path that was given as `network` in `model`, and the other way round.

    jetson-inference takes both for either.
    """
    if request.model:
        known = catalogue or Catalogue.load()
        if _is_path(request.model) or not known.has(request.model):
            return request
        return replace(request, network=request.model, model="")
    if _is_path(request.network) and not (catalogue or Catalogue.load()).has(request.network):
        return replace(request, model=request.network)
    return request


def _is_path(text: str) -> bool:
    """Return True if `text` looks like the path of a model or network folder, or is one."""
    return "/" in text or text.lower().endswith(_MODEL_SUFFIXES) or os.path.lexists(user_path(text))


def score_kind(stated: str) -> ScoreKind | None:
    """Return the kind of scores that a request states, None for "" and "auto". Raises NetworkError for another one."""
    if stated in ("", "auto"):
        return None
    for kind in SCORE_KINDS:
        if stated == kind:
            return kind
    raise NetworkError(f"scores is '{printable(stated)}'; set it to one of {', '.join(SCORE_KINDS)}, or auto")


def find_folder(entry: CatalogueEntry) -> Path | None:
    """Return the folder of a network of the catalogue, from the first location that has it; None if none has."""
    for place in network_folders():
        folder = place / entry.folder
        if any(is_file(folder / name) for name in (entry.model, "model.onnx", "network.yaml")):
            return folder
    return None


def _custom(model: Path) -> NetworkSpec:
    """Describe a network given by path: a network folder, or a model file with or without a network.yaml beside it."""
    if model.name == "network.yaml" and is_file(model):
        model = model.parent
    if is_dir(model):
        found = default_model(model)
        if not is_file(model / "network.yaml") and found is None:
            raise NetworkError(
                f"the folder {printable(model)} has neither a network.yaml nor a model.onnx nor a model.xml; set "
                "`model` to an .onnx file, an .xml of OpenVINO's IR, or a folder that holds them"
            )
        return _from_folder(model, NetworkSpec(name=model.resolve().name, model=found or model / "model.onnx"))
    if not is_file(model):
        raise NetworkError(
            f"the model {printable(model)} {why_unusable(model)}; set `model` to an .onnx file or a network folder"
        )
    # A network.yaml that names no model describes the default model beside it, if there is one, and else this file.
    described = default_model(model.parent) or model
    spec = _from_folder(model.parent, NetworkSpec(name=model.stem, model=described))
    if spec.model == model:
        return replace(spec, name=model.stem)
    # The network.yaml describes another model of the same folder.
    return _completed(NetworkSpec(name=model.stem, model=model), model.parent, {})


def _catalogued(entry: CatalogueEntry) -> NetworkSpec:
    """Describe a network of the catalogue, from its folder."""
    folder = find_folder(entry)
    if folder is None:
        raise _not_here(entry)
    found = NetworkSpec(
        name=entry.name,
        model=_existing(folder / entry.model) or _existing(folder / "model.onnx") or folder / entry.model,
        labels=folder / entry.labels if entry.labels else None,
        input_blob=entry.input_blob,
        output_blob=entry.output_blob,
        mean_from="" if entry.own or _is_converted(entry) else "the catalogue",
        is_downloaded=entry.archive is not None,
    )
    return replace(_from_folder(folder, found), name=entry.name)


def _not_here(entry: CatalogueEntry) -> NetworkError:
    places = ", ".join(str(place / entry.folder) for place in network_folders())
    message = f"network {entry.name} is not on this machine (looked in {places}). "
    if entry.archive is None:
        return NetworkError(message + "It comes with the package: install that again")
    return NetworkNotFetched(
        f"{message}`actionnet-networks fetch {entry.name}` downloads it. {manual_install_hint(entry)}"
    )


def manual_install_hint(entry: CatalogueEntry) -> str:
    """Return one sentence on how to install a network by hand on a machine that cannot download it."""
    folder = user_folder()
    archive = f"{entry.archive.file} (from {entry.archive.url})" if entry.archive else "its archive"
    place = folder / entry.folder
    files = f"put {entry.model} and {entry.labels} into {place}; set `model` and `labels` to these two files"
    if _is_converted(entry):
        files = f"copy the folder {place} from a machine that has fetched it"
    return (
        f"Without a connection, one of these: put {archive} into {folder}, or into a folder that ACTIONNET_MIRROR "
        f"names; {files}; or take `network:=camera_motion`, which comes with the package and works at once"
    )


def _is_converted(entry: CatalogueEntry) -> bool:
    """Return True if a network is published as weights; its folder then states mean and std, not the catalogue."""
    return entry.archive is not None and bool(entry.archive.torchvision)


def _from_folder(folder: Path, defaults: NetworkSpec) -> NetworkSpec:
    """Apply the folder's network.yaml to `defaults`, and then what other files there state."""
    path = folder / "network.yaml"
    values = _spec_values(path) if is_file(path) else {}
    return _completed(defaults, folder, values)


def _completed(defaults: NetworkSpec, folder: Path, values: dict[str, Any]) -> NetworkSpec:
    """Apply the values of a network.yaml to `defaults`, and what other files in `folder` state beside them."""
    spec = replace(defaults, **values)
    is_stated = "normalization" in values or {"mean", "std"} <= set(values)
    if not defaults.mean_from and not (is_stated and "colors" in values):
        try:
            found = normalization_beside(folder, converted=is_ir(spec.model))
        except NetworkError as error:
            if not is_stated:
                raise
            found = None
            logger.warning("%s, and is not read for the order of the colors", error)
        if found is not None:
            spec = replace(spec, **found.completing(values))
    if spec.labels is None:
        spec = replace(spec, labels=_existing(folder / "labels.txt") or _config_with_labels(folder))
    return spec


def _config_with_labels(folder: Path) -> Path | None:
    """Return the config.json of a transformers model in `folder`, if it has the names of the classes."""
    config = folder / "config.json"
    with suppress(OSError):
        return config if b'"id2label"' in (read_bounded(config, LARGEST) or b"") else None
    return None


def _check_labels(labels: Path) -> None:
    if not is_file(labels):
        raise NetworkError(
            f"the label file {printable(labels)} {why_unusable(labels)}; set `labels` to a text file with "
            "one label a line"
        )
    if labels.stat().st_size == 0:
        raise NetworkError(
            f"the label file {printable(labels)} is empty; it needs one label a line, one for each class"
        )


def _existing(path: Path) -> Path | None:
    return path if is_file(path) else None
