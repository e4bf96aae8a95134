"""The formats in which labels are published, told apart by content: text lists, JSON, CSV, YAML and Python literals.

Each reader returns None if the text is not in its format, and raises ValueError, with the reason, if it is but gives
no labels.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from ros2_actionnet.system.text import encodable, printable, quoted

LABEL_KEYS = ("name", "label", "class_name", "label_name", "display_name", "action", "class", "category", "labels")
"""Names of the column or key that holds a label, in the order of preference, in lower case."""

_ID_KEYS = ("id", "index", "idx", "class_id", "label_id", "class_index", "class_idx", "number", "#", "")
_CONTAINERS = ("id2label", "label2id", "names", "labels", "classes", "class_names", "categories", "label_map")
_CONFIGURED = {"id2label", "label2id"}
_NUMBERED = re.compile(r"(?:class\s+)?[\[(]?(\d+)(\s*(?:[-=]>|[:=.|)\]])\s*|\s+-\s+|\s+)(\S.*)", re.IGNORECASE)
_NAMED = re.compile(r"(.*\S)\s*[:=]\s*(\d+)")
_MOST_DIGITS = 20  # of a class number
_LITERALS = (ValueError, SyntaxError, MemoryError, RecursionError)

# How files begin that hold no text.
_BINARY = {
    b"PK\x03\x04": "a ZIP archive, such as .npz, .xlsx or .pt",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x80": "a Python pickle",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x08": "an ONNX model",
}


def decode(data: bytes) -> str:
    """Return the text in `data`: UTF-8 with or without a byte order mark, or UTF-16 or UTF-32.

    Raises ValueError with the format in words if it is no such text.
    """
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "utf-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif len(data) > 1 and data[0] and not any(data[1:64:2]):
        encoding = "utf-16-le"
    elif len(data) > 1 and data[1] and not any(data[0:64:2]):
        encoding = "utf-16-be"
    for start, what in _BINARY.items():
        if data.startswith(start):
            raise ValueError(f"is {what}")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text ({error}); save it as UTF-8") from error
    if "\0" in text:
        raise ValueError("is not text: it contains zero bytes")
    return text


def parse_labels(text: str) -> list[str]:
    """Return the labels in a text that is not blank, class by class.

    Raises ValueError, with the reason, if they cannot be told.
    """
    lines = [line.strip() for line in text.strip().split("\n")]  # splitlines() would also split inside labels
    for reader in _READERS:
        labels = reader(text.strip(), lines)
        if labels is not None:
            return [encodable(label) for label in labels]
    return _plain(text)


# The readers, in the order in which they are tried.


def _foreign(text: str, lines: Sequence[str]) -> None:
    """Name the formats that are recognized but not read."""
    if re.match(r"<(\?xml|!doctype|html|svg|annotation)\b", text, re.IGNORECASE):
        raise ValueError("is XML or a web page; give a text file with one label a line, JSON or CSV")
    if re.match(r"(item|entry)\s*\{", text):
        raise ValueError("is a protobuf label map (.pbtxt); give a text file with one label a line, JSON or CSV")
    if text.startswith("version https://git-lfs"):
        raise ValueError("is a Git LFS pointer; run `git lfs pull` where it is from")


def _structured(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read JSON, JSON lines, and lists and dictionaries as Python writes them."""
    text = re.sub(r"\A(#[^\n]*\n\s*)*\w+\s*=\s*(?=[\[{(])", "", text)  # labels = [...]
    if text[0] not in "[{(":
        return None
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: json.loads(text),
        lambda: [json.loads(line) for line in lines if line],
        lambda: ast.literal_eval(text),
    )
    reasons = list[str]()
    for attempt in attempts:
        try:
            return labels_in(attempt())
        except NotLabels as error:
            raise ValueError(f"is JSON, but {error}") from error
        except _LITERALS as error:
            reasons.append(str(error))
    if text[0] != "(" and (text[-1] in "]}" or '"' in lines[0]):
        raise ValueError(f"looks like JSON but is damaged ({reasons[0]})")
    return None


