"""Descriptions of a network: as requested, as found on disk, and as prepared for a backend."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ros2_actionnet.networks.layout import Layout
from ros2_actionnet.networks.model_files import is_engine
from ros2_actionnet.networks.shared_labels import SharedLabels

Triple = tuple[float, float, float]
# The values that a network gives for its classes: any numbers, probabilities that sum to 1, or numbers in [0, 1] that
# are independent of each other (multi-label networks).
ScoreKind = Literal["logits", "probabilities", "sigmoid"]
SCORE_KINDS: tuple[ScoreKind, ...] = ("logits", "probabilities", "sigmoid")

# What is added to a network that gives logits.
Activation = Literal["softmax", "sigmoid"]

# Names of the only input and the only output of every prepared network, and of its dynamic first dimension.
INPUT_NAME = "frames"
OUTPUT_NAME = "scores"
BATCH_NAME = "batch"

# Who scales and normalizes the frames: the package, by mean and std, or the network, which takes RGB in [0, 255].
Normalization = Literal["outside", "inside"]
NORMALIZATIONS: tuple[Normalization, ...] = ("outside", "inside")
# Order of the three colors in a network's input. Frames are RGB; mean and std are in this order.
Colors = Literal["RGB", "BGR"]
COLORS: tuple[Colors, ...] = ("RGB", "BGR")
# Attributes of the NetworkSpec of a network that takes [0, 255]: mean and std leave the colors as they are.
NORMALIZED_INSIDE: dict[str, Any] = {"normalization": "inside", "mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}

# Mean and standard deviation of jetson-inference's actionNet, applied after scaling RGB to [0, 1].
ACTIONNET_MEAN = (0.4344705882352941, 0.4050980392156863, 0.3774901960784314)
ACTIONNET_STD = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class NetworkRequest:
    """A user's request for a network, with the names of the parameters. An empty value means unspecified.

    Attributes:
        network: a name or alias of the catalogue; ignored if `model` is given.
        model: path of an .onnx file, of the .xml of OpenVINO's IR, or of a network folder.
        labels: path of a label file, one label per line.
        input_blob: name of the model's input.
        output_blob: name of the model's output.
        scores: what the network gives, one of SCORE_KINDS; "auto" is unspecified too.
        precision: "int8" for the int8 model that lies beside the model; any other is for the model itself.
    """

    network: str = "resnet18"
    model: str = ""
    labels: str = ""
    input_blob: str = ""
    output_blob: str = ""
    scores: str = ""
    precision: str = ""


@dataclass(frozen=True)
class NetworkSpec:
    """A network as found on disk. None or "" means that the value is read from the model when it is opened.

    Attributes:
        name: the network's name, as displayed.
        model: the .onnx file, or the .xml of OpenVINO's IR.
        labels: the label file; None: the classes are named "class 0", "class 1", ...
        frames: frames in a window, T.
        height: height of a frame in pixels, H.
        width: width of a frame in pixels, W.
        layout: order of the original input's dimensions, as the module `layout` names them.
        colors: order of the three colors in the original input, and of `mean` and `std`.
        mean: subtracted from the colors in [0, 1].
        std: divides the difference.
        normalization: "inside" if the network takes RGB in [0, 255]; mean and std are then 0 and 1/255.
        input_blob: name of the original model's input.
        output_blob: name of the original model's output.
        scores: what the original model gives.
        sha256: expected SHA-256 of the model file; "" disables the check.
        mean_from: the file, flag or catalogue that states `mean`; "" if none does and actionNet's is assumed.
        colors_from: the file or flag that states `colors`; "" if none does and RGB is assumed.
        is_downloaded: True for a network of the catalogue that is downloaded with its labels.
        int8_of: the model that `model` is the int8 form of; None if it is none.
    """

    name: str
    model: Path
    labels: Path | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    layout: Layout | None = None
    colors: Colors = "RGB"
    mean: Triple = ACTIONNET_MEAN
    std: Triple = ACTIONNET_STD
    normalization: Normalization = "outside"
    input_blob: str = ""
    output_blob: str = ""
    scores: ScoreKind | None = None
    sha256: str = ""
    mean_from: str = ""
    colors_from: str = ""
    is_downloaded: bool = False
    int8_of: Path | None = None


@dataclass(frozen=True)
class SlowPath:
    """The second input of a SlowFast network, which is made from the first.

    Attributes:
        name: of the second input.
        axis: the dimension of time.
        frames: indices of the frames of the first input that it consists of.
    """

    name: str
    axis: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Conversion:
    """Conversion of a model in OpenVINO's IR to the common signature, which the backend adds once it has read it.

    Attributes:
        input_shape: of the original input, for a batch of 1.
        offset: subtracted from the output.
        scale: divides the difference.
        activation: applied to the result; None: it is the scores.
        slow_path: a second input to be made from the first; None if there is no second one.
    """

    input_shape: tuple[int, ...]
    offset: float = 0.0
    scale: float = 1.0
    activation: Activation | None = None
    slow_path: SlowPath | None = None


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """A network with the common signature that every backend accepts.

    Attributes:
        spec: complete: frames, height, width, layout, tensor names and scores are filled in.
        labels: one per class.
        model: serialized ONNX. Input `frames`: uint8 [batch, T, H, W, 3], RGB. Output `scores`: float32
            [batch, classes], each in [0, 1] and summing to 1 (unless `spec.scores` is sigmoid).
        max_batch: largest batch that is known to work; None: any. If it is 1, the model's batch is fixed to 1.
        file: the file with the serialized ONNX, if it is not in `model`.
        scores_from: the origin of `spec.scores`: stated by the user, read from the graph, or assumed, because nothing
            was recognized in the graph.
        digest: SHA-256 of the serialized ONNX in hex, if already known.
        conversion: None, or for a model in OpenVINO's IR, what it still lacks; `file` and `digest` are then of its .xml
            as it was found.
    """

    spec: NetworkSpec
    labels: tuple[str, ...]
    model: bytes = field(repr=False)
    max_batch: int | None = None
    file: Path | None = None
    scores_from: Literal["stated", "graph", "assumption"] = "stated"
    digest: str = ""
    conversion: Conversion | None = None

    @property
    def name(self) -> str:
        """Network name."""
        return self.spec.name

    @property
    def frames(self) -> int:
        """Number of frames in a window."""
        return _known(self.spec.frames)

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""
        return _known(self.spec.height)

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""
        return _known(self.spec.width)

    @property
    def is_engine(self) -> bool:
        """True for a ready engine of TensorRT, which `file` is; nothing is known of it but what `spec` states."""
        return is_engine(self.spec.model)

    @property
    def num_classes(self) -> int:
        """Number of classes, equal to the number of labels."""
        return len(self.labels)

    @cached_property
    def shared_labels(self) -> SharedLabels | None:
        """The outputs that share a label; None if every label is unique."""
        return SharedLabels.among(self.labels, is_multi_label=self.spec.scores == "sigmoid")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the prepared model, in hex. The first access takes about 0.1 s for 130 MB."""
        return self.digest or hashlib.sha256(self.model).hexdigest()


def _known(size: int | None) -> int:
    if size is None:
        raise ValueError("a PreparedNetwork needs a complete spec: frames, height and width")
    return size
