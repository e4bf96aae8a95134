"""The window, over a double of OpenCV's: the OpenCV of the tests has none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media import display
from ros2_actionnet.media.base import ClassifiedFrame
from ros2_actionnet.media.display import DisplaySink, has_windows
from support.videos import PictureSource, annotated, frame_of, grey


class FakeWindows:
    """What OpenCV's windows would show, with a clock that only goes on while one waits."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, int]] = []  # when, and the grey level
        self.now = 100.0
        self.open = False
        self.keys: dict[int, int] = {}  # after so many pictures
        self.breaks = False
        self.size = (0, 0)

    def monotonic(self) -> float:
        return self.now

    def named_window(self, title: str, flags: int) -> None:
        if self.breaks:
            raise cv2.error("no window today")
        self.open = True

    def resize_window(self, title: str, width: int, height: int) -> None:
        self.size = (width, height)

    def show(self, title: str, picture: Any) -> None:
        assert self.open
        self.shown.append((self.now, int(picture[0, 0, 0])))

    def wait_key(self, milliseconds: int) -> int:
        assert milliseconds >= 1
        self.now += milliseconds / 1000
        return self.keys.pop(len(self.shown), -1)

    def property(self, title: str, name: int) -> float:
        if not self.open:
            raise cv2.error("NULL guiReceiver (please create a window)")  # what Qt says
        return 1.0

    def destroy(self, title: str) -> None:
        self.open = False


@pytest.fixture(name="windows")
def windows_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindows]:
    windows = FakeWindows()
    monkeypatch.setattr(display, "check_display", lambda: None)
    monkeypatch.setattr("ros2_actionnet.media.live_source.time", windows)
    monkeypatch.setattr(display, "time", windows)
    for name, double in {
        "namedWindow": windows.named_window,
        "resizeWindow": windows.resize_window,
        "imshow": windows.show,
        "waitKey": windows.wait_key,
        "getWindowProperty": windows.property,
        "destroyWindow": windows.destroy,
    }.items():
        monkeypatch.setattr(cv2, name, double)
    yield windows
    assert not windows.open


def fill(sink: DisplaySink, count: int, rate: float = 25.0) -> None:
    for index in range(count):
        sink.write(annotated(grey(index), index, index / rate))


class TestWindow:
    def test_a_files_pictures_are_shown_at_their_times(self, windows: FakeWindows) -> None:
        sink = DisplaySink(PictureSource())
        assert sink.wants_pictures
        assert windows.size == (64, 48)
        fill(sink, 5)
        sink.close()
        sink.close()
        assert [shown for _, shown in windows.shown] == [10, 18, 26, 34, 42]
        assert np.diff([when for when, _ in windows.shown])[1:] == pytest.approx([0.04] * 3, abs=0.002)

    def test_a_cameras_are_shown_at_once(self, windows: FakeWindows) -> None:
        sink = DisplaySink(PictureSource(is_live=True))
        fill(sink, 5, rate=1.0)
        sink.close()
        assert windows.now == pytest.approx(100.006)  # a millisecond each, and one to close it

    @pytest.mark.parametrize("key", [27, ord("q"), 0x100 | ord("q")])
    def test_a_key_ends_the_source_and_closes_the_window(self, key: int, windows: FakeWindows) -> None:
        source = PictureSource()
        sink = DisplaySink(source)
        windows.keys[3] = key
        fill(sink, 10)
        assert len(windows.shown) == 3
        assert source.closed == 1
        assert not windows.open

    def test_another_key_does_nothing(self, windows: FakeWindows) -> None:
        source = PictureSource()
        sink = DisplaySink(source)
        windows.keys[3] = ord("x")
        fill(sink, 10)
        assert (len(windows.shown), source.closed) == (10, 0)
        sink.close()

    def test_closing_the_window_ends_the_source(self, windows: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
        source = PictureSource()
        sink = DisplaySink(source)
        fill(sink, 2)
        show = windows.show

        def show_and_vanish(title: str, picture: Any) -> None:
            show(title, picture)
            windows.open = False

        monkeypatch.setattr(cv2, "imshow", show_and_vanish)
        fill(sink, 10)
        sink.close()
        assert (len(windows.shown), source.closed) == (3, 1)

    def test_a_frame_without_a_picture_is_left_out(self, windows: FakeWindows) -> None:
        sink = DisplaySink(PictureSource())
        sink.write(ClassifiedFrame(frame_of(grey(0)), None, False))
        sink.close()
        assert windows.shown == []

    def test_a_window_that_cannot_be_opened_is_told_of(self, windows: FakeWindows) -> None:
        windows.breaks = True
        with pytest.raises(MediaError, match=r"no window can be opened: .*; give --headless to run without one"):
            DisplaySink(PictureSource())


class TestChecks:
    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def test_no_display(self) -> None:
        with pytest.raises(MediaError, match=r"there is no display .*; give --headless, or an output file"):
            DisplaySink(PictureSource())

    def test_an_opencv_without_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(display, "has_windows", lambda: False)
        with pytest.raises(MediaError, match="built without windows, as opencv-python-headless is; install opencv-p"):
            DisplaySink(PictureSource())

    @pytest.mark.parametrize("value", [":63", "unix:63", "127.0.0.1:9.0", "nonsense", ":x"])
    def test_a_display_that_does_not_answer(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", value)
        monkeypatch.setattr(display, "has_windows", lambda: True)
        with pytest.raises(MediaError, match=rf"the display '{value}' does not answer; set DISPLAY to one that does"):
            DisplaySink(PictureSource())

    def test_one_that_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(display, "has_windows", lambda: True)
        with socket.create_server(("127.0.0.1", 0)) as server:
            monkeypatch.setattr(display, "_X11_PORT", server.getsockname()[1] - 10)
            monkeypatch.setenv("DISPLAY", "127.0.0.1:10.0")
            display.check_display()
        monkeypatch.delenv("DISPLAY")
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
        display.check_display()

    @pytest.mark.parametrize(("word", "has"), [("NONE", False), ("QT5", True), ("GTK3", True)])
    def test_opencv_says_whether_it_has_windows(self, word: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        information = f"  Something:   NO\n  GUI:                           {word}\n    VTK support:    NO\n"
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: information)
        assert has_windows() is has
