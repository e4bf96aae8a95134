"""The command line of `actionnet`: jetson-inference's flags, and one for each setting of the library."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

from ros2_actionnet import __version__
from ros2_actionnet.cli import flag_values
from ros2_actionnet.cli.cameras import cameras_of
from ros2_actionnet.settings import SETTINGS, Setting, Settings
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import DEFAULT_PORT

USAGE = """actionnet [options] [input [output]]
       actionnet [options] --camera [NAME=]input --camera [NAME=]input ... [output]
       actionnet [options] --batch FOLDER input [input ...]"""

DESCRIPTION = """Recognizes actions in videos, images, cameras, streams and ROS 2 bags, without ROS.

  input   clip.mp4, photo.jpg, a folder of images, /dev/video0 or v4l2:///dev/video0, rtsp://host/stream,
          csi://0, a browser's camera: webrtc://@:8554/name, recording.mcap, a bag folder (default: csi://0)
  output  clip.mp4, a folder for images, display://0, rtsp://host/stream, results.mcap,
          for browsers: webrtc://@:8554/name, for RTSP players: rtsp://@:8554/name
          (default: a window if there is a display, otherwise nothing)"""

EPILOG = """Flags accept dashes or underscores, --flag=value or --flag value.
Ctrl-C ends the run; the files written so far stay usable."""

DEFAULT_INPUT = "csi://0"
"""The default input, as in jetson-inference."""

DEFAULT_SERVE = f"127.0.0.1:{DEFAULT_PORT}"
_ADDRESS = re.compile(r"[^/]*:\d+")

LEVELS = ("silent", "error", "warning", "success", "info", "verbose", "debug")
"""jetson-inference's log levels, quietest first."""

RTSP_TRANSPORTS = ("auto", "tcp", "udp", "udp_multicast", "http", "https")
"""The transports of an RTSP input."""

WITHOUT_EFFECT = {
    "batch-size": "windows are classified one at a time",
    "log-file": "redirect standard error instead",
}
"""Flags of jetson-inference that are accepted so that command lines keep working, and why they have no effect."""

