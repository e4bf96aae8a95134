"""The command `actionnet-networks`, as a person uses it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper

from ros2_actionnet.action_net import ActionNet
from ros2_actionnet.cli.networks import main
from ros2_actionnet.networks import ACTIONNET_MEAN, ACTIONNET_STD, NetworkRequest, prepare, resolve
from ros2_actionnet.system.files import sha256_of
from support.archives import RESNET_18, resnet_18_archive
from support.networks import external_tensor, save_brightness_network
from support.openvino_ir import save_ir

LABELS = ("dark", "dim", "bright")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True, name="networks")
def networks_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, empty; the mirror is an empty folder."""
    for variable, folder in {"ACTIONNET_NETWORKS": "networks", "ACTIONNET_MIRROR": "mirror"}.items():
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return tmp_path / "networks"


@pytest.fixture(name="mirror")
def mirror_fixture(tmp_path: Path) -> Path:
    """A mirror with a resnet-18."""
    (tmp_path / "mirror" / RESNET_18[0]).write_bytes(resnet_18_archive(tmp_path / "made", LABELS))
    return tmp_path / "mirror"


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """A network of the user's own, with no network.yaml."""
    save_brightness_network(tmp_path / "turns", LABELS, frames=4, size=8, name="exported")
    return tmp_path / "turns"


