"""The formats of model files: ONNX, OpenVINO's IR (an .xml with its weights in a .bin), and engines of TensorRT."""

from __future__ import annotations

from pathlib import Path

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.system.paths import is_file, why_unusable
from ros2_actionnet.system.text import printable

# What a folder's model is called if no network.yaml names it.
DEFAULT_NAMES = ("model.onnx", "model.xml")

_ENGINES = (".engine", ".plan", ".trt")
_WHITESPACE = b" \t\r\n"


def is_ir(model: Path) -> bool:
    """Return True if a model file is in OpenVINO's IR, by its suffix."""
    return model.suffix.lower() == ".xml"


def is_engine(model: Path) -> bool:
    """Return True if a model file is a ready engine of TensorRT, by its suffix."""
    return model.suffix.lower() in _ENGINES


def weights_of(model: Path) -> Path:
    """Return the file with the weights of a model in OpenVINO's IR."""
    return model.with_suffix(".bin")


def default_model(folder: Path) -> Path | None:
    """Return the model of a folder whose network.yaml names none; None if there is none."""
    return next((folder / name for name in DEFAULT_NAMES if is_file(folder / name)), None)


def check_model(model: Path) -> None:
    """Raise NetworkError for a file that is obviously no model, by its suffix and first bytes, or lacks its weights."""
    if not is_file(model):
        raise NetworkError(
            f"the model {printable(model)} {why_unusable(model)}; set `model`, or `model:` in the network.yaml beside "
            "it"
        )
    _check_suffix(model)
    try:
        with model.open("rb") as file:
            start = file.read(48)
    except OSError as error:
        raise NetworkError(f"the model {printable(model)} cannot be read: {error.strerror or error}") from error
    if not start:
        raise NetworkError(f"the model {printable(model)} is empty; copy or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise NetworkError(
            f"the model {printable(model)} is a Git LFS pointer, not the model; run `git lfs pull` where it is from"
        )
    if is_ir(model):
        _check_ir(model, start)
    # The first field of an ONNX file is its format version: tag 0x08. An engine only TensorRT can tell.
    elif not is_engine(model) and start[0] != 0x08:
        raise NetworkError(
            f"the model {printable(model)} is not an ONNX file (it begins with {start[:8]!r}); export it to ONNX"
        )


def _check_suffix(model: Path) -> None:
    suffix = model.suffix.lower()
    if suffix == ".onnx" or is_ir(model) or is_engine(model):
        return
    if suffix == ".bin" and is_file(model.with_suffix(".xml")):
        raise NetworkError(
            f"the model {printable(model)} has only weights; set `model` to {printable(model.with_suffix('.xml'))}"
        )
    raise NetworkError(
        f"the model {printable(model)} is not an .onnx file, nor an .xml of OpenVINO's IR; export the network to ONNX "
        "and set `model` to that"
    )


def _check_ir(model: Path, start: bytes) -> None:
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip(_WHITESPACE).startswith((b"<?xml", b"<net", b"<!--")):
        raise NetworkError(
            f"the model {printable(model)} is not in OpenVINO's IR (it begins with {start[:8]!r}); convert the network "
            "again, with `ovc`, or set `model` to an .onnx file"
        )
    weights = weights_of(model)
    if not is_file(weights):
        raise NetworkError(
            f"the model {printable(model)} lacks its weights: there is no {printable(weights.name)} beside it; copy or "
            "download both files"
        )
