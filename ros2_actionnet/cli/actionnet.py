"""Classifies a video file or a camera without ROS, and prints what happens in it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ros2_actionnet.classifier import ActionNet, Prediction
from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.settings import SETTINGS, Effect, Setting
from ros2_actionnet.videos import Video

_TYPES: dict[str, Any] = {"integer": int, "double": float, "string": str}


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options in `arguments`: a flag for every setting of the library that is one value, with its default."""
    parser = argparse.ArgumentParser(prog="actionnet", description=__doc__)
    parser.add_argument("input", help="video file, or the number or path of a camera device (0, /dev/video0)")
    parser.add_argument(
        "--results", type=Path, metavar="FILE.jsonl", help="write every prediction, one JSON object a line"
    )
    for setting in _flags():
        parser.add_argument(
            *dict.fromkeys((f"--{setting.name.replace('_', '-')}", f"--{setting.name}")),
            dest=setting.name,
            type=_TYPES[setting.kind],
            choices=setting.choices or None,
            default=setting.default,
            help=f"{setting.description} (default: {setting.default!r})".replace("%", "%%"),
        )
    return parser.parse_args(arguments)


def _flags() -> list[Setting]:
    return [s for s in SETTINGS if not s.node_only and s.effect is not Effect.CONFIGURE and s.kind in _TYPES]


def predictions(net: ActionNet, video: Video) -> Iterator[tuple[float, Prediction]]:
    """Each new prediction over `video`, with the time (s) of its window's newest frame."""
    rate, newest = video.rate, -1
    for index, frame in enumerate(video.frames()):
        prediction = net.classify(frame, "bgr8", stamp=index / rate)
        if prediction is not None and prediction.frame > newest:
            newest = prediction.frame
            yield newest / rate, prediction


def run(options: argparse.Namespace) -> None:
    """Classifies, prints a line whenever the best class changes, and writes the results file if there is to be one."""
    video = Video(options.input)
    shown, count = "", 0
    with ExitStack() as stack:
        net = stack.enter_context(ActionNet(**{s.name: getattr(options, s.name) for s in _flags()}))
        results = stack.enter_context(options.results.open("w")) if options.results else None
        for time, prediction in predictions(net, video):
            count += 1
            if prediction.label != shown:
                shown = prediction.label
                print(f"{time:8.2f} s   {shown:<32} {prediction.score:.2f}", flush=True)
            if results is not None:
                top = [vars(result) for result in prediction.top()]
                results.write(json.dumps({"frame": prediction.frame, "time": round(time, 6), "results": top}) + "\n")
    if count == 0:
        raise ActionNetError(
            f"'{options.input}' is too short for one window; give a longer video, or a smaller --skip-frames"
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    options = parse_options(arguments)
    try:
        run(options)
    except (ActionNetError, OSError) as error:
        print(f"actionnet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
