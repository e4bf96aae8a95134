"""Names of inputs and outputs that a model has not are refused at once; those that onnx reads are taken."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import NetworkRequest, check_request
from ros2_actionnet.networks.blob_names import _names, check_blobs
from ros2_actionnet.networks.spec import NetworkSpec
from support.networks import save_brightness_network
from support.random_network import save_random_network


def test_the_names_are_those_that_onnx_reads(tmp_path: Path) -> None:
    path = save_random_network(tmp_path, ("a", "b"), frames=4, size=8)
    graph = onnx.load(str(path)).graph
    assert _names(Path(path)) == ([value.name for value in graph.input], [value.name for value in graph.output])


def test_names_that_the_model_has_not_are_refused_with_those_it_has(tmp_path: Path) -> None:
    path = Path(save_brightness_network(tmp_path, ("dark", "bright")))
    model = path if path.suffix == ".onnx" else next(path.glob("*.onnx"))
    graph = onnx.load(str(model)).graph
    source, result = graph.input[0].name, graph.output[0].name
    request = NetworkRequest("camera_motion", str(path))
    check_request(NetworkRequest("camera_motion", str(path), "", source, result))
    with pytest.raises(NetworkError, match=f"has no input 'clip_1'; set input_blob to {source}") as raised:
        check_request(NetworkRequest(request.network, request.model, "", "clip_1", result))
    assert raised.value.settings == ("input_blob",)
    with pytest.raises(NetworkError, match=f"has no output 'softmax_9'; set output_blob to {result}"):
        check_request(NetworkRequest(request.network, request.model, "", source, "softmax_9"))


@pytest.mark.parametrize(
    "content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 100, b"\x0b" * 9, b"\x3a\x00"]
)
def test_a_damaged_file_is_left_to_the_load(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    check_blobs(NetworkSpec("net", path, input_blob="clip"))
    check_blobs(NetworkSpec("net", tmp_path / "none.onnx", input_blob="clip"))
