"""The overlay: bar lengths in pixels, contrast, what is left untouched, and images too small to draw on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import OverlayLine, draw_label, draw_overlay

Image = NDArray[np.uint8]

ACCENT, BAR, TRACK = (0, 210, 130), (190, 190, 190), (86, 86, 86)
LINES = [OverlayLine("roll_counterclockwise", 0.83), OverlayLine("pan_left", 0.09), OverlayLine("still", 0.04)]
SIZES = [(240, 320), (360, 640), (480, 640), (1080, 1920), (1920, 1080), (2160, 3840)]
BACKGROUNDS = ["white", "black", "grey", "noise", "photo"]


def background(name: str, height: int = 360, width: int = 640) -> Image:
    if name == "photo":
        photo: Image = np.ascontiguousarray(data.astronaut()[..., ::-1])
        return cv2.resize(photo, (width, height)).astype(np.uint8)
    if name == "noise":
        return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.full((height, width, 3), {"white": 255, "black": 0, "grey": 128}[name], np.uint8)


def drawn(frame: Image, lines: list[OverlayLine], fill: float = 1.0, status: str = "") -> Image:
    copy = frame.copy()
    draw_overlay(copy, lines, fill=fill, status=status)
    return copy


def changed_box(before: Image, after: Image) -> tuple[int, int, int, int]:
    """Top, bottom, left and right (exclusive) of what differs."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def bars(frame: Image) -> list[tuple[tuple[int, int, int], int, int]]:
    """Color, filled and whole length of each bar from the top; found as rows of pure bar colors."""
    found: list[tuple[tuple[int, int, int], int, int]] = []
    inside = False
    for row in frame:
        lengths = {color: int((row == color).all(axis=1).sum()) for color in (ACCENT, BAR, TRACK)}
        is_bar = sum(lengths.values()) > 60
        if is_bar and not inside:
            color = ACCENT if lengths[ACCENT] > 0 else BAR
            found.append((color, lengths[color], lengths[color] + lengths[TRACK]))
        inside = is_bar
    return found


def luminance(pixels: Image) -> NDArray[np.float64]:
    """WCAG 2 relative luminance of BGR pixels."""
    values = pixels / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    result: NDArray[np.float64] = linear @ np.array([0.0722, 0.7152, 0.2126])
    return result


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_bars_are_as_long_as_their_scores(height: int, width: int) -> None:
    frame = drawn(background("black", height, width), LINES)
    found = bars(frame)
    assert [color for color, _, _ in found] == [ACCENT, BAR, BAR]
    assert len({whole for _, _, whole in found}) == 1
    for (_, filled, whole), line in zip(found, LINES, strict=True):
        assert abs(filled - line.score * whole) <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_any_scores_give_bars_of_their_lengths(scores: list[float]) -> None:
    frame = drawn(background("black"), [OverlayLine("", score) for score in scores])
    found = bars(frame)
    assert len(found) == len(scores)
    for (_, filled, whole), score in zip(found, scores, strict=True):
        assert abs(filled - score * whole) <= 1


def test_scores_out_of_range_are_drawn_as_the_nearest_bound() -> None:
    (_, over, whole), (_, under, _) = bars(drawn(background("black"), [OverlayLine("", 1.5), OverlayLine("", -0.5)]))
    assert (over, under) == (whole, 0)


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_only_a_panel_in_the_top_left_corner_changes(name: str, height: int, width: int) -> None:
    before = background(name, height, width)
    after = drawn(before, LINES)
    top, bottom, left, right = changed_box(before, after)
    assert 0 < top < height / 20
    assert 0 < left < width / 20
    assert bottom <= height * 0.6
    assert right <= width * 0.75


def test_the_panel_has_the_same_proportions_at_every_size() -> None:
    boxes = []
    for scale in (1, 2, 3):
        before = background("white", 720 * scale, 1280 * scale)
        boxes.append(np.array(changed_box(before, drawn(before, LINES))) / scale)
    assert np.allclose(boxes[0], boxes[1], rtol=0.06, atol=2)
    assert np.allclose(boxes[0], boxes[2], rtol=0.06, atol=2)


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize(("height", "width"), [(240, 320), (1080, 1920)])
def test_text_stands_out_from_any_background(name: str, height: int, width: int) -> None:
    frame = background(name, height, width)
    for row in range(len(LINES)):
        blank = [OverlayLine("" if i == row else line.label, line.score) for i, line in enumerate(LINES)]
        without, with_text = drawn(frame, blank), drawn(frame, LINES)
        ink = (without != with_text).any(axis=2)
        assert ink.any()
        text = np.quantile(luminance(with_text[ink]), 0.9)  # the strokes' cores; the rest are their soft edges
        behind = np.quantile(luminance(without[ink]), 0.9)
        assert (text + 0.05) / (behind + 0.05) >= 4.5, "the contrast that WCAG AA asks for"


