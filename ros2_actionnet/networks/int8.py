"""The int8 model of a network: a file beside the model it was made of, and the record of how it was made and judged.

model.onnx          the network
model.int8.onnx     the same, quantized, with the signature of every prepared network: it is run as it was judged
model.int8.json     what it was calibrated and judged on, the result, and the SHA-256 of both models
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ros2_actionnet.errors import NetworkError, about
from ros2_actionnet.networks.labels import labels_for
from ros2_actionnet.networks.spec import (
    INPUT_NAME,
    NORMALIZED_INSIDE,
    OUTPUT_NAME,
    NetworkRequest,
    NetworkSpec,
    PreparedNetwork,
    ScoreKind,
)
from ros2_actionnet.system.files import sha256_of, write_atomically
from ros2_actionnet.system.paths import is_file
from ros2_actionnet.system.text import printable

_LARGEST = 10_000_000  # bytes of a record


@dataclass(frozen=True)
class Int8Record:
    """How an int8 model was made and judged.

    Attributes:
        model_sha256: of the model that it was made of.
        int8_sha256: of the int8 model.
        frames, height, width, classes: of the network.
        max_batch: largest batch; None: any.
        scores: what the int8 model gives.
        output_blob: the output of the original model that it stands for.
        original_scores: what that output gives.
        windows: number of windows that it was calibrated on.
        held_out: number of other windows, of the same clips, that it was judged on.
        clips: the clips, with the number of windows taken from each.
        left_out: names of the layers that compute in floating point.
        agreement: part of the held-out windows with the best class of fp32.
        required_agreement: least agreement with which `auto` takes it.
        mean_difference: mean difference of a score from that of fp32.
        largest_difference: largest difference of a score from that of fp32.
        milliseconds: median time of a window in each precision, where it was judged.
        machine: the processor and the backend on which it was judged.
        tools: versions of the programs that made it.
    """

    model_sha256: str
    int8_sha256: str
    frames: int
    height: int
    width: int
    classes: int
    max_batch: int | None
    scores: str
    output_blob: str
    original_scores: str
    windows: int
    held_out: int
    clips: dict[str, int]
    left_out: list[str]
    agreement: float
    required_agreement: float
    mean_difference: float
    largest_difference: float
    milliseconds: dict[str, float]
    machine: str
    tools: dict[str, str]

    @property
    def is_accepted(self) -> bool:
        """Return True if it agrees with fp32 as well as was required."""
        return self.agreement >= self.required_agreement


def int8_file(model: Path) -> Path:
    """Return where the int8 model of `model` lies."""
    return model.with_name(f"{model.stem}.int8.onnx")


def record_file(model: Path) -> Path:
    """Return where the record of the int8 model of `model` lies."""
    return model.with_name(f"{model.stem}.int8.json")


def write_record(record: Int8Record, model: Path) -> Path:
    """Write the record of the int8 model of `model`, and return its path. Raises OSError."""
    path = record_file(model)
    write_atomically(path, (json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n").encode())
    return path


def read_record(model: Path) -> Int8Record | None:
    """Return the record of the int8 model of `model`; None if there is no int8 model.

    Raises NetworkError if there is one without a record, or with one that cannot be read.
    """
    if not is_file(int8_file(model)):
        return None
    path = record_file(model)
    remedy = "run `actionnet-networks quantize` again"
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST))
        return _checked(content)
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkError(
            f"the record {printable(path)} of an int8 model cannot be read: {printable(error, 300)}; {remedy}"
        ) from error


def _checked(content: Any) -> Int8Record:
    """Return the record in the `content` of a file. Raises ValueError if a value is missing or of another type."""
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    values: dict[str, Any] = {}
    hints = get_type_hints(Int8Record)
    for field in fields(Int8Record):
        if field.name not in content:
            raise ValueError(f"it has no '{field.name}'")
        value = values[field.name] = content[field.name]
        if not _is_a(value, hints[field.name]):
            raise ValueError(f"its '{field.name}' is {printable(repr(value), 80)}")
    record = Int8Record(**values)
    if min(record.frames, record.height, record.width, record.classes) < 1:
        raise ValueError("frames, height, width and classes must be above 0")
    if record.scores not in ("probabilities", "sigmoid"):
        raise ValueError(f"its 'scores' is {printable(repr(record.scores), 80)}")
    return record


def _is_a(value: Any, hint: Any) -> bool:
    if isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    if hint == int | None:
        return value is None or isinstance(value, int)
    return isinstance(value, getattr(hint, "__origin__", hint))


def resolve_int8(spec: NetworkSpec, request: NetworkRequest) -> NetworkSpec:
    """Return the spec of the int8 model of the network that `request` asks for, which is `spec` in other precisions.

    Raises NetworkError if there is none, or if it stands for another output.
    """
    with about("precision"):
        record = read_record(spec.model)
        if record is None:
            raise NetworkError(
                f"there is no int8 model of {spec.name} ({printable(int8_file(spec.model))}); make one from clips of "
                f"yours with `actionnet-networks quantize {printable(request.model or spec.name)} --clips FOLDER`, or "
                "set precision auto"
            )
        for stated, made in ((request.output_blob, record.output_blob), (request.scores, record.original_scores)):
            if stated not in ("", "auto", made):
                raise NetworkError(
                    f"the int8 model of {spec.name} stands for output '{printable(record.output_blob)}' as "
                    f"{printable(record.original_scores)}, not for {printable(stated)}; run `actionnet-networks "
                    "quantize` again, or set precision auto"
                )
    kind: ScoreKind = "sigmoid" if record.scores == "sigmoid" else "probabilities"
    return replace(
        spec,
        **NORMALIZED_INSIDE,
        model=int8_file(spec.model),
        frames=record.frames,
        height=record.height,
        width=record.width,
        layout="NTHWC",
        colors="RGB",
        input_blob=INPUT_NAME,
        output_blob=OUTPUT_NAME,
        scores=kind,
        sha256=record.int8_sha256,
        mean_from=spec.mean_from or "the int8 model, which normalizes the frames itself",
        int8_of=spec.model,
    )


def has_accepted_int8(spec: NetworkSpec) -> bool:
    """Return True if there is an int8 model of `spec` that was judged well enough; raise as `read_record` does."""
    record = read_record(spec.model)
    return record is not None and record.is_accepted


def prepare_int8(spec: NetworkSpec) -> PreparedNetwork:
    """Implement `ros2_actionnet.networks.prepare` for an int8 model, which stays where it is.

    Raises NetworkError if one of the two models is not the one that the record is about.
    """
    assert spec.int8_of is not None
    record = read_record(spec.int8_of)
    if record is None:
        raise NetworkError(f"the int8 model {printable(spec.model)} is gone; set precision auto")
    for path, expected in ((spec.int8_of, record.model_sha256), (spec.model, record.int8_sha256)):
        if sha256_of(path) != expected:
            raise NetworkError(
                f"{printable(path)} has changed since the int8 model of {spec.name} was made; run `actionnet-networks "
                "quantize` again, or set precision auto"
            )
    labels = labels_for(spec.labels, record.classes, spec.name, is_downloaded=spec.is_downloaded)
    return PreparedNetwork(
        spec, labels, model=b"", max_batch=record.max_batch, file=spec.model, digest=record.int8_sha256
    )
