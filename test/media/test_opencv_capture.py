"""Videos through OpenCV alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.opencv_capture import open_capture
from support.clips import library_clip
from support.videos import library_path


def test_a_file_is_read_as_it_is() -> None:
    capture = open_capture(str(library_path("bikes.mp4")))
    assert (capture.rate, capture.size) == (25.0, (640, 272))
    pictures = list(capture.pictures())
    assert len(pictures) == 250
    assert all(np.array_equal(one, two) for one, two in zip(pictures, library_clip("bikes.mp4"), strict=True))
    capture.close()


def test_closed_in_between_it_ends() -> None:
    capture = open_capture(str(library_path("bikes.mp4")))
    pictures = capture.pictures()
    next(pictures)
    capture.close()
    assert list(pictures) == []


def test_what_is_not_there_and_what_is_no_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"there is no file or device '/nowhere/clip\.mp4'; give the path"):
        open_capture("/nowhere/clip.mp4")
    (tmp_path / "letter.mp4").write_text("dear robot")
    with pytest.raises(MediaError, match=r"letter\.mp4' cannot be opened as a video; check whether"):
        open_capture(str(tmp_path / "letter.mp4"))
    with pytest.raises(MediaError, match=r"there is no camera 63: no such device /dev/video63; (connect|give)"):
        open_capture("63")