def test_the_first_line_is_emphasised() -> None:
    same = [OverlayLine("HHHH", 0.5), OverlayLine("HHHH", 0.5)]
    frame = background("black")
    first = (drawn(frame, same) != drawn(frame, [OverlayLine("", 0.5), same[1]])).any(axis=2)
    second = (drawn(frame, same) != drawn(frame, [same[0], OverlayLine("", 0.5)])).any(axis=2)
    assert first.any(axis=1).sum() > second.any(axis=1).sum(), "taller"
    assert drawn(frame, same)[first].max() > drawn(frame, same)[second].max(), "brighter"


def test_the_panel_lets_the_scene_show_through() -> None:
    white, black = drawn(background("white"), LINES), drawn(background("black"), LINES)
    inside = (13, 100)  # above the first row's text
    assert int(white[inside].max()) > int(black[inside].max()) + 30


def test_warming_up_shows_how_full_the_window_is() -> None:
    frame = background("black")
    for filled in (0, 7, 16):
        found = bars(drawn(frame, [], fill=filled / 16.001, status=f"filling window {filled}/16"))
        assert len(found) == 1
        assert abs(found[0][1] - found[0][2] * filled / 16) <= 1
    assert (drawn(frame, [], 0.5, "filling window 7/16") != drawn(frame, [], 0.5, "filling window 8/16")).any()
    assert (drawn(frame, [], 0.5) != frame).any()


def test_a_full_window_without_results_says_so_without_a_bar() -> None:
    frame = background("black")
    after = drawn(frame, [])
    assert bars(after) == []
    assert (after > 150).any(), "there is text"


def test_a_status_is_a_row_of_its_own_under_the_results() -> None:
    frame = background("white")
    with_status, without = drawn(frame, LINES, status="resnet18"), drawn(frame, LINES)
    assert changed_box(frame, with_status)[1] > changed_box(frame, without)[1]
    assert bars(with_status) == bars(without)


