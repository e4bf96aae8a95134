"""Reads and writes network.yaml files."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.layout import LAYOUTS
from ros2_actionnet.networks.network_folder import path_inside
from ros2_actionnet.networks.normalization import in_unit_range, three_numbers
from ros2_actionnet.networks.spec import COLORS, NORMALIZATIONS, NORMALIZED_INSIDE, SCORE_KINDS, NetworkSpec
from ros2_actionnet.networks.yaml_file import read_yaml
from ros2_actionnet.system.text import printable

_HEAD = "What ros2_actionnet has to know of this network. `actionnet-networks add` wrote this; edit it as you like."
_COMMENTS = {
    "name": "The name that is shown.",
    "model": "The files, beside this one. Line i of the labels names class i.",
    "frames": "The model's input: frames in a window, and the size of each in pixels.",
    "layout": "Order of the input's dimensions; N: batch, C: red, green, blue; T: frames. NCTHW, NTCHW, NTHWC, ...",
    "colors": "Order of the colors in the input, and of mean and std: RGB or BGR.",
    "mean": "The colors are scaled to [0, 1]; then `mean` is subtracted, and `std` divides the rest.",
    "normalization": "inside: the network takes red, green and blue in [0, 255], and normalizes them itself.",
    "input_blob": "Names of the model's input and output.",
    "scores": "What the model gives: logits (a softmax is added), probabilities, or sigmoid (several classes at once).",
    "sha256": "Of the model; checked when it is loaded. If you change the model, run `actionnet-networks add` again.",
    "source": "For people; these change nothing.",
}


def notes_of(folder: Path) -> dict[str, Any]:
    """Return the values of the network.yaml in `folder` that NetworkSpec lacks: source, license, the author's notes.

    Raises NetworkError as `resolve` does.
    """
    path = folder / "network.yaml"
    values = read_network_yaml(path) if path.is_file() else {}
    known = [key for key in KEYS if key not in NOTES]
    return {str(key): value for key, value in values.items() if key not in known and value is not None}


def description_of(spec: NetworkSpec, notes: Mapping[str, Any], folder: Path) -> str:
    """Return the text of the network.yaml in `folder` that leaves nothing to be read from the model.

    `spec` must be complete. Raises NetworkError if its files are not in `folder`.
    """
    inside = spec.normalization == "inside"
    values = {
        "name": spec.name,
        "model": str(path_inside(folder, spec.model.absolute(), spec.name)),
        "labels": str(path_inside(folder, spec.labels.absolute(), spec.name)) if spec.labels else None,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "layout": spec.layout,
        "colors": spec.colors,
        "mean": None if inside else list(spec.mean),
        "std": None if inside else list(spec.std),
        "normalization": "inside" if inside else None,
        "input_blob": spec.input_blob,
        "output_blob": spec.output_blob,
        "scores": spec.scores,
        "sha256": spec.sha256,
        "source": notes.get("source", ""),
        "license": notes.get("license", ""),
        "description": notes.get("description", ""),
    }
    lines = [f"# {_HEAD}"]
    for key, value in values.items():
        if key in _COMMENTS and (value is not None or key not in ("mean", "normalization")):
            lines += ["", f"# {_COMMENTS[key]}"]
        if value is not None:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    own = {key: value for key, value in notes.items() if key not in values}
    if own:
        lines += ["", yaml.safe_dump(own, sort_keys=False, allow_unicode=True).rstrip()]
    return "\n".join(lines) + "\n"


# Keys of a network.yaml that document the origin of a network and have no effect.
NOTES = ("source", "license", "description")


# What NetworkSpec has beside the keys of a network.yaml: it is found out, not stated.
_FOUND_OUT = ("mean_from", "colors_from", "is_downloaded", "int8_of")

KEYS = (*(field.name for field in fields(NetworkSpec) if field.name not in _FOUND_OUT), *NOTES)


def read_network_yaml(path: Path) -> dict[Any, Any]:
    """Return the whole content of a network.yaml, unchecked except for its keys.

    Raises NetworkError if it cannot be read, is no mapping, or has a key that looks like a misspelling of a known one.
    """
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise NetworkError(f"{path} must hold `key: value` lines; it holds a {type(content).__name__}")
    for key in content:
        # The author's own notes are allowed; a misspelled known key would silently have no effect.
        close = difflib.get_close_matches(str(key)[:100], KEYS, n=1, cutoff=0.8)
        if key not in KEYS and close:
            raise NetworkError(f"{path}: '{printable(key)}' is not a known key; did you mean '{close[0]}'?")
    return content


def _spec_values(path: Path) -> dict[str, Any]:
    """Return the keys of a network.yaml that NetworkSpec has, checked and converted to its types."""
    content = read_network_yaml(path)
    known = {key: value for key, value in content.items() if key in KEYS and key not in NOTES and value is not None}
    values = {key: _value(path, key, value) for key, value in known.items()}
    if "colors" in values:
        values["colors_from"] = str(path)
    if values.get("normalization") == "inside":
        if "mean" in values or "std" in values:
            raise NetworkError(
                f"{path}: `normalization: inside` leaves mean and std to the network; remove its lines `mean` and "
                "`std`, or the line `normalization`"
            )
        return values | NORMALIZED_INSIDE | {"mean_from": str(path)}
    return values | in_unit_range(values, str(path))


def _value(path: Path, key: str, value: Any) -> Any:
    """Convert one value of a network.yaml to the type of NetworkSpec's attribute."""
    if key in ("model", "labels"):
        return path.parent / path_inside(path.parent, str(value), str(path), path)
    if key in ("frames", "height", "width"):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise NetworkError(f"{path}: {key} is {printable(repr(value))}; it must be a whole number above 0")
    if key in ("mean", "std"):
        return three_numbers(str(path), key, value)
    if key == "layout" and value not in LAYOUTS:
        raise NetworkError(f"{path}: layout is {printable(repr(value))}; it must be one of {', '.join(LAYOUTS)}")
    if key == "scores" and value == "auto":
        return None
    if key == "scores" and value not in SCORE_KINDS:
        kinds = ", ".join(SCORE_KINDS)
        raise NetworkError(f"{path}: scores is {printable(repr(value))}; it must be one of {kinds}, or auto")
    if key == "colors" and value not in COLORS:
        raise NetworkError(f"{path}: colors is {printable(repr(value))}; it must be {' or '.join(COLORS)}")
    if key == "normalization" and value not in NORMALIZATIONS:
        kinds = ", ".join(NORMALIZATIONS)
        raise NetworkError(f"{path}: normalization is {printable(repr(value))}; it must be one of {kinds}")
    if key == "sha256" and value != "" and not re.fullmatch("[0-9a-fA-F]{64}", str(value)):
        raise NetworkError(f"{path}: sha256 is {printable(repr(value))}; it must be 64 hexadecimal digits, in quotes")
    return str(value)
