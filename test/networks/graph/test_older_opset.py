from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.graph.older_opset import to_opset
from support.larger_networks import save_attention_network

Array = NDArray[Any]
Run = Callable[[bytes, Array], Array]
Build = Callable[..., ModelProto]


def test_a_model_that_is_old_enough_is_left_alone(conv3d: Build) -> None:
    model = conv3d(opset=13)
    assert to_opset(model, 17) is model


def test_a_newer_model_computes_the_same_in_the_older_opset(tmp_path: Path, run_model: Run) -> None:
    model = onnx.load_model(str(save_attention_network(tmp_path, opset=17)))
    # As exporters write it since opset 18: the axes are an input, and an attribute says what an empty list would mean.
    mean = next(item for item in model.graph.node if item.op_type == "ReduceMean")
    del mean.attribute[:]
    mean.input.append("axes")
    mean.attribute.extend([helper.make_attribute("keepdims", 0), helper.make_attribute("noop_with_empty_axes", 0)])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    model.opset_import[0].version = 18
    video = np.random.default_rng(0).normal(size=(1, 4, 3, 32, 32)).astype(np.float32)
    expected = run_model(model.SerializeToString(), video)
    older = to_opset(model, 17)
    assert [entry.version for entry in older.opset_import] == [17]
    np.testing.assert_array_equal(run_model(older.SerializeToString(), video), expected)


def test_what_the_older_opset_has_not_is_refused_with_the_remedy(conv3d: Build) -> None:
    model = conv3d(opset=20)
    next(item for item in model.graph.node if item.op_type == "Relu").op_type = "Gelu"
    with pytest.raises(NetworkError, match=r"opset 20, which cannot be turned into opset 17.*Gelu.*opset_version=17"):
        to_opset(model, 17)
