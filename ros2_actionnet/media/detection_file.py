"""Boxes of tracked people in the frames of a video, from a file: MOT text, or JSON in COCO's style with track ids."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.box import Box
from ros2_actionnet.recognition.subjects.detections import Detection
from ros2_actionnet.system.text import encodable, printable

DetectionsByFrame = Mapping[int, tuple[Detection, ...]]
"""The detections of each frame by its index, from 0."""

_MOST_BYTES = 1 << 30
_PERSON = "person"  # MOT's files are of pedestrians


def read_detections(path: Path) -> DetectionsByFrame:
    """Return the detections in a file.

    A line of MOT's text is `frame,id,left,top,width,height,score,...` with frames counted from 1, and the id -1 for
    none. JSON is COCO's: `annotations` (or they alone, in a list) with `image_id`, `bbox` (left, top, width, height),
    and where known `track_id`, `score` and `category_id`, whose name is in `categories`. The frame of an image is its
    `frame_id`, from 0, else its place in `images`; without `images` it is the `image_id`, from 0.

    Raises MediaError for a file that cannot be read or is neither.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)  # a pipe does not tell its size, and a device may have no end
        if len(content) > _MOST_BYTES:
            raise MediaError(f"the detections '{path}' are larger than 1 GiB; give the boxes of one video")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise MediaError(f"the detections '{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MediaError(f"the detections '{path}' are no text; give MOT text or COCO JSON") from error
    is_json = text.lstrip()[:1] in ("{", "[")
    rows = _coco(text, path) if is_json else _mot(text, path)
    if not rows:
        raise MediaError(f"there are no detections in '{path}'; give MOT text or COCO JSON with boxes")
    by_frame: defaultdict[int, list[Detection]] = defaultdict(list)
    for frame, detection in rows:
        by_frame[frame].append(detection)
    return {frame: tuple(detections) for frame, detections in by_frame.items()}


def _mot(text: str, path: Path) -> list[tuple[int, Detection]]:
    rows = []
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for cells in reader:
            if cells:
                frame, track, left, top, width, height = map(float, cells[:6])
                if frame < 1:
                    raise ValueError(f"it has frame {frame:g}, and frames are counted from 1")
                score = float(cells[6]) if len(cells) > 6 else 1.0
                box = Box.of_corner(left, top, width, height)
                rows.append((int(frame) - 1, Detection("" if track < 0 else f"{int(track)}", _PERSON, score, box)))
    except (ValueError, OverflowError, csv.Error) as error:
        raise MediaError(
            f"line {reader.line_num} of the detections '{path}' is not frame,id,left,top,width,height,score: "
            f"{printable(error)}"
        ) from error
    return rows


def _coco(text: str, path: Path) -> list[tuple[int, Detection]]:
    try:
        content = json.loads(text)
        whole: dict[str, Any] = content if isinstance(content, dict) else {"annotations": content}
        names = {one["id"]: encodable(str(one["name"])) for one in whole.get("categories", [])}
        frames = {one["id"]: int(one.get("frame_id", place)) for place, one in enumerate(whole.get("images", []))}
        return [_annotation(one, names, frames) for one in whole["annotations"]]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise MediaError(
            f"the detections '{path}' are not COCO's annotations with image_id, bbox and track_id: {printable(what)}"
        ) from error


def _annotation(
    annotation: Mapping[str, Any], names: Mapping[Any, str], frames: Mapping[Any, int]
) -> tuple[int, Detection]:
    sides: Sequence[Any] = annotation["bbox"]
    left, top, width, height = map(float, sides)
    image = annotation["image_id"]
    track = annotation.get("track_id")
    is_tracked = track is not None and track != -1 and not (isinstance(track, float) and math.isnan(track))
    return frames[image] if frames else int(image), Detection(
        encodable(str(track)) if is_tracked else "",
        names.get(annotation.get("category_id"), _PERSON) if names else _PERSON,
        float(annotation.get("score", 1.0)),
        Box.of_corner(left, top, width, height),
    )
