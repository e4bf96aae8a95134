"""docs/custom-networks.md: its code runs, its commands are understood, and what is refused is refused in its words."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from ros2_actionnet import NetworkError
from ros2_actionnet.networks import ACTIONNET_MEAN, ACTIONNET_STD, NetworkRequest, prepare, resolve
from ros2_actionnet.networks.network_yaml import KEYS
from support.openvino_ir import save_ir
from support.random_network import save_random_network

ROOT = Path(__file__).absolute().parents[2]
PAGE = (ROOT / "docs" / "custom-networks.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """What is in `code` in the first column of the tables."""
    return [
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall("`([^`]+)`", line.split("|")[1])
    ]


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
    from support import torch_networks  # noqa: F401 - which lets it compute in one thread

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        for block in blocks:
            exec(compile(block, "docs/custom-networks.md", "exec"), names)
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom_networks"]:
        del sys.modules[name]  # elsewhere it is tools.custom_networks
    assert "the same\n" in output.getvalue().splitlines(keepends=True)
    assert names["off"] < 1e-4
    prepared = prepare(resolve(NetworkRequest(model="my_network")))
    assert (prepared.labels, prepared.spec.mean, prepared.max_batch) == (
        ("walk", "sit", "fall"),
        (0.432, 0.395, 0.376),
        None,
    )
    assert "license: MIT" in Path("another/network.yaml").read_text()


def test_commands_are_understood() -> None:
    pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
    from support import torch_networks  # noqa: F401 - which makes tools importable
    from tools.custom_networks import export

    commands = re.findall(r"^python -m custom_networks\.export (.*)$", PAGE, re.M)
    assert len(commands) == 4
    for command in commands:
        assert export.parser().parse_args(shlex.split(command)).folder == Path("my_network")
    from tools.custom_networks.architectures import ARCHITECTURES

    assert first_cells(section("Weights that are published")) == list(ARCHITECTURES)


def test_the_tables_of_keys_and_numbers_are_those_of_the_code() -> None:
    text = section("network.yaml")
    assert sorted(first_cells(text)) == sorted(KEYS)
    rows = {line.split("|")[1].strip(): line.split("|")[2:4] for line in text.splitlines() if line.count("|") == 5}

    def numbers(trained_with: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(x) for x in cell.split(",")) for cell in rows[trained_with])

    assert numbers("jetson-inference") == (ACTIONNET_MEAN, ACTIONNET_STD)
    assert f"{', '.join(f'{x:.4f}' for x in ACTIONNET_MEAN)}" in text
    pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
    from support import torch_networks  # noqa: F401 - which makes tools importable
    from tools.custom_networks import resnet3d, video_resnet, video_transformer

    assert numbers("3D-ResNets-PyTorch, Kinetics") == (resnet3d.MEAN, resnet3d.STD)
    assert numbers("torchvision's video networks") == (video_resnet.MEAN, video_resnet.STD)
    assert numbers("ImageNet's, as most transformers") == (video_transformer.MEAN, video_transformer.STD)


def save(
    folder: Path,
    shape: list[Any],
    *,
    element: int = TensorProto.FLOAT,
    outputs: int = 1,
    each_frame: bool = False,
    data: bool = False,
) -> Path:
    """A model whose scores are means over the window, for whatever the input's shape is."""
    weight = numpy_helper.from_array(np.ones((1, 5), np.float32), "weight")
    axes = [3, 4] if each_frame else list(range(1, len(shape)))
    nodes = [
        helper.make_node("Cast", ["video"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        *(helper.make_node("MatMul", ["column", "weight"], [f"scores{i}"]) for i in range(outputs)),
    ]
    last = numpy_helper.from_array(np.array([3 if each_frame else 1], np.int64), "last")
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("video", element, shape)],
        [helper.make_tensor_value_info(f"scores{i}", TensorProto.FLOAT, None) for i in range(outputs)],
        [weight, last],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save_model(model, str(path), save_as_external_data=data, location="model.onnx.data", size_threshold=0)
    return path


def described(folder: Path, **keys: Any) -> Path:
    """A good network with a network.yaml."""
    path = save_random_network(folder, ("walk", "sit", "fall"), frames=16, size=16)
    (folder / "network.yaml").write_text(yaml.safe_dump(keys))
    return path


def checkpoint(folder: Path) -> Path:
    (folder / "model.pth").write_bytes(b"PK\x03\x04 and so on")
    return folder / "model.pth"


def engine(folder: Path) -> Path:
    (folder / "model.engine").write_bytes(b"ftrt and so on")
    return folder / "model.engine"


def ir_without_weights(folder: Path) -> Path:
    path = save_ir(folder)
    path.with_suffix(".bin").unlink()
    return path


def without_weights(folder: Path) -> Path:
    path = save(folder, [1, 3, 4, 8, 8], data=True)
    (folder / "model.onnx.data").unlink()
    return path


def with_two_labels(folder: Path) -> Path:
    path = described(folder)
    (folder / "labels.txt").write_text("walk\nsit\n")
    return path


def labeled(folder: Path, labels: str) -> Path:
    model = with_two_labels(folder)
    (folder / "labels.txt").write_text(labels)
    return model


MISTAKES: dict[str, Callable[[Path], Path]] = {
    "is not an .onnx file": checkpoint,
    "is an engine of TensorRT": engine,
    "lacks its weights": ir_without_weights,
    "a .data file with its weights must lie beside it": without_weights,
    "it must be [1, 3, T, H, W] or [1, T, 3, H, W]": lambda folder: save(folder, [1, 3, 112, 112]),
    "cannot be told from its dimensions": lambda folder: save(folder, [1, 3, 3, 8, 8]),
    "leaves frames, height, width open": lambda folder: save(folder, [1, 3, None, None, None]),
    "takes 4 windows at once, always": lambda folder: save(folder, [4, 3, 4, 8, 8]),
    "which cannot hold RGB in [0, 255]": lambda folder: save(folder, [1, 3, 4, 8, 8], element=TensorProto.INT8),
    "set output_blob to": lambda folder: save(folder, [1, 3, 4, 8, 8], outputs=2),
    "it must be [1, classes]": lambda folder: save(folder, [1, 3, 4, 8, 8], each_frame=True),
    "has 2 labels but network": with_two_labels,
    "is JSON, but": lambda folder: labeled(folder, '{"0": "a", "2": "b"}'),
    "is CSV, but": lambda folder: labeled(folder, "id,name\n0,a\n2,b\n"),
    "every number must be above 0": lambda folder: described(folder, std=[1.0, 0.0, 1.0]),
    "must be finite": lambda folder: described(folder, mean=[math.nan, 0.0, 0.0]),
    "did you mean 'mean'": lambda folder: described(folder, means=[0.5, 0.5, 0.5]),
    "is 8 in its network.yaml but 16 in the model": lambda folder: described(folder, frames=8),
    "is not the one that its network.yaml describes": lambda folder: described(folder, sha256="0" * 64),
}


def test_every_mistake_is_made_here() -> None:
    assert first_cells(section("When it is refused")) == list(MISTAKES)


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_refused_in_the_pages_words(words: str, tmp_path: Path) -> None:
    model = MISTAKES[words](tmp_path)
    with pytest.raises(NetworkError) as refusal:
        prepare(resolve(NetworkRequest(model=str(model))))
    assert words in str(refusal.value)
