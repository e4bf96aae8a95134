"""The mosaic over a virtual output."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, Picture, ResultSink
from ros2_actionnet.media.mosaic import Mosaic
from support.fakes import grey_image


@dataclass
class Window:
    """Is closed, as with Escape, at the first picture."""

    source: FrameSource
    wants_pictures: bool = True
    pictures: list[Picture] = field(default_factory=list)
    closed: int = 0

    def write(self, result: ClassifiedFrame) -> None:
        assert result.annotated is not None
        self.pictures.append(result.annotated)
        self.source.close()

    def close(self) -> None:
        self.closed += 1


def send(sink: ResultSink, level: int) -> None:
    picture = np.full((40, 60, 3), level, np.uint8)
    sink.write(ClassifiedFrame(MediaFrame(0, 0.0, 0, grey_image(level)), None, False, annotated=picture))


def test_a_window_that_is_closed_ends_the_run_after_it_showed_every_camera() -> None:
    windows, ended = list[Window](), threading.Event()

    def open_sink(source: FrameSource) -> ResultSink:
        windows.append(Window(source))
        return windows[0]

    mosaic = Mosaic(["a", "b"], open_sink, ended.set)
    for name, level in (("a", 20), ("b", 240)):
        assert mosaic.sink(name).wants_pictures
        send(mosaic.sink(name), level)
    mosaic.run(ended.is_set, lambda: 30.0)
    (window,) = windows
    assert window.closed == 1
    assert window.source.size == (120, 40)
    left, right = np.split(window.pictures[0], 2, axis=1)
    assert left[-2:, -2:].mean() == pytest.approx(20)
    assert right[-2:, -2:].mean() == pytest.approx(240)


def test_without_an_output_no_picture_is_drawn_any_more() -> None:
    mosaic = Mosaic(["a", "b"], lambda source: None, partial(pytest.fail, "nothing was closed"))
    sinks = [mosaic.sink(name) for name in ("a", "b")]
    send(sinks[0], 20)
    mosaic.run(lambda: False, lambda: 30.0)  # returns, although the cameras go on
    assert [sink.wants_pictures for sink in sinks] == [False, False]
