"""Writes the model repository that Triton serves a network from.

FOLDER/NAME/config.pbtxt, labels.txt, 1/model.onnx                    the network
FOLDER/NAME/config.pbtxt, labels.txt, 1/model.py, FOLDER/NAME_windows  stateful: the streams' windows, the network
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ros2_actionnet.backends.triton.contract import NUMBER, Stated
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import INPUT_NAME, OUTPUT_NAME, PreparedNetwork
from ros2_actionnet.system.files import file_lock, replace_folder, scratch_folder
from ros2_actionnet.system.text import printable

Platform = Literal["onnxruntime", "tensorrt", "openvino", "python"]

PLATFORMS: dict[str, str] = {
    "onnxruntime": "ONNX Runtime, on the server's GPUs or its CPU",
    "tensorrt": "ONNX Runtime with TensorRT, on the server's GPUs",
    "openvino": "OpenVINO, on the server's CPU",
    "python": "Triton's Python backend with OpenVINO or ONNX Runtime as installed there, on the server's CPU",
}
"""What runs the network on the server, and where."""

_MODELS = Path(__file__).parent / "models"
_LABELS = "labels.txt"
_QUEUE_DELAY = 2000  # µs, that a request waits for others to share a batch with
_QUEUE_TIMEOUT = 1_000_000  # µs, after which one that no client waits for any more is dropped; a client states its own
_LONGEST_PAUSE = 60  # s, after which a stream's window is forgotten
_STREAMS = 1024  # sequences at a time


class Raw(str):
    """A word of the text format that stands without quotes, such as TYPE_UINT8."""

    __slots__ = ()


@dataclass(frozen=True)
class ExportOptions:
    """How a network is to be served.

    Attributes:
        platform: What runs it.
        stateful: True to keep the windows on the server, so that a request brings new frames only.
        max_batch: Largest number of windows in one batch.
        instances: Copies of the network on each GPU, or on the CPU.
        precision: fp32 or fp16; fp16 only under tensorrt.
    """

    platform: Platform = "onnxruntime"
    stateful: bool = False
    max_batch: int = 8
    instances: int = 1
    precision: Literal["fp32", "fp16"] = "fp32"


def export_repository(
    network: PreparedNetwork, folder: Path, options: ExportOptions, *, again: bool = False
) -> list[Path]:
    """Write the models of `network` into the repository `folder`; return their folders.

    Raises:
        NetworkError: The network has no ONNX, cannot be served as `options` ask, or a model of its name is there
            already and `again` is not set.
        OSError: A file cannot be written.
    """
    _check(network, options)
    name = network.name
    models = {name: _network_model(network, name, options)}
    if options.stateful:
        inner = f"{name}_windows"
        models = {inner: _network_model(network, inner, options), name: _ring_model(network, inner, options)}
    targets = {model: folder / model for model in models}
    for target in targets.values():
        if target.exists() and not again:
            raise NetworkError(f"{printable(target)} exists; give another folder, or --again to replace it")
    for model, files in models.items():
        with file_lock(folder / f".{model}.lock", lambda _: None), scratch_folder(targets[model]) as scratch:
            for path, content in files.items():
                (scratch / path).parent.mkdir(exist_ok=True)
                (scratch / path).write_bytes(content)
            (scratch / _LABELS).write_text("\n".join(network.labels) + "\n", encoding="utf-8")
            replace_folder(targets[model], scratch)
        (folder / f".{model}.lock").unlink(missing_ok=True)
    return list(targets.values())


def _check(network: PreparedNetwork, options: ExportOptions) -> None:
    if network.conversion is not None:
        raise NetworkError(
            f"{network.name} is in OpenVINO's IR, which the server cannot take with our preprocessing; export its ONNX"
        )
    if not network.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise NetworkError(
            f"'{printable(network.name)}' cannot be a model's name on the server; add the network under one of "
            "letters, digits, - and _ (actionnet-networks add --name)"
        )
    if options.precision == "fp16" and options.platform != "tensorrt":
        raise NetworkError(f"precision fp16 is for --platform tensorrt, not {options.platform}; leave it out")


def _network_model(network: PreparedNetwork, name: str, options: ExportOptions) -> dict[str, bytes]:
    """Return the files of the model with the network, which clients may use by whole windows."""
    takes_batches = network.max_batch is None
    backend = "onnxruntime" if options.platform == "tensorrt" else options.platform
    windows = [network.frames, network.height, network.width, 3]
    precision = "auto" if options.platform == "openvino" else options.precision
    config: dict[str, Any] = {"name": name, "backend": backend}
    if options.platform != "python":  # OpenVINO's looks for an .xml
        config["default_model_filename"] = "model.onnx"
    config |= {
        "max_batch_size": options.max_batch if takes_batches else 0,
        "input": [_tensor(INPUT_NAME, "UINT8", windows if takes_batches else [1, *windows])],
        "output": [_scores(network, takes_batches)],
        "instance_group": [{"count": options.instances, "kind": _kind(options.platform)}],
        "model_warmup": [_warmup(windows if takes_batches else [1, *windows], takes_batches)],
    }
    if takes_batches:
        config["dynamic_batching"] = {
            # Where the windows are kept on the server, they come as batches already.
            "max_queue_delay_microseconds": 0 if options.stateful else _QUEUE_DELAY,
            "default_queue_policy": _queue_policy(),
        }
    if options.platform == "tensorrt":
        config["optimization"] = {
            "execution_accelerators": {
                "gpu_execution_accelerator": [
                    {
                        "name": "tensorrt",
                        "parameters": _entries(
                            {
                                "precision_mode": options.precision.upper(),
                                "trt_engine_cache_enable": "1",
                                "trt_engine_cache_path": f"/tmp/actionnet_engines/{name}",
                            }
                        ),
                    }
                ]
            }
        }
    stated = Stated.of(network, precision)
    config["parameters"] = _parameters(stated.parameters)
    model = network.file.read_bytes() if network.file is not None else network.model
    files = {"config.pbtxt": to_text(config), f"{stated.version}/model.onnx": model}
    if options.platform == "python":
        files[f"{stated.version}/model.py"] = (_MODELS / "window_model.py").read_bytes()
    return files


def _ring_model(network: PreparedNetwork, inner: str, options: ExportOptions) -> dict[str, bytes]:
    """Return the files of the model that keeps the streams' windows, and asks the model `inner` for their scores."""
    stated = Stated.of(network, "auto" if options.platform == "openvino" else options.precision, "stateful")
    takes_batches = network.max_batch is None
    config = {
        "name": network.name,
        "backend": "python",
        "max_batch_size": options.max_batch if takes_batches else 1,
        "input": [
            _tensor(INPUT_NAME, "UINT8", [-1, network.height, network.width, 3]),
            _tensor(NUMBER, "INT64", [1]),
        ],
        "output": [_scores(network, takes_batches=True), _tensor(NUMBER, "INT64", [1])],
        # One process has all windows.
        "instance_group": [{"count": 1, "kind": Raw("KIND_CPU")}],
        "sequence_batching": {
            "max_sequence_idle_microseconds": _LONGEST_PAUSE * 1_000_000,
            "oldest": {
                "max_candidate_sequences": _STREAMS,
                "max_queue_delay_microseconds": _QUEUE_DELAY,
            },
            "control_input": [
                {
                    "name": "CORRID",
                    "control": [{"kind": Raw("CONTROL_SEQUENCE_CORRID"), "data_type": Raw("TYPE_UINT64")}],
                }
            ],
        },
        "parameters": _parameters(
            stated.parameters
            | {"windows_model": inner, "frames": str(network.frames), "longest_pause": str(_LONGEST_PAUSE)}
        ),
    }
    return {"config.pbtxt": to_text(config), f"{stated.version}/model.py": (_MODELS / "ring_model.py").read_bytes()}