@pytest.fixture(name="run")
def run_fixture(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def classified(grey: int, **network: Any) -> str:
    with ActionNet(**network, skip_frames=0) as net:
        for _ in range(4):
            prediction = net.classify(np.full((8, 8, 3), grey, np.uint8))
    assert prediction is not None
    return prediction.label


class TestList:
    def test_names_aliases_and_what_is_here(self, run: Run, networks: Path) -> None:
        code, out, _ = run("list")
        lines = {line.split()[0]: line for line in out.splitlines() if line and not line.startswith(" ")}
        assert code == 0
        assert "no, to be downloaded" in lines["resnet-18"]
        assert "3D-ResNet-18" in lines["resnet-18"]
        assert "yes, " in lines["camera_motion"]
        assert "also resnet_18, resnet18, resnet18-kinetics" in out
        assert str(networks) in out

    def test_ones_own(self, run: Run, networks: Path) -> None:
        (networks / "mine").mkdir()
        (networks / "mine" / "network.yaml").write_text("description: left or right\n")
        (networks / "broken").mkdir()
        (networks / "broken" / "network.yaml").write_text("frame: 1\n")
        code, out, _ = run("list")
        assert code == 0
        assert "your own: left or right" in out
        assert "'frame' is not a known key" in out


class TestInfo:
    def test_all_about_a_network_that_is_here(self, run: Run) -> None:
        code, out, _ = run("info", "camera-motion")
        facts = {line[:12].strip(): line[13:] for line in out.splitlines()}
        assert code == 0
        assert facts["name"] == "camera_motion"
        assert facts["input"] == "'frames' [batch, 3, 16, 112, 112] (NCTHW): 16 frames of 112x112"
        assert facts["output"] == "'logits'"
        assert facts["mean, std"].startswith(f"{list(ACTIONNET_MEAN)}, {list(ACTIONNET_STD)}")
        assert facts["classes"].startswith("9: still, pan_left")
        assert facts["license"] == "MIT"
        assert facts["source"]
        model = resolve(NetworkRequest("camera_motion")).model
        assert facts["sha256"] == f"{hashlib.sha256(model.read_bytes()).hexdigest()} (as expected)"
        assert str(model) in facts["model"]

    def test_one_that_is_not_here_and_then_is(self, run: Run, mirror: Path, networks: Path) -> None:
        code, out, _ = run("info", "resnet18")
        assert code == 0
        assert "Action-ResNet18.tar.gz from https://nvidia.box.com/" in out
        assert "not known yet" in out
        run("fetch", "resnet18")
        code, out, _ = run("info", "resnet18")
        assert code == 0
        assert hashlib.sha256((mirror / RESNET_18[0]).read_bytes()).hexdigest() in out
        assert "'0' [batch, 3, 4, 8, 8] (NCTHW): 4 frames of 8x8" in out
        assert str(networks / "resnet-18" / RESNET_18[1]) in out

    def test_a_path(self, run: Run, folder: Path) -> None:
        code, out, _ = run("info", folder / "exported.onnx")
        assert code == 0
        assert "3: dark, dim, bright" in out
        assert "nothing to compare with" in out

    def test_what_there_is_not(self, run: Run) -> None:
        code, out, err = run("info", "resnet81")
        assert (code, out) == (1, "")
        assert err.startswith("actionnet-networks: no network is called 'resnet81'. Did you mean 'resnet18'?")


class TestFetch:
    def test_from_a_mirror(self, run: Run, mirror: Path, networks: Path) -> None:
        code, out, err = run("fetch", "resnet18")
        assert code == 0
        assert out.startswith(f"resnet-18: {networks / 'resnet-18'}, ")
        assert err == "unpacking resnet-18\n"
        code, out, err = run("fetch", "resnet18")
        assert (code, err) == (0, "")
        assert run("fetch", "--again", "resnet18")[2] == "unpacking resnet-18\n"

    def test_what_cannot_be_had(self, run: Run, networks: Path) -> None:
        code, out, err = run("fetch", "resnet34")
        assert (code, out) == (1, "")
        assert "Action-ResNet34.tar.gz" in err
        assert "resnet-34-kinetics-moments.onnx" in err

    def test_all_names_are_looked_at_before_anything_is_fetched(self, run: Run, mirror: Path, networks: Path) -> None:
        assert run("fetch", "resnet18", "resnet81")[0] == 1
        assert list(networks.iterdir()) == []


class TestVerify:
    def test_what_is_here(self, run: Run, mirror: Path) -> None:
        run("fetch", "resnet18")
        code, out, _ = run("verify")
        lines = dict(line.split(":", 1) for line in out.splitlines() if not line.startswith(" "))
        assert code == 0
        assert list(lines) == ["resnet-18", "camera_motion"]
        assert "the checksum matches, 3 classes, openvino CPU" in lines["resnet-18"]
        assert "scores add up to 1.000" in lines["camera_motion"]

    def test_a_model_that_has_changed(self, run: Run, mirror: Path, networks: Path) -> None:
        run("fetch", "resnet18")
        with (networks / "resnet-18" / RESNET_18[1]).open("ab") as model:
            model.write(b"\n")
        code, out, _ = run("verify", "resnet18", "camera_motion")
        assert code == 1
        assert "resnet18: FAILED: the model" in out
        assert "is not the one that its network.yaml describes" in out
        assert "camera_motion: the checksum matches" in out

    def test_one_that_has_no_checksum(self, run: Run, folder: Path) -> None:
        code, out, _ = run("verify", folder / "exported.onnx")
        assert code == 0
        assert "there is no checksum to compare with" in out

    def test_a_network_without_weights_is_doubted(self, run: Run, folder: Path) -> None:
        model = onnx.load(str(folder / "exported.onnx"))
        for tensor in model.graph.initializer:
            if tensor.name == "weight":
                tensor.raw_data = bytes(len(tensor.raw_data))
        onnx.save(model, str(folder / "exported.onnx"))
        code, out, _ = run("verify", folder / "exported.onnx")
        assert code == 0
        assert "note: noise and darkness get the same scores" in out

    def test_a_network_of_several_classes_at_once(self, run: Run, folder: Path) -> None:
        model = onnx.load(str(folder / "exported.onnx"))
        model.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["out"]))
        model.graph.output[0].name = "out"
        onnx.save(model, str(folder / "exported.onnx"))
        out = run("verify", folder / "exported.onnx")[1]
        assert "note:" not in out  # such a network is as good as any other
        assert "scores       sigmoid: several classes at once" in run("info", folder / "exported.onnx")[1]


