"""What a network.yaml says: read for a person, and written in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ros2_actionnet.networks.resolve import KEYS, NOTES, read_network_yaml
from ros2_actionnet.networks.spec import NetworkSpec

_HEAD = "What ros2_actionnet has to know of this network. `actionnet-networks add` wrote this; edit it as you like."
_COMMENTS = {
    "name": "The name that is shown.",
    "model": "The files, beside this one. Line i of the labels names class i.",
    "frames": "The model's input: frames in a window, and the size of each in pixels.",
    "layout": "Order of the input's dimensions; N: batch, C: red, green, blue; T: frames. NCTHW or NTCHW.",
    "mean": "Red, green and blue are scaled to [0, 1]; then `mean` is subtracted, and `std` divides the rest.",
    "input_blob": "Names of the model's input and output. Where there is no softmax in the model, it is added.",
    "sha256": "Of the model; checked when it is loaded. If you change the model, run `actionnet-networks add` again.",
    "source": "For people; these change nothing.",
}


def notes_of(folder: Path) -> dict[str, Any]:
    """What the network.yaml in `folder` says beyond what a NetworkSpec holds: source, license, notes of one's own.

    Raises NetworkError as `resolve` does.
    """
    path = folder / "network.yaml"
    values = read_network_yaml(path) if path.is_file() else {}
    known = [key for key in KEYS if key not in NOTES]
    return {str(key): value for key, value in values.items() if key not in known and value is not None}


def description_of(spec: NetworkSpec, notes: Mapping[str, Any]) -> str:
    """The text of a network.yaml that leaves nothing to be read from the model; `spec` must be complete."""
    values = {
        "name": spec.name,
        "model": spec.model.name,
        "labels": spec.labels.name if spec.labels else None,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "layout": spec.layout,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "input_blob": spec.input_blob,
        "output_blob": spec.output_blob,
        "sha256": spec.sha256,
        "source": notes.get("source", ""),
        "license": notes.get("license", ""),
        "description": notes.get("description", ""),
    }
    lines = [f"# {_HEAD}"]
    for key, value in values.items():
        if key in _COMMENTS:
            lines += ["", f"# {_COMMENTS[key]}"]
        if value is not None:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    own = {key: value for key, value in notes.items() if key not in values}
    if own:
        lines += ["", yaml.safe_dump(own, sort_keys=False, allow_unicode=True).rstrip()]
    return "\n".join(lines) + "\n"