def _yaml(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read a YAML list, or a mapping under a key such as `names`."""
    is_list = len(lines) > 1 and all(line.startswith("- ") for line in lines if line)
    if not is_list and not any(re.fullmatch(rf"({'|'.join(_CONTAINERS)}):\s*([\[{{].*)?", line) for line in lines):
        return None
    try:
        # The base loader leaves every scalar the text that it is: `no` and `2` are labels.
        return labels_in(yaml.load(text, Loader=yaml.BaseLoader))
    except NotLabels as error:
        raise ValueError(f"is YAML, but {error}") from error
    except RecursionError as error:
        raise ValueError("looks like YAML but is nested too deeply; write it flat") from error
    except yaml.YAMLError as error:
        if is_list:  # of texts that YAML wants in quotes, such as `- @work`
            return [_unquoted(line[2:].strip()) for line in lines if line]
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ValueError(f"looks like YAML but is damaged ({printable(problem)})") from error


def _table(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read CSV with a header, or with two columns of which one has the classes' numbers."""
    for delimiter in ",;\t":
        rows = _rows(lines, delimiter)
        if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
            continue
        header = [re.sub(r"[\s-]+", "_", cell.lower()) for cell in rows[0]]
        column = next((header.index(key) for key in LABEL_KEYS if key in header), None)
        ids = next((header.index(key) for key in _ID_KEYS if key in header), None)
        if column is not None and (ids is not None or len(rows[0]) > 2):
            labels = [row[column] for row in rows[1:]]
            if ids is None or ids == column:
                return _complete(labels)
            return _by_number([row[ids] for row in rows[1:]], labels, "CSV")
        numbers = [i for i in range(len(rows[0])) if all(row[i].isdecimal() for row in rows)]
        if len(rows[0]) == 2 and numbers and _first_number([int(row[numbers[0]]) for row in rows]) is not None:
            return _by_number([row[numbers[0]] for row in rows], [row[1 - numbers[0]] for row in rows], "CSV")
        if len(rows[0]) > 2 and any(_first_number([int(row[i]) for row in rows]) is not None for i in numbers):
            raise ValueError(
                f"is CSV with {len(rows[0])} columns and no header; put a first line with `id` and `name` above them"
            )
    return None


def _one_line(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read labels on a single line, with semicolons (DeepStream's), tabs or commas between them."""
    if len(lines) > 1:
        return None
    delimiter = next((mark for mark in ";\t," if mark in text), None)
    if delimiter is None:
        return None
    labels = [_unquoted(cell) for cell in _rows([text], delimiter)[0]]
    return _complete(labels[:-1] if labels[-1] == "" else labels)


def _numbered(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read "0 label", "0: label" and "label: 0" lines; the numbers must be those of the classes, without a gap."""
    lines = [line.rstrip(",") if '"' in line or "'" in line else line for line in lines if line]
    if len(lines) < 2:
        return None
    before = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    if len(before) == len(lines):
        numbers, labels = [int(match[1]) for match in before], [_unquoted(match[3]) for match in before]
        if any(match[2].isspace() for match in before):
            # In an ordinary list, labels may begin with numbers: "1 person", "2 people", "3 people".
            repeated = len(labels) - len(set(labels))
            if numbers != sorted(numbers) or repeated * 4 > len(labels):
                return None
        return _by_number(numbers, labels, "numbered") if _first_number(numbers) is not None else None
    after = [match for match in map(_NAMED.fullmatch, lines) if match]
    if len(after) == len(lines) and _first_number([int(match[2]) for match in after]) is not None:
        return _by_number([match[2] for match in after], [_unquoted(match[1]) for match in after], "numbered")
    return None


def _quoted(text: str, lines: Sequence[str]) -> list[str] | None:
    """Read lines that are in quotes, with or without commas behind them: all, or those that CSV needs them for."""
    cells = [line.rstrip(",").rstrip() for line in lines]
    if all(_unquoted(cell) != cell for cell in cells):
        return [_unquoted(cell) for cell in cells]
    # CSV with one column has in quotes what contains a comma or a quote.
    rows = _rows(lines, ",") if any(re.fullmatch(r'"[^"]*(,|"").*"', line) for line in lines) else []
    return [row[0] for row in rows] if len(rows) == len(lines) and all(len(row) == 1 for row in rows) else None


_READERS = (_foreign, _structured, _yaml, _table, _one_line, _numbered, _quoted)


def _plain(text: str) -> list[str]:
    labels = [line.strip() for line in text.rstrip().split("\n")]
    if "" in labels:
        raise ValueError(f"line {labels.index('') + 1} is blank; line i must name class i")
    return labels


# Data: what JSON, YAML and Python literals hold.


class NotLabels(Exception):  # noqa: N818
    """Data without labels; the message is the reason."""


def labels_in(data: Any) -> list[str]:
    """Return the labels in the content of a JSON or YAML file.

    That may be a list of labels or of objects, a mapping from numbers to labels or from labels to numbers, or an object
    that has one of these under a known key, such as `id2label` in the config.json of a transformers model.

    Raises NotLabels if there are none, or they leave a class without one.
    """
    try:
        if isinstance(data, Mapping):
            return _labels_in_mapping(data)
        if isinstance(data, list | tuple) and data:
            return _labels_in_list(data)
    except ValueError as error:
        raise NotLabels(str(error)) from error
    raise NotLabels("it holds no labels")


def _labels_in_mapping(data: Mapping[Any, Any]) -> list[str]:
    for key in _CONTAINERS:
        value = data.get(key)
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            with suppress(*_LITERALS):
                value = json.loads(value)
        if isinstance(value, list | tuple | Mapping):
            return labels_in(value)
    if data and all(_is_number(key) for key in data):
        return _by_number(list(data), [_label_of(value) for value in data.values()], "")
    if data and all(_is_number(value) for value in data.values()):
        return _by_number(list(data.values()), [_label_of(key) for key in data], "")
    inner = [value for value in data.values() if isinstance(value, Mapping) and _CONFIGURED & set(value)]
    if inner:
        return labels_in(inner[0])
    keys = ", ".join(str(key)[:40] for key in list(data)[:5])
    raise NotLabels(f"it has none of {', '.join(_CONTAINERS)}, and does not map numbers to labels (it has: {keys})")


def _labels_in_list(data: Sequence[Any]) -> list[str]:
    if all(isinstance(item, Mapping) for item in data):
        items = [{str(key).lower(): value for key, value in item.items()} for item in data]
        labels = [_label_of(item) for item in items]
        key = next((key for key in _ID_KEYS if all(_is_number(item.get(key)) for item in items)), None)
        return _by_number([item[key] for item in items], labels, "") if key is not None else labels
    return [_label_of(item) for item in data]


def _label_of(value: Any) -> str:
    """Return the label that `value` is, or has: an object under a known key, a list as its last text."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in LABEL_KEYS if isinstance(value.get(key), str)), None)
    elif isinstance(value, list | tuple):
        value = next((item for item in reversed(value) if isinstance(item, str)), None)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise NotLabels(f"{str(value)[:40]!r} is no label")
    return _unquoted(str(value).strip())  # Kinetics' own list has some of its names in quotes of their own


# Shared by the readers.


def _by_number(numbers: Iterable[Any], labels: Sequence[str], what: str) -> list[str]:
    """Return `labels` in the order of their numbers, which count the classes from 0 or from 1."""
    by_number = dict[int, str]()
    kind = f"is {what}, but " if what else ""
    for number, label in zip(numbers, labels, strict=True):
        if not _is_number(number):
            raise ValueError(f"{kind}{str(number)[:40]!r} is no class number")
        if int(number) in by_number:
            raise ValueError(
                f"{kind}it names class {number} twice: {quoted(by_number[int(number)])} and {quoted(label)}"
            )
        by_number[int(number)] = label
    first = 1 if min(by_number) == 1 else 0
    missing = next(i for i in range(first, first + len(by_number) + 1) if i not in by_number)
    if missing != first + len(by_number):
        raise ValueError(f"{kind}it has no label for class {missing}; every class needs one, without a gap")
    return _complete([by_number[number] for number in sorted(by_number)])


def _first_number(numbers: Sequence[int]) -> int | None:
    """Return 0 or 1 if `numbers` count from that without a gap, in any order."""
    first = min(numbers)
    return first if first in (0, 1) and sorted(numbers) == list(range(first, first + len(numbers))) else None


def _complete(labels: list[str]) -> list[str]:
    if "" in labels:
        raise ValueError(f"it has no label for class {labels.index('')}")
    return labels


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal() and len(value) < _MOST_DIGITS
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    reader = csv.reader([line for line in lines if line], delimiter=delimiter, skipinitialspace=True)
    try:
        return [[cell.strip() for cell in row] for row in reader]
    except csv.Error:
        return []


def _unquoted(text: str) -> str:
    """Return `text` without the quotes around it."""
    has_quotes = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if has_quotes and text[0] not in text[1:-1] else text