_SETTINGS_BY_GROUP = {
    "network": (
        "network",
        "model",
        "labels",
        "input_blob",
        "output_blob",
        "scores",
        "backend",
        "precision",
        "device",
        "device_timeout",
        "max_batch",
        "engine_cache",
    ),
    "what the network sees": (
        "skip_frames",
        "sample_rate",
        "infer_every",
        "warmup",
        "max_gap",
        "resize_mode",
        "roi",
        "intensity_range",
    ),
    "what counts as a result": (
        "threshold",
        "top_k",
        "smoothing",
        "class_filter",
        "event_on",
        "event_off",
        "event_min_duration",
    ),
    "each person (with --detections)": (
        "subject_classes",
        "max_subjects",
        "box_margin",
    ),
}
"""The settings that have a flag; the others concern topics."""


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse `arguments` into the flags, `settings` (the library's) and `uris`: input and output, or a batch's inputs.

    Exits with a message and code 2 if a flag is invalid. Raises SettingsError if the value of a setting is out of
    range.
    """
    parser = make_parser()
    flags, literal = _split_at_double_dash(arguments)
    options = parser.parse_intermixed_args(with_dashes(flags))
    options.uris += literal
    if options.uris[:1] == [""] or (options.batch is not None and "" in options.uris):
        parser.error("the name of an input is empty")
    _check_cameras(parser, options)
    if options.batch is None and len(options.uris) > 2:
        parser.error(
            f"one input and one output are expected, not {len(options.uris)}; for several files give --batch FOLDER, "
            "and --camera before each of several live inputs"
        )
    if options.batch is not None and not options.uris:
        parser.error("--batch needs at least one input")
    if options.batch is not None and (options.results or options.report or options.output_save or options.input_save):
        parser.error(
            "with --batch all files go to its folder: omit --results, --report, --input-save and --output-save"
        )
    if options.batch is not None and options.detections is not None:
        parser.error("--detections belongs to one input: omit --batch")
    _check_serve(parser, options)
    if options.verbose or options.debug:
        options.log_level = "debug" if options.debug else "verbose"
    options.settings = Settings.from_values({setting.name: getattr(options, setting.name) for setting in _flagged()})
    return options


def _check_cameras(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Replace the values of --camera by the cameras; exit with a message if they cannot be used."""
    try:
        options.cameras = cameras_of(options.cameras or ())
    except argparse.ArgumentTypeError as error:
        parser.error(f"--camera: {error}")
    if options.cameras and (options.batch is not None or options.detections is not None):
        parser.error("--camera takes live inputs: omit --batch and --detections")
    if options.cameras and len(options.uris) > 1:
        parser.error(
            f"with --camera one output is expected, not {' '.join(map(printable, options.uris))}; give --camera before "
            "every input"
        )


def _check_serve(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Take the value of --serve for the input if there is no other; exit with a message if it cannot be used."""
    if not options.serve:
        return
    if options.cameras:
        parser.error("--serve shows one whole recording: omit --camera, or give webrtc://@:8554/NAME as the output")
    if not options.uris:
        if _ADDRESS.fullmatch(options.serve):
            parser.error("--serve needs a recording: actionnet clip.mp4 --serve")
        options.uris, options.serve = [options.serve], DEFAULT_SERVE  # --serve clip.mp4
    if options.batch is not None or options.detections is not None or options.input_loop < 0:
        parser.error("--serve shows one whole recording: omit --batch, --detections and --input-loop=-1")


def _split_at_double_dash(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and after `--`, after which a name may begin with a dash."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:end]), list(arguments[end + 1 :])


def with_dashes(arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with dashes for underscores in the names of flags; values stay unchanged."""
    result = list[str]()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        result.append(name.replace("_", "-") + equals + value if name.startswith("--") else argument)
    return result


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; underscores in their names are handled by `with_dashes`."""
    parser = argparse.ArgumentParser(
        prog="actionnet",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("uris", nargs="*", metavar="input, output", help=argparse.SUPPRESS)
    _add_input_flags(parser.add_argument_group("input"))
    _add_output_flags(parser.add_argument_group("output"))
    _add_page_flags(parser.add_argument_group("the page of a recording"))
    _add_web_flags(parser.add_argument_group("webrtc:// as an input or output"))
    for title, names in _SETTINGS_BY_GROUP.items():
        group = parser.add_argument_group(title)
        for name in names:
            add_setting(group, name)
    _add_other_flags(parser.add_argument_group("the run"))
    group = parser.add_argument_group("accepted for compatibility with jetson-inference, without effect")
    for name, reason in WITHOUT_EFFECT.items():
        group.add_argument(f"--{name}", metavar=name.partition("-")[2].upper(), help=reason)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """A help formatter wide enough to show the longest flag beside its help text."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=112)


def _add_input_flags(group: Any) -> None:
    group.add_argument(
        "--input-width",
        type=flag_values.count,
        default=0,
        metavar="PIXELS",
        help="width of the frames: requested from a camera, otherwise they are scaled to it",
    )
    group.add_argument(
        "--input-height", type=flag_values.count, default=0, metavar="PIXELS", help="height of the frames"
    )
    group.add_argument(
        "--input-rate",
        type=flag_values.rate,
        default=0.0,
        metavar="HZ",
        help="rate requested from a camera, upper limit for a video, playback rate of images",
    )
    group.add_argument(
        "--input-loop",
        type=flag_values.loops,
        default=0,
        metavar="TIMES",
        help="how many times to repeat a file; -1: forever (default: 0)",
    )
    group.add_argument(
        "--input-flip",
        default="none",
        metavar="FLIP",
        help="none, counterclockwise, rotate-180, clockwise, horizontal, vertical, upper-right-diagonal or "
        "upper-left-diagonal (default: %(default)s)",
    )
    group.add_argument(
        "--input-codec",
        default="",
        metavar="CODEC",
        help="codec that a camera or an RTP stream sends: mjpeg, h264, ...",
    )
    group.add_argument(
        "--input-decoder",
        default="cpu",
        metavar="NAME",
        help="cpu; auto: the first hardware that works; cuda, vaapi, qsv, v4l2m2m, ... or a decoder of FFmpeg; what "
        "does not work falls back to the CPU (default: %(default)s)",
    )
    group.add_argument(
        "--input-timeout",
        type=flag_values.seconds,
        default=0.0,
        metavar="SECONDS",
        help="time without an answer or a frame after which a camera, stream or server counts as lost (default: 4, of "
        "files on a server 20)",
    )
    group.add_argument(
        "--rtsp-transport",
        choices=RTSP_TRANSPORTS,
        default="auto",
        metavar="NAME",
        help=f"{', '.join(RTSP_TRANSPORTS)}; auto is tcp, or else udp (default: %(default)s)",
    )
    group.add_argument(
        "--camera",
        dest="cameras",
        action="append",
        metavar="[NAME=]INPUT",
        help="one of several live inputs, which share the network; {name} in an output is its name (default: camera1, "
        "camera2, ...)",
    )
    group.add_argument("--input-save", default="", metavar="FILE", help="save the input to this video file")
    group.add_argument("--topic", default="", help="image topic of a bag (default: the only one)")
    group.add_argument(
        "--detections",
        metavar="FILE",
        help="recognize each tracked person too: boxes by frame, as MOT text or COCO JSON with track_id, or of a topic "
        "of the bag, vision_msgs/Detection2DArray or yolo_msgs/DetectionArray",
    )


def _add_output_flags(group: Any) -> None:
    group.add_argument(
        "--output-codec", default="", metavar="CODEC", help="h264, h265, vp8, vp9, mpeg4, mjpeg or av1 (default: h264)"
    )
    group.add_argument(
        "--bitrate",
        type=flag_values.count,
        default=0,
        metavar="BITS",
        help="bits per second (default: chosen for good quality)",
    )
    group.add_argument(
        "--output-encoder",
        default="cpu",
        metavar="NAME",
        help="cpu; auto: the first hardware that works; nvenc, qsv, v4l2m2m, ... or an encoder of FFmpeg; what does "
        "not work falls back to the CPU (default: %(default)s)",
    )
    group.add_argument(
        "--bag-compression",
        choices=("zstd", "none"),
        default="zstd",
        help="how the messages of an output bag are compressed (default: %(default)s)",
    )
    group.add_argument("--output-save", default="", metavar="FILE", help="save what is streamed or shown to this file")
    group.add_argument("--headless", action="store_true", help="do not open a window if no output is given")
    group.add_argument(
        "--results", type=flag_values.path, metavar="FILE.jsonl", help="write each prediction as a line of JSON"
    )
    group.add_argument(
        "--report", type=flag_values.path, metavar="FILE.html", help="write an HTML page with the timeline of the run"
    )
    group.add_argument(
        "--batch",
        type=flag_values.path,
        metavar="FOLDER",
        help="accept any number of inputs and write the files of each into FOLDER",
    )
    group.add_argument(
        "--batch-files",
        type=flag_values.batch_files,
        default=flag_values.BATCH_FILES,
        metavar="KINDS",
        help=f"files to write for each input: any of {','.join(flag_values.BATCH_FILES)} (default: all)",
    )


def _add_page_flags(group: Any) -> None:
    group.add_argument(
        "--serve",
        nargs="?",
        const=DEFAULT_SERVE,
        default="",
        metavar="HOST:PORT",
        help=f"show the recording on a page in the browser, with a time slider (default: {DEFAULT_SERVE})",
    )
    group.add_argument(
        "--token", default="", help="secret in the page's link; one is made if other machines can reach the page"
    )


def _add_web_flags(group: Any) -> None:
    group.add_argument("--ssl-cert", default="", metavar="FILE", help="certificate (PEM) for https")
    group.add_argument("--ssl-key", default="", metavar="FILE", help="its private key (PEM)")
    group.add_argument(
        "--stun-server",
        default="",
        metavar="HOST:PORT",
        help="STUN server, for browsers in another network (default: none)",
    )


def _add_other_flags(group: Any) -> None:
    group.add_argument("--profile", action="store_true", help="print the time of each stage at the end")
    group.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info",
        metavar="LEVEL",
        help="silent, error: only the error that ends the run; warning: other problems, too; success, info: results "
        "and totals, too; verbose: a line for each window, not only for changes; debug: tracebacks of errors, too "
        "(default: %(default)s)",
    )
    group.add_argument("--verbose", action="store_true", help="the same as --log-level=verbose")
    group.add_argument("--debug", action="store_true", help="the same as --log-level=debug")


def _flagged() -> list[Setting]:
    """Return the settings that have a flag."""
    names = [name for group in _SETTINGS_BY_GROUP.values() for name in group]
    return [setting for setting in SETTINGS if setting.name in names]


def add_setting(parser: Any, name: str) -> None:
    """Add the flag of the setting `name` to a parser, or to a group of one, as the table of settings describes it."""
    (setting,) = (setting for setting in SETTINGS if setting.name == name)
    default = ",".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
    shown = f" (default: {default})".replace("%", "%%") if default != "" else ""
    choices = f" One of {', '.join(setting.choices)}." if setting.choices else ""
    parser.add_argument(
        f"--{setting.name.replace('_', '-')}",
        type=_TYPES[setting.kind],
        default=setting.default,
        metavar=_METAVARS.get(setting.name, _METAVARS[setting.kind]),
        help=(setting.description.replace("%", "%%") + choices).rstrip(".") + shown,
    )


_TYPES: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "double": float,
    "string": str,
    "double_array": flag_values.numbers,
    "string_array": flag_values.texts,
}
_METAVARS = {
    "integer": "N",
    "double": "X",
    "string": "NAME",
    "double_array": "X,Y,W,H",
    "string_array": "LABEL,...",
    "model": "FILE.onnx",
    "labels": "FILE.txt",
    "engine_cache": "FOLDER",
}
