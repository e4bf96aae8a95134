"""A bar on a terminal for steps of a known number."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def with_progress_bar(items: Sequence[T], what: str) -> Iterable[T]:
    """Return `items` with a bar that moves as they are taken; without one if there is no terminal or no tqdm."""
    if not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    bar: Iterable[T] = tqdm(items, desc=what, leave=False)
    return bar
