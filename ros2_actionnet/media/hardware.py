"""Decoders and encoders of GPUs and other hardware, as far as this FFmpeg and this machine have them.

A choice is `cpu`; `auto`, which tries everything; a device of FFmpeg (`cuda`, `vaapi`, `qsv`); a family of its codecs
(`v4l2m2m`, `nvenc`); or one codec by name (`h264_cuvid`). What cannot be used falls back to the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ros2_actionnet.media.av_support import import_av, reason
from ros2_actionnet.media.base import Report

_JETSON_NAMES = {"v4l2": "v4l2m2m", "omx": "auto"}
"""jetson-inference's names of hardware, and what they are here: OpenMAX is gone since JetPack 5."""

DEVICES = ("cuda", "vaapi", "qsv", "amf", "videotoolbox", "d3d11va", "vulkan", "drm")
"""FFmpeg's devices that decode, in the order in which `auto` tries those that this FFmpeg has."""

_DECODER_FAMILIES = ("v4l2m2m",)
_ENCODER_FAMILIES = ("nvenc", "qsv", "amf", "videotoolbox", "v4l2m2m")
_ENCODERS_OF_DEVICES = {"cuda": "nvenc"}
_PIXELS = ("yuv420p", "nv12", "yuvj420p", "bgr0", "bgr24")  # in order of preference

_FAILURES = (NotImplementedError, RuntimeError, ValueError, OSError)  # FFmpegError is one of the latter two, or alone


@dataclass(frozen=True)
class HardwareEncoder:
    """An encoder that can be used here: FFmpeg's name of it and the pixel format that it takes."""

    name: str
    pixels: str


def is_hardware(choice: str) -> bool:
    """Return True if a choice is anything but the CPU."""
    return choice.lower() not in ("", "cpu")


@dataclass(frozen=True)
class HardwareDecoder:
    """What decodes a stream: a device of FFmpeg, or another decoder.

    Attributes:
        accel: The device, for `av.open`; None if it is a decoder.
        context: The open codec context of the decoder; None if it is a device.
    """

    accel: Any = None
    context: Any = None


def find_decoder(choice: str, software: Any, name: str, report: Report) -> HardwareDecoder:
    """Return what decodes the stream of a software decoder in its place; nothing, and a line that says why, if the CPU.

    Args:
        choice: Name of a device, a family of decoders, or a decoder; or `auto`.
        software: The codec context of the decoder on the CPU.
        name: Display name of the input.
        report: Receives the line.
    """
    av = import_av()
    codec, present = software.codec, av.codec.hwaccel.hwdevices_available()
    reasons: list[str] = []
    devices = [device for device in DEVICES if device in present]
    for candidate in _candidates(choice, (*devices, *_DECODER_FAMILIES)):
        try:
            if candidate in DEVICES:
                accel = av.codec.hwaccel.HWAccel(candidate)
                accel.create(codec)
                return HardwareDecoder(accel)
            context = av.CodecContext.create(_codec_name(candidate, codec, "r"), "r")
            context.extradata = software.extradata
            context.width, context.height = software.width, software.height
            context.open()
            return HardwareDecoder(context=context)
        except (*_FAILURES, av.error.FFmpegError) as error:
            reasons.append(f"{candidate}: {_why(error, codec)}")
    report(f"'{name}' is decoded on the CPU: {_summary(reasons)}")
    return HardwareDecoder()


def find_encoder(
    choice: str, software: str, prepare: Callable[[Any, str], None], name: str, report: Report
) -> HardwareEncoder | None:
    """Return the hardware encoder for the codec of FFmpeg's `software` encoder; None, and why, if it is the CPU.

    Args:
        choice: Name of a family of encoders, or an encoder; or `auto`.
        software: FFmpeg's name of the encoder on the CPU.
        prepare: Sets the size, rates and options of a codec context, given the pixel format.
        name: Display name of the output.
        report: Receives the line.
    """
    av = import_av()
    codec = av.codec.Codec(software, "w")
    reasons: list[str] = []
    for candidate in _candidates(choice, _ENCODER_FAMILIES):
        family = _ENCODERS_OF_DEVICES.get(candidate, candidate)
        try:
            encoder = _codec_name(family, codec, "w")
            formats = [form.name for form in av.codec.Codec(encoder, "w").video_formats or ()]
            pixels = next((form for form in _PIXELS if form in formats), "nv12")
            context = av.CodecContext.create(encoder, "w")
            prepare(context, pixels)
            context.open()
            return HardwareEncoder(encoder, pixels)
        except (*_FAILURES, av.error.FFmpegError) as error:
            reasons.append(f"{candidate}: {_why(error, codec)}")
    report(f"'{name}' is encoded on the CPU: {_summary(reasons)}")
    return None


def _candidates(choice: str, everything: tuple[str, ...]) -> tuple[str, ...]:
    choice = _JETSON_NAMES.get(choice.lower(), choice.lower())
    return everything if choice == "auto" else (choice,)


def _codec_name(choice: str, codec: Any, mode: str) -> str:
    """Return FFmpeg's name of a codec of the same kind as `codec`, by its name or its family's. Raises ValueError."""
    av = import_av()
    for name in (choice, f"{codec.canonical_name}_{choice}"):
        try:
            found = av.codec.Codec(name, mode)
        except (av.error.FFmpegError, ValueError):
            continue
        if found.id != codec.id:
            raise ValueError(f"{name} is for {found.canonical_name}, not for {codec.canonical_name}")
        return name
    raise ValueError(f"not for {codec.canonical_name} in this FFmpeg")


def _why(error: Exception, codec: Any) -> str:
    if isinstance(error, NotImplementedError):
        return f"not for {codec.canonical_name} in this FFmpeg"
    if isinstance(error, ValueError) and not hasattr(error, "errno"):
        return str(error)
    return f"no such hardware or driver ({reason(error)})"


def _summary(reasons: list[str]) -> str:
    """Return the reasons in one line: of several, those of the hardware that this FFmpeg supports."""
    supported = [reason for reason in reasons if "this FFmpeg" not in reason]
    return "; ".join(supported or reasons[:1])
