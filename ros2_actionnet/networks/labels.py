"""Labels of a network: read from a file, in any of the usual formats, and checked against the number of classes."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.label_formats import LABEL_KEYS, decode, parse_labels
from ros2_actionnet.system.text import printable, quoted

logger = logging.getLogger(__name__)

LARGEST = 16_000_000
"""Bytes in a label file, at most; the labels of 20,000 classes are half a megabyte."""


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels in a file, whose format is told by its content (see `label_formats`).

    Duplicate labels are logged as a warning: their scores are combined in results.

    Raises:
        NetworkError: the file cannot be read, is not text, is empty, or is in a format that is not understood.
    """
    labels = _read(path)
    _report_duplicates(path, labels)
    return tuple(labels)


def labels_for(path: Path | None, classes: int, name: str, *, is_downloaded: bool = False) -> tuple[str, ...]:
    """Return the labels of a network with `classes` classes; without a file "class 0", "class 1", ... and a warning.

    The published archives of downloaded networks have a label too many or too few: with `is_downloaded`, the list is
    cut or filled up, with a warning.

    Raises:
        NetworkError: as `read_labels`, or the number of labels differs from the number of classes.
    """
    if path is None:
        logger.warning(
            "network %s has no label file: its classes are called 'class 0' to 'class %d'. Set `labels`, or put a "
            "labels.txt beside the model.",
            name,
            classes - 1,
        )
        return tuple(f"class {index}" for index in range(classes))
    labels = _read(path)
    if len(labels) == classes + 1 and labels[0].lower() in LABEL_KEYS:
        logger.info("label file %s: the first line, %r, is taken to be a header", path, labels[0])
        del labels[0]
    if len(labels) != classes:
        if not is_downloaded or abs(len(labels) - classes) > max(1, classes // 100):
            raise NetworkError(_mismatch(path, labels, classes, name))
        logger.warning(
            "label file %s has %d labels but network %s has %d classes: %s",
            path,
            len(labels),
            name,
            classes,
            "the last ones are ignored" if len(labels) > classes else "the last ones are called 'class N'",
        )
        labels = [*labels[:classes], *(f"class {index}" for index in range(len(labels), classes))]
    _report_duplicates(path, labels)
    return tuple(labels)


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise NetworkError(f"label file {printable(path)} cannot be read: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise NetworkError(
            f"label file {printable(path)} is larger than {LARGEST // 1_000_000} MB; set `labels` to a label file"
        )
    try:
        text = decode(data)
        if not text.strip():
            raise ValueError("is empty; it needs one label a line, one for each class")
        labels = parse_labels(text.replace("\r\n", "\n").replace("\r", "\n"))
    except ValueError as error:
        reason = str(error)
        raise NetworkError(
            f"label file {printable(path)}{' ' if reason.startswith(('is ', 'looks ')) else ': '}{reason}"
        ) from error
    return labels


def _mismatch(path: Path, labels: list[str], classes: int, name: str) -> str:
    where, network = printable(path), printable(name)
    message = f"label file {where} has {len(labels)} labels but network {network} has {classes} classes; "
    if len(labels) == classes - 1:
        return message + (
            "if it was trained with a background class, add a line `background` where that class was: first or last. "
            "Otherwise set `labels` to the file that belongs to this model"
        )
    if len(labels) == classes + 1:
        return message + (
            f"if one of them is a background class that the network lacks (the first is {quoted(labels[0])}, the last "
            f"{quoted(labels[-1])}), remove it. Otherwise set `labels` to the file that belongs to this model"
        )
    return message + "set `labels` to the file that belongs to this model"


def _report_duplicates(path: Path, labels: list[str]) -> None:
    duplicates = [label for label, count in Counter(labels).items() if count > 1]
    if duplicates:
        logger.warning("label file %s names more than one class: %s", path, printable(", ".join(duplicates), 1000))
