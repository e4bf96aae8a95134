"""External data: found wherever a model may have a tensor, and refused outside the model's folder before it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.external_data import external_files, load_checked
from support.networks import external_tensor

VALUES = np.arange(6, dtype=np.float32)


def constant(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], ["value"], value=tensor)


def with_initializer(tensor: TensorProto) -> ModelProto:
    tensor.name = "value"
    return helper.make_model(helper.make_graph([], "main", [], [], [tensor]))


def with_constant(tensor: TensorProto) -> ModelProto:
    return helper.make_model(helper.make_graph([constant(tensor)], "main", [], []))


def with_subgraph(tensor: TensorProto) -> ModelProto:
    branch = helper.make_graph([constant(tensor)], "branch", [], [])
    node = helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch)
    return helper.make_model(helper.make_graph([node], "main", [], []))


def with_subgraph_initializer(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("Loop", ["", ""], ["out"], body=with_initializer(tensor).graph)
    return helper.make_model(helper.make_graph([node], "main", [], []))


def with_function(tensor: TensorProto) -> ModelProto:
    opsets = [helper.make_opsetid("", 13)]
    function = helper.make_function("own", "f", [], ["value"], [constant(tensor)], opsets)
    return helper.make_model(helper.make_graph([], "main", [], []), functions=[function])


PLACES = [with_initializer, with_constant, with_subgraph, with_subgraph_initializer, with_function]
OUTSIDE = ["../secret", "a/../../secret", "link", "linked/secret", "/{}/../secret", "a\0b"]


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    (folder / "link").symlink_to("../secret")
    (folder / "linked").symlink_to("..")
    return folder


@pytest.mark.parametrize("build", PLACES)
@pytest.mark.parametrize("location", OUTSIDE)
def test_a_file_outside_is_refused(build: Callable[[TensorProto], ModelProto], location: str, folder: Path) -> None:
    place = location.format(str(folder).lstrip("/"))
    path = folder / "model.onnx"
    path.write_bytes(build(external_tensor(VALUES, folder / "unused", place)).SerializeToString())
    for read in (load_checked, external_files):
        with pytest.raises(NetworkError, match=r"which is not in .*folder: a network is a folder with all its files"):
            read(path)


@pytest.mark.parametrize("build", PLACES)
def test_a_file_inside_is_found(build: Callable[[TensorProto], ModelProto], folder: Path) -> None:
    path = folder / "model.onnx"
    tensor = external_tensor(VALUES, folder / "a" / "values", "a/values")
    path.write_bytes(build(tensor).SerializeToString())
    assert external_files(path) == [folder / "a" / "values"]


@pytest.mark.parametrize("build", PLACES[:3])
def test_a_file_inside_is_read(build: Callable[[TensorProto], ModelProto], folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(build(external_tensor(VALUES, folder / "values")).SerializeToString())
    model = load_checked(path)
    graph = model.graph
    if graph.node and graph.node[0].op_type == "If":
        graph = graph.node[0].attribute[0].g
    tensor = graph.initializer[0] if graph.initializer else graph.node[0].attribute[0].t
    assert numpy_helper.to_array(tensor).tolist() == VALUES.tolist()


def test_a_model_with_all_of_its_tensors_names_no_files(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(with_constant(numpy_helper.from_array(VALUES)), str(path))
    assert external_files(path) == []
    assert load_checked(path) == onnx.load_model(str(path))
