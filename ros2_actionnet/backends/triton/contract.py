"""What a served model states of the network that it was exported from, compared with the network here.

`export` writes it as `parameters` into the model's config.pbtxt, and the client reads it from the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ros2_actionnet.backends.triton.connection import Connection, Deadline
from ros2_actionnet.errors import ServerError
from ros2_actionnet.networks import INPUT_NAME, OUTPUT_NAME, PreparedNetwork
from ros2_actionnet.networks.model_files import is_ir, weights_of
from ros2_actionnet.system.files import sha256_of
from ros2_actionnet.system.text import printable

Form = Literal["window", "stateful"]

NUMBER = "number"
"""Input and output of the stateful form: the number of a stream's newest frame, int64."""

_PREFIX = "actionnet."
_SHOWN = 12  # digits of a checksum in a message


@dataclass(frozen=True)
class Stated:
    """What a served model states of its network.

    Attributes:
        network: Name of the network.
        sha256: Of the files of its model, before it was prepared.
        modified: When the newest of them was written, UTC.
        labels: SHA-256 of its labels, one a line.
        preprocessing: Layout, mean, std, input and output, as far as they are not in the model.
        scores: What the model gives, as one of SCORE_KINDS.
        precision: Arithmetic of the inference.
        form: What a request brings: windows, or the frames that are new in a window.
    """

    network: str
    sha256: str
    modified: str
    labels: str
    preprocessing: str
    scores: str
    precision: str
    form: Form

    @classmethod
    def of(cls, network: PreparedNetwork, precision: str = "auto", form: Form = "window") -> Stated:
        """Return what is stated of `network`; takes about 0.1 s for 130 MB."""
        spec = network.spec
        files = _files_of(spec.model)
        newest = max(file.stat().st_mtime for file in files)
        return cls(
            network=network.name,
            sha256=hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest(),
            modified=datetime.fromtimestamp(newest, timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
            labels=hashlib.sha256("\n".join(network.labels).encode()).hexdigest(),
            preprocessing=f"{spec.layout} mean {_rounded(spec.mean)} std {_rounded(spec.std)} "
            f"{spec.input_blob} {spec.output_blob}",
            scores=str(spec.scores),
            precision=precision,
            form=form,
        )

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Stated | None:
        """Return what `parameters` of a served model state; None if it is not from `export`."""
        names = [field.name for field in fields(cls)]
        if any(_PREFIX + name not in parameters for name in names):
            return None
        return cls(**{name: parameters[_PREFIX + name] for name in names})  # type: ignore[arg-type]

    @property
    def version(self) -> str:
        """The version under which the model is served: a number made from all that must not differ.

        Every request names it, so that a server whose model was replaced meanwhile cannot answer for another network.
        """
        facts = "\n".join(f"{k}={v}" for k, v in self.parameters.items() if k != _PREFIX + "modified")
        return str(int(hashlib.sha256(facts.encode()).hexdigest()[:7], 16) + 1)

    @property
    def parameters(self) -> dict[str, str]:
        """What `read` reads."""
        return {_PREFIX + name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Served:
    """A model on a server that fits the network here.

    Attributes:
        form: What a request brings.
        precision: Arithmetic of the inference, "auto" if the server's own choice.
        max_batch: Largest number of windows in one request.
        version: Version of the model.
        is_stated: False for a model whose network could not be compared with the one here.
    """

    form: Form
    precision: str
    max_batch: int
    version: str
    is_stated: bool


def read_served(connection: Connection, model: str, network: PreparedNetwork, deadline: Deadline) -> Served:
    """Return what the server says of `model`, checked against `network`.

    Raises ServerError if there is no such model, or if its names, types, shapes, classes or network differ.
    """
    try:
        answer = connection.call("get_model_metadata", deadline, model)
    except ServerError as error:
        if is_unknown_model(error):
            raise ServerError(
                f"the server {connection.server} has no model '{model}' loaded: export it with "
                f"`actionnet-networks export`, load it, or set device to {connection.server}/MODEL ({error})",
                error.status,
            ) from error
        raise
    config = _config_of(connection, model, deadline)
    stated = Stated.read(config[0]) if config is not None else None
    form: Form = stated.form if stated is not None else "window"
    where = f"model '{model}' on {connection.server}"
    if stated is not None:
        _compare(where, stated, network)
    batch = _check_tensors(where, answer, network, form)
    largest = config[1] if config is not None else 0
    return Served(
        form,
        stated.precision if stated is not None else "auto",
        max_batch=1 if batch == 1 else max(1, largest),
        version=answer.versions[-1] if answer.versions else "",
        is_stated=stated is not None,
    )


def is_unknown_model(error: ServerError) -> bool:
    """Return True for the answer of a server that has no such model, or not in that version."""
    return error.status == "NOT_FOUND" or "unknown model" in str(error) or "no available versions" in str(error)


def _config_of(connection: Connection, model: str, deadline: Deadline) -> tuple[dict[str, str], int] | None:
    """Return the parameters and max_batch_size of a model; None from a server that does not tell them."""
    try:
        config = connection.call("get_model_config", deadline, model).config
    except ServerError as error:
        if error.status == "UNIMPLEMENTED":  # an extension of Triton's, which others lack
            return None
        raise
    return {key: value.string_value for key, value in config.parameters.items()}, config.max_batch_size


def _compare(where: str, stated: Stated, network: PreparedNetwork) -> None:
    """Raise ServerError, which says which side is old, if the served network is not the one here."""
    here = Stated.of(network)
    if stated.network != here.network:
        raise ServerError(
            f"{where} is network {printable(stated.network)}, not {here.network}; set network to "
            f"{printable(stated.network)}, or device to another model of the server"
        )
    if stated.sha256 != here.sha256:
        old, new = ("the server's", "robot's") if stated.modified < here.modified else ("the robot's", "server's")
        remedy = "export it again" if old == "the server's" else "copy or fetch the network again on the robot"
        raise ServerError(
            f"{where} is another version of {here.network}: {old} is the old one; {remedy}. The server's is of "
            f"{printable(stated.modified)} (sha256 {printable(stated.sha256[:_SHOWN])}), the robot's of "
            f"{here.modified} (sha256 {here.sha256[:_SHOWN]}); the {new} is newer"
        )
    differing = [
        name
        for name, is_other in {
            "labels": stated.labels != here.labels,
            "preprocessing": stated.preprocessing != here.preprocessing,
            # What was only read from the graph may have been corrected by numbers on the other side.
            "scores": stated.scores != here.scores and network.scores_from == "stated",
        }.items()
        if is_other
    ]
    if differing:
        facts = "; ".join(
            f"{name}: {printable(getattr(stated, name), 200)} on the server, {printable(getattr(here, name), 200)} here"
            for name in differing
        )
        raise ServerError(
            f"{where} has the same {here.network} with other {' and '.join(differing)}; export it again from the "
            f"network folder that the robot uses, or copy that of the server ({facts})"
        )


def _check_tensors(where: str, answer: Any, network: PreparedNetwork, form: Form) -> int | None:
    """Return the size of a batch if it is fixed; raise ServerError if a name, a type or a shape is not as expected."""
    frame = [network.height, network.width, 3]
    inputs = {INPUT_NAME: ("UINT8", [network.frames, *frame])}
    outputs = {OUTPUT_NAME: ("FP32", [network.num_classes])}
    if form == "stateful":
        inputs = {INPUT_NAME: ("UINT8", [-1, *frame]), NUMBER: ("INT64", [1])}
        outputs[NUMBER] = ("INT64", [1])
    for what, tensors, expected in (("input", answer.inputs, inputs), ("output", answer.outputs, outputs)):
        found = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in tensors}
        for name, (datatype, shape) in expected.items():
            is_same = name in found and found[name][0] == datatype and found[name][1][1:] == shape
            if not is_same:
                has = printable(", ".join(f"{n} {t} {s}" for n, (t, s) in found.items()) or "none", 500)
                raise ServerError(
                    f"{where} does not fit {network.name}: {what} {name} must be {datatype} {[-1, *shape]}, and it has "
                    f"{has}; export the network again, or set network to the one that it is"
                )
    batch = next(tensor.shape[0] for tensor in answer.inputs if tensor.name == INPUT_NAME)
    return int(batch) if batch > 0 else None


def _files_of(model: Path) -> list[Path]:
    """Return the file of a model, and those with its weights beside it, by their usual names."""
    beside = [weights_of(model)] if is_ir(model) else sorted(model.parent.glob(f"{model.name}[._]data*"))
    return [model, *(file for file in beside if file.is_file())]


def _rounded(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)
