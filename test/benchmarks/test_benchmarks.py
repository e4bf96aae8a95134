"""The benchmarks run and report what they should; how fast anything is does not matter here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from support.triton_server import why_no_server

ROOT = Path(__file__).absolute().parents[2]
SIZE = "64x48"
INPUT = (1, 3, 16, 112, 112)

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.ros, pytest.mark.timeout(400)]


def run(name: str, *options: object) -> str:
    command = [str(ROOT / "benchmarks" / "run"), name, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tables(name: str, folder: Path, *options: object) -> list[dict[str, Any]]:
    """The tables that benchmark `name` writes; each has a row of the right length or more."""
    run(name, "--json", folder / "report.json", "--markdown", folder / "report.md", *options)
    report = json.loads((folder / "report.json").read_text())
    assert report["machine"]["processor"]
    found: list[dict[str, Any]] = report["tables"]
    text = (folder / "report.md").read_text()
    for table in found:
        assert table["title"] in text
        assert table["rows"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    return found


@pytest.fixture(name="resnet", scope="module")
def resnet_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet")
    return Path(run("random_resnet", folder, "--classes", "7").strip())


@pytest.fixture(name="trivial", scope="module")
def trivial_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trivial")
    return Path(run("random_resnet", folder, "--classes", "7", "--trivial").strip())


def structure(model: Path) -> list[tuple[str, dict[str, Any], list[list[int]]]]:
    """What a model computes but for the values of its weights: of each node the kind, attributes, weights' shapes."""
    graph = onnx.load_model(str(model)).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    return [
        (
            node.op_type,
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            [shapes[name] for name in node.input if name in shapes and node.op_type != "Reshape"],
        )
        for node in graph.node
        if node.op_type != "Constant"
    ]


