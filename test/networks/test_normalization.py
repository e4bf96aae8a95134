"""Mean and std: read from what lies beside a model, in one unit, with a word where they are assumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks import ACTIONNET_MEAN, ACTIONNET_STD, NetworkRequest, NetworkSpec, prepare, resolve
from ros2_actionnet.networks.normalization import assumption, remark

Build = Callable[..., ModelProto]
Save = Callable[..., Path]

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
UNIT = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture
def spec_beside(conv3d: Build, save: Save, tmp_path: Path) -> Callable[..., NetworkSpec]:
    """The spec of a model with files beside it: their names and contents."""
    model = save(conv3d(), labels="a\nb\nc\nd\ne")

    def find(files: dict[str, str]) -> NetworkSpec:
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return resolve(NetworkRequest(model=str(model)))

    return find


def normalized(spec: NetworkSpec, color: float) -> list[float]:
    """What the network is given for `color`, 0..255."""
    return [(color / 255 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True)]


def test_numbers_of_0_to_255_are_divided(spec_beside: Callable[..., NetworkSpec]) -> None:
    spec = spec_beside({"network.yaml": f"mean: {IMAGENET[0]}\nstd: {IMAGENET[1]}"})
    assert np.allclose([spec.mean, spec.std], UNIT, rtol=1e-12)
    assert "network.yaml, of 0..255 and divided by 255: mean 0.485, 0.456, 0.406; std 0.229" in remark(spec)
    assert assumption(spec) == ""


@pytest.mark.parametrize(
    ("mean", "std", "black_and_white"),
    [
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], (-1, 1)),
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5], (-1, 1)),
        ([0, 0, 0], [255, 255, 255], (0, 1)),
        ([0, 0, 0], [1, 1, 1], (0, 1)),
        ([100, 100, 100], [1, 1, 1], (-100, 155)),  # the colors are not scaled: mmaction2's C3D
        ([51, 51, 51], [0.2, 0.2, 0.2], (-1, 4)),
    ],
)
def test_each_scale_gives_what_was_meant(
    mean: Any, std: Any, black_and_white: tuple[float, float], spec_beside: Callable[..., NetworkSpec]
) -> None:
    spec = spec_beside({"network.yaml": f"mean: {mean}\nstd: {std}"})
    assert np.allclose([normalized(spec, 0)[0], normalized(spec, 255)[2]], black_and_white)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mean: [.nan, 0, 0]", r"mean is \[nan, 0, 0\]; every number must be finite"),
        ("std: [.inf, 1, 1]", r"std is \[inf, 1, 1\]; every number must be finite"),
        ("std: [0, 0, 0]", r"std is \[0, 0, 0\]; every number must be above 0"),
        ("std: [-1, 1, 1]", r"std is \[-1, 1, 1\]; every number must be above 0"),
        ("mean: [300, 1, 1]", r"mean is \[300, 1, 1\]; it must be of colors in \[0, 1\], or in 0..255"),
    ],
)
def test_numbers_that_cannot_be_right(line: str, message: str, spec_beside: Callable[..., NetworkSpec]) -> None:
    with pytest.raises(NetworkError, match=message):
        spec_beside({"network.yaml": line})


def test_what_nothing_states_is_assumed_and_named(spec_beside: Callable[..., NetworkSpec]) -> None:
    spec = spec_beside({})
    assert (spec.mean, spec.std, spec.mean_from) == (ACTIONNET_MEAN, ACTIONNET_STD, "")
    assert remark(spec) == assumption(spec)
    assert "no mean is stated for network net: actionNet's is assumed (mean 0.4345" in remark(spec)
    assert f"{spec.model.parent / 'network.yaml'}, as `mean: [R, G, B]`" in remark(spec)
    assert remark(resolve(NetworkRequest("camera_motion"))) == ""


# What an image processor of transformers does with colors of 0..255, written down apart from our own way of doing it.
def transformers_gives(color: float, config: dict[str, Any]) -> float:
    value = color
    if config.get("do_rescale", True):
        value = value * config.get("rescale_factor", 1 / 255) - (1 if config.get("offset") else 0)
    if config.get("do_normalize", True):
        mean, std = np.ravel(config["image_mean"])[0], np.ravel(config["image_std"])[0]
        value = (value - mean) / std
    return float(value)


@pytest.mark.parametrize(
    "config",
    [
        {"image_mean": UNIT[0], "image_std": UNIT[1]},
        {"image_mean": UNIT[0], "image_std": UNIT[1], "do_rescale": True, "rescale_factor": 1 / 255},
        {"image_mean": 0.5, "image_std": 0.5},
        {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5, "offset": True},  # ViViT
        {"image_mean": UNIT[0], "image_std": UNIT[1], "do_normalize": False},
        {"image_mean": IMAGENET[0], "image_std": IMAGENET[1], "do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
    ],
)
def test_a_preprocessor_config(config: dict[str, Any], spec_beside: Callable[..., NetworkSpec]) -> None:
    spec = spec_beside({"preprocessor_config.json": json.dumps(config)})
    for color in (0, 77, 255):
        assert normalized(spec, color)[0] == pytest.approx(transformers_gives(color, config), abs=1e-9)
    assert spec.mean_from.endswith("preprocessor_config.json")


MMACTION_1 = f"img_norm_cfg = dict(\n    mean={IMAGENET[0]}, std={IMAGENET[1]}, to_bgr=False)\nraise SystemExit\n"
MMACTION_2 = (
    f"model = dict(data_preprocessor=dict(type='ActionDataPreprocessor', mean={IMAGENET[0]}, std={IMAGENET[1]}))"
)
TAO = "dataset:\n  augmentation_config:\n    rgb_input_mean: [0.5]\n    rgb_input_std: [0.25]\n"


@pytest.mark.parametrize(
    ("name", "content", "mean", "std"),
    [
        ("slowonly.py", MMACTION_1, UNIT[0], UNIT[1]),
        ("slowonly.py", MMACTION_2, UNIT[0], UNIT[1]),
        ("train_rgb_3d.yaml", TAO, [0.5] * 3, [0.25] * 3),
    ],
)
def test_a_training_configuration(
    name: str, content: str, mean: Any, std: Any, spec_beside: Callable[..., NetworkSpec]
) -> None:
    spec = spec_beside({name: content})
    assert np.allclose([spec.mean, spec.std], [mean, std])
    assert name in spec.mean_from


@pytest.mark.parametrize(
    "content",
    [
        "export = dict(mean=[1, 2, 3], std=[4, 5, 6])",  # some script
        "img_norm_cfg = dict(mean=numbers(), std=[4, 5, 6])",  # only running it would tell
        "img_norm_cfg = dict(mean=",
        MMACTION_1 + "img_norm_cfg = dict(mean=[1, 2, 3], std=[4, 5, 6])",  # which of the two?
    ],
)
def test_a_script_that_does_not_say_is_passed_over(content: str, spec_beside: Callable[..., NetworkSpec]) -> None:
    assert spec_beside({"config.py": content}).mean == ACTIONNET_MEAN


def test_the_order_of_the_files(spec_beside: Callable[..., NetworkSpec]) -> None:
    assert spec_beside({"slowonly.py": MMACTION_1}).mean_from.startswith(str(spec_beside({}).model.parent / "slowonly"))
    config = json.dumps({"image_mean": [0.1] * 3, "image_std": [0.2] * 3})
    assert spec_beside({"preprocessor_config.json": config}).mean == (0.1, 0.1, 0.1)
    spec = spec_beside({"network.yaml": "std: [0.3, 0.3, 0.3]"})
    assert (spec.mean, spec.std) == ((0.1, 0.1, 0.1), (0.3, 0.3, 0.3)), "each from the first that states it"
    assert spec_beside({"network.yaml": "mean: [0.4, 0.4, 0.4]"}).mean == (0.4, 0.4, 0.4)


def test_labels_of_a_config_json_beside_the_model(conv3d: Build, save: Save, tmp_path: Path) -> None:
    model = save(conv3d())
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(i): f"action {i}" for i in range(5)}}))
    assert prepare(resolve(NetworkRequest(model=str(model)))).labels == tuple(f"action {i}" for i in range(5))
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne")
    assert prepare(resolve(NetworkRequest(model=str(model)))).labels == ("a", "b", "c", "d", "e")
    (tmp_path / "labels.txt").unlink()
    (tmp_path / "config.json").write_text('{"layers": 3}')
    assert resolve(NetworkRequest(model=str(model))).labels is None


@pytest.mark.parametrize(
    ("files", "mean", "std", "colors"),
    [
        ({"c.py": "img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=True)"}, 104, 1, "BGR"),
        ({"c.py": "img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=False)"}, 104, 1, "RGB"),
        ({"c.py": "img_norm_cfg = {'mean': [104, 117, 128], 'std': [1, 1, 1], 'to_rgb': False}"}, 104, 1, "BGR"),
        ({"c.py": "img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_rgb=True)"}, 104, 1, "RGB"),
        ({"c.py": "data_preprocessor = dict(mean=[104, 117, 128], std=[1, 1, 1], to_rgb=True)"}, 104, 1, "BGR"),
        ({"c.py": "data_preprocessor = dict(mean=[104, 117, 128], std=[1, 1, 1], to_rgb=False)"}, 104, 1, "RGB"),
        ({"c.py": "data_preprocessor = dict(mean=[104, 117, 128], std=[1, 1, 1])"}, 104, 1, "RGB"),
        (
            {
                "preprocessor_config.json": json.dumps(
                    {"image_mean": [0.5, 0.25, 0.75], "image_std": [1, 1, 1], "do_flip_channel_order": True}
                )
            },
            0.75 * 255,
            255,
            "BGR",
        ),
        ({"network.yaml": "mean: [104, 117, 128]\nstd: [1, 1, 1]\ncolors: BGR"}, 104, 1, "BGR"),
    ],
)
def test_the_order_of_the_colors_is_read_with_the_mean_of_the_first_of_them(
    files: dict[str, str], mean: float, std: float, colors: str, spec_beside: Callable[..., NetworkSpec]
) -> None:
    spec = spec_beside(files)
    assert spec.colors == colors
    assert np.allclose([spec.mean[0], spec.std[0]], [mean / 255, std / 255])


OPEN_MODEL_ZOO = """\
task_type: action_recognition
framework: onnx
model_optimizer_args:
  - --input_shape=[1,3,8,224,224]
  - --output=output
  {arguments}
