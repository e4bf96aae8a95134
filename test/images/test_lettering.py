"""Texts as pixels: where they stand, what is cut, and which font draws which character."""

from __future__ import annotations

import logging
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ros2_actionnet.images.fonts import OWN_FONT, REPLACEMENT, FontFile, FontSet, system_fonts
from ros2_actionnet.images.lettering import Lettering

CAPITALS = 20
MATH = FontFile(str(OWN_FONT), 0, ((0x4E00, 0x9FFF), (0x1F000, 0x1FAFF)))  # a font that claims to have these


def drawn(text: str, room: int = 4000, lettering: Lettering | None = None) -> NDArray[np.uint8]:
    return (lettering or Lettering(FontSet(lambda: ()))).ink(text, CAPITALS, 255, room).pixels


def test_a_text_is_what_pillow_draws_in_the_same_font() -> None:
    font = ImageFont.truetype(str(OWN_FONT), round(CAPITALS / 0.729))
    canvas = Image.new("L", (200, 60))
    ImageDraw.Draw(canvas).text((0, 40), "Walking", font=font, fill=255, anchor="ls")
    expected = np.asarray(canvas)
    ink = Lettering(FontSet(lambda: ())).ink("Walking", CAPITALS, 255, 4000)
    shown = ink.pixels[..., 0]
    above, below = ink.baseline, shown.shape[0] - ink.baseline
    assert np.abs(shown.astype(int) - expected[40 - above : 40 + below, : ink.width]).max() <= 1
    assert (shown[..., None] == ink.pixels).all()


def test_capitals_are_as_high_as_asked_and_stand_on_the_baseline() -> None:
    for capitals in (7, 12, 20, 34):
        ink = Lettering(FontSet(lambda: ())).ink("H", capitals, 255, 99)
        rows = np.nonzero((ink.pixels > 100).any(axis=(1, 2)))[0]
        assert rows[-1] + 1 == ink.baseline
        assert abs(len(rows) - capitals) <= 1


@given(st.text(max_size=60), st.integers(0, 300))
@settings(deadline=None, max_examples=80)
def test_no_text_is_wider_than_its_room(text: str, room: int) -> None:
    assert drawn(text, room).shape[1] <= room


@pytest.mark.parametrize(
    "text", ["m" * 100_000, "\n" * 100_000 + "a", "e" + "\u0301" * 100_000], ids=["m", "lines", "marks"]
)
def test_very_long_texts_are_bounded(text: str) -> None:
    assert drawn(text, 10**6).shape[1] < 201 * 40


def test_a_text_is_drawn_once() -> None:
    lettering = Lettering(FontSet(lambda: ()))
    assert drawn("walking", 400, lettering) is drawn("walking", 400, lettering)
    assert drawn("walking", 400, lettering) is not drawn("walking", 401, lettering)
    assert not drawn("walking", 400, lettering).flags.writeable


def test_marks_go_over_their_letters() -> None:
    assert drawn("e\u0301te\u0301").shape[1] == pytest.approx(drawn("ete").shape[1], abs=2)
    assert drawn("e\u0301").max(axis=2)[:9].any()
    assert not drawn("e").max(axis=2)[:9].any()


@pytest.mark.skipif(not __import__("PIL.features").features.check("raqm"), reason="Pillow has no raqm, which shapes")
def test_right_to_left_text_is_shaped_from_the_right() -> None:
    alef = drawn("\u05d0")
    word = drawn("\u05d0\u05d1\u05d2")
    assert np.abs(word[:, -alef.shape[1] :].astype(int) - alef).mean() < 25, "the first letter is on the right"
    apart = sum(drawn(letter).shape[1] for letter in "\u0645\u0634\u064a")
    assert drawn("\u0645\u0634\u064a").shape[1] < 0.9 * apart, "Arabic letters are joined"


def test_runs_are_in_the_order_of_the_script() -> None:
    fonts = FontSet(lambda: [MATH])
    assert fonts.runs("run \u8dd1\u6b65!") == [(None, "run "), (MATH, "\u8dd1\u6b65"), (None, "!")]
    assert fonts.runs("\u05d0\u05d1 \u8dd1") == [(MATH, "\u8dd1"), (None, "\u05d0\u05d1 ")]
    emoji = "\U0001f9d1\U0001f3fd\u200d\U0001f9d1"  # one picture of several characters
    assert fonts.runs(emoji) == [(MATH, emoji)]


def test_a_mark_that_the_font_lacks_is_left_out() -> None:
    assert FontSet(lambda: [MATH]).runs("\u8dd1\u0301") == [(MATH, "\u8dd1")]


def test_a_character_without_a_font_is_replaced_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    fonts = FontSet(lambda: ())
    with caplog.at_level(logging.WARNING):
        assert fonts.runs("\u8dd1a\u6b65") == [(None, f"{REPLACEMENT}a{REPLACEMENT}")]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "no font has the character U+8DD1 of a label"
    ]


def test_the_systems_fonts_are_asked_for_only_when_they_are_needed() -> None:
    asked: list[int] = []

    def fallbacks() -> list[FontFile]:
        asked.append(1)
        return []

    fonts = FontSet(fallbacks)
    fonts.runs("walking, \u0445\u043e\u0434\u044c\u0431\u0430, \u03c4\u03c1\u03ad\u03be\u03b9\u03bc\u03bf")
    assert asked == []
    fonts.runs("\u8dd1\u6b65")
    assert asked == [1]


def test_a_font_that_cannot_be_read_is_replaced() -> None:
    gone = FontFile("/nowhere/font.ttf", 0, ((0x4E00, 0x9FFF),))
    assert drawn("\u8dd1", lettering=Lettering(FontSet(lambda: [gone]))).any()


def test_fontconfigs_lines() -> None:
    font = FontFile.parse("/usr/share/fonts/a b.ttc\t2\t1f600-1f64f 20-7e a0")
    assert (font.path, font.index) == ("/usr/share/fonts/a b.ttc", 2)
    assert [font.has(c) for c in " ~\xa0\x7f\xa1\U0001f600\U0001f650"] == [True, True, True, False, False, True, False]


def test_without_fontconfig_there_are_no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert system_fonts() == ()


@pytest.mark.parametrize("character", ["\u8dd1", "\uac78", "\U0001f3c3"], ids=unicodedata.name)
def test_the_systems_fonts_draw_what_they_have(character: str) -> None:
    if not any(font.has(character) for font in system_fonts()):
        pytest.skip("no font of this system has it")
    lettering = Lettering()
    replaced = drawn(character)
    shown = drawn(character, lettering=lettering)
    assert (shown > 60).sum() > 100
    assert shown.shape != replaced.shape or (shown != replaced).any()