def test_activations_of_the_random_network_neither_explode_nor_vanish(resnet: Path) -> None:
    session = onnxruntime.InferenceSession(str(resnet), providers=["CPUExecutionProvider"])
    windows = np.random.default_rng(0).normal(0, 0.3, (2, *INPUT)).astype(np.float32)
    logits = [session.run(None, {"0": window})[0] for window in windows]
    assert logits[0].shape == (1, 7)
    assert 0.05 < np.abs(logits[0]).max() < 50
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    assert len((resnet.parent / "labels.txt").read_text().splitlines()) == 7


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning")
def test_the_random_network_has_the_structure_that_pytorch_exports(resnet: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch, which the package does not")
    from support.torch_networks import enliven
    from tools.custom_networks.resnet3d import ResNet3D

    # Batch normalization is folded into the convolutions only where its weights differ from layer to layer.
    network = enliven(ResNet3D(18, 7), torch.rand(2, *INPUT[1:]) - 0.4)
    torch.onnx.export(network, (torch.rand(INPUT),), str(tmp_path / "exported.onnx"), opset_version=13, dynamo=False)
    ours, exported = structure(resnet), structure(tmp_path / "exported.onnx")
    # jetson-inference's networks were exported for a batch of one, with a Reshape in place of the Flatten.
    assert (ours.pop(-2)[0], exported.pop(-2)[0]) == ("Reshape", "Flatten")
    assert ours == exported


def test_window(resnet: Path, tmp_path: Path) -> None:
    (table,) = tables("window", tmp_path, "--model", resnet, "--windows", 1)
    names = [row[0] for row in table["rows"]]
    assert names[:2] == ["OpenVINO, unmodified, fp32", "ONNX Runtime, unmodified, fp32"]
    assert sum(name.startswith("ours, int8") for name in names) == 2


def test_stem(resnet: Path, tmp_path: Path) -> None:
    (table,) = tables("stem", tmp_path, "--model", resnet, "--windows", 1, "--precisions", "fp32")
    differences = [float(row[-1]) for row in table["rows"]]
    assert len(differences) == 3
    assert max(differences) < 1e-4


@pytest.mark.skipif(bool(why_no_server()), reason=why_no_server())
def test_fleet(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--net", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    links, clients = tables("fleet", tmp_path, "--links", 100, "--clients", 1, "--seconds", 0.5)
    sizes = {row[1]: float(row[2]) for row in links["rows"]}
    assert sizes["window"] > 602 > 100 > sizes["stateful"] > 37.6
    assert [row[:2] for row in clients["rows"]] == [[1, "window"], [1, "stateful"]]


def test_stages(trivial: Path, tmp_path: Path) -> None:
    ours, usual = tables("stages", tmp_path, "--model", trivial, "--size", SIZE, "--repetitions", 2)
    assert "infer" in [row[0] for row in ours["rows"]]
    assert usual["rows"]


def test_persons(tmp_path: Path) -> None:
    # The windows are full after 31 images; those of persons who are left out are not counted as lost.
    options = ("--persons", 0, 2, "--max-subjects", 1, "--waiting-persons", 1, "--size", "320x240", "--seconds", 4)
    cost, waiting = tables("persons", tmp_path, *options)
    rows = [dict(zip(cost["columns"], row, strict=True)) for row in cost["rows"]]
    assert [(row["persons"], row["max_subjects"], row["left out"]) for row in rows] == [
        ("0", 1, 0),
        ("2", 2, 0),
        ("2", 1, 1),
    ]
    assert [row["results/s"] > 0 for row in rows] == [False, True, True]
    assert all(row["windows lost"] >= 0 and row["CPU ms an image"] > 0 for row in rows)
    at_once, late, too_late = (dict(zip(waiting["columns"], row, strict=True)) for row in waiting["rows"])
    assert at_once["results/s"] > 0 < late["results/s"]
    assert (too_late["results/s"], too_late["images without boxes"] > 0) == (0, True)


def test_overlay(tmp_path: Path) -> None:
    (table,) = tables("overlay", tmp_path, "--repetitions", 3)
    assert [row[0] for row in table["rows"]] == [
        f"{size}, now" for size in ("320x240", "1280x720", "1920x1080", "3840x2160")
    ]


def test_files(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--sizes", SIZE, "--frames", 40, "--rounds", 1, "--device-ms", 1)
    on_cpu, on_device = tables("files", tmp_path, *options)
    stages = ["decode alone", "classify alone", "draw alone", "encode alone"]
    ours = ["the least of these, and of what the cores allow", "all, overlapping: ours"]
    names = [row[0] for row in on_cpu["rows"]]
    assert names[:6] == stages + ours
    assert names[8:] == ["usual way, onnxruntime", "usual way, openvino"]
    assert on_device["rows"][-1][0] == "usual way, the same stand-in"
    assert all(row[1] > 0 for table in (on_cpu, on_device) for row in table["rows"])
    assert all("ours runs at" in table["notes"][0] for table in (on_cpu, on_device))


def test_node_cost(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--windows", 5, "--starts", 1, "--frames", 40, "--sizes", SIZE)
    window, start, memory = tables("node_cost", tmp_path, *options)
    assert window["rows"][0][1] > 0
    assert 0 < start["rows"][0][1] < 60
    assert all(20 < row[1] < 2000 for row in memory["rows"])


def test_throughput_compares_our_node_with_the_peers(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--sizes", SIZE, "--seconds", 1, "--warm-up", 1, "--windows", 2, "--annotated")
    (table,) = tables("throughput", tmp_path, *options, "--no-cost")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["node"] for row in rows] == [
        "bare subscriber, raw, keeping blocks",
        "ros2_actionnet",
        "ros2_actionnet, annotating",
        "peer, openvino",
        "peer, onnxruntime",
    ]
    for row in rows:
        assert 0 < row["received"] <= row["sent"], row
    for row in rows[1:]:
        assert row["classifications/s"] > 0, row


def test_latency_has_a_row_for_each_node_in_each_round(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--size", SIZE, "--seconds", 1, "--warm-up", 1, "--rounds", 2)
    (table,) = tables("latency", tmp_path, *options, "--variants", "usual node", "one thread", "whole")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    names = ("as it is", "usual node", "one thread", "whole")
    assert [(row["node"], row["round"]) for row in rows] == [(name, turn) for name in names for turn in (1, 2)]
    assert all(row["results/s"] > 0 for row in rows)


def test_streams_counts_what_became_of_the_images_of_every_camera(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--size", SIZE, "--seconds", 4, "--shared-seconds", 4)
    cost, shared = tables("streams", tmp_path, *options, "--cameras", 2, "--shared-by", 2)
    rows = [dict(zip(cost["columns"], row, strict=True)) for row in cost["rows"]]
    assert [(row["cameras"], row["nodes"]) for row in rows] == [("2", 1), ("2", 2)]
    for row in rows:
        assert row["images sent"] > 0
        assert 0 <= row["not received"] < row["images sent"], row
        assert row["restarts"] >= 0
        assert row["overtaken"] >= 0
    assert [row[0] for row in shared["rows"]] == ["2"]


def test_throughput_shows_where_the_cpu_time_goes(trivial: Path, tmp_path: Path) -> None:
    options = ("--model", trivial, "--seconds", 1, "--warm-up", 1, "--windows", 2, "--cost-size", SIZE)
    (table,) = tables("throughput", tmp_path, *options, "--sizes")
    assert len(table["rows"]) == 6
    assert len(table["notes"]) == 3