def _tensor(name: str, kind: str, dims: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "data_type": Raw(f"TYPE_{kind}"), "dims": list(dims)}


def _scores(network: PreparedNetwork, takes_batches: bool) -> dict[str, Any]:
    classes = [network.num_classes]
    return _tensor(OUTPUT_NAME, "FP32", classes if takes_batches else [1, *classes]) | {"label_filename": _LABELS}


def _kind(platform: Platform) -> Raw:
    return Raw({"onnxruntime": "KIND_AUTO", "tensorrt": "KIND_GPU"}.get(platform, "KIND_CPU"))


def _warmup(dims: Sequence[int], takes_batches: bool) -> dict[str, Any]:
    tensor = {"data_type": Raw("TYPE_UINT8"), "dims": list(dims), "zero_data": True}
    batch = {"batch_size": 1} if takes_batches else {}
    return {"name": "one_window"} | batch | {"inputs": [{"key": INPUT_NAME, "value": tensor}]}


def _queue_policy() -> dict[str, Any]:
    return {
        "timeout_action": Raw("REJECT"),
        "default_timeout_microseconds": _QUEUE_TIMEOUT,
        "allow_timeout_override": True,
    }


def _entries(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _parameters(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]


# Protobuf's text format.


def to_text(message: Mapping[str, Any]) -> bytes:
    """Return `message` in protobuf's text format: a list is a repeated field, a mapping a message, Raw a bare word."""
    return ("\n".join(_lines(message)) + "\n").encode()


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in message.items():
        if isinstance(value, list) and value and isinstance(value[0], int):
            yield f"{indent}{key}: [ {', '.join(map(str, value))} ]"
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield f"{indent}{key} {{"
                yield from _lines(one, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{key}: {_scalar(one)}"


def _scalar(value: Any) -> str:
    if isinstance(value, Raw) or not isinstance(value, (str, bool)):
        return str(value)
    # JSON's escapes of text that is ASCII otherwise are valid in the text format, but for \u.
    return str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
