"""Boxes and what is written on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ros2_actionnet.images.box import Box
from ros2_actionnet.images.subject_overlay import SubjectLabel, draw_subjects

Rectangle = tuple[int, int, int, int]


class Labels:
    """Draws nothing and records where labels are: each letter is as wide as the capitals are high."""

    def __init__(self) -> None:
        self.drawn: dict[str, Rectangle] = {}

    def size(self, text: str, capitals: int, widest: int) -> tuple[int, int]:
        return min(len(text) * capitals, widest), 2 * capitals

    def draw(
        self, frame: NDArray[np.uint8], text: str, left: int, bottom: int, capitals: int, color: tuple[int, int, int]
    ) -> None:
        width, height = self.size(text, capitals, frame.shape[1])
        self.drawn[text] = left, bottom - height, left + width, bottom


def overlapping(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_a_box_is_drawn_where_it_is_and_nothing_in_it() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    draw_subjects(frame, [SubjectLabel("1", Box(300, 240, 100, 200), "walking 87%")], Labels())
    drawn = np.argwhere(frame.any(axis=2))
    assert drawn.min(axis=0) == pytest.approx([140, 250], abs=2)
    assert drawn.max(axis=0) == pytest.approx([340, 350], abs=2)
    assert not frame[145:335, 255:345].any()


def test_the_text_stands_above_the_box_or_below_it_where_there_is_no_room() -> None:
    labels = Labels()
    frame = np.zeros((480, 640, 3), np.uint8)
    draw_subjects(frame, [SubjectLabel("1", Box(300, 240, 100, 200), "walking")], labels)
    draw_subjects(frame, [SubjectLabel("2", Box(300, 100, 100, 200), "running")], labels)
    assert labels.drawn["1: walking"][3] == 140
    assert labels.drawn["2: running"][1] == 200


def test_the_same_id_has_the_same_color_whatever_else_is_there() -> None:
    colors = []
    for others in (0, 3):
        frame = np.zeros((480, 640, 3), np.uint8)
        people = [SubjectLabel("7", Box(100, 240, 100, 200), "walking")]
        people += [SubjectLabel(str(number), Box(300 + 60 * number, 240, 40, 80), "x") for number in range(others)]
        draw_subjects(frame, people, Labels())
        colors.append(tuple(frame[240, 50]))
    assert colors[0] == colors[1]


def test_the_labels_of_eight_people_side_by_side_do_not_cover_each_other() -> None:
    labels = Labels()
    frame = np.zeros((1080, 1920, 3), np.uint8)
    people = [
        SubjectLabel(str(number), Box(300 + 150 * number, 500, 200, 600), "talking to someone 87%")
        for number in range(8)
    ]
    draw_subjects(frame, people, labels)
    places = list(labels.drawn.values())
    assert len(places) == 8
    assert not any(overlapping(one, other) for one in places for other in places if one is not other)


def test_a_text_that_would_cover_others_moves_no_further_than_it_must() -> None:
    labels = Labels()
    frame = np.zeros((240, 320, 3), np.uint8)
    people = [SubjectLabel(str(number), Box(150 + number, 140, 20 - number, 60), "walking") for number in range(5)]
    draw_subjects(frame, people, labels)
    lowest = [labels.drawn[f"{number}: walking"][3] for number in range(5)]
    assert lowest == [110, 96, 124, 82, 138]  # the largest box first; then above and below, by their height each


def test_each_text_has_a_mark_of_the_color_of_its_box_wherever_it_stands() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    people = [SubjectLabel(str(number), Box(150, 140, 30, 60 - number / 5), "walking") for number in range(3)]
    draw_subjects(frame, people)
    # The boxes are between the rows 110 and 170, one text above the other: 7 pixels in capitals, 4 around them.
    marks = [tuple(map(int, frame[row, 135])) for row in (103, 89, 117)]
    for number, mark in enumerate(marks):
        alone = np.zeros_like(frame)
        draw_subjects(alone, [SubjectLabel(str(number), Box(150, 140, 30, 60), "walking")], Labels())
        assert mark == pytest.approx(tuple(map(int, alone[140, 135])), abs=25)  # whose edges are smoothed
    assert len(set(marks)) == 3


@given(
    st.lists(
        st.builds(
            SubjectLabel,
            st.text(max_size=20),
            st.builds(Box, *[st.floats(-500, 500)] * 2, *[st.floats(0.1, 2000)] * 2),
            st.text(max_size=30),
        ),
        max_size=8,
    ),
    st.sampled_from([(48, 64), (1, 1), (300, 7)]),
)
def test_any_boxes_are_drawn_on_any_frame(people: list[SubjectLabel], size: tuple[int, int]) -> None:
    draw_subjects(np.zeros((*size, 3), np.uint8), people)
