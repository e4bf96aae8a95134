"""Mean and standard deviation of a network's input: what the files beside a model state, in one unit.

The unit is RGB in [0, 1]: (color - mean) / std. Published numbers are often those of 0..255.
"""

from __future__ import annotations

import ast
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.spec import ACTIONNET_MEAN, NORMALIZED_INSIDE, Colors, NetworkSpec, Triple
from ros2_actionnet.networks.yaml_file import parse_yaml
from ros2_actionnet.system.files import read_bounded
from ros2_actionnet.system.text import printable

logger = logging.getLogger(__name__)

PREPROCESSOR_FILES = ("preprocessor_config.json", "video_preprocessor_config.json")
"""Files in which transformers states the normalization of a model."""

OPEN_MODEL_ZOO = "model.yml"
"""File in which Open Model Zoo states how a model is converted to OpenVINO's IR."""

TORCHVISION = "mean: [0.43216, 0.394666, 0.37645], std: [0.22803, 0.22145, 0.216989]"
"""Mean and standard deviation of torchvision's video networks (such as r3d_18 on Kinetics-400)."""

_ZEROS, _ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_LARGEST_CONFIG = 1_000_000  # bytes
_MOST_CONFIGS = 50
_LEAST_FACTOR = 1e-9
_DIVIDED = ", of 0..255 and divided by 255"


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of a network's input.

    Attributes:
        mean: subtracted from the colors in [0, 1], in the order of `colors`.
        std: divides the difference.
        source: the file that states them.
        colors: order of the colors.
        inside: True if the network takes colors in [0, 255]: mean and std leave them so.
    """

    mean: Triple
    std: Triple
    source: str
    colors: Colors = "RGB"
    inside: bool = False

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of a NetworkSpec."""
        values = {"mean": self.mean, "std": self.std, "mean_from": self.source}
        values |= {"colors": self.colors, "colors_from": self.source.removesuffix(_DIVIDED)}
        return values | NORMALIZED_INSIDE if self.inside else values

    def completing(self, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of a NetworkSpec that `stated`, those of a network.yaml, lacks."""
        values = self.attributes()
        if "normalization" in stated or (self.inside and {"mean", "std"} & set(stated)):
            values = {key: values[key] for key in ("colors", "colors_from")}
        elif "mean" in stated and "std" not in stated:
            values["mean_from"] = f"{self.source.removesuffix(_DIVIDED)} (std) and {stated['mean_from']}"
            return {key: value for key, value in values.items() if key == "mean_from" or key not in stated}
        return {key: value for key, value in values.items() if key not in stated}


def three_numbers(source: str, key: str, value: Any) -> Triple:
    """Return `value` as three numbers for red, green and blue.

    Raises NetworkError, naming the value, if it is anything else, is not finite, or is a `std` that is not above 0.
    """
    numbers = list(value) if isinstance(value, list | tuple) and len(value) == 3 else []
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise NetworkError(
            f"{source}: {key} is {printable(repr(value))}; it must be three numbers, for red, green and blue in [0, 1]"
        )
    try:
        red, green, blue = (float(number) for number in numbers)
    except OverflowError as error:
        raise NetworkError(f"{source}: {key} has a number that is too large for a float") from error
    if not all(map(math.isfinite, (red, green, blue))):
        raise NetworkError(f"{source}: {key} is {printable(repr(value))}; every number must be finite")
    if key == "std" and min(red, green, blue) <= 0:
        raise NetworkError(f"{source}: std is {printable(repr(value))}; every number must be above 0")
    if key == "mean" and max(map(abs, (red, green, blue))) > 255:
        raise NetworkError(f"{source}: mean is {printable(repr(value))}; it must be of colors in [0, 1], or in 0..255")
    return red, green, blue


def in_unit_range(stated: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the `mean` and `std` that `source` states, either or both, for colors in [0, 1], with `mean_from`.

    Numbers above 1 are of 0..255 and are divided by 255, which `mean_from` says. A std of exactly 1 beside such a mean
    is of 0..255, too, where it means that colors are not scaled.
    """
    mean, std = stated.get("mean"), stated.get("std")
    is_mean_large = mean is not None and max(map(abs, mean)) > 1
    is_std_large = std is not None and (max(std) > 1 or (is_mean_large and std == (1.0, 1.0, 1.0)))
    result = dict[str, Any]()
    if std is not None:
        result["std"] = _divided(std) if is_std_large else std
    if mean is not None:
        result["mean"] = _divided(mean) if is_mean_large else mean
        result["mean_from"] = source + (_DIVIDED if is_mean_large or is_std_large else "")
    return result


def remark(spec: NetworkSpec) -> str:
    """Return what the user should know of the origin of mean and std; empty if they are taken as they are stated."""
    remarks = [assumption(spec)]
    if spec.mean_from.endswith(_DIVIDED):
        mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (spec.mean, spec.std))
        remarks.append(f"network {spec.name}: mean and std are those in {spec.mean_from}: mean {mean}; std {std}")
    is_found = spec.colors_from not in ("--colors", str(spec.model.parent / "network.yaml"))
    if spec.colors == "BGR" and is_found and spec.mean_from.removesuffix(_DIVIDED) != spec.colors_from:
        remarks.append(
            f"network {spec.name} takes BGR, as {spec.colors_from} says: mean and std are used in that order. If it "
            "takes RGB, write `colors: RGB` into its network.yaml"
        )
    return ". ".join(filter(None, remarks))


