"""The one table of settings: name, type, default, range and meaning of each.

The node's parameters, their YAML file, the launch arguments, the keywords of `ActionNet` and the tables in the docs are
all made from `Settings`, so that a default is written down once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from ros2_actionnet.errors import SettingsError
from ros2_actionnet.system.text import printable
from ros2_actionnet.system.values import CONVERTERS, IN_WORDS, shown

FULL_INTENSITY_RANGE = (0, 65535)
"""Black and white of `intensity_range: full`."""

Value = bool | int | float | str | tuple[float, ...] | tuple[str, ...]


class Effect(Enum):
    """The way in which a change of a setting takes effect."""

    NEXT_FRAME = "acts on the next frame"
    NEW_WINDOW = "fills a new window beside the running one, then takes over"
    NEW_NETWORK = "loads beside the running network, then takes over"
    CONFIGURE = "acts when the node is configured"


class Scope(Enum):
    """Where a setting exists; the value is the remark in the docs."""

    EVERYWHERE = ""
    NODE_AND_COMMAND = "Not a keyword of the class."
    NODE = "Node only."


@dataclass(frozen=True)
class Setting:
    """One row of the table; `minimum` and `maximum` are inclusive and hold for each element of a list."""

    name: str
    default: Value
    description: str
    effect: Effect
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    scope: Scope
    per_camera: bool  # whether one camera may have a value of its own

    @property
    def kind(self) -> str:
        """The type in ROS's words: bool, integer, double, string, double_array or string_array."""
        if isinstance(self.default, tuple):
            return "double_array" if self.default and isinstance(self.default[0], float) else "string_array"
        return {bool: "bool", int: "integer", float: "double", str: "string"}[type(self.default)]

    @property
    def live(self) -> bool:
        """True if the running node accepts a change."""
        return self.effect is not Effect.CONFIGURE

    @property
    def limits(self) -> str:
        """The allowed values in words, empty where any value of the type will do."""
        if self.choices:
            return " / ".join(self.choices)
        if self.minimum is None:
            return ""
        return f">= {self.minimum:g}" if self.maximum is None else f"{self.minimum:g} to {self.maximum:g}"

    def coerce(self, value: Any) -> Value:
        """`value` in this setting's own type: an integer is taken where a double or text is meant, a list for a tuple.

        Raises SettingsError, naming the value and what is allowed, for any other type and for a value out of range.
        """
        converted: Value | None = CONVERTERS[self.kind](value)
        if converted is None:
            raise SettingsError(f"{self.name} takes {IN_WORDS[self.kind]}, not {shown(value)}")
        if isinstance(converted, int) and not -(2**63) <= converted < 2**63:
            raise SettingsError(f"{self.name} {shown(value)} is out of range; ROS's whole numbers have 64 bits")
        if self.choices and converted not in self.choices:
            raise SettingsError(f"{self.name} '{printable(converted)}' is unknown; choose {' or '.join(self.choices)}")
        if self.minimum is not None:
            elements = converted if isinstance(converted, tuple) else (converted,)
            maximum = float("inf") if self.maximum is None else self.maximum
            # `not (a <= x <= b)` rather than `x < a or x > b`: NaN must fail too.
            if not all(self.minimum <= float(x) <= maximum for x in elements):
                raise SettingsError(f"{self.name} {shown(value)} is out of range; give a value {self.limits}")
        return converted


def _setting(
    default: Any,
    description: str,
    *,
    effect: Effect = Effect.NEXT_FRAME,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    scope: Scope = Scope.EVERYWHERE,
    per_camera: bool = False,
) -> Any:
    """A field of `Settings` that carries its row of the table."""
    return field(
        default=default,
        metadata={
            "default": default,
            "description": description,
            "effect": effect,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "scope": scope,
            "per_camera": per_camera,
        },
    )


