"""What the values of the command's flags may be."""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

BATCH_FILES = ("video", "results", "report")
"""The kinds of files that `--batch` can write for each input."""


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers between commas."""
    return tuple(float(part) for part in text.split(","))


def texts(text: str) -> tuple[str, ...]:
    """Split `text` at commas; an item that contains a comma is enclosed in double quotes."""
    return tuple(next(csv.reader([text], skipinitialspace=True), []))


def count(text: str) -> int:
    """Return a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is below 0")
    return value


def loops(text: str) -> int:
    """Return a number of repetitions; -1 is forever."""
    value = int(text)
    if value < -1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of repetitions; -1 is forever")
    return value


def rate(text: str) -> float:
    """Return a rate (Hz) from 0."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a frame rate in Hz")
    return value


def seconds(text: str) -> float:
    """Return a time (s) above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time in seconds above 0")
    return value


def path(text: str) -> Path:
    """Return a path, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def batch_files(text: str) -> tuple[str, ...]:
    """Return the kinds of files between commas."""
    kinds = tuple(part.strip() for part in text.split(","))
    for kind in kinds:
        if kind not in BATCH_FILES:
            raise argparse.ArgumentTypeError(f"'{kind}' is not one of {', '.join(BATCH_FILES)}")
    return kinds


numbers.__name__, texts.__name__, count.__name__ = "list of numbers", "list", "number"
loops.__name__ = rate.__name__ = seconds.__name__ = "number"