def assumption(spec: NetworkSpec) -> str:
    """Return a warning that actionNet's mean is assumed for `spec`; empty if a mean is stated."""
    if spec.mean_from:
        return ""
    mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (ACTIONNET_MEAN, spec.std))
    return (
        f"no mean is stated for network {spec.name}: actionNet's is assumed (mean {mean}; std {std}), and scores are "
        f"wrong if it was trained with another. State it in {spec.model.parent / 'network.yaml'}, as `mean: [R, G, B]` "
        f"and `std: [R, G, B]`; torchvision's are {TORCHVISION}"
    )


def normalization_beside(folder: Path, *, converted: bool = False) -> Normalization | None:
    """Return the normalization that the files in `folder` other than network.yaml state; None if none does.

    These are the preprocessor_config.json of transformers, the configurations of mmaction2 and TAO, and the model.yml
    of Open Model Zoo. They are read as data and never run. A file that cannot be read, or states several, is passed
    over with a warning.

    Args:
        folder: the folder of the model.
        converted: True for a model in OpenVINO's IR, into which the conversion that a model.yml describes has put
            mean, scale and the order of the colors.

    Raises NetworkError, naming the value, for a mean or std that cannot be right.
    """
    for file in islice(_candidates(folder), _MOST_CONFIGS):
        reader = _READERS[file.suffix if file.name not in PREPROCESSOR_FILES else file.name]
        try:
            content = read_bounded(file, _LARGEST_CONFIG)
            if content is None:
                continue
            found = _of_open_model_zoo(file, content, converted) if file.name == OPEN_MODEL_ZOO else None
            found = found or reader(file, content)
        except (OSError, ValueError, SyntaxError, MemoryError, RecursionError, yaml.YAMLError) as error:
            logger.warning("%s cannot be read for mean and std: %s", file, error)
            continue
        if found is not None:
            return found
    return None


def _candidates(folder: Path) -> Iterator[Path]:
    # Published transformers models have their ONNX files in a folder `onnx` beside their configuration.
    places = (folder, folder.resolve().parent) if folder.resolve().name == "onnx" else (folder,)
    for place in places:
        yield from (file for name in PREPROCESSOR_FILES if (file := place / name).is_file())
    for suffix in (".py", ".yaml", ".yml"):
        yield from (file for file in sorted(folder.glob(f"*{suffix}")) if file.name != "network.yaml")


def _of_transformers(file: Path, data: bytes) -> Normalization | None:
    """Read `(color * rescale_factor - offset - image_mean) / image_std`; colors in 0..255, each part if it is on."""
    content = json.loads(data.decode("utf-8-sig"))
    if not isinstance(content, Mapping) or not {"image_mean", "image_std", "do_normalize", "do_rescale"} & set(content):
        return None
    is_normalized = content.get("do_normalize", "image_mean" in content)
    factor = content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1
    if (
        isinstance(factor, bool)
        or not isinstance(factor, int | float)
        or not _LEAST_FACTOR < factor < 1 / _LEAST_FACTOR
    ):
        raise NetworkError(
            f"{file}: rescale_factor is {printable(repr(factor))}; it must be a finite number above 0, such as 1/255"
        )
    mean = _one_or_three(file, "mean", content.get("image_mean", 0.0)) if is_normalized else _ZEROS
    std = _one_or_three(file, "std", content.get("image_std", 1.0)) if is_normalized else _ONES
    offset = 1.0 if content.get("offset") and content.get("do_rescale", True) else 0.0
    red, green, blue = mean
    mean = (red + offset, green + offset, blue + offset)
    mean, std = _divided(mean, 255 * factor), _divided(std, 255 * factor)
    if content.get("do_flip_channel_order"):  # the colors are reversed after the normalization
        return Normalization((mean[2], mean[1], mean[0]), (std[2], std[1], std[0]), str(file), "BGR")
    return Normalization(mean, std, str(file))


