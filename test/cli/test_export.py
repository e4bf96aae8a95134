"""The subcommand `actionnet-networks export`, as a person uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros2_actionnet.backends.triton.models.window_model import load
from ros2_actionnet.cli.networks import main
from support.networks import save_brightness_network

LABELS = ("dark", "dim", "bright")


@pytest.fixture(name="network")
def network_fixture(tmp_path: Path) -> Path:
    return save_brightness_network(tmp_path / "lights", LABELS).parent


def export(network: Path, *options: object) -> int:
    return main(["export", f"{network}/", "--triton", str(network.parent / "repository"), *map(str, options)])


def test_it_writes_a_repository_and_says_how_it_is_used(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(network, "--max-batch", 4, "--instances", 2) == 0
    printed = capsys.readouterr().out
    repository = network.parent / "repository"
    assert f"wrote {repository}/lights\n" in printed
    assert f"tritonserver --model-repository {repository}" in printed
    assert "backend:=triton device:=HOST:8001 network:=lights" in printed
    config = (repository / "lights" / "config.pbtxt").read_text()
    assert "max_batch_size: 4" in config
    assert "count: 2" in config
    (model,) = (repository / "lights").glob("*/model.onnx")
    assert load(str(model))(np.full((1, 4, 8, 8, 3), 120, np.uint8)).argmax() == LABELS.index("dim")


def test_it_overwrites_only_if_asked_to(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(network) == 0
    config = network.parent / "repository" / "lights" / "config.pbtxt"
    config.write_text("mine")
    assert export(network, "--stateful") == 1
    assert "exists; give another folder, or --again to replace it" in capsys.readouterr().err
    assert config.read_text() == "mine"
    assert not (network.parent / "repository" / "lights_windows").exists()
    assert export(network, "--stateful", "--again") == 0
    assert "sequence_batching" in config.read_text()
    assert (network.parent / "repository" / "lights_windows" / "config.pbtxt").is_file()


def test_what_cannot_be_served_is_refused(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(network, "--precision", "fp16") == 1
    assert "precision fp16 is for --platform tensorrt" in capsys.readouterr().err
    assert not list((network.parent / "repository").glob("*"))