def figure_box(frame: Image, label: str) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the percentage beside a label; the bar under it changes too and is left out."""
    one, other = drawn(frame, [OverlayLine(label, 0.55)]), drawn(frame, [OverlayLine(label, 0.22)])
    differs = (one != other).any(axis=2)
    rows = np.nonzero(differs.any(axis=1))[0]
    bottom = rows[np.argmax(np.diff(rows) > 1)] + 1
    columns = np.nonzero(differs[:bottom].any(axis=0))[0]
    return int(rows[0]), int(bottom), int(columns[0]), int(columns[-1]) + 1


@pytest.mark.parametrize("length", [10, 40, 400, 10_000])
def test_long_labels_are_cut_before_the_percentage(length: int) -> None:
    frame = background("black", 1080, 1920)
    top, bottom, left, _ = figure_box(frame, "m" * length)
    gap = drawn(frame, [OverlayLine("m" * length, 0.55)])[top:bottom, left - (bottom - top) // 2 : left]
    assert gap.max() < 60
    assert (drawn(frame, [OverlayLine("m" * length, 0.55)])[:, -10:] == 0).all()


def test_a_label_too_long_for_the_image_ends_in_an_ellipsis() -> None:
    frame = background("black", 1080, 1920)
    top, bottom, left, _ = figure_box(frame, "H" * 180)
    bright = drawn(frame, [OverlayLine("H" * 180, 0.55)])[top:bottom, :left].max(axis=2) > 120
    right = int(np.nonzero(bright.any(axis=0))[0].max()) + 1
    rows = np.nonzero(bright[:, right - (bottom - top) : right].any(axis=1))[0]
    assert rows.min() > (bottom - top) / 2, "dots stand on the baseline"


@pytest.mark.parametrize(("height", "width"), [(240, 320), (480, 640), (1080, 1920)])
def test_a_label_is_not_cut_while_the_image_has_room(height: int, width: int) -> None:
    frame = background("white", height, width)
    usual = changed_box(frame, drawn(frame, LINES))
    label = "putting the groceries into the refrigerator"[: 26 if width < 640 else None]
    wide = changed_box(frame, drawn(frame, [OverlayLine(label, 0.5)]))
    assert usual[3] <= wide[3] <= width - usual[2]
    last = drawn(frame, [OverlayLine(label, 0.5)]), drawn(frame, [OverlayLine(label[:-1] + "l", 0.5)])
    assert (last[0] != last[1]).any(), "the last letter is there"


@pytest.mark.parametrize(
    ("label", "not_as"),
    [("été à la plage", "ete a la plage"), ("Straße", "Strasse"), ("ходьба", "??????"), ("τρέξιμο", "???????")],
)
def test_other_scripts_are_drawn_as_they_are(label: str, not_as: str) -> None:
    frame = background("black")
    assert (drawn(frame, [OverlayLine(label, 0.5)]) != drawn(frame, [OverlayLine(not_as, 0.5)])).any()


@pytest.mark.parametrize("label", ["a\tb\nc", "a\r\nb  c\x1b\x00", "\u202ea b c\u2066", "a \ud800b c"])
def test_line_ends_and_control_characters_are_not_drawn(label: str) -> None:
    frame = background("black")
    assert (drawn(frame, [OverlayLine(label, 0.5)]) == drawn(frame, [OverlayLine("a b c", 0.5)])).all()


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.lists(st.builds(OverlayLine, st.text(max_size=30), st.floats(0, 1)), max_size=8),
    st.floats(0, 1),
    st.text(max_size=20),
)
@settings(deadline=None, max_examples=100)
def test_any_small_image_and_any_text_can_be_drawn(
    height: int, width: int, lines: list[OverlayLine], fill: float, status: str
) -> None:
    frame = np.full((height, width, 3), 255, np.uint8)
    draw_overlay(frame, lines, fill=fill, status=status)
    assert (frame[0] == 255).all()
    assert (frame[:, 0] == 255).all()
    assert (frame[-1] == 255).all()
    assert (frame[:, -1] == 255).all()


@pytest.mark.parametrize(("height", "width"), [(0, 0), (1, 1), (3, 3), (2, 4000), (4000, 2)])
def test_where_nothing_fits_nothing_is_drawn(height: int, width: int) -> None:
    frame = np.full((height, width, 3), 255, np.uint8)
    assert (drawn(frame, LINES) == frame).all()


@pytest.mark.parametrize(("height", "width"), [(48, 64), (32, 32), (17, 33), (8, 500), (500, 8), (4, 4)])
@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_where_no_row_fits_a_bar_is_as_long_as_the_first_score(height: int, width: int, score: float) -> None:
    frame = np.full((height, width, 3), 255, np.uint8)
    after = drawn(frame, [OverlayLine("walking", score), OverlayLine("running", 0.1)])
    top, bottom, left, right = changed_box(frame, after)
    assert (top, left) == (max(1, min(height, width) // 16),) * 2
    assert right == width - left
    assert bottom <= max(2, height / 4)
    assert abs((after[top] == ACCENT).all(axis=1).sum() - score * (right - left)) <= 1


def test_where_no_row_fits_a_bar_shows_how_full_the_window_is() -> None:
    after = drawn(np.zeros((48, 64, 3), np.uint8), [], 0.5, "filling window 8/16")
    assert (after[3] == ACCENT).all(axis=1).sum() == (64 - 2 * 3) / 2


class TestLabel:
    def test_it_lies_over_its_place_and_changes_nothing_else(self) -> None:
        before = background("photo", 720, 1280)
        after = before.copy()
        top, bottom, left, right = draw_label(after, "walking 83%", 400, 300)
        assert (bottom, left) == (300, 400)
        assert changed_box(before, after) == (top, bottom, left, right)
        assert (after[top:bottom, left:right] > 200).all(axis=2).any(), "there is text"

    @pytest.mark.parametrize(("left", "bottom"), [(-50, -50), (5000, 5000), (0, 0), (1279, 719)])
    def test_it_is_moved_into_the_image(self, left: int, bottom: int) -> None:
        before = background("white", 720, 1280)
        after = before.copy()
        box = draw_label(after, "walking", left, bottom)
        assert changed_box(before, after) == box

    @given(st.integers(1, 90), st.integers(1, 90), st.text(max_size=300), st.integers(-99, 199), st.integers(-99, 199))
    @settings(deadline=None, max_examples=60)
    def test_any_text_goes_onto_any_image(self, height: int, width: int, text: str, left: int, bottom: int) -> None:
        frame = np.full((height, width, 3), 255, np.uint8)
        top, bottom, left, right = draw_label(frame, text, left, bottom)
        frame[top:bottom, left:right] = 255
        assert (frame == 255).all()

    def test_its_size_can_be_given(self) -> None:
        frame = background("white", 720, 1280)
        boxes = [draw_label(frame, "walking", 10, 600, capitals=capitals) for capitals in (10, 20, 40)]
        assert [bottom - top for top, bottom, _, _ in boxes] == [22, 44, 88]


def test_rows_that_do_not_fit_are_left_out() -> None:
    frame = background("black", 100, 320)
    shown = bars(drawn(frame, [OverlayLine("walking", 0.2)] * 8))
    assert 1 <= len(shown) < 8


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((360, 640, 3), np.float32),
        np.zeros((360, 640), np.uint8),
        np.zeros((360, 640, 4), np.uint8),
        np.zeros((720, 1280, 3), np.uint8)[::2, ::2],
        np.frombuffer(bytes(360 * 640 * 3), np.uint8).reshape(360, 640, 3),
    ],
    ids=["float", "grey", "four channels", "not contiguous", "read-only"],
)
def test_other_arrays_are_refused(frame: Image) -> None:
    with pytest.raises(ImageError, match=r"must be uint8 \[H, W, 3\], C-contiguous, writable"):
        draw_overlay(frame, LINES)
