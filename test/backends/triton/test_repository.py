"""What is written into a model repository, read by Triton's own description of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends.triton.contract import Stated
from ros2_actionnet.backends.triton.models.window_model import load
from ros2_actionnet.backends.triton.repository import ExportOptions, Platform, export_repository, to_text
from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import PreparedNetwork

LABELS = ("dark", "dim", "bright")


def read_config(folder: Path) -> Any:
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config.ModelConfig())


def test_the_configuration_of_a_network(network: PreparedNetwork, tmp_path: Path) -> None:
    (folder,) = export_repository(network, tmp_path, ExportOptions(max_batch=4, instances=2))
    config = read_config(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("brightness", "onnxruntime", 4)
    (given,), (scores,) = config.input, config.output
    assert (given.name, list(given.dims)) == ("frames", [4, 8, 8, 3])
    assert (scores.name, list(scores.dims), scores.label_filename) == ("scores", [3], "labels.txt")
    assert (folder / "labels.txt").read_text().split() == list(LABELS)
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.default_queue_policy.allow_timeout_override
    assert config.model_warmup[0].inputs["frames"].zero_data
    stated = Stated.read({key: value.string_value for key, value in config.parameters.items()})
    assert stated == Stated.of(network, "fp32")
    (model,) = folder.glob("*/model.onnx")
    assert model.parent.name == stated.version
    bright = np.full((2, 4, 8, 8, 3), 250, np.uint8)
    assert load(str(model))(bright).argmax(axis=1).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("platform", "backend"),
    [("onnxruntime", "onnxruntime"), ("tensorrt", "onnxruntime"), ("openvino", "openvino"), ("python", "python")],
)
def test_every_platform(network: PreparedNetwork, tmp_path: Path, platform: Platform, backend: str) -> None:
    (folder,) = export_repository(network, tmp_path, ExportOptions(platform))
    config = read_config(folder)
    assert config.backend == backend
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [one.name for one in accelerators] == (["tensorrt"] if platform == "tensorrt" else [])
    assert (len(list(folder.glob("*/model.py"))) == 1) is (platform == "python")


def test_half_precision_is_for_tensorrt(network: PreparedNetwork, tmp_path: Path) -> None:
    (folder,) = export_repository(network, tmp_path, ExportOptions("tensorrt", precision="fp16"))
    config = read_config(folder)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert config.parameters["actionnet.precision"].string_value == "fp16"
    with pytest.raises(NetworkError, match="precision fp16 is for --platform tensorrt, not openvino"):
        export_repository(network, tmp_path / "other", ExportOptions("openvino", precision="fp16"))


def test_the_stateful_form_asks_the_network_for_its_windows(network: PreparedNetwork, tmp_path: Path) -> None:
    inner, outer = export_repository(network, tmp_path, ExportOptions(stateful=True))
    config = read_config(outer)
    assert config.parameters["windows_model"].string_value == read_config(inner).name == "brightness_windows"
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("frames", [-1, 8, 8, 3]), ("number", [1])]
    assert config.sequence_batching.control_input[0].name == "CORRID"


def test_nothing_is_overwritten_unasked(network: PreparedNetwork, tmp_path: Path) -> None:
    (tmp_path / "brightness").mkdir()
    kept = tmp_path / "brightness" / "mine.txt"
    kept.write_text("precious")
    with pytest.raises(NetworkError, match="brightness exists; give another folder, or --again"):
        export_repository(network, tmp_path, ExportOptions(stateful=True))
    assert kept.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["brightness"]
    export_repository(network, tmp_path, ExportOptions(), again=True)
    assert not kept.exists()


def test_text_is_escaped() -> None:
    assert to_text({"key": 'a "b"\n\\ ö'}) == 'key: "a \\"b\\"\\n\\\\ ö"\n'.encode()
