"""Several live inputs of the command `actionnet`: how they are named, and where the results of each go."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ros2_actionnet.cli.outputs import Outputs
from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.uris import is_file, path_of, scheme_of

NAME = "{name}"
"""Stands for a camera's name in an output."""


@dataclass(frozen=True)
class Camera:
    """A live input and its name."""

    name: str
    uri: str


def cameras_of(texts: Sequence[str]) -> tuple[Camera, ...]:
    """Return the cameras of the flag's values, NAME=INPUT or INPUT, which is called camera1, camera2, by its place.

    Raises argparse.ArgumentTypeError for a name that is there twice, or an input that is a file.
    """
    cameras = list[Camera]()
    for number, text in enumerate(texts, 1):
        named = re.match(r"([A-Za-z]\w*)=(.+)", text)
        name, uri = (named[1], named[2]) if named else (f"camera{number}", text)
        if any(camera.name == name for camera in cameras):
            raise argparse.ArgumentTypeError(f"{name} is there twice; give every camera a name of its own")
        if is_file(uri):
            raise argparse.ArgumentTypeError(
                f"'{uri}' is a file; --camera takes live inputs, as /dev/video0 or rtsp://host/stream, and --batch "
                "FOLDER several files"
            )
        cameras.append(Camera(name, uri))
    return tuple(cameras)


def check_outputs(outputs: Outputs) -> None:
    """Raise MediaError for an output that cannot be of several cameras together: only pictures and results can."""
    is_bag = scheme_of(outputs.output) in ("", "file") and path_of(outputs.output).suffix.lower() == ".mcap"
    alone = [(outputs.output if is_bag else "", "a bag"), (str(outputs.report or ""), "a report")]
    for path, what in [*alone, (outputs.input_save, "an input's video")]:
        if path and NAME not in path:
            better = Path(path).with_stem(f"{Path(path).stem}_{NAME}")
            raise MediaError(f"'{path}' is {what}, which is of one camera: give one for each, as '{better}'")


def outputs_of(camera: Camera, outputs: Outputs) -> Outputs:
    """Return what a camera has for itself: the outputs with `{name}`, with its name in them."""
    results, report = (_own(str(path or ""), camera) for path in (outputs.results, outputs.report))
    output, save = _own(outputs.output, camera), _own(outputs.save, camera)
    return Outputs(
        output,
        results=Path(results) if results else None,
        report=Path(report) if report else None,
        save=save,
        input_save=_own(outputs.input_save, camera),
    )


def common_outputs(outputs: Outputs) -> Outputs:
    """Return what all cameras have together: the outputs without `{name}`."""
    output = "" if NAME in outputs.output else outputs.output
    results = None if NAME in str(outputs.results) else outputs.results
    save = "" if NAME in outputs.save else outputs.save
    window = outputs.window and not outputs.output
    return replace(outputs, output=output, window=window, results=results, report=None, save=save, input_save="")


def _own(path: str, camera: Camera) -> str:
    return path.replace(NAME, camera.name) if NAME in path else ""