class TestAdd:
    def test_a_folder_becomes_a_network_with_a_name(self, run: Run, folder: Path, networks: Path) -> None:
        code, out, err = run("add", folder, "--source", "made here", "--license", "MIT", "--description", "how bright")
        assert code == 0, err
        assert "'input' [batch, 3, 4, 8, 8] (NCTHW): 4 frames of 8x8" in out
        assert "3: dark, dim, bright" in out
        assert "scores add up to 1.000" in out
        assert f"wrote {folder / 'network.yaml'}" in out
        assert "network:=turns" in out
        assert f"model:={folder}" in out
        written = yaml.safe_load((folder / "network.yaml").read_text())
        assert written == {
            "name": "turns",
            "model": "exported.onnx",
            "labels": "labels.txt",
            "frames": 4,
            "height": 8,
            "width": 8,
            "layout": "NCTHW",
            "colors": "RGB",
            "mean": list(ACTIONNET_MEAN),
            "std": list(ACTIONNET_STD),
            "input_blob": "input",
            "output_blob": "logits",
            "scores": "logits",
            "sha256": hashlib.sha256((folder / "exported.onnx").read_bytes()).hexdigest(),
            "source": "made here",
            "license": "MIT",
            "description": "how bright",
        }
        assert sorted(path.name for path in (networks / "turns").iterdir()) == [
            "exported.onnx",
            "labels.txt",
            "network.yaml",
        ]
        assert classified(240, network="Turns") == "bright"
        assert classified(10, model=str(folder)) == "dark"
        assert "turns" in run("list")[1]
        assert "your own: how bright" in run("list")[1]
        assert "the checksum matches" in run("verify", "turns")[1]

    def test_mean_and_std_that_nobody_said_are_pointed_out(
        self, run: Run, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run("add", folder)
        assert caplog.text.count("no mean is stated for network turns: actionNet's is assumed") == 1
        caplog.clear()
        run("add", folder, "--again")
        assert "is assumed" not in caplog.text, "now the network.yaml says them"
        mean = ["--mean", 0.5, 0.25, 0, "--std", 1, 0.5, 0.25]
        run("add", folder, "--again", *mean)
        assert "is assumed" not in caplog.text
        spec = resolve(NetworkRequest("turns"))
        assert (spec.mean, spec.std) == ((0.5, 0.25, 0.0), (1.0, 0.5, 0.25))

    def test_mean_and_std_of_0_to_255_are_divided_and_checked(
        self, run: Run, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run("add", folder, "--mean", 51, 102, 0, "--std", 255, 51, 51)
        said = caplog.text
        assert "mean and std are those in --mean, --std, of 0..255 and divided by 255: mean 0.2, 0.4, 0" in said
        spec = resolve(NetworkRequest("turns"))
        assert (spec.mean, spec.std) == ((0.2, 0.4, 0.0), (1.0, 0.2, 0.2))
        for wrong in ("nan", "inf"):
            assert f"--mean: mean is [0.5, 0.5, {wrong}]" in run("add", folder, "--again", "--mean", 0.5, 0.5, wrong)[2]
        assert "--std: std is [1.0, 1.0, 0.0]; every number must be above 0" in run("add", folder, "--std", 1, 1, 0)[2]

    def test_what_a_network_yaml_says_is_kept(self, run: Run, folder: Path, networks: Path) -> None:
        (folder / "network.yaml").write_text(
            "name: curves\nmodel: exported.onnx\nmean: [0.1, 0.2, 0.3]\nsource: 'a: b # c'\naccuracy: {top 1: 0.9}\n"
            f"sha256: '{'0' * 64}'\n"
        )
        assert run("add", folder)[0] == 0
        written = yaml.safe_load((networks / "curves" / "network.yaml").read_text())
        assert (written["name"], written["mean"], written["source"]) == ("curves", [0.1, 0.2, 0.3], "a: b # c")
        assert written["accuracy"] == {"top 1": 0.9}
        assert written["sha256"] != "0" * 64, "the model may have been exported anew"
        prepare(resolve(NetworkRequest("curves")))

    def test_what_the_model_does_not_say_is_asked_for_and_can_be_given(self, run: Run, folder: Path) -> None:
        model = onnx.load(str(folder / "exported.onnx"))
        for dimension in list(model.graph.input[0].type.tensor_type.shape.dim)[2:]:
            dimension.dim_param = "any"
        onnx.save(model, str(folder / "exported.onnx"))
        code, _, err = run("add", folder)
        assert code == 1
        assert "frames" in err
        assert not (folder / "network.yaml").exists()
        code, out, err = run("add", folder, "--frames", 6, "--size", 10, 12, "--layout", "NCTHW")
        assert code == 0, err
        assert "[batch, 3, 6, 10, 12] (NCTHW): 6 frames of 12x10" in out
        assert prepare(resolve(NetworkRequest("turns"))).frames == 6

    def test_weights_beside_the_model_come_along(self, run: Run, folder: Path, networks: Path) -> None:
        model = onnx.load(str(folder / "exported.onnx"))
        onnx.save_model(
            model, str(folder / "exported.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
        )
        (folder / "checkpoint.pt").write_bytes(b"large")
        assert run("add", folder)[0] == 0
        assert sorted(path.name for path in (networks / "turns").iterdir()) == [
            "exported.onnx",
            "labels.txt",
            "network.yaml",
            "weights.bin",
        ]
        assert classified(240, network="turns") == "bright"

    @pytest.mark.parametrize("name", ["weight", "bias"])
    def test_constants_beside_the_model_come_along(self, name: str, run: Run, folder: Path, networks: Path) -> None:
        model = onnx.load(str(folder / "exported.onnx"))
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
        values = numpy_helper.to_array(tensor)
        constant = helper.make_node("Constant", [], [name], value=external_tensor(values, folder / "constant.bin"))
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, constant)
        (folder / "exported.onnx").write_bytes(model.SerializeToString())
        code, _, err = run("add", folder)
        assert code == 0, err
        assert (networks / "turns" / "constant.bin").read_bytes() == values.tobytes()
        assert classified(240, network="turns") == "bright"

    def test_files_in_folders_of_the_folder_come_along(self, run: Run, folder: Path, networks: Path) -> None:
        for place, name in (("models", "exported.onnx"), ("texts", "labels.txt")):
            (folder / place).mkdir()
            (folder / name).rename(folder / place / name)
        (folder / "network.yaml").write_text(
            f"model: models/exported.onnx\nlabels: {folder}/models/../texts/labels.txt\n"
        )
        code, _, err = run("add", folder)
        assert code == 0, err
        written = yaml.safe_load((networks / "turns" / "network.yaml").read_text())
        assert (written["model"], written["labels"]) == ("models/exported.onnx", "texts/labels.txt")
        shutil.rmtree(folder)
        assert classified(240, network="turns") == "bright"

    @pytest.mark.parametrize(
        "what",
        ["labels: ../secret", "labels: {secret}", "labels: a/../../secret", "labels: link", "model: ../secret.onnx"],
    )
    def test_a_network_yaml_that_names_files_elsewhere_is_refused(
        self, what: str, run: Run, folder: Path, networks: Path
    ) -> None:
        secret = folder.parent / "secret"
        secret.write_text("dark\ndim\nbright\n")
        shutil.copy(folder / "exported.onnx", folder.parent / "secret.onnx")
        (folder / "link").symlink_to(secret)
        (folder / "a").mkdir()
        text = f"model: exported.onnx\n{what.format(secret=secret)}\n"
        (folder / "network.yaml").write_text(text)
        code, _, err = run("add", folder, "--again")
        assert code == 1
        assert f"which is not in {folder}: a network is a folder with all its files" in err
        assert (folder / "network.yaml").read_text() == text
        assert sorted(path.name for path in folder.parent.rglob("secret*")) == ["secret", "secret.onnx"]
        assert list(networks.iterdir()) == []

    @pytest.mark.parametrize("name", ["network.yaml", "labels.txt", "exported.onnx"])
    def test_a_link_out_of_the_folder_is_neither_copied_nor_written_to(
        self, name: str, run: Run, folder: Path, networks: Path
    ) -> None:
        outside = folder.parent / f"outside-{name}"
        content = (folder / name).read_bytes() if (folder / name).exists() else b"name: turns\n"
        outside.write_bytes(content)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)
        code, _, err = run("add", folder)
        assert code == 1
        assert f"which is not in {folder}" in err
        assert outside.read_bytes() == content
        assert list(networks.iterdir()) == []

    def test_a_copy_that_fails_leaves_the_network_yaml_as_it_was(self, run: Run, folder: Path, networks: Path) -> None:
        (folder / "network.yaml").write_text("model: exported.onnx\n# mine\n")
        (networks / ".turns.new").write_text("in the way")
        code, _, err = run("add", folder)
        assert code == 1
        assert "File exists" in err
        assert (folder / "network.yaml").read_text() == "model: exported.onnx\n# mine\n"
        assert not (networks / "turns").exists()

    def test_a_folder_with_several_models(self, run: Run, folder: Path) -> None:
        save_brightness_network(folder, LABELS, name="other")
        code, _, err = run("add", folder)
        assert code == 1
        assert "2 models: exported.onnx, other.onnx" in err
        assert "--model" in err
        assert run("add", folder, "--model", "other.onnx")[0] == 0
        assert resolve(NetworkRequest("turns")).model.name == "other.onnx"

    def test_openvinos_ir_comes_with_its_weights(self, run: Run, tmp_path: Path, networks: Path) -> None:
        model = save_ir(tmp_path / "signs", name="exported")
        code, out, err = run("add", tmp_path / "signs", "--mean", 0.5, 0.5, 0.5, "--backend", "openvino")
        assert (code, err) == (0, "")
        assert "'frames_in' [batch, 3, 4, 6, 6] (NCTHW)" in out
        copied = networks / "signs"
        assert sorted(file.name for file in copied.iterdir()) == [
            "exported.bin",
            "exported.xml",
            "labels.txt",
            "network.yaml",
        ]
        assert (copied / "exported.bin").read_bytes() == model.with_suffix(".bin").read_bytes()
        spec = resolve(NetworkRequest("signs"))
        assert (spec.model, spec.sha256) == (copied / "exported.xml", sha256_of(model))
        assert run("verify", "signs", "--backend", "openvino")[0] == 0
        assert "exported.xml" in run("info", "signs")[1]

    def test_labels_by_another_name(self, run: Run, folder: Path, tmp_path: Path) -> None:
        (folder / "labels.txt").rename(folder / "classes.txt")
        code, out, _ = run("add", folder)
        assert (code, "none: the classes are named by their indices" in out) == (0, True)
        assert run("add", folder, "--again", "--labels", "classes.txt")[0] == 0
        assert prepare(resolve(NetworkRequest("turns"))).labels == LABELS
        (tmp_path / "elsewhere.txt").write_text("a\nb\nc\n")
        assert "must lie in" in run("add", folder, "--again", "--labels", tmp_path / "elsewhere.txt")[2]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--name", "resnet18"], "'resnet18' is a name of the network resnet-18; give another with --name"),
            (["--name", "Camera-Motion"], "is a name of the network camera_motion"),
            (["--name", "a/b"], "cannot be a network's name"),
            (["--name", ".."], "cannot be a network's name"),
            (["--model", "no.onnx"], "there is no no.onnx in"),
            (["--layout", "NTCHW"], "layout"),
            (["--output-blob", "nothing"], "nothing"),
            (["--backend", "tensorflow"], "tensorflow"),
        ],
    )
    def test_what_is_refused_adds_nothing(
        self, arguments: list[str], message: str, run: Run, folder: Path, networks: Path
    ) -> None:
        code, _, err = run("add", folder, *arguments)
        assert code == 1
        assert message in err
        assert list(networks.iterdir()) == []
        assert not (folder / "network.yaml").exists()

    def test_what_a_network_takes_can_be_stated(self, run: Run, folder: Path) -> None:
        assert run("add", folder, "--normalization", "inside", "--colors", "BGR")[0] == 0
        written = yaml.safe_load((folder / "network.yaml").read_text())
        assert (written["normalization"], written["colors"]) == ("inside", "BGR")
        assert "mean" not in written
        assert np.allclose(resolve(NetworkRequest("turns")).std, 1 / 255)
        assert run("add", folder, "--again", "--mean", "0.4", "0.5", "0.6")[0] == 0
        written = yaml.safe_load((folder / "network.yaml").read_text())
        assert (written["mean"], written["colors"]) == ([0.4, 0.5, 0.6], "BGR")
        assert "normalization" not in written

    def test_mean_and_std_of_a_network_that_normalizes_itself_are_refused(self, run: Run, folder: Path) -> None:
        code, _, err = run("add", folder, "--normalization", "inside", "--std", "1", "1", "1")
        assert (code, "omit --mean and --std" in err) == (1, True)

    def test_labels_that_do_not_fit(self, run: Run, folder: Path, networks: Path) -> None:
        (folder / "labels.txt").write_text("one\n")
        code, _, err = run("add", folder)
        assert code == 1
        assert "has 1 labels but network turns has 3 classes" in err
        assert list(networks.iterdir()) == []

    def test_a_name_that_is_taken(self, run: Run, folder: Path, tmp_path: Path, networks: Path) -> None:
        assert run("add", folder)[0] == 0
        other = save_brightness_network(tmp_path / "other", ("night", "day")).parent
        code, _, err = run("add", other, "--name", "turns")
        assert code == 1
        assert "there is a network turns already" in err
        assert resolve(NetworkRequest("turns")).model.name == "exported.onnx"
        assert run("add", other, "--name", "turns", "--again")[0] == 0
        assert prepare(resolve(NetworkRequest("turns"))).labels == ("night", "day")
        assert [path.name for path in networks.iterdir() if path.suffix != ".lock"] == ["turns"]

    def test_a_folder_that_lies_there_already(self, run: Run, folder: Path, networks: Path) -> None:
        folder.rename(networks / "turns")
        code, out, _ = run("add", networks / "turns")
        assert code == 0
        assert "copied" not in out
        assert classified(240, network="turns") == "bright"

    @pytest.mark.parametrize("name", ["nothing", "turns/labels.txt"])
    def test_what_is_no_folder(self, name: str, run: Run, folder: Path, tmp_path: Path) -> None:
        assert "is not a folder; give the one that holds the model" in run("add", tmp_path / name)[2]

    def test_a_folder_without_a_model(self, run: Run, tmp_path: Path) -> None:
        assert "has no .onnx file" in run("add", tmp_path)[2]


def test_the_command_is_a_program_and_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ros2_actionnet.cli.networks"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "COMMAND" in done.stderr
    for flag in ("--help", "list"):
        assert subprocess.run([sys.executable, "-m", "ros2_actionnet.cli.networks", flag], check=False).returncode == 0