license: https://example.org/LICENSE
"""


@pytest.mark.parametrize(
    ("arguments", "mean", "std"),
    [
        (
            ["--mean_values=[123.675, 116.28, 103.53]", "--scale_values=[58.395, 57.12, 57.375]"],
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
        ),
        (["--mean_values=Placeholder[127.5]", "--scale_values=Placeholder[127.5]"], [0.5] * 3, [0.5] * 3),
        (["--scale=255"], [0, 0, 0], [1, 1, 1]),
        (["--mean_values=data[51,102,204]", "--reverse_input_channels"], [0.2, 0.4, 0.8], [1 / 255] * 3),
        (["--mean_values=[0.5]", "--scale_values=[0.25]"], [0.5] * 3, [0.25] * 3),
    ],
)
def test_the_model_yml_of_open_model_zoo(
    arguments: list[str], mean: Any, std: Any, spec_beside: Callable[..., NetworkSpec]
) -> None:
    content = OPEN_MODEL_ZOO.format(arguments="\n  ".join(f"- {argument}" for argument in arguments))
    spec = spec_beside({"model.yml": content})
    assert np.allclose([spec.mean, spec.std], [mean, std])
    assert (spec.colors, spec.normalization) == ("RGB", "outside"), "of the original network"
    assert "model.yml" in spec.mean_from


@pytest.mark.parametrize(
    "argument",
    [
        "--mean_values=a[1,2,3],b[4,5,6]",
        "--mean_values=",
        "--mean_values=[]",
        "--mean_values=[x]",
        "--output=mean",
    ],
)
def test_a_model_yml_that_states_no_mean_of_one_input(argument: str, spec_beside: Callable[..., NetworkSpec]) -> None:
    assert spec_beside({"model.yml": OPEN_MODEL_ZOO.format(arguments=f"- {argument}")}).mean_from == ""


@pytest.mark.parametrize(("argument", "colors"), [("--reverse_input_channels", "BGR"), ("--output=o", "RGB")])
def test_beside_a_converted_model_its_mean_and_the_order_of_colors_are_inside(
    argument: str, colors: str, tmp_path: Path
) -> None:
    for name in ("model.xml", "model.bin", "labels.txt"):
        (tmp_path / name).write_text("<net/>")
    arguments = f"- --mean_values=[123.675,116.28,103.53]\n  - {argument}"
    (tmp_path / "model.yml").write_text(OPEN_MODEL_ZOO.format(arguments=arguments))
    spec = resolve(NetworkRequest(model=str(tmp_path)))
    assert (spec.normalization, spec.colors) == ("inside", colors)
    assert spec.mean == (0, 0, 0)
    assert np.allclose(spec.std, 1 / 255)


BGR_CONFIG = "img_norm_cfg = dict(mean=[104, 117, 128], std=[51, 51, 51], to_bgr=True)"
BGR_FLIPPED = json.dumps({"image_mean": [0.5, 0.25, 0.75], "image_std": [0.2] * 3, "do_flip_channel_order": True})


@pytest.mark.parametrize("files", [{"c.py": BGR_CONFIG}, {"preprocessor_config.json": BGR_FLIPPED}])
@pytest.mark.parametrize(
    ("stated", "mean", "std"),
    [
        ("mean: [0.1, 0.2, 0.3]", (0.1, 0.2, 0.3), (0.2, 0.2, 0.2)),
        ("mean: [0.1, 0.2, 0.3]\nstd: [0.4, 0.5, 0.6]", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ("std: [0.4, 0.5, 0.6]", None, (0.4, 0.5, 0.6)),
        ("scores: logits\nlayout: NCTHW\nlabels: labels.txt", None, (0.2, 0.2, 0.2)),
    ],
)
def test_what_a_network_yaml_leaves_out_is_read_beside_it(
    files: dict[str, str], stated: str, mean: Any, std: Any, spec_beside: Callable[..., NetworkSpec]
) -> None:
    spec = spec_beside({**files, "network.yaml": stated})
    (file,) = files
    assert spec.colors == "BGR"
    assert spec.colors_from.endswith(file)
    assert np.allclose(spec.std, std)
    if mean is None:
        assert file in spec.mean_from
    else:
        assert np.allclose(spec.mean, mean)
        assert ("(std)" in spec.mean_from) == ("std" not in stated)
        assert f"takes BGR, as {spec.colors_from} says" in remark(spec)


def test_colors_that_a_network_yaml_states_are_these(spec_beside: Callable[..., NetworkSpec]) -> None:
    spec = spec_beside({"c.py": BGR_CONFIG, "network.yaml": "colors: RGB"})
    assert spec.colors == "RGB"
    assert np.allclose(spec.mean, np.array([104, 117, 128]) / 255)
    spec = spec_beside({"network.yaml": "normalization: inside"})
    assert (spec.colors, spec.normalization, spec.mean) == ("BGR", "inside", (0, 0, 0))


def test_a_config_with_a_wrong_mean_refuses_no_network_that_states_one(spec_beside: Callable[..., NetworkSpec]) -> None:
    wrong = {"c.py": "img_norm_cfg = dict(mean=[1, 2, 3000], std=[1, 1, 1])"}
    spec = spec_beside({**wrong, "network.yaml": "mean: [0.1, 0.2, 0.3]\nstd: [1, 1, 1]"})
    assert (spec.mean, spec.colors) == ((0.1, 0.2, 0.3), "RGB")
    with pytest.raises(NetworkError, match="3000"):
        spec_beside({"network.yaml": "frames: 4"})


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["preprocessor_config.json", "c.py", "t.yaml", "model.yml", "config.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(
    kind: str, name: str, spec_beside: Callable[..., NetworkSpec], tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").unlink()  # so that config.json is looked at
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    elif kind == "device":
        (tmp_path / name).symlink_to("/dev/zero")
    else:
        (tmp_path / name).mkdir()
    spec = spec_beside({})
    assert (spec.mean, spec.std, spec.labels) == (ACTIONNET_MEAN, ACTIONNET_STD, None)


@pytest.mark.parametrize("factor", ["1" + "0" * 400, "1e-320", "1e300", '"\\u001b[2J"'])
def test_a_factor_that_cannot_be_is_named(factor: str, spec_beside: Callable[..., NetworkSpec]) -> None:
    config = f'{{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": {factor}}}'
    with pytest.raises(NetworkError, match=r"rescale_factor is .*; it must be a finite number above 0") as caught:
        spec_beside({"preprocessor_config.json": config})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
