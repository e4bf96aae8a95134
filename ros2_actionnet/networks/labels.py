"""Label files: UTF-8 text, one label per line; line i is the name of class i."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from ros2_actionnet.errors import NetworkError

logger = logging.getLogger(__name__)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels in a file. A byte order mark, CRLF and blank lines at the end are accepted.

    Duplicate labels are logged as a warning: their classes can be distinguished by index only.

    Raises:
        NetworkError: the file cannot be read, is not UTF-8, is empty, or has a blank line between labels.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NetworkError(f"label file {path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise NetworkError(f"label file {path} cannot be read: {error.strerror or error}") from error
    # Not splitlines(), which would also split at characters that may occur inside a label (U+0085, U+2028).
    labels = [line.strip() for line in text.rstrip().split("\n")]
    if labels == [""]:
        raise NetworkError(f"label file {path} is empty; it needs one label a line, one for each class")
    if "" in labels:
        raise NetworkError(f"label file {path}: line {labels.index('') + 1} is blank; line i must name class i")
    _report_duplicates(path, labels)
    return tuple(labels)


def labels_for(path: Path | None, classes: int, name: str) -> tuple[str, ...]:
    """Return the labels of a network with `classes` classes; without a file "class 0", "class 1", ... and a warning.

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
    labels = read_labels(path)
    if len(labels) != classes:
        raise NetworkError(
            f"label file {path} has {len(labels)} labels but network {name} has {classes} classes; "
            "set `labels` to the file that belongs to this model"
        )
    return labels


def _report_duplicates(path: Path, labels: list[str]) -> None:
    duplicates = [label for label, count in Counter(labels).items() if count > 1]
    if duplicates:
        logger.warning("label file %s names more than one class: %s", path, ", ".join(duplicates))
