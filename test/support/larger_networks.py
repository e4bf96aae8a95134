"""Networks of the kinds that people run, with random weights and without PyTorch."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]


def save_random_resnet(folder: Path, depth: int) -> Path:
    """actionNet's 3D-ResNet of 18 or 34 layers, input [1, 3, 16, 112, 112], 1040 classes; the model's path."""
    module = runpy.run_path(str(ROOT / "benchmarks" / "random_resnet.py"))
    path: Path = module["save"](module["build"](depth), folder)
    return path


def save_attention_network(
    folder: Path, *, opset: int = 17, frames: int = 4, size: int = 32, classes: int = 7, seed: int = 0
) -> Path:
    """A small transformer over the patches of all frames, input [1, frames, 3, size, size]; the model's path.

    It has what is delicate in fp16: values whose squares leave its range, normalizations of layers (written out, with
    an epsilon that is 0 in fp16, where the opset has no operator for them), and a mask that adds the lowest float32.
    """
    patch, width = 8, 16
    patches = (size // patch) ** 2
    tokens = frames * patches
    random = np.random.default_rng(seed)
    mask = np.zeros(tokens, np.float32)
    mask[-3:] = np.finfo(np.float32).min
    constants: dict[str, Any] = {
        "patch": random.normal(0, 0.1, (width, 3, patch, patch)),
        "position": random.normal(0, 300, (1, tokens, width)),
        **{name: random.normal(0, width**-0.5, (width, width)) for name in ("query", "key", "value", "inner", "outer")},
        "head": random.normal(0, 0.5, (width, classes)),
        "bias": random.normal(0, 0.5, classes),
        "gain": random.uniform(0.5, 1.5, width),
        "shift": random.normal(0, 0.1, width),
        "mask": mask,
        "root": np.float32(width**0.5),
        "two": np.float32(2),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "sqrt2": np.float32(2**0.5),
        "epsilon": np.float32(1e-12),
    }
    shapes = {"images": [-1, 3, size, size], "flat": [1, frames, width, patches], "sequence": [1, tokens, width]}
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    initializers += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in shapes.items()]
    node = helper.make_node
    nodes = [
        node("Reshape", ["video", "images"], ["merged"]),
        node("Conv", ["merged", "patch"], ["patched"], kernel_shape=[patch] * 2, strides=[patch] * 2),
        node("Reshape", ["patched", "flat"], ["flattened"]),
        node("Transpose", ["flattened"], ["turned"], perm=[0, 1, 3, 2]),
        node("Reshape", ["turned", "sequence"], ["tokens"]),
        node("Add", ["tokens", "position"], ["x0"]),
        *_normalize("x0", "x1", opset),
        *[node("MatMul", ["x1", name], [name[0]]) for name in ("query", "key", "value")],
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["products"]),
        node("Div", ["products", "root"], ["scaled"]),
        node("Add", ["scaled", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v"], ["attended"]),
        node("Add", ["x0", "attended"], ["x2"]),
        *_normalize("x2", "x3", opset),
        node("MatMul", ["x3", "inner"], ["i"]),
        node("Div", ["i", "sqrt2"], ["i1"]),
        node("Erf", ["i1"], ["i2"]),
        node("Add", ["i2", "one"], ["i3"]),
        node("Mul", ["i", "i3"], ["i4"]),
        node("Mul", ["i4", "half"], ["gelu"]),
        node("MatMul", ["gelu", "outer"], ["o"]),
        node("Add", ["x2", "o"], ["x4"]),
        *_normalize("x4", "x5", opset),
        node("ReduceMean", ["x5"], ["mean"], axes=[1], keepdims=0),
        node("MatMul", ["mean", "head"], ["scores_without_bias"]),
        node("Add", ["scores_without_bias", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("video", TensorProto.FLOAT, [1, frames, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "attention.onnx"))
    (folder / "labels.txt").write_text("".join(f"action {number}\n" for number in range(classes)))
    return folder / "attention.onnx"


def _normalize(source: str, result: str, opset: int) -> list[Any]:
    node = helper.make_node
    if opset >= 17:
        return [node("LayerNormalization", [source, "gain", "shift"], [result], axis=-1, epsilon=1e-5)]
    names = [
        f"{result}_{step}" for step in ("mean", "centered", "square", "variance", "safe", "deviation", "unit", "g")
    ]
    mean, centered, square, variance, safe, deviation, unit, gained = names
    return [
        node("ReduceMean", [source], [mean], axes=[-1]),
        node("Sub", [source, mean], [centered]),
        node("Pow", [centered, "two"], [square]),
        node("ReduceMean", [square], [variance], axes=[-1]),
        node("Add", [variance, "epsilon"], [safe]),
        node("Sqrt", [safe], [deviation]),
        node("Div", [centered, deviation], [unit]),
        node("Mul", [unit, "gain"], [gained]),
        node("Add", [gained, "shift"], [result]),
    ]
