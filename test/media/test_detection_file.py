"""Boxes of people from files, right or wrong."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.box import Box
from ros2_actionnet.media.detection_file import read_detections
from ros2_actionnet.recognition.subjects.detections import Detection


def written(folder: Path, content: object) -> Path:
    path = folder / "boxes"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_mot_text_counts_frames_from_one(tmp_path: Path) -> None:
    path = written(tmp_path, "1,3,100,200,50,80,0.75,-1,-1,-1\n1, 4, 10.5, 20, 5, 8, 1\n3,3,110,200,50,80\n")
    assert read_detections(path) == {
        0: (Detection("3", "person", 0.75, Box(125, 240, 50, 80)), Detection("4", "person", 1.0, Box(13, 24, 5, 8))),
        2: (Detection("3", "person", 1.0, Box(135, 240, 50, 80)),),
    }


def test_a_negative_id_of_mot_is_none(tmp_path: Path) -> None:
    ((detection,),) = read_detections(written(tmp_path, "1,-1,0,0,5,5,1,-1,-1,-1")).values()
    assert detection.track_id == ""


ANNOTATION: dict[str, Any] = {"image_id": 7, "track_id": 12, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}


def test_coco_names_its_classes_and_orders_its_images(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    whole = {"images": [{"id": 5}, {"id": 7}], "categories": categories, "annotations": [ANNOTATION]}
    dog = Detection("12", "dog", 0.5, Box(25, 40, 30, 40))
    assert read_detections(written(tmp_path, whole)) == {1: (dog,)}
    whole["images"] = [{"id": 7, "frame_id": 30}]
    assert read_detections(written(tmp_path, whole)) == {30: (dog,)}


def test_a_list_of_cocos_results_has_the_frame_as_image_id(tmp_path: Path) -> None:
    assert read_detections(written(tmp_path, [ANNOTATION])) == {
        7: (Detection("12", "person", 0.5, Box(25, 40, 30, 40)),)
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,1,0,0,5,5\n", "line 1 of .*: it has frame 0, and frames are counted from 1"),
        ("1,2,3\n", "line 1 of the detections .* is not frame,id,left,top,width,height,score"),
        ("1,1,0,0,5,5\nfoo,1,0,0,5,5\n", "line 2 of the detections .* 'foo'"),
        ("", "there are no detections in"),
        ([], "there are no detections in"),
        ({"images": []}, "no 'annotations'"),
        ([{"image_id": 1}], "no 'bbox'"),
        ([{"image_id": 1, "bbox": [1, 2]}], "not COCO's annotations"),
        ([5], "not COCO's annotations"),
        ('{"annotations": [', "not COCO's annotations"),
        ({"images": [{"id": 1}], "annotations": [ANNOTATION]}, "no 7"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        read_detections(written(tmp_path, content))


def test_ids_and_labels_can_be_written_as_utf_8(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "per\ud800son"}]
    annotation = {"image_id": 0, "bbox": [0, 0, 2, 2], "track_id": "a\udfff", "category_id": 1}
    found = read_detections(written(tmp_path, {"categories": categories, "annotations": [annotation]}))
    assert [(one.track_id, one.label) for one in found[0]] == [("a\ufffd", "per\ufffdson")]


@pytest.mark.timeout(20)
def test_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "boxes")
    writer = threading.Thread(target=(tmp_path / "boxes").write_text, args=("1,7,0,0,4,2\n",))
    writer.start()
    assert read_detections(tmp_path / "boxes") == {0: (Detection("7", "person", 1.0, Box(2, 1, 4, 2)),)}
    writer.join()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"'.*none.txt' cannot be read: No such file"):
        read_detections(tmp_path / "none.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text('0123456789,.-\nenaif[{}]:"', max_size=60).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    with suppress(MediaError):
        read_detections(path)
