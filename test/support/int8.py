"""Int8 models of tiny networks, made with the real quantizer, and records of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.networks import NetworkRequest, PreparedNetwork, prepare, resolve
from ros2_actionnet.networks.graph.quantization import quantize, with_named_nodes
from ros2_actionnet.networks.int8 import Int8Record, int8_file, write_record
from ros2_actionnet.system.files import sha256_of


def windows_for(network: PreparedNetwork, count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Windows of every brightness, with noise: uint8 [T, H, W, 3] each."""
    random = np.random.default_rng(seed)
    size = (network.frames, network.height, network.width, 3)
    levels = np.linspace(20, 235, count)
    return [np.clip(random.normal(level, 10, size), 0, 255).astype(np.uint8) for level in levels]


def prepared(model: Path, precision: str = "") -> PreparedNetwork:
    return prepare(resolve(NetworkRequest(model=str(model), precision=precision)))


def quantized(model: Path, work: Path, left_out: tuple[str, ...] = (), count: int = 8) -> PreparedNetwork:
    """The network of `model` as an int8 model, in a file in `work`."""
    network = prepared(model)
    file = work / "quantized.onnx"
    quantize(with_named_nodes(network.model), windows_for(network, count), file, left_out, work / "ranges.json")
    return replace(network, spec=replace(network.spec, int8_of=model), model=b"", file=file, digest=sha256_of(file))


def make_int8(model: Path, agreement: float = 1.0) -> Int8Record:
    """Write the int8 model of `model` with its record beside it."""
    work = model.parent / "work"
    work.mkdir(exist_ok=True)
    network = quantized(model, work)
    assert network.file is not None
    shutil.move(network.file, int8_file(model))
    record = Int8Record(
        model_sha256=sha256_of(model),
        int8_sha256=network.digest,
        frames=network.frames,
        height=network.height,
        width=network.width,
        classes=network.num_classes,
        max_batch=network.max_batch,
        scores="probabilities",
        output_blob=network.spec.output_blob,
        original_scores=network.spec.scores or "logits",
        windows=8,
        held_out=8,
        clips={"a.mp4": 16},
        left_out=[],
        agreement=agreement,
        required_agreement=0.99,
        mean_difference=0.001,
        largest_difference=0.01,
        milliseconds={"bf16": 2.0, "int8": 1.0},
        machine="a CPU, openvino on CPU",
        tools={"onnxruntime": "1.32.0"},
    )
    write_record(record, model)
    shutil.rmtree(work)
    return record
