"""Fonts for any script: the one that comes with the package, then the system's, as fontconfig has them."""

from __future__ import annotations

import logging
import subprocess
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

OWN_FONT = Path(__file__).parent / "font_files" / "DejaVuSans.ttf"
"""Latin, Greek, Cyrillic, Arabic, Hebrew and more; under the licence beside it."""

REPLACEMENT = "\ufffd"
"""Stands for a character that no font has."""

_PATIENCE = 10.0  # s; fontconfig looks through all fonts when it is first used
_JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner: they shape their neighbors and have no glyph of their own
_BITMAP_SIZES = (109, 128, 136, 160, 96, 64)  # pixels per em of color emoji, most usual first

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FontFile:
    """A font on the system: its file, its number in it, and its characters as sorted ranges, ends included."""

    path: str
    index: int
    characters: tuple[tuple[int, int], ...]

    def has(self, character: str) -> bool:
        """Return True if the font has a glyph for `character`."""
        place = bisect_right(self.characters, (ord(character), 0x110000)) - 1
        return place >= 0 and ord(character) <= self.characters[place][1]

    @classmethod
    def parse(cls, line: str) -> FontFile:
        """Read "path, index, characters", separated by tabs, the latter as in "20-7e a0". Raises ValueError."""
        path, index, characters = line.split("\t")
        ranges = [part.partition("-") for part in characters.split()]
        return cls(path, int(index), tuple(sorted((int(a, 16), int(b or a, 16)) for a, _, b in ranges)))


def system_fonts() -> tuple[FontFile, ...]:
    """Return the fonts that add characters to those before them, best first for the locale; none without fontconfig."""
    try:
        listed = subprocess.run(
            ["fc-match", "-s", "-f", "%{file}\t%{index}\t%{charset}\n", "sans"],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_PATIENCE,
            check=True,
        ).stdout
        return tuple(map(FontFile.parse, listed.splitlines()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


@dataclass(frozen=True)
class SizedFont:
    """A font ready to draw, and the factor by which what it draws is to be scaled: color emoji come in one size."""

    font: ImageFont.FreeTypeFont
    scale: float = 1.0


class FontSet:
    """Finds a font for every character. `fallbacks` is called once, when the package's own font lacks a character."""

    def __init__(self, fallbacks: Callable[[], Sequence[FontFile]] = system_fonts) -> None:
        self._fallbacks = lru_cache(maxsize=1)(fallbacks)
        self._own = ImageFont.truetype(str(OWN_FONT), 16)
        self._missing_glyph = self._glyph("\U0010ffff")
        self._has_warned = False
        self.sized = lru_cache(maxsize=64)(self._sized)
        """Returns the SizedFont of a FontFile (None: the package's own) at a size in pixels per em."""
        self._font_of = lru_cache(maxsize=4096)(self._find)

    def runs(self, text: str) -> list[tuple[FontFile | None, str]]:
        """Split `text` into runs of one font each, in the order in which they stand from left to right."""
        runs: list[tuple[FontFile | None, str]] = []
        for cluster in _clusters(text):
            font, shown = self._font_of(cluster)
            if runs and runs[-1][0] == font:
                runs[-1] = runs[-1][0], runs[-1][1] + shown
            else:
                runs.append((font, shown))
        return runs[::-1] if _is_right_to_left(text) else runs

    def _find(self, cluster: str) -> tuple[FontFile | None, str]:
        """Return the font for a character with its marks, and what to draw: without marks that the font lacks."""
        needed = [c for c in cluster if c not in _JOINERS and not unicodedata.name(c, "").startswith("VARIATION")]
        if all(map(self._is_own, needed)):
            return None, cluster
        fonts = self._fallbacks()
        for wanted in (needed, needed[:1]):
            font = next((font for font in fonts if all(map(font.has, wanted))), None)
            if font is not None:
                return font, cluster if wanted == needed else cluster[0]
        if needed and self._is_own(needed[0]):
            return None, needed[0]
        self._warn(cluster[0])
        return None, REPLACEMENT

    def _is_own(self, character: str) -> bool:
        return self._glyph(character) != self._missing_glyph

    def _glyph(self, character: str) -> bytes:
        canvas = Image.new("L", (40, 40))
        ImageDraw.Draw(canvas).text((10, 28), character, font=self._own, fill=255, anchor="ls")
        return canvas.tobytes()

    def _warn(self, character: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "no font has the character U+%04X of a label: apt install fontconfig fonts-noto-cjk "
                "fonts-noto-color-emoji, or the fonts of your script",
                ord(character),
            )

    def _sized(self, font: FontFile | None, size: int) -> SizedFont:
        if font is None:
            return SizedFont(ImageFont.truetype(str(OWN_FONT), size))
        for own_size in (size, *_BITMAP_SIZES):
            try:
                return SizedFont(ImageFont.truetype(font.path, own_size, font.index), size / own_size)
            except OSError:  # it has bitmaps of other sizes, or is damaged
                continue
        return SizedFont(ImageFont.truetype(str(OWN_FONT), size))


def _clusters(text: str) -> Iterator[str]:
    """Yield each character with the marks, joiners and modifiers that belong to it."""
    cluster = ""
    for character in text:
        joins = unicodedata.category(character) in ("Mn", "Me", "Mc") or character in _JOINERS
        joins = joins or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        if cluster and (joins or cluster[-1] == _JOINERS[1]):
            cluster += character
        else:
            if cluster:
                yield cluster
            cluster = character
    if cluster:
        yield cluster


def _is_right_to_left(text: str) -> bool:
    directions = map(unicodedata.bidirectional, text)
    return next((d for d in directions if d in ("L", "R", "AL")), "L") != "L"