def _of_mmaction(file: Path, data: bytes) -> Normalization | None:
    """Read the mean and std of a Python config: in `dict(mean=[...], std=[...])` or a literal like it.

    Colors are reversed where it says `to_bgr=True`, and also where `to_rgb=True` stands in a `data_preprocessor`, whose
    frames are RGB. Those of the first mmaction, which had neither `data_preprocessor` nor `to_bgr`, were BGR: there
    `to_rgb=False` leaves them so.
    """
    text = data.decode("utf-8-sig")
    if "img_norm_cfg" not in text and "data_preprocessor" not in text:
        return None  # some other script
    found = set[tuple[Triple, Triple, Colors]]()
    for node in ast.walk(ast.parse(text)):
        stated = dict[str | None, ast.expr]()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            stated = {keyword.arg: keyword.value for keyword in node.keywords}
        elif isinstance(node, ast.Dict):
            stated = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
        if {"mean", "std"} <= set(stated):
            mean, std = (three_numbers(str(file), key, ast.literal_eval(stated[key])) for key in ("mean", "std"))
            to_rgb, to_bgr = (_is_true(stated.get(key)) for key in ("to_rgb", "to_bgr"))
            is_reversed = to_bgr or (to_rgb if "data_preprocessor" in text else to_rgb is False)
            found.add((mean, std, "BGR" if is_reversed else "RGB"))
    return _only(file, found)


def _is_true(node: ast.expr | None) -> bool | None:
    """Return the value of a literal True or False; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, bool) else None


def _of_open_model_zoo(file: Path, data: bytes, converted: bool) -> Normalization | None:
    """Read what the `model_optimizer_args` of a model.yml say: `--mean_values`, `--scale_values` and the like.

    Of the original model these are mean and std. A converted one has them inside; its colors are those that
    `--reverse_input_channels` leaves.
    """
    if b"model_optimizer_args" not in data:
        return None
    parsed = parse_yaml(data)
    arguments = parsed.get("model_optimizer_args") if isinstance(parsed, Mapping) else None
    stated = dict[str, str]()
    for argument in arguments if isinstance(arguments, list) else ():
        key, _, value = str(argument).removeprefix("--").partition("=")
        stated[key] = value
    mean = _numbers_of_one_input(stated.get("mean_values", ""))
    std = _numbers_of_one_input(stated.get("scale_values", "") or stated.get("scale", ""))
    if mean is None and std is None:
        return None
    is_large = max(map(abs, [*(mean or []), *(std or [])])) > 1
    if converted:
        colors: Colors = "BGR" if "reverse_input_channels" in stated else "RGB"
        return Normalization(_ZEROS, _ONES, str(file), colors, inside=is_large)
    found = (_one_or_three(file, "mean", mean or [0.0]), _one_or_three(file, "std", std or [1.0]))
    if is_large:
        return Normalization(_divided(found[0]), _divided(found[1]), str(file) + _DIVIDED)
    return Normalization(*found, str(file))


def _numbers_of_one_input(text: str) -> list[float] | None:
    """Return the numbers in `[1, 2, 3]`, `input[1, 2, 3]` or `1`; None for none, and for those of several inputs."""
    match = re.fullmatch(r"[^][,]*\[([^][]*)\]|([-+.\de]+)", text.strip())
    if match is None:
        return None
    with suppress(ValueError):
        return [float(number) for number in re.split(r"[,\s]+", (match[1] or match[2] or "").strip())]
    return None


def _of_tao(file: Path, data: bytes) -> Normalization | None:
    """Read `rgb_input_mean` and `rgb_input_std`, one number or three, of a TAO specification."""
    found = set[tuple[Triple, Triple, Colors]]()
    if b"rgb_input_mean" not in data:
        return None
    for values in _mappings(parse_yaml(data)):
        if {"rgb_input_mean", "rgb_input_std"} <= set(values):
            mean, std = (_one_or_three(file, key, values[f"rgb_input_{key}"]) for key in ("mean", "std"))
            found.add((mean, std, "RGB"))
    return _only(file, found)


def _only(file: Path, found: set[tuple[Triple, Triple, Colors]]) -> Normalization | None:
    if len(found) > 1:
        logger.warning("%s states %d different pairs of mean and std; none of them is used", file, len(found))
    if len(found) != 1:
        return None
    ((mean, std, colors),) = found
    values = in_unit_range({"mean": mean, "std": std}, str(file))
    return Normalization(values["mean"], values["std"], values["mean_from"], colors)


_READERS: dict[str, Callable[[Path, bytes], Normalization | None]] = {
    **dict.fromkeys(PREPROCESSOR_FILES, _of_transformers),
    ".py": _of_mmaction,
    ".yaml": _of_tao,
    ".yml": _of_tao,
}


def _one_or_three(file: Path, key: str, value: Any) -> Triple:
    """Return three numbers; one number, alone or in a list, is that of every color."""
    if isinstance(value, int | float):
        value = [value]
    is_one = isinstance(value, Sequence) and len(value) == 1
    return three_numbers(str(file), key, [value[0]] * 3 if is_one else value)


def _mappings(content: Any, depth: int = 0) -> Iterator[Mapping[Any, Any]]:
    """Yield the mappings in `content`, at most ten levels deep."""
    if isinstance(content, Mapping):
        yield content
    elif not isinstance(content, list):
        return
    for value in content.values() if isinstance(content, Mapping) else content:
        if depth < 10:
            yield from _mappings(value, depth + 1)


def _divided(numbers: Triple, divisor: float = 255) -> Triple:
    red, green, blue = (number / divisor for number in numbers)
    return red, green, blue
