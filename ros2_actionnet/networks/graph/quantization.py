"""Quantizes a prepared network to int8, with what ONNX Runtime's quantizer offers, to what every backend accepts.

The result has QuantizeLinear and DequantizeLinear around its convolutions, matrix products and residual sums: int8,
symmetric (all zero points are 0), the weights with a scale for each channel, as TensorRT demands. Biases stay in
floating point, which it demands too. What normalizes the frames, and what makes scores, is not quantized.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.spec import INPUT_NAME
from ros2_actionnet.system.imports import import_remedy, pip_install
from ros2_actionnet.system.text import printable

MIN_OPSET = 13
"""The oldest opset with a scale for each channel."""

_LAYERS = ("Conv", "Gemm", "MatMul")
_OTHERS = ("Add",)  # of the branches of a residual block
_CACHE = "calibration_cache_path"  # a keyword that the last ONNX Runtime for Python 3.10 lacks
_ADDED = "actionnet/"  # beginning of the names of what the preparation has added


def _without_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def with_named_nodes(serialized: bytes) -> ModelProto:
    """Return the model with a unique name for every node: its own, or else that of its first output."""
    model = onnx.load_model_from_string(serialized)
    seen: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            node.name = node.output[0]
        seen.add(node.name)
    return model


def _is_exact(node: NodeProto, constants: set[str]) -> bool:
    """Return True for what is not quantized: what the preparation has added, and an Add of a constant, as of a bias."""
    return node.output[0].startswith(_ADDED) or (node.op_type in _OTHERS and bool(constants & set(node.input)))


def layers_of(model: ModelProto) -> list[str]:
    """Return the names of the layers that are quantized, in the order of their computation: those with weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _LAYERS and not node.output[0].startswith(_ADDED) and weights & set(node.input)
    ]


def quantize(model: ModelProto, windows: Iterable[Any], target: Path, left_out: Sequence[str], ranges: Path) -> None:
    """Write the int8 form of a prepared network to `target`.

    Args:
        model: of a prepared network, with named nodes; it is not changed.
        windows: uint8 [T, H, W, 3]; they are read one after the other, once, and what the network makes of them sets
            the scales.
        target: the file to write.
        left_out: names of the layers that stay in floating point.
        ranges: file that keeps the range of every tensor, found with `windows`; if it exists, and this ONNX Runtime can
            keep them, they are not read.

    Raises:
        NetworkError: ONNX Runtime is not installed, or cannot quantize the network.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import CalibrationDataReader
    except ImportError as error:
        remedy = import_remedy(error, pip_install("onnxruntime"))
        raise NetworkError(f"networks are quantized with onnxruntime: {remedy} ({printable(error)})") from error
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < MIN_OPSET:
        raise NetworkError(f"the network has opset {opset}; int8 needs {MIN_OPSET}: export it with that or a later one")

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs: Iterator[dict[str, Any]] = ({INPUT_NAME: window[None]} for window in windows)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._inputs, None)

    # It advises to optimize the graph first, which the preparation has done as far as every backend accepts it.
    logging.getLogger().addFilter(_without_advice)
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    exact = [node.name for node in model.graph.node if _is_exact(node, constants)]
    try:
        quantize_static(
            copy,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_LAYERS, *_OTHERS],
            nodes_to_exclude=[*exact, *left_out],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": [*_LAYERS, *_OTHERS],
            },
            **({_CACHE: ranges} if _CACHE in signature(quantize_static).parameters else {}),
        )
    except (NetworkError, OSError):
        raise
    except Exception as error:  # anything that onnx and onnxruntime raise
        raise NetworkError(f"the network cannot be quantized: {printable(error, 500)}") from error
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(str(target)).graph.node):
        raise NetworkError("the network has no layer that can be quantized: no convolution or product with weights")