@dataclass(frozen=True)
class Settings:
    """Every setting of the classifier and of the node, checked on construction.

    Raises SettingsError, naming the value and what is allowed, for a value that cannot be used.
    """

    network: str = _setting(
        "resnet18",
        "Network by name or alias: resnet18, resnet34, camera_motion, or one that you have added; or its path.",
        effect=Effect.NEW_NETWORK,
    )
    model: str = _setting(
        "",
        "Path of a custom model (.onnx, or .xml of OpenVINO's IR) or network folder; overrides network.",
        effect=Effect.NEW_NETWORK,
    )
    labels: str = _setting(
        "", "Path of the label file (text, JSON or CSV); overrides network's.", effect=Effect.NEW_NETWORK
    )
    input_blob: str = _setting("", "Name of the input tensor; empty: read from the model.", effect=Effect.NEW_NETWORK)
    output_blob: str = _setting("", "Name of the output tensor; empty: read from the model.", effect=Effect.NEW_NETWORK)
    scores: str = _setting(
        "auto",
        "What the model gives; auto: read from the model and checked when it is loaded; sigmoid: for several actions "
        "at once, each with a score of its own.",
        effect=Effect.NEW_NETWORK,
        choices=("auto", "logits", "probabilities", "sigmoid"),
    )
    backend: str = _setting(
        "auto",
        "Inference backend; auto: TensorRT where it and a GPU are usable, else OpenVINO; triton: a server, at device.",
        effect=Effect.NEW_NETWORK,
        choices=("auto", "tensorrt", "openvino", "triton"),
    )
    precision: str = _setting(
        "auto",
        "Arithmetic of the inference; auto: the fastest that the device supports well; int8: the model that "
        "`actionnet-networks quantize` makes.",
        effect=Effect.NEW_NETWORK,
        choices=("auto", "fp32", "fp16", "bf16", "int8"),
    )
    device: str = _setting(
        "",
        "GPU index under TensorRT, CPU, GPU or NPU under OpenVINO, HOST:PORT or HOST:PORT/MODEL under triton; empty: "
        "the backend's own choice.",
        effect=Effect.NEW_NETWORK,
    )
    device_timeout: float = _setting(
        1.0,
        "Seconds in which a server must answer under triton; an inference that takes longer has failed.",
        effect=Effect.NEW_NETWORK,
        minimum=0.01,
        maximum=60.0,
    )
    max_batch: int = _setting(
        0,
        "Largest number of windows in one inference; 0: as many as there are cameras and people, at most 8.",
        effect=Effect.NEW_NETWORK,
        minimum=0,
        maximum=64,
    )
    engine_cache: str = _setting(
        "",
        "Folder in which built TensorRT engines are stored; empty: $ACTIONNET_ENGINE_CACHE, or the user's "
        "cache folder.",
        effect=Effect.NEW_NETWORK,
    )
    fallback_network: str = _setting(
        "",
        "Network that runs on this computer while the server of backend triton fails, by name; empty: none.",
        scope=Scope.NODE,
    )
    threshold: float = _setting(0.01, "Lower scores are omitted.", minimum=0.0, maximum=1.0, per_camera=True)
    skip_frames: int = _setting(
        1, "Frames skipped between two sampled ones; 0: every frame is sampled.", minimum=0, per_camera=True
    )
    sample_rate: float = _setting(
        0.0,
        "Above 0 (Hz): sample by the images' stamps at this rate instead of by counting, "
        "so that a window keeps its length in seconds whatever the camera's rate.",
        minimum=0.0,
        maximum=240.0,
        per_camera=True,
    )
    infer_every: int = _setting(1, "Sampled frames from one inference to the next.", minimum=1, per_camera=True)
    top_k: int = _setting(5, "Maximum number of results in a classification.", minimum=1, per_camera=True)
    smoothing: int = _setting(
        1, "Scores are the mean over this many inferences.", minimum=1, maximum=100, per_camera=True
    )
    warmup: str = _setting(
        "wait",
        "Before the window is full: wait (report nothing) or repeat (fill it with copies of the first frame).",
        choices=("wait", "repeat"),
        per_camera=True,
    )
    max_gap: float = _setting(
        1.0,
        "A longer gap (s) between the stamps of two frames clears the window, unless the camera is slow enough for it "
        "to be usual; so does time that runs backwards by more. A frame out of line with its neighbors is left out.",
        minimum=0.0,
        per_camera=True,
    )
    resize_mode: str = _setting(
        "stretch",
        "How the image is fitted to the network's input: stretch it, crop its middle, or letterbox it with black bars.",
        effect=Effect.NEW_WINDOW,
        choices=("stretch", "crop", "letterbox"),
        per_camera=True,
    )
    roi: tuple[float, float, float, float] = _setting(
        (0.0, 0.0, 1.0, 1.0),
        "Region that is classified: x, y, width, height as fractions of the image.",
        effect=Effect.NEW_WINDOW,
        minimum=0.0,
        maximum=1.0,
        per_camera=True,
    )
    intensity_range: str = _setting(
        "full",
        "What becomes black and white of images with 16 bits a sample (thermal cameras, 12-bit sensors): full: 0 and "
        "65535; auto: the image's darkest and brightest, followed slowly; or both as LOW,HIGH.",
        per_camera=True,
    )
    class_filter: tuple[str, ...] = _setting(
        (), "Only these labels are reported; empty, or ['']: all.", per_camera=True
    )
    class_id_format: str = _setting(
        "label",
        "Content of class_id: the label, or the index as a decimal number. Outputs that share a label are one result "
        "under label, and kept apart under index.",
        choices=("label", "index"),
        scope=Scope.NODE,
    )
    event_on: float = _setting(
        0.5,
        "Score at which an event begins.",
        minimum=0.0,
        maximum=1.0,
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    event_off: float = _setting(
        0.3,
        "Score below which an event ends.",
        minimum=0.0,
        maximum=1.0,
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    event_min_duration: float = _setting(
        0.3,
        "An action must last this long (s) to be reported as an event.",
        minimum=0.0,
        maximum=60.0,
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    image_transport: str = _setting(
        "raw",
        "raw: sensor_msgs/Image on image; compressed: sensor_msgs/CompressedImage on image/compressed; ffmpeg: "
        "FFMPEGPacket on image/ffmpeg; foxglove: CompressedVideo on image/foxglove. If the topic has another of these "
        "types, that is taken.",
        effect=Effect.CONFIGURE,
        choices=("raw", "compressed", "ffmpeg", "foxglove"),
        scope=Scope.NODE,
        per_camera=True,
    )
    image_reliability: str = _setting(
        "auto",
        "QoS reliability of the image subscription; auto follows what the publishers offer.",
        effect=Effect.CONFIGURE,
        choices=("auto", "reliable", "best_effort"),
        scope=Scope.NODE,
        per_camera=True,
    )
    detections: bool = _setting(
        False,
        "Classify every tracked person too: subscribe to detections (vision_msgs/Detection2DArray or "
        "yolo_msgs/DetectionArray), and publish ~/actions.",
        effect=Effect.CONFIGURE,
        scope=Scope.NODE,
        per_camera=True,
    )
    detection_delay: float = _setting(
        0.3,
        "Longest time (s) that an image waits for its detections; after that they are late.",
        minimum=0.0,
        maximum=10.0,
        scope=Scope.NODE,
        per_camera=True,
    )
    subject_classes: tuple[str, ...] = _setting(
        ("person",),
        "Only detections with these labels are classified; empty, or ['']: all.",
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    max_subjects: int = _setting(
        8,
        "Largest number of detections that are classified at once; those with the largest boxes first.",
        minimum=1,
        maximum=64,
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    box_margin: float = _setting(
        0.25,
        "A detection's view is a square as wide as the larger side of its box, and wider by this fraction.",
        minimum=0.0,
        maximum=10.0,
        scope=Scope.NODE_AND_COMMAND,
        per_camera=True,
    )
    annotated_width: int = _setting(
        0,
        "Width of the annotated image in pixels; 0: that of the input.",
        minimum=0,
        maximum=4096,
        scope=Scope.NODE,
        per_camera=True,
    )
    cameras: tuple[str, ...] = _setting(
        (),
        "Names of several cameras, each with topics of its own; empty, or ['']: one camera, on image.",
        effect=Effect.CONFIGURE,
        scope=Scope.NODE,
    )
    cuda_graphs: bool = _setting(
        False,
        "Run inferences as CUDA graphs, under TensorRT alone: less work for the CPU; not tried on a GPU yet.",
        effect=Effect.NEW_NETWORK,
        scope=Scope.NODE,
    )
    autostart: bool = _setting(True, "Configure and activate automatically.", effect=Effect.CONFIGURE, scope=Scope.NODE)

    def __post_init__(self) -> None:
        """Coerces and checks every field, then the fields that must fit each other."""
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, setting.coerce(getattr(self, setting.name)))
        # ROS tools neither show nor clear an empty list of strings: there [''] stands for it.
        for name in ("class_filter", "cameras", "subject_classes"):
            object.__setattr__(self, name, tuple(element for element in getattr(self, name) if element))
        self._check_roi()
        self._check_cameras()
        intensity_limits(self.intensity_range)
        if self.event_off > self.event_on:
            raise SettingsError(
                f"event_off {self.event_off:g} is above event_on {self.event_on:g}; "
                "an event must end at a score not above the one it begins at"
            )

    def _check_roi(self) -> None:
        if len(self.roi) != 4:
            raise SettingsError(f"roi takes four numbers (x, y, width, height), not {len(self.roi)}")
        x, y, width, height = self.roi
        # Room for fractions such as 0.1 + 0.9 that do not add up exactly.
        if width <= 0 or height <= 0 or x + width > 1 + 1e-9 or y + height > 1 + 1e-9:
            raise SettingsError(
                f"roi {list(self.roi)} does not lie in the image; x + width and y + height are at most 1, "
                "width and height above 0"
            )

    def _check_cameras(self) -> None:
        for name in self.cameras:
            if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or "__" in name or len(name) > 100:
                raise SettingsError(
                    f"cameras: '{printable(name)}' cannot be part of a topic's name; begin it with a letter, and go on "
                    "with letters, digits and single _"
                )
            if self.cameras.count(name) > 1:
                raise SettingsError(f"cameras: {name} is there twice; give every camera a name of its own")

    @property
    def largest_batch(self) -> int:
        """The largest number of windows in one inference: `max_batch`, or the number of streams, at most 8."""
        streams = max(1, len(self.cameras)) * (1 + self.max_subjects * self.detections)
        return self.max_batch or min(streams, 8)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """Settings with `values` in place of the defaults; SettingsError names a setting that does not exist."""
        unknown = sorted(str(name) for name in set(values) - {setting.name for setting in SETTINGS})
        if unknown:
            raise SettingsError(
                f"there is no setting {printable(', '.join(unknown))}; the settings are "
                f"{', '.join(s.name for s in SETTINGS)}"
            )
        return cls(**values)

    def asks_for_network_of(self, other: Settings) -> bool:
        """Return True if both ask for the same network on the same device."""
        return Effect.NEW_NETWORK not in self.changed(other)

    def changed(self, other: Settings) -> set[Effect]:
        """Return the effects of changing these settings to `other`."""
        return {s.effect for s in SETTINGS if getattr(self, s.name) != getattr(other, s.name)}


def intensity_limits(text: str) -> tuple[int, int] | None:
    """Return black and white of an `intensity_range`; None for auto. Raises SettingsError for any other text."""
    if text == "auto":
        return None
    if text == "full":
        return FULL_INTENSITY_RANGE
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        low, high = map(int, parts)
        if low < high <= FULL_INTENSITY_RANGE[1]:
            return low, high
    raise SettingsError(
        f"intensity_range '{printable(text)}' is no range; give auto, full, or two whole numbers from 0 to "
        f"{FULL_INTENSITY_RANGE[1]}, the smaller one first, such as 7000,9000"
    )


SETTINGS: tuple[Setting, ...] = tuple(Setting(name=f.name, **f.metadata) for f in fields(Settings))
